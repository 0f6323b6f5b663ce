//! A result as one line of JSON, for people and their scripts.

use distributary_runtime::sink::{LaneEpoch, OutRecord, Run};
use serde::de::IgnoredAny;

/// The lines of a run, in canonical order; n copies are n lines.
pub(super) fn lines(run: &Run) -> Vec<u8> {
    let mut out = Vec::new();
    for epoch in &run.epochs {
        for record in &epoch.records {
            (0..record.diff.unsigned_abs()).for_each(|_| line(epoch, record, &mut out));
        }
    }
    out
}

/// `{"sink":0,"key":"u1","value":{..},"op":"+","epoch":7,"id":"0/1@41","at_ms":5}`. Key and value stand as they are when
/// they are JSON, else as a string.
fn line(epoch: &LaneEpoch, record: &OutRecord, out: &mut Vec<u8>) {
    let op = if record.diff > 0 { '+' } else { '-' };
    out.extend_from_slice(format!("{{\"sink\":{},\"key\":", record.sink).as_bytes());
    json(record.key.as_deref(), out);
    out.extend_from_slice(b",\"value\":");
    json(record.value.as_deref(), out);
    let (epoch, at) = (epoch.epoch, epoch.closed_at.0);
    out.extend_from_slice(format!(",\"op\":\"{op}\",\"epoch\":{epoch},\"id\":\"{}\",\"at_ms\":{at}}}\n", record.origin).as_bytes());
}

/// Valid JSON is copied byte by byte, so that no number loses digits; only line breaks between its tokens go.
fn json(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return out.extend_from_slice(b"null") };
    match std::str::from_utf8(bytes) {
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            // A raw line break cannot stand inside a JSON string.
            out.extend(text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')));
        }
        _ => out.extend_from_slice(serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn every_value_is_one_line_of_json() {
        for (bytes, expected) in [
            (None, "null"),
            (Some(&b"{\"a\":\n 1.10}"[..]), "{\"a\": 1.10}"),
            (Some(b"u1"), "\"u1\""),
            (Some(b"a\nb\""), "\"a\\nb\\\"\""),
            (Some(b""), "\"\""),
            (Some(b"\xff"), "\"\u{fffd}\""),
            (Some(b"123456789012345678901234567890"), "123456789012345678901234567890"),
        ] {
            let mut out = Vec::new();
            json(bytes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
