//! Whether a row fits its table: asked where rows are made, so that one that does not can be set aside there; and asked
//! again when a run does not decode, to say which row and field it was.

use super::value::{self, Json, Reason};
use distributary_runtime::table::{Column, ColumnType};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

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
    let row = std::str::from_utf8(row).map_err(|_| Misfit::Row)?;
    fits_struct(columns, row).unwrap_or(Err(Misfit::Row))
}

/// `None` when the JSON is no object.
fn fits_struct(columns: &[Column], json: &str) -> Option<Result<(), Misfit>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let fits = deserializer.deserialize_map(Fields(columns)).ok()?;
    deserializer.end().ok().map(|()| fits)
}

/// Looks at each field as it comes: most rows fit, and each is asked.
struct Fields<'a>(&'a [Column]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Result<(), Misfit>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let columns = self.0;
        let (mut has_value, mut next, mut verdict) = (vec![false; columns.len()], 0, Ok(()));
        while let Some(place) = map.next_key_seed(Place { columns, next })? {
            let json: &RawValue = map.next_value()?;
            let Some((place, column)) = place.and_then(|place| Some((place, columns.get(place)?))) else {
                verdict = verdict.and(Err(Misfit::Unknown { within: String::new() }));
                continue;
            };
            next = place + 1;
            if json.get() != "null" {
                has_value[place] = true;
                verdict = verdict.and_then(|()| fits(&column.data_type, json).map_err(|misfit| misfit.within(&column.name)));
            }
        }
        let missing = columns.iter().zip(has_value).find(|(column, has_value)| !has_value && !column.nullable);
        Ok(verdict.and_then(|()| missing.map_or(Ok(()), |(column, _)| Err(misfit("is null or missing").within(&column.name)))))
    }
}

/// The place of the column that a field names; fields mostly come in the order of the columns.
struct Place<'a> {
    columns: &'a [Column],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let is_next = self.columns.get(self.next).is_some_and(|column| column.name == name);
        Ok(if is_next { Some(self.next) } else { self.columns.iter().position(|column| column.name == name) })
    }
}

fn fits(data_type: &ColumnType, json: &RawValue) -> Result<(), Misfit> {
    match data_type {
        ColumnType::Struct(columns) => fits_struct(columns, json.get()).unwrap_or_else(|| Err(misfit("is no object"))),
        ColumnType::Binary => serde_json::from_str::<Vec<u8>>(json.get()).map(drop).map_err(|_| misfit(value::NO_BYTES)),
        ColumnType::List { element, nullable } => {
            let elements: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(|_| misfit("is no list"))?;
            elements.into_iter().try_for_each(|json| match json.get() {
                "null" if *nullable => Ok(()),
                "null" => Err(misfit("is null").within("[]")),
                _ => fits(element, json).map_err(|misfit| misfit.within("[]")),
            })
        }
        leaf => {
            let text: String;
            let json = match json.get().as_bytes() {
                [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => Json::Text(&json.get()[1..plain.len() + 1]),
                [b'"', ..] => {
                    text = serde_json::from_str(json.get()).map_err(|_| misfit("is no text"))?;
                    Json::Text(&text)
                }
                [b'{', ..] => Json::Object,
                [b'[', ..] => Json::List,
                [b't' | b'f', ..] => Json::Bool(json.get() == "true"),
                _ => Json::Number(json.get()),
            };
            fits_leaf(leaf, json).map_err(misfit)
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
        ColumnType::Binary | ColumnType::List { .. } | ColumnType::Struct(_) => unreachable!("asked of leaves only"),
    }
}

/// Of the value itself; [`Misfit::within`] says where it stands.
fn misfit(reason: Reason) -> Misfit {
    Misfit::Field { field: String::new(), reason }
}

impl Misfit {
    fn within(self, name: &str) -> Self {
        let path = |inner: String| match inner.as_str() {
            "" => name.to_string(),
            element if element.starts_with('[') => format!("{name}{element}"),
            field => format!("{name}.{field}"),
        };
        match self {
            Self::Row => Self::Row,
            Self::Field { field, reason } => Self::Field { field: path(field), reason },
            Self::Unknown { within } => Self::Unknown { within: path(within) },
        }
    }
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
            Column::nullable("photo", ColumnType::Binary),
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
            ("{\"at\": 1, \"photo\": [256]}", "`photo` is no list of bytes"),
            ("{\"at\": 1, \"photo\": \"secret\"}", "`photo` is no list of bytes"),
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
