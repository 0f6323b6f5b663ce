//! Goal: a type says its columns, as its JSON has them; what cannot be a row is refused with what to do.

use super::{About, Rows, Said};
use crate::{Event, PerWindow, Timestamp};
use distributary_connectors::lake::row_json;
use distributary_runtime::table::{Column, ColumnType, Role};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What somebody ordered.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "orders", id = "id", time = "at", subject = "user")]
struct Order {
    /// Names the order,
    /// once and for all.
    ///
    /// A second paragraph.
    id: Uuid,
    user: u64,
    total: Decimal,
    #[serde(rename = "kind")]
    of: Kind,
    lines: Vec<Line>,
    note: Option<String>,
    photo: bytes::Bytes,
    at: Timestamp,
    paid: Option<Timestamp>,
}

#[derive(Serialize, Deserialize, Clone)]
enum Kind {
    Small,
    Large,
}

#[derive(Serialize, Deserialize, Clone)]
struct Line {
    pieces: u32,
    price: f64,
}

fn order() -> Order {
    Order {
        id: Uuid::nil(),
        user: u64::MAX,
        total: Decimal::new(1_250, 2),
        of: Kind::Large,
        lines: vec![Line { pieces: 2, price: 6.25 }],
        note: None,
        photo: bytes::Bytes::from_static(&[0, 255]),
        at: Timestamp::from_millis(7),
        paid: Some(Timestamp::from_millis(9)),
    }
}

fn orders() -> Rows {
    let said = [("total".to_string(), Said::Decimal { precision: 18, scale: 2 })];
    Rows::of::<Order>("orders", About::event(Order::describe()), None, &said).unwrap()
}

#[test]
fn the_columns_of_an_event_are_its_fields() {
    let rows = orders();
    assert_eq!(rows.event_time, "at");
    let line = vec![Column::required("pieces", ColumnType::Int64), Column::required("price", ColumnType::Float64)];
    assert_eq!(
        rows.columns,
        [
            Column::required("id", ColumnType::Text).comment("Names the order, once and for all."),
            Column::required("user", ColumnType::Decimal { precision: 20, scale: 0 }).subject(),
            Column::required("total", ColumnType::Decimal { precision: 18, scale: 2 }),
            Column::required("kind", ColumnType::Text),
            Column::required("lines", ColumnType::List { element: Box::new(ColumnType::Struct(line)), nullable: false }),
            Column::nullable("note", ColumnType::Text),
            Column::required("photo", ColumnType::Binary),
            Column::required("at", ColumnType::Timestamp),
            Column::nullable("paid", ColumnType::Timestamp),
        ]
    );
}

#[test]
fn a_result_that_does_not_fit_has_a_cause_without_its_value() {
    let rows = orders();
    let row = row_json(&rows.columns, &rows.encode(&order()).unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": Uuid::nil(), "user": u64::MAX, "total": "12.50", "kind": "Large", "lines": [{"pieces": 2, "price": 6.25}],
        "note": null, "photo": "00ff", "at": 7, "paid": 9,
    });
    assert_eq!(row, expected);
    let not_a_number = Order { lines: vec![Line { pieces: 1, price: f64::NAN }], ..order() };
    assert_eq!(rows.encode(&not_a_number).unwrap_err(), "no row of the table: `lines[].price` is null or missing");
    let later = Order { at: Timestamp::from_millis(i64::MAX), ..order() };
    assert_eq!(rows.encode(&later).unwrap_err(), "no row of the table: `at` is a time outside the years 1 to 9999");
}

/// The face of the architecture page: windows, and a tuple of aggregates. Nobody knows whom they name, so all but the window does.
#[test]
fn results_of_windows_lie_in_the_hour_of_their_start() {
    type Spend = PerWindow<(String, u8), (u64, i64)>;
    let rows = Rows::of::<Spend>("spend", About::WINDOWS, None, &[]).unwrap();
    assert_eq!(rows.event_time, "window.start");
    let names: Vec<_> = rows.columns.iter().map(|c| (c.name.as_str(), c.role)).collect();
    assert_eq!(names, [("key", Role::Subject), ("window", Role::Plain), ("value", Role::Subject)]);
    let ColumnType::Struct(window) = &rows.columns[1].data_type else { panic!("a window is a struct") };
    assert_eq!(window[0], Column::required("start", ColumnType::Timestamp));
    let spend: Spend =
        serde_json::from_str(r#"{"key": ["u1", 3], "window": {"start": 10, "end": 20}, "value": [2, -5]}"#).unwrap();
    let row = row_json(&rows.columns, &rows.encode(&spend).unwrap()).unwrap();
    let expected =
        serde_json::json!({"key": {"f0": "u1", "f1": 3}, "window": {"start": 10, "end": 20}, "value": {"f0": 2, "f1": -5}});
    assert_eq!(row, expected);
}

#[derive(Serialize, Deserialize)]
struct Two {
    at: Timestamp,
    paid: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct With<T> {
    at: Timestamp,
    of: T,
}

#[derive(Serialize, Deserialize)]
enum Rich {
    Of(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[derive(Clone)]
struct Picky(String);

impl TryFrom<String> for Picky {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        if text == "picky" { Ok(Self(text)) } else { Err("anything else") }
    }
}

impl From<Picky> for String {
    fn from(Picky(text): Picky) -> Self {
        text
    }
}

/// The time of an event may be of somebody else's type, whose JSON is text.
#[test]
fn a_foreign_time_of_an_event_is_a_time() {
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "views", id = "id", time = "seen", no_personal_data)]
    struct View {
        id: u32,
        page: String,
        seen: jiff::Timestamp,
    }
    let rows = Rows::of::<View>("views", About::event(View::describe()), None, &[]).unwrap();
    assert_eq!(rows.columns[2], Column::required("seen", ColumnType::Timestamp));
    assert!(rows.encode(&View { id: 1, page: "x".into(), seen: jiff::Timestamp::UNIX_EPOCH }).is_ok());
}

fn refused<T: Serialize + serde::de::DeserializeOwned>(time: Option<&str>) -> String {
    Rows::of::<T>("t", About::default(), time, &[]).unwrap_err()
}

#[test]
fn what_is_no_row_is_refused_with_what_to_do() {
    for (found, says) in [
        (refused::<u64>(None), "`u64` is no row: it is no struct"),
        (refused::<(u64, bool)>(None), "no column says when a row happened: give its rows a `Timestamp`"),
        (refused::<Two>(None), "which of at, paid says when a row happened? `.time(\"at\")`"),
        (refused::<Two>(Some("then")), "its event time `then` must be a required timestamp"),
        (refused::<With<With<BTreeMap<String, u8>>>>(None), "is no row: `of.of`: a map has no columns; make it a struct"),
        (refused::<With<Rich>>(None), "`of`: an enum that carries data has no column"),
        (refused::<With<()>>(None), "`of`: nothing (`()`, a unit struct) has no column"),
        (refused::<With<Picky>>(None), "does not show its fields: a type in it takes no empty value"),
    ] {
        assert!(found.contains(says), "{found}");
    }
    assert!(Rows::of::<Two>("t", About::default(), Some("paid"), &[]).is_ok());
    assert!(Rows::of::<Two>("a/b", About::default(), Some("paid"), &[]).unwrap_err().contains("a name has 1 to 200"));
    let said = [("total".to_string(), Said::Comment("x".into()))];
    assert!(Rows::of::<Two>("t", About::default(), Some("paid"), &said).unwrap_err().contains("there is no column `total`"));
}
