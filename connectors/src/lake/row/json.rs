//! A row as tests show it.

use super::read;
use super::value::Reason;
use distributary_runtime::table::{Column, ColumnType};
use jiff::civil::date;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};
use std::fmt::Write;

/// A row of these columns as a JSON object: times as whole milliseconds (as text where they are finer), a decimal as a number if it is
/// whole and of 64 bits, any other as text, bytes in hexadecimal.
///
/// ```
/// use distributary_connectors::lake::{encode_row, row_json};
/// use distributary_runtime::table::{Column, ColumnType};
/// let columns = [Column::required("at", ColumnType::Timestamp), Column::nullable("paid", ColumnType::Bool)];
/// let row = encode_row(&columns, &serde_json::json!({"at": "1970-01-01T00:00:01Z"})).unwrap();
/// assert_eq!(row_json(&columns, &row).unwrap(), serde_json::json!({"at": 1_000, "paid": null}));
/// ```
///
/// # Errors
/// What makes the bytes no row of these columns.
pub fn row_json(columns: &[Column], mut row: &[u8]) -> Result<Value, &'static str> {
    let object = fields(columns, &mut row)?;
    read::end(row)?;
    Ok(object)
}

fn fields(columns: &[Column], row: &mut &[u8]) -> Result<Value, Reason> {
    let mut fields = Map::new();
    for column in columns {
        fields.insert(column.name.clone(), value(&column.data_type, column.nullable, row)?);
    }
    Ok(Value::Object(fields))
}

fn value(data_type: &ColumnType, nullable: bool, row: &mut &[u8]) -> Result<Value, Reason> {
    if !read::is_there(row, nullable)? {
        return Ok(Value::Null);
    }
    Ok(match data_type {
        ColumnType::Bool => read::flag(row)?.into(),
        ColumnType::Int8 => i8::from_le_bytes(read::array(row)?).into(),
        ColumnType::Int16 => i16::from_le_bytes(read::array(row)?).into(),
        ColumnType::Int32 => i32::from_le_bytes(read::array(row)?).into(),
        ColumnType::Int64 => i64::from_le_bytes(read::array(row)?).into(),
        ColumnType::Float64 => f64::from_le_bytes(read::array(row)?).into(),
        ColumnType::Decimal { precision, scale } => decimal(read::decimal(row, *precision)?, *scale),
        ColumnType::Text => read::text(row)?.into(),
        ColumnType::Binary => hexadecimal(read::bytes(row)?).into(),
        ColumnType::Timestamp => time(read::timestamp(row)?)?,
        ColumnType::Date => day(read::day(row)?)?,
        ColumnType::List { element, nullable } => {
            let count = read::count(row)?;
            (0..count).map(|_| value(element, *nullable, row)).collect::<Result<_, _>>()?
        }
        ColumnType::Struct(columns) => fields(columns, row)?,
    })
}

fn decimal(digits: i128, scale: u8) -> Value {
    if scale == 0 {
        let number = i64::try_from(digits).map(Value::from).or_else(|_| u64::try_from(digits).map(Value::from));
        return number.unwrap_or_else(|_| digits.to_string().into());
    }
    let sign = if digits < 0 { "-" } else { "" };
    let one = 10_u128.pow(u32::from(scale));
    let digits = digits.unsigned_abs();
    format!("{sign}{}.{:0places$}", digits / one, digits % one, places = usize::from(scale)).into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        text
    })
}

fn time(micros: i64) -> Result<Value, Reason> {
    match micros.rem_euclid(1_000) {
        0 => Ok((micros / 1_000).into()),
        _ => Timestamp::from_microsecond(micros).map(|at| at.to_string().into()).map_err(|_| "has a time that is none"),
    }
}

fn day(days: i32) -> Result<Value, Reason> {
    let day = date(1970, 1, 1).checked_add(i64::from(days).days());
    day.map(|day| day.to_string().into()).map_err(|_| "has a day that is none")
}
