//! Why a record is a dead letter, as far as its encoding goes.

use super::{EVENT_TIME_MIN, VALUE_BYTES_MAX};
use crate::timestamp::Timestamp;
use std::fmt;

/// Why a record could not be made an event (or an event a record). Its text holds names of the event type and
/// positions, never a value of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The record has no value: a tombstone in a topic of events.
    NullValue,
    /// The record has no key, so it is no row.
    NoKey,
    /// The value is longer than [`VALUE_BYTES_MAX`].
    Oversized {
        /// Its length.
        bytes: usize,
    },
    /// The value is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        at: usize,
    },
    /// The value is not JSON.
    NotJson {
        /// The text ends where more should follow.
        ends_early: bool,
        /// Where.
        place: Place,
    },
    /// A value of another type than the field's.
    WrongType {
        /// What the field takes, if it is one of the usual types.
        expected: Option<&'static str>,
        /// What stands there.
        found: &'static str,
        /// Where.
        place: Place,
    },
    /// A field without which the event cannot be.
    MissingField {
        /// Where; its field is the missing one, if known.
        place: Place,
    },
    /// A value of the right type that the field does not take.
    Refused {
        /// Why, in a few words.
        why: &'static str,
        /// Where.
        place: Place,
    },
    /// The event time is before [`EVENT_TIME_MIN`].
    TimeTooEarly,
    /// The event time is too far ahead of the record's own timestamp.
    TimeAhead {
        /// How far.
        ahead_ms: i64,
        /// How far the event type allows.
        max_ahead_ms: i64,
    },
    /// The type's own decoding panicked.
    Panicked,
    /// The event has no JSON form.
    Unencodable,
}

/// A place in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The field of the event, if it is known to be one.
    pub field: Option<&'static str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1: where the decoder stood.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, " in field {field}")?;
        }
        write!(f, " at line {} column {}", self.line, self.column)
    }
}

impl Cause {
    /// A short name that stays the same, for metrics and filters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NullValue => "null_value",
            Self::NoKey => "no_key",
            Self::Oversized { .. } => "oversized",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::WrongType { .. } => "wrong_type",
            Self::MissingField { .. } => "missing_field",
            Self::Refused { .. } => "refused_value",
            Self::TimeTooEarly => "time_too_early",
            Self::TimeAhead { .. } => "time_ahead",
            Self::Panicked => "decode_panicked",
            Self::Unencodable => "unencodable",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullValue => f.write_str("null value: expected an event, found a tombstone"),
            Self::NoKey => f.write_str("no key: expected the row of an upsert topic, found a record without a key"),
            Self::Oversized { bytes } => write!(f, "oversized: {bytes} bytes, at most {VALUE_BYTES_MAX} are decoded"),
            Self::NotUtf8 { at } => write!(f, "undecodable: not UTF-8 at byte {at}"),
            Self::NotJson { ends_early: true, place } => write!(f, "undecodable: JSON ends early{place}"),
            Self::NotJson { ends_early: false, place } => write!(f, "undecodable: not JSON{place}"),
            Self::WrongType { expected: Some(expected), found, place } => {
                write!(f, "undecodable: expected {expected}, found {found}{place}")
            }
            Self::WrongType { expected: None, found, place } => write!(f, "undecodable: unexpected {found}{place}"),
            Self::MissingField { place: Place { field: Some(field), line, column } } => {
                write!(f, "undecodable: missing field {field} at line {line} column {column}")
            }
            Self::MissingField { place } => write!(f, "undecodable: missing field{place}"),
            Self::Refused { why, place } => write!(f, "undecodable: {why}{place}"),
            Self::TimeTooEarly => write!(f, "absurd event time: before {}", Timestamp::from(EVENT_TIME_MIN)),
            Self::TimeAhead { ahead_ms, max_ahead_ms } => {
                write!(f, "absurd event time: {ahead_ms} ms ahead of the record's timestamp, at most {max_ahead_ms} allowed")
            }
            Self::Panicked => f.write_str("undecodable: decoding panicked"),
            Self::Unencodable => f.write_str("unencodable: the event has no JSON form"),
        }
    }
}

impl std::error::Error for Cause {}
