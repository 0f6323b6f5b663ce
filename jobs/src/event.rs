//! Events: typed records of a bus topic.

use crate::timestamp::Timestamp;
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use serde::Serialize;
use std::borrow::Cow;
use uuid::Uuid;

/// A typed record of a bus topic. Derive it:
///
/// ```
/// use distributary::{Event, Timestamp};
/// use serde::{Deserialize, Serialize};
/// use uuid::Uuid;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
/// struct Payment { payment_id: Uuid, user_id: String, amount_cents: i64, at: Timestamp }
///
/// let p = Payment { payment_id: Uuid::nil(), user_id: "u1".into(), amount_cents: 5, at: Timestamp::from_millis(7) };
/// assert_eq!(Payment::TOPIC, "payments");
/// assert_eq!((p.id(), p.subject().as_deref()), (Uuid::nil(), Some("u1")));
/// assert_eq!(Payment::describe().max_ahead_ms, 3_600_000);
/// ```
///
/// | attribute | meaning |
/// |---|---|
/// | `topic = "..."` | the topic it is read from and produced to |
/// | `id = "field"` | the event id, for deduplication: `Uuid`, `String`, an integer, or any type that can be a key |
/// | `time = "field"` | when it happened: a [`Timestamp`] |
/// | `subject = "field"` | the person it is about: text, an integer, a `Uuid`, or an `Option` of these |
/// | `no_personal_data` | instead of `subject`: it is about nobody, and deletions do not look at it |
/// | `key = "field"` | the key producers give the record; without it the subject, else the id |
/// | `delay = "5s"` | how far a partition's watermark stays behind its newest event. Default 0: results come as soon as they can, and disorder is left to the windows' lateness. Raise it when a corrected result is worse than a later one |
/// | `max_ahead = "1h"` | how far event time may be ahead of the record's timestamp before the record is a dead letter. Default 1 h |
pub trait Event: Data {
    /// The type of the event id.
    type Id: Key;

    /// The topic it is read from and produced to.
    const TOPIC: &'static str;

    /// The event id.
    fn id(&self) -> Self::Id;

    /// When it happened.
    fn time(&self) -> Timestamp;

    /// The person it is about; `None` when it is about nobody.
    fn subject(&self) -> Option<Cow<'_, str>>;

    /// The key a producer gives the record: the text of a string, the JSON of anything else. `None` only when the field
    /// named by `key` is `null` or has no JSON form.
    fn key(&self) -> Option<Vec<u8>>;

    /// What the derive was told.
    fn describe() -> EventDescription;
}

/// What `#[derive(Event)]` was told; names of fields are those of the Rust type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventDescription {
    /// Name of the Rust type, without its module.
    pub rust_type: &'static str,
    /// The topic.
    pub topic: &'static str,
    /// Field of the event id.
    pub id: &'static str,
    /// Field of the event time.
    pub time: &'static str,
    /// Field of the subject; `None` when the type was declared to hold no personal data.
    pub subject: Option<&'static str>,
    /// Field of the key.
    pub key: &'static str,
    /// How far a partition's watermark stays behind its newest event.
    pub delay_ms: i64,
    /// How far event time may be ahead of the record's timestamp.
    pub max_ahead_ms: i64,
    /// Doc comments of fields: (field, its first paragraph). A table has them as comments of its columns.
    pub comments: &'static [(&'static str, &'static str)],
}

/// The value of an id field, as the derive asks for it.
#[doc(hidden)]
pub fn id_of<T: Key>(field: &T) -> T {
    field.clone()
}

/// What can be the time of an event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the time of an event",
    label = "use `distributary::Timestamp`: it reads RFC 3339 text and integer milliseconds; for another unit implement `AsTimestamp`"
)]
pub trait AsTimestamp {
    /// The time in milliseconds.
    fn as_timestamp(&self) -> Timestamp;
}

impl AsTimestamp for Timestamp {
    fn as_timestamp(&self) -> Timestamp {
        *self
    }
}

impl AsTimestamp for jiff::Timestamp {
    fn as_timestamp(&self) -> Timestamp {
        (*self).into()
    }
}

/// What can name the subject of an event. The text must be the same wherever the same person is meant.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name the subject of an event",
    label = "use `String`, an integer, `Uuid` or an `Option` of these, or implement `AsSubject` for a type of your own"
)]
pub trait AsSubject {
    /// The subject as text; `None` when there is none.
    fn as_subject(&self) -> Option<Cow<'_, str>>;
}

impl AsSubject for String {
    fn as_subject(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl AsSubject for Box<str> {
    fn as_subject(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl<T: AsSubject> AsSubject for Option<T> {
    fn as_subject(&self) -> Option<Cow<'_, str>> {
        self.as_ref().and_then(T::as_subject)
    }
}

macro_rules! subject_by_display {
    ($($t:ty)+) => {$(
        impl AsSubject for $t {
            fn as_subject(&self) -> Option<Cow<'_, str>> {
                Some(Cow::Owned(self.to_string()))
            }
        }
    )+};
}

subject_by_display!(i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 Uuid);
