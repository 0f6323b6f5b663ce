//! Whether a row fits its table: asked where rows are made, so that one that does not can be set aside there; and asked
//! again when a run does not decode, to say which row and field it was.

use super::value::{self, Json, Reason};
use distributary_runtime::table::{Column, ColumnType};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What does not fit: names the field and the reason, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The row is not one JSON object, or not JSON at all.
    #[error("the row is not one JSON object")]
    Row,
    /// A field does not fit its column.
    #[error("`{field}` {reason}")]
    Field {
        /// Path of the column, `a.b`; `[]` stands for an element of a list.
        field: String,
        /// Why.
        reason: &'static str,
    },
    /// There is a field that is no column. It is not named: its name is the producer's word, as a value is.
    #[error("{} has a field that is no column of the table", if .within.is_empty() { "the row".into() } else { format!("`{within}`") })]
    Unknown {
        /// Path of the struct it stands in, empty for the row itself.
        within: String,
    },
}

/// Whether a row, the JSON of one object, fits the columns. A field that is no column does not.
///
/// ```
/// use distributary_connectors::lake::check_row;
/// use distributary_runtime::table::{Column, ColumnType};
/// let columns = [Column::required("at", ColumnType::Timestamp), Column::nullable("user_id", ColumnType::Text)];
/// assert!(check_row(&columns, br#"{"at": "2026-01-02T03:04:05Z"}"#).is_ok());
/// let misfit = check_row(&columns, br#"{"user_id": "u1"}"#).unwrap_err();
/// assert_eq!(misfit.to_string(), "`at` is null or missing");
/// ```
///
/// # Errors
/// What does not fit.
pub fn check_row(columns: &[Column], row: &[u8]) -> Result<(), Misfit> {
    let row: &RawValue = serde_json::from_slice(row).map_err(|_| Misfit::Row)?;
    if !row.get().starts_with('{') {
        return Err(Misfit::Row);
    }
    fits_struct(columns, row, "")
}

fn fits_struct(columns: &[Column], json: &RawValue, path: &str) -> Result<(), Misfit> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json.get()).map_err(|_| misfit(path, "is no object"))?;
    if fields.keys().any(|name| !columns.iter().any(|column| column.name == *name)) {
        return Err(Misfit::Unknown { within: path.into() });
    }
    for column in columns {
        let path = if path.is_empty() { column.name.clone() } else { format!("{path}.{}", column.name) };
        match fields.get(&column.name).filter(|json| json.get() != "null") {
            Some(json) => fits(&column.data_type, json, &path)?,
            None if column.nullable => {}
            None => return Err(misfit(&path, "is null or missing")),
        }
    }
    Ok(())
}

fn fits(data_type: &ColumnType, json: &RawValue, path: &str) -> Result<(), Misfit> {
    match data_type {
        ColumnType::Struct(columns) => fits_struct(columns, json, path),
        ColumnType::List { element, nullable } => {
            let elements: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(|_| misfit(path, "is no list"))?;
            let path = format!("{path}[]");
            elements.into_iter().try_for_each(|json| match json.get() {
                "null" if *nullable => Ok(()),
                "null" => Err(misfit(&path, "is null")),
                _ => fits(element, json, &path),
            })
        }
        leaf => {
            let text: String;
            let json = match json.get().as_bytes() {
                [b'"', ..] => {
                    text = serde_json::from_str(json.get()).map_err(|_| misfit(path, "is no text"))?;
                    Json::Text(&text)
                }
                [b'{', ..] => Json::Object,
                [b'[', ..] => Json::List,
                [b't' | b'f', ..] => Json::Bool(json.get() == "true"),
                _ => Json::Number(json.get()),
            };
            fits_leaf(leaf, json).map_err(|reason| misfit(path, reason))
        }
    }
}

fn fits_leaf(data_type: &ColumnType, json: Json<'_>) -> Result<(), Reason> {
    match data_type {
        ColumnType::Bool => value::boolean(json).map(drop),
        ColumnType::Int8 => value::integer::<i8>(json).map(drop),
        ColumnType::Int16 => value::integer::<i16>(json).map(drop),
        ColumnType::Int32 => value::integer::<i32>(json).map(drop),
        ColumnType::Int64 => value::integer::<i64>(json).map(drop),
        ColumnType::Float64 => value::float(json).map(drop),
        ColumnType::Decimal { precision, scale } => value::decimal(json, *precision, *scale).map(drop),
        ColumnType::Text => value::text(json).map(drop),
        ColumnType::Timestamp => value::timestamp(json).map(drop),
        ColumnType::Date => value::day(json).map(drop),
        ColumnType::List { .. } | ColumnType::Struct(_) => unreachable!("asked of leaves only"),
    }
}

fn misfit(field: &str, reason: Reason) -> Misfit {
    Misfit::Field { field: field.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::check_row;
    use distributary_runtime::table::{Column, ColumnType};

    fn columns() -> Vec<Column> {
        let inner = ColumnType::Struct(vec![Column::required("city", ColumnType::Text).subject()]);
        vec![
            Column::required("at", ColumnType::Timestamp),
            Column::nullable("amount", ColumnType::Decimal { precision: 5, scale: 2 }),
            Column::nullable("homes", ColumnType::List { element: Box::new(inner), nullable: false }),
        ]
    }

    #[test]
    fn what_does_not_fit_is_named_by_field_and_reason_and_never_by_value() {
        let columns = columns();
        for (row, expected) in [
            ("[1]", "the row is not one JSON object"),
            ("{\"at\": 1} {\"at\": 2}", "the row is not one JSON object"),
            ("{\"at\": 1", "the row is not one JSON object"),
            ("{}", "`at` is null or missing"),
            ("{\"at\": null}", "`at` is null or missing"),
            ("{\"at\": 1, \"secret\": 1}", "the row has a field that is no column of the table"),
            ("{\"at\": 1, \"amount\": \"secret\"}", "`amount` is no decimal number without an exponent"),
            ("{\"at\": 1, \"homes\": {}}", "`homes` is no list"),
            ("{\"at\": 1, \"homes\": [null]}", "`homes[]` is null"),
            ("{\"at\": 1, \"homes\": [1]}", "`homes[]` is no object"),
            ("{\"at\": 1, \"homes\": [{\"city\": 7}]}", "`homes[].city` is no text"),
            (
                "{\"at\": 1, \"homes\": [{\"city\": \"x\", \"secret\": 1}]}",
                "`homes[]` has a field that is no column of the table",
            ),
        ] {
            assert_eq!(check_row(&columns, row.as_bytes()).unwrap_err().to_string(), expected, "{row}");
        }
    }

    #[test]
    fn what_fits_fits() {
        for row in
            ["{\"at\": 1}", " {\"amount\": null, \"at\": \"2026-01-02T03:04:05Z\", \"homes\": [{\"city\": \"a\\u00e4\"}]}\n"]
        {
            assert_eq!(check_row(&columns(), row.as_bytes()), Ok(()));
        }
    }
}
