//! Goal: a result becomes the same row on every way there is, comes back as it was, and what does not fit is named by field and reason;
//! bytes that are no row are an error. Method: results written by hand, and drawn at random with columns of all types.

mod random;

use super::{encode_row, row_json};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::EventTime;
use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

fn columns() -> Vec<Column> {
    let inner = ColumnType::Struct(vec![Column::required("city", ColumnType::Text).subject()]);
    vec![
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("amount", ColumnType::Decimal { precision: 5, scale: 2 }),
        Column::nullable("photo", ColumnType::Binary),
        Column::nullable("homes", ColumnType::List { element: Box::new(inner), nullable: false }),
    ]
}

fn refused(columns: &[Column], result: &impl Serialize) -> String {
    encode_row(columns, result).unwrap_err().to_string()
}

/// The row of a result, as JSON.
fn row(columns: &[Column], result: &impl Serialize) -> Value {
    row_json(columns, &encode_row(columns, result).unwrap()).unwrap()
}

#[test]
fn what_does_not_fit_is_named_by_field_and_reason_and_never_by_value() {
    let columns = columns();
    for (row, expected) in [
        (json!([1]), "the row is no object"),
        (json!(1), "the row is no object"),
        (json!(null), "the row is no object"),
        (json!({}), "`at` is null or missing"),
        (json!({"at": null}), "`at` is null or missing"),
        (json!({"at": "secret"}), "`at` is no time of RFC 3339 with an offset"),
        (json!({"at": true}), "`at` is no time: neither milliseconds nor text"),
        (json!({"at": 1, "secret": 1}), "the row has a field that is no column of the table"),
        (json!({"at": 1, "amount": "secret"}), "`amount` is no decimal number without an exponent"),
        (json!({"at": 1, "amount": [1]}), "`amount` is no number"),
        (json!({"at": 1, "amount": {"secret": 1}}), "`amount` is no number"),
        (json!({"at": 1, "photo": "secret"}), "`photo` is no bytes"),
        (json!({"at": 1, "photo": [1]}), "`photo` is no bytes"),
        (json!({"at": 1, "homes": {}}), "`homes` is no list"),
        (json!({"at": 1, "homes": [null]}), "`homes[]` is null"),
        (json!({"at": 1, "homes": [1]}), "`homes[]` is no object"),
        (json!({"at": 1, "homes": [[1]]}), "`homes[]` is no object"),
        (json!({"at": 1, "homes": [{"city": 7}]}), "`homes[].city` is no text"),
        (json!({"at": 1, "homes": [{}]}), "`homes[].city` is null or missing"),
        (json!({"at": 1, "homes": [{"city": "x", "secret": 1}]}), "`homes[]` has a field that is no column of the table"),
    ] {
        assert_eq!(refused(&columns, &row), expected, "{row}");
    }
}

#[test]
fn what_fits_fits() {
    let bare = json!({"at": 1, "amount": null, "photo": null, "homes": null});
    assert_eq!(row(&columns(), &json!({"at": 1})), bare);
    let full = json!({"homes": [{"city": "a\u{e4}"}, {"city": ""}], "amount": -7, "at": "1970-01-01T01:00:00.0015+01:00"});
    let expected = json!({"at": "1970-01-01T00:00:00.0015Z", "amount": "-7.00", "photo": null, "homes": full["homes"]});
    assert_eq!(row(&columns(), &full), expected);
}

/// Fields that a type leaves out, or writes in another order than they stand, and texts of any kind.
#[test]
fn types_write_themselves_as_they_like() {
    #[derive(serde::Serialize)]
    struct Visit {
        at: EventTime,
        #[serde(skip_serializing_if = "Option::is_none")]
        letter: Option<char>,
        kind: Kind,
        place: (f32, Option<bool>),
        pair: [u8; 2],
        unit: (),
        big: u128,
    }
    #[derive(serde::Serialize)]
    enum Kind {
        Large,
        Of(u8),
    }
    let place = vec![Column::required("f0", ColumnType::Float64), Column::nullable("f1", ColumnType::Bool)];
    let mut columns = vec![
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("letter", ColumnType::Text),
        Column::required("kind", ColumnType::Text),
        Column::required("place", ColumnType::Struct(place)),
        Column::required("pair", ColumnType::List { element: Box::new(ColumnType::Int16), nullable: false }),
        Column::nullable("unit", ColumnType::Int8),
        Column::required("big", ColumnType::Decimal { precision: 38, scale: 0 }),
    ];
    let visit =
        Visit { at: EventTime(5), letter: None, kind: Kind::Large, place: (0.1, Some(true)), pair: [1, 255], unit: (), big: 7 };
    let expected = json!({"at": 5, "letter": null, "kind": "Large", "place": {"f0": 0.1, "f1": true}, "pair": [1, 255],
        "unit": null, "big": 7});
    assert_eq!(row(&columns, &visit), expected);
    columns.reverse();
    assert_eq!(row(&columns, &Visit { letter: Some('\u{e4}'), ..visit })["letter"], "\u{e4}");
    let visit =
        || Visit { at: EventTime(5), letter: None, kind: Kind::Large, place: (0.1, None), pair: [1, 2], unit: (), big: 7 };
    assert_eq!(refused(&columns, &Visit { kind: Kind::Of(1), ..visit() }), "`kind` is no text");
    assert_eq!(refused(&columns, &Visit { big: u128::MAX, ..visit() }), "`big` is out of the range of the column's type");
    assert_eq!(refused(&columns, &Visit { place: (f32::NAN, None), ..visit() }), "`place.f0` is null or missing");
    assert_eq!(refused(&columns, &Visit { at: EventTime::MIN, ..visit() }), "`at` is a time outside the years 1 to 9999");
    let parts = [Column::required("a", ColumnType::Int8), Column::nullable("b", ColumnType::Float64)];
    assert_eq!(row(&parts, &(1, f64::INFINITY)), json!({"a": 1, "b": null}));
    assert_eq!(refused(&parts, &(1, 2.5, 3)), "the row has a field that is no column of the table");
}

/// A type that says by its name that it is a time is not asked for text.
#[test]
fn our_own_times_go_without_text() {
    struct Time;
    struct Inside;
    impl Serialize for Time {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_newtype_struct(EventTime::NAME, &Inside)
        }
    }
    impl Serialize for Inside {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            if s.is_human_readable() { s.serialize_str("1970-01-01T00:00:01Z") } else { s.serialize_i64(2_000) }
        }
    }
    let columns = [Column::required("f0", ColumnType::Timestamp), Column::required("f1", ColumnType::Text)];
    assert_eq!(row(&columns, &(Time, Time)), json!({"f0": 2_000, "f1": "1970-01-01T00:00:01Z"}));
}

#[test]
fn a_type_that_refuses_is_a_misfit_without_what_it_says() {
    struct Bad;
    impl Serialize for Bad {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("secret"))
        }
    }
    let columns = [Column::required("f0", ColumnType::Text)];
    assert_eq!(refused(&columns, &(Bad,)), "`f0` is refused by its own type");
    assert_eq!(refused(&columns, &Bad), "the row is refused by its own type");
}
