//! Records of the bus, read and shown.

use super::out::time;
use crate::Result;
use distributary_runtime::bus::{Bus, Offset, Record, TopicId};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a poll waits for records.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// From where to where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) partition: u32,
    pub(super) from: Offset,
    /// `None`: without end.
    pub(super) upto: Option<Offset>,
}

/// What the caller of [`read`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    More,
    Enough,
}

/// Reads what stands in these spans, each partition in its order.
///
/// `batch` is called after every poll, also when it brought nothing: output that somebody waits for is flushed there.
pub(super) fn read(
    bus: &dyn Bus,
    topic: TopicId,
    spans: &[Span],
    mut each: impl FnMut(u32, Record) -> Result<Next>,
    mut batch: impl FnMut() -> Result<()>,
) -> Result<()> {
    let ends: BTreeMap<u32, Option<Offset>> = spans.iter().map(|s| (s.partition, s.upto)).collect();
    let mut open: BTreeSet<u32> = spans.iter().filter(|s| s.upto.is_none_or(|upto| s.from < upto)).map(|s| s.partition).collect();
    if open.is_empty() {
        return Ok(());
    }
    let positions: Vec<_> = spans.iter().filter(|s| open.contains(&s.partition)).map(|s| (s.partition, s.from)).collect();
    let mut consumer = bus.consumer(topic, &positions)?;
    while !open.is_empty() {
        for read in consumer.poll(POLL_WAIT)? {
            let end = ends.get(&read.partition).copied().flatten();
            for record in read.records.into_iter().filter(|r| end.is_none_or(|end| r.offset < end)) {
                if each(read.partition, record)? == Next::Enough {
                    return batch();
                }
            }
            if end.is_some_and(|end| read.position >= end) {
                open.remove(&read.partition);
            }
        }
        batch()?;
        consumer.pause(&ends.keys().filter(|p| !open.contains(p)).copied().collect::<Vec<_>>());
    }
    Ok(())
}

/// Everything a topic holds now.
pub(super) fn whole(bus: &dyn Bus, topic: TopicId) -> Result<Vec<Span>> {
    let offsets = bus.offsets(topic)?;
    Ok(offsets.iter().map(|o| Span { partition: o.partition, from: o.log_start, upto: Some(o.end) }).collect())
}

/// A record as one line of JSON: the value as it is when it is JSON, else as text; bytes that are no text as `{"hex":".."}`.
pub(super) fn line(partition: u32, record: &Record) -> String {
    let headers: Vec<String> = record.headers.iter().map(|(name, value)| format!("{}:{}", quoted(name), text(value))).collect();
    format!(
        r#"{{"partition":{partition},"offset":{},"timestamp":{},"key":{},"value":{},"headers":{{{}}}}}"#,
        record.offset,
        quoted(&time(record.timestamp)),
        record.key.as_deref().map_or("null".into(), text),
        record.value.as_deref().map_or("null".into(), json),
        headers.join(",")
    )
}

/// Bytes for people: text as it is, anything else as hexadecimal digits.
pub(super) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => format!("hex:{}", hex(bytes)),
    }
}

fn json(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        // Byte by byte, so that no number loses digits; a raw line break cannot stand inside a JSON string.
        Ok(value) if serde_json::from_str::<IgnoredAny>(value).is_ok() => value.replace(['\n', '\r'], ""),
        _ => text(bytes),
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => quoted(text),
        Err(_) => format!(r#"{{"hex":"{}"}}"#, hex(bytes)),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary_runtime::time::WallTime;

    #[test]
    fn a_record_is_one_line_of_json_whatever_it_holds() {
        let record = |value: Option<&'static [u8]>| Record {
            offset: Offset(7),
            timestamp: WallTime(5),
            key: Some("17".into()),
            value: value.map(Into::into),
            headers: vec![("op".into(), "+".into())],
        };
        for (value, expected) in [
            (None, "null"),
            (Some(&b"{\"a\":\n1.10}"[..]), "{\"a\":1.10}"),
            (Some(b"plain \"text\""), r#""plain \"text\"""#),
            (Some(b"\xff\x00"), r#"{"hex":"ff00"}"#),
        ] {
            let line = line(3, &record(value));
            let start = r#"{"partition":3,"offset":7,"timestamp":"1970-01-01T00:00:00.005Z","key":"17","value":"#;
            assert_eq!(line, format!(r#"{start}{expected},"headers":{{"op":"+"}}}}"#));
            assert!(serde_json::from_str::<Value>(&line).is_ok());
        }
    }
}
