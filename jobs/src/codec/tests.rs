//! Goal: every kind of bad record has its cause, and no cause repeats a value. Method: each kind is planted with a
//! canary, and all texts of the cause are searched for it.

use super::{Cause, VALUE_BYTES_MAX, decode, encode, new_record};
use crate::timestamp::{Timestamp, hours, millis};
use distributary_runtime::bus::{Offset, Record};
use distributary_runtime::time::{EventTime, WallTime};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

const CANARY: &str = "c4nary";
const NOW: i64 = 1_714_564_800_000;

#[derive(crate::Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
struct Payment {
    payment_id: Uuid,
    user_id: Option<String>,
    amount_cents: i64,
    at: Timestamp,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    tags: BTreeMap<String, u8>,
    #[serde(default)]
    odd: Odd,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Card,
    Transfer,
}

/// Decoding of its own: refuses or panics with the payload in its words.
#[derive(Serialize, Clone, Debug, Default, PartialEq)]
struct Odd(String);

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.split_once(':') {
            Some(("panic", rest)) => std::panic::resume_unwind(Box::new(rest.to_string())),
            Some(("imitate", rest)) => Err(serde::de::Error::custom(rest)),
            _ => Ok(Self(text)),
        }
    }
}

fn record(value: Option<Vec<u8>>) -> Record {
    Record { offset: Offset(3), timestamp: WallTime(NOW), key: None, value: value.map(Into::into), headers: vec![] }
}

/// A good payment as JSON, with one field replaced by this JSON (removed: `None`).
fn payment(field: &str, json: Option<&str>) -> String {
    let mut fields = BTreeMap::from([
        ("payment_id", "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        ("user_id", "\"u1\""),
        ("amount_cents", "5"),
        ("at", "1714564800000"),
    ]);
    match json {
        Some(json) => fields.insert(field, json),
        None => fields.remove(field),
    };
    let fields: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
    format!("{{{}}}", fields.join(", "))
}

#[track_caller]
fn cause(value: impl Into<Vec<u8>>) -> Cause {
    decode::<Payment>(&record(Some(value.into()))).expect_err("a bad record")
}

#[test]
fn an_event_survives_the_round_trip() {
    let (event, time) = decode::<Payment>(&record(Some(payment("kind", Some("\"Transfer\"")).into()))).unwrap();
    assert_eq!((event.amount_cents, event.kind.clone(), time), (5, Kind::Transfer, EventTime(NOW)));
    let again = record(Some(encode(&event).unwrap()));
    assert_eq!(decode::<Payment>(&again).unwrap(), (event.clone(), time));

    let new = new_record(&event, WallTime(NOW)).unwrap();
    assert_eq!((new.key.as_deref(), new.value, new.timestamp), (Some(&b"u1"[..]), again.value, WallTime(NOW)));
    // Nobody is named: the id takes the key's place, so that such events spread over the partitions.
    let nobody = new_record(&Payment { user_id: None, ..event }, WallTime(NOW)).unwrap();
    assert_eq!(nobody.key.as_deref(), Some(&b"67e55044-10b1-426f-9247-bb680e5fe0c8"[..]));
}

#[test]
fn each_kind_of_poison_has_its_cause() {
    let text = |value: String| cause(value).to_string();
    assert_eq!(decode::<Payment>(&record(None)), Err(Cause::NullValue));
    assert_eq!(text(payment("odd", Some(&format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX))))).split(':').next(), Some("oversized"));
    assert_eq!(cause(b"{\"user_id\": \"\xff\"}"), Cause::NotUtf8 { at: 13 });
    assert_eq!(text("{\"user_id\" 5}".into()), "undecodable: not JSON at line 1 column 12");
    assert_eq!(text("{\n\"user_id\":".into()), "undecodable: JSON ends early at line 2 column 10");
    assert_eq!(
        text(payment("amount_cents", Some("\"5\""))),
        "undecodable: expected integer, found text in field amount_cents at line 1 column 20"
    );
    assert_eq!(text(payment("at", None)), "undecodable: missing field at at line 1 column 90");
    assert_eq!(text(payment("at", Some("-1"))), "absurd event time: before 1970-01-01T00:00:00.000Z");
    assert_eq!(
        text(payment("at", Some("1714568400001"))),
        "absurd event time: 3600001 ms ahead of the record's timestamp, at most 3600000 allowed"
    );
    assert_eq!(text(payment("odd", Some("\"panic:x\""))), "undecodable: decoding panicked");
}

#[test]
fn a_refused_value_names_its_field() {
    for (field, json, expected) in [
        ("payment_id", "\"c4nary\"", "value not accepted by its type in field payment_id at line"),
        ("payment_id", "[]", "expected text, found list in field payment_id at line"),
        ("user_id", "{\"c4nary\": 1}", "expected text, found object in field user_id at line"),
        ("amount_cents", "1.5", "expected integer, found number with a fraction in field amount_cents at line"),
        ("amount_cents", "99999999999999999999", "expected integer, found number with a fraction in field amount_cents at line"),
        ("at", "\"c4nary\"", "value not accepted by its type in field at at line"),
        (
            "at",
            "true",
            "expected a time (RFC 3339 text with an offset, or integer milliseconds), found boolean in field at at line",
        ),
        ("kind", "\"c4nary\"", "unknown variant in field kind at line"),
        ("tags", "{\"c4nary\": \"c4nary\"}", "expected integer, found text in field tags at line"),
        ("tags", "{\"a,{\\\"\": 300}", "integer out of range in field tags at line"),
        ("odd", "\"imitate:missing field `c4nary`\"", "missing field at line"),
        ("odd", "\"imitate:invalid type: null, expected c4nary\"", "unexpected null in field odd at line"),
        ("odd", "\"imitate:c4nary\"", "value not accepted by its type in field odd at line"),
    ] {
        let text = cause(payment(field, Some(json))).to_string();
        assert!(text.starts_with(&format!("undecodable: {expected}")), "{field} {json}: {text}");
    }
    assert!(cause("[1]").to_string().starts_with("undecodable: "));
    assert!(cause("\"c4nary\"").to_string().starts_with("undecodable: expected object, found text at line 1"));
}

#[test]
fn no_cause_repeats_the_payload() {
    let values = ["\"c4nary\"", "\"imitate:c4nary\"", "\"panic:c4nary\"", "{\"c4nary\": \"c4nary\"}", "[\"c4nary\"]", "c4nary"];
    let mut causes = vec![
        cause(b"{\"c4nary\": \"c4nary\xff\"}"),
        cause("c4nary"),
        cause("\"c4nary\""),
        cause("{\"c4nary\": \"c4nary\"}"),
        cause("{\"user_id\": \"c4nary"),
        cause(format!("\"{}\"", CANARY.repeat(VALUE_BYTES_MAX / CANARY.len()))),
        cause(payment("user_id", Some("\"c4nary\"")).replacen('{', "{\"at\": 1, ", 1)),
        cause(payment("at", Some("99999999999999"))),
        cause(payment("at", Some("-99999999999999"))),
    ];
    for field in ["payment_id", "amount_cents", "at", "kind", "tags", "odd"] {
        let bad = values.map(|json| decode::<Payment>(&record(Some(payment(field, Some(json)).into()))));
        causes.extend(bad.into_iter().filter_map(Result::err));
    }
    assert!(causes.len() > 35, "only {} causes", causes.len());
    for cause in causes {
        for text in [cause.to_string(), format!("{cause:?}")] {
            assert!(!text.contains(CANARY) && !text.contains("canary"), "{text}");
        }
    }
}

#[test]
fn event_time_is_believed_up_to_its_bounds() {
    for (at, good) in
        [(0, true), (-1, false), (NOW + 3_600_000, true), (NOW + 3_600_001, false), (i64::MAX, false), (i64::MIN, false)]
    {
        let result = decode::<Payment>(&record(Some(payment("at", Some(&at.to_string())).into())));
        assert_eq!(result.is_ok(), good, "{at}");
    }
    assert_eq!(Timestamp::from_millis(NOW) + hours(1) + millis(1), Timestamp::from_millis(NOW + 3_600_001));
}
