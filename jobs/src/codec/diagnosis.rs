//! What went wrong in a JSON value, without repeating any of it.
//!
//! The decoder's own message may quote the payload, and so may the message of a field's own `Deserialize`. So no text is
//! taken over: only words of ours, chosen by how the message begins and ends, and names that the event type declares
//! itself. It runs for bad records only; good ones pay nothing.

use super::cause::{Cause, Place};
use crate::timestamp::Timestamp;
use serde::de::value::Error as Silent;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::error::Category;

pub(super) fn of<'de, T: Deserialize<'de>>(text: &str, error: &serde_json::Error) -> Cause {
    let at = Place { field: None, line: error.line(), column: error.column() };
    match error.classify() {
        Category::Syntax | Category::Io => return Cause::NotJson { ends_early: false, place: at },
        Category::Eof => return Cause::NotJson { ends_early: true, place: at },
        Category::Data => {}
    }
    let fields = declared_fields::<T>();
    let declared = |name: &str| fields.iter().copied().find(|f| *f == name);
    let message = error.to_string();
    if let Some(rest) = message.strip_prefix("missing field `") {
        let field = rest.split('`').next().and_then(declared);
        return Cause::MissingField { place: Place { field, ..at } };
    }
    let place = Place { field: field_at(text, offset_of(text, at.line, at.column)).and_then(|n| declared(&n)), ..at };
    if let Some(rest) = message.strip_prefix("invalid type: ")
        && let Some(found) = found(rest)
    {
        return Cause::WrongType { expected: expected(&message), found, place };
    }
    Cause::Refused { why: refusal(&message), place }
}

/// How serde's words for what it found begin, and ours.
fn found(message: &str) -> Option<&'static str> {
    const FOUND: [(&str, &str); 7] = [
        ("string ", "text"),
        ("integer ", "integer"),
        ("floating point ", "number with a fraction"),
        ("boolean ", "boolean"),
        ("null", "null"),
        ("map", "object"),
        ("sequence", "list"),
    ];
    FOUND.into_iter().find(|(theirs, _)| message.starts_with(theirs)).map(|(_, ours)| ours)
}

/// What serde says it expected, as far as it is one of the usual things.
fn expected(message: &str) -> Option<&'static str> {
    let (before_place, _) = message.rsplit_once(" at line ")?;
    if before_place.ends_with(Timestamp::EXPECTED) {
        return Some(Timestamp::EXPECTED);
    }
    match before_place.rsplit_once(", expected ")?.1 {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => Some("integer"),
        "f32" | "f64" => Some("number"),
        "a string" | "string" | "a borrowed string" | "a character" | "a formatted UUID string" => Some("text"),
        "a boolean" => Some("boolean"),
        "a sequence" => Some("list"),
        "a map" => Some("object"),
        // The name of the struct is static, but there is no telling it from other text.
        other if other.starts_with("struct ") => Some("object"),
        _ => None,
    }
}

fn refusal(message: &str) -> &'static str {
    const REFUSALS: [(&str, &str); 6] = [
        ("invalid value: integer ", "integer out of range"),
        ("invalid length ", "wrong number of elements"),
        ("unknown variant ", "unknown variant"),
        ("unknown field ", "unknown field"),
        ("duplicate field ", "duplicate field"),
        ("trailing ", "trailing characters"),
    ];
    let known = REFUSALS.into_iter().find(|(theirs, _)| message.starts_with(theirs));
    known.map_or("value not accepted by its type", |(_, ours)| ours)
}

/// Byte offset of a line and column (both from 1, columns in bytes).
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column).min(text.len())
}

/// The key of the outermost object under which the byte before `end` stands.
fn field_at(text: &str, end: usize) -> Option<String> {
    let bytes = &text.as_bytes()[..end];
    let (mut depth, mut at, mut key) = (0_u32, 0, None);
    // In the outermost object a string is a key when it stands behind `{` or `,`.
    let mut key_next = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let length = string_bytes(&bytes[at..]);
                if depth == 1 && key_next {
                    key = serde_json::from_slice::<String>(&bytes[at..at + length]).ok();
                    key_next = false;
                }
                at += length;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                key_next = depth == 1 && byte == b'{';
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 && at + 1 < bytes.len() => key_next = true,
            _ => {}
        }
        at += 1;
    }
    key.filter(|_| depth > 0)
}

/// Length of the string that begins here, with its quotes; all of the rest when it does not end.
fn string_bytes(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The names of the fields a type declares to the decoder; none when it does not derive, or flattens.
fn declared_fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It always ends in an error: there is nothing to decode.
    let _ = T::deserialize(Declaration(&mut fields));
    fields
}

struct Declaration<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Declaration<'_> {
    type Error = Silent;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Silent> {
        *self.0 = fields;
        Err(Silent::custom(""))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Silent> {
        Err(Silent::custom(""))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
