//! From a record of the bus to an event, and back. The value is JSON.
//!
//! What does not decode becomes a dead letter with its [`Cause`], which says what is wrong and where, but never
//! repeats a value of the record: causes are shown to people and kept longer than the payload may be.

mod cause;
mod derived;
mod diagnosis;

pub use cause::Cause;
pub(crate) use derived::{decode_row, written};

use crate::event::Event;
use bytes::Bytes;
use distributary_runtime::bus::{NewRecord, Record};
use distributary_runtime::time::{EventTime, WallTime};
use distributary_runtime::user_code;
use serde::Serialize;

/// The longest value that is decoded: Kafka's own default for a message. A longer one is a dead letter, so that one
/// record cannot eat the memory of a worker.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The earliest event time that is believed. An earlier one is a unit or clock gone wrong.
pub const EVENT_TIME_MIN: EventTime = EventTime(0);

/// Decodes a record into its event and the time of that. A function of the record alone: the same in every replay.
///
/// ```
/// use distributary::codec::{Cause, decode};
/// # use distributary::{Event, Timestamp};
/// # use distributary_runtime::{bus::{Offset, Record}, time::{EventTime, WallTime}};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(topic = "clicks", id = "id", time = "at", no_personal_data)]
/// # struct Click { id: u64, at: Timestamp }
/// # let record = |json: &'static str| Record {
/// #     offset: Offset(0), timestamp: WallTime(1_000), key: None, value: Some(json.into()), headers: vec![],
/// # };
/// let (click, time) = decode::<Click>(&record(r#"{"id": 7, "at": 900}"#)).unwrap();
/// assert_eq!((click.id, time), (7, EventTime(900)));
///
/// let cause = decode::<Click>(&record(r#"{"id": "7", "at": 900}"#)).err().unwrap();
/// assert_eq!(cause.to_string(), "undecodable: expected integer, found text in field id at line 1 column 10");
/// ```
///
/// # Errors
/// Why the record is a dead letter.
pub fn decode<E: Event>(record: &Record) -> Result<(E, EventTime), Cause> {
    let value = record.value.as_ref().ok_or(Cause::NullValue)?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Cause::Oversized { bytes: value.len() });
    }
    let text = std::str::from_utf8(value).map_err(|e| Cause::NotUtf8 { at: e.valid_up_to() })?;
    let (event, time) = caught(|| {
        let event: E = serde_json::from_str(text).map_err(|e| diagnosis::of::<E>(text, &e))?;
        let time = EventTime::from(event.time());
        Ok((event, time))
    })?;
    check_time(time, record.timestamp, E::describe().max_ahead_ms)?;
    Ok((event, time))
}

/// The value of a record for this event.
///
/// # Errors
/// [`Cause::Unencodable`] when the type has no JSON form, [`Cause::Oversized`] when that would not be decoded again.
pub fn encode<T: Serialize>(event: &T) -> Result<Vec<u8>, Cause> {
    let value = caught(|| serde_json::to_vec(event).map_err(|_| Cause::Unencodable))?;
    if value.len() > VALUE_BYTES_MAX { Err(Cause::Oversized { bytes: value.len() }) } else { Ok(value) }
}

/// The record a producer publishes for this event: its key decides the partition.
///
/// # Errors
/// As [`encode`].
pub fn new_record<E: Event>(event: &E, timestamp: WallTime) -> Result<NewRecord, Cause> {
    let value = Some(Bytes::from(encode(event)?));
    let key = caught(|| Ok(event.key()))?.map(Bytes::from);
    Ok(NewRecord { partition: None, timestamp, key, value, headers: Vec::new() })
}

/// The key of a record for this value, as producers in other languages write it: the text of a string without quotes,
/// the JSON of anything else; `None` for `null` and what has no JSON form.
///
/// ```
/// use distributary::codec::key_text;
/// assert_eq!(key_text(&"u1"), Some(b"u1".to_vec()));
/// assert_eq!(key_text(&17), Some(b"17".to_vec()));
/// assert_eq!(key_text(&None::<u8>), None);
/// ```
pub fn key_text<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    match serde_json::to_value(value).ok()? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.into_bytes()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        other => serde_json::to_vec(&other).ok(),
    }
}

/// User code (`Deserialize`, `Serialize`, the traits of fields) may panic. What it said may hold payload: it is dropped.
fn caught<T>(act: impl FnOnce() -> Result<T, Cause>) -> Result<T, Cause> {
    user_code::catch(act).unwrap_or(Err(Cause::Panicked))
}

fn check_time(time: EventTime, record: WallTime, max_ahead_ms: i64) -> Result<(), Cause> {
    if time < EVENT_TIME_MIN {
        return Err(Cause::TimeTooEarly);
    }
    let ahead_ms = time.0.saturating_sub(record.0);
    if ahead_ms > max_ahead_ms { Err(Cause::TimeAhead { ahead_ms, max_ahead_ms }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

/// A result as JSON, in no more memory than it takes. `room` is where it grows: it is only there to be used again.
pub(crate) fn encode_json<T: Serialize>(data: &T, room: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    room.clear();
    serde_json::to_writer(&mut *room, data).map_err(|_| "a result has no JSON form".to_string())?;
    Ok(room.as_slice().into())
}
