//! What cannot be a table.

use super::TableSpec;
use distributary_runtime::table::{Column, ColumnType};

fn with(columns: Vec<Column>) -> Result<TableSpec, String> {
    let time = Column::required("at", ColumnType::Timestamp);
    TableSpec::new("t", "memory:///t", "at", [vec![time], columns].concat()).map_err(|e| e.to_string())
}

#[test]
fn what_cannot_be_a_table_is_refused_with_the_column() {
    for (columns, expected) in [
        (vec![Column::nullable("_mine", ColumnType::Bool)], "`_mine` cannot be the name"),
        (vec![Column::nullable("a b", ColumnType::Bool)], "`a b` cannot be the name"),
        (vec![Column::nullable("Event_Hour", ColumnType::Int8)], "`Event_Hour` is a column that every table has"),
        (vec![Column::nullable("AT", ColumnType::Bool)], "`AT` stands twice"),
        (vec![Column::nullable("s", ColumnType::Struct(vec![]))], "`s`: a table and a struct have at least one"),
        (vec![Column::nullable("d", ColumnType::Decimal { precision: 39, scale: 0 })], "`d`: decimal(39, 0)"),
        (vec![Column::nullable("d", ColumnType::Decimal { precision: 2, scale: 3 })], "`d`: decimal(2, 3)"),
    ] {
        let error = with(columns).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let deep = (0..20).fold(ColumnType::Bool, |t, _| ColumnType::List { element: Box::new(t), nullable: true });
    assert!(with(vec![Column::nullable("l", deep)]).unwrap_err().contains("nested more than 16 deep"));
}

#[test]
fn the_event_time_is_a_required_plain_timestamp() {
    for column in [
        Column::nullable("at", ColumnType::Timestamp),
        Column::required("at", ColumnType::Date),
        Column::required("at", ColumnType::Timestamp).subject(),
        Column::required("other", ColumnType::Timestamp),
    ] {
        let error = TableSpec::new("t", "memory:///t", "at", vec![column]).unwrap_err().to_string();
        assert!(error.contains("its event time `at` must be a required timestamp"), "{error}");
    }
}

#[test]
fn an_address_is_a_folder() {
    assert_eq!(with(vec![]).unwrap().url().as_str(), "memory:///t/");
    let columns = || vec![Column::required("at", ColumnType::Timestamp)];
    for url in ["lake/t", "mailto:x", "s3://b/t?x=1"] {
        assert!(TableSpec::new("t", url, "at", columns()).is_err(), "{url}");
    }
}
