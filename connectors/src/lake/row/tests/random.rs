//! Columns and results drawn at random.

use super::super::rows;
use super::*;
use crate::lake::schema;
use crate::lake::spec::TableSpec;
use delta_kernel::arrow::array::{Array, AsArray};
use delta_kernel::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use distributary_runtime::sink::OutRecord;
use distributary_runtime::update::Origin;
use serde::ser::{SerializeMap, SerializeSeq};
use std::sync::Arc;

const SEEDS: u64 = 300;
const ROWS: usize = 5;

/// A value of any column.
enum Cell {
    Null,
    Bool(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Struct(Vec<(String, Cell)>),
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_none(),
            Self::Bool(value) => s.serialize_some(value),
            Self::Whole(value) => s.serialize_i64(*value),
            Self::Float(value) => s.serialize_f64(*value),
            Self::Text(value) => s.serialize_str(value),
            Self::Bytes(value) => s.serialize_bytes(value),
            Self::List(elements) => {
                let mut list = s.serialize_seq(None)?;
                elements.iter().try_for_each(|element| list.serialize_element(element))?;
                list.end()
            }
            Self::Struct(fields) => {
                let mut map = s.serialize_map(None)?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

/// Numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn columns(&mut self, depth: usize) -> Vec<Column> {
        (0..=self.below(4))
            .map(|i| Column { nullable: self.below(2) == 0, ..Column::required(format!("c{i}"), self.data_type(depth)) })
            .collect()
    }

    fn data_type(&mut self, depth: usize) -> ColumnType {
        match self.below(if depth == 0 { 11 } else { 13 }) {
            0 => ColumnType::Bool,
            1 => ColumnType::Int8,
            2 => ColumnType::Int16,
            3 => ColumnType::Int32,
            4 => ColumnType::Int64,
            5 => ColumnType::Float64,
            6 => ColumnType::Decimal { precision: 38, scale: 3 * self.below(2) as u8 },
            7 => ColumnType::Text,
            8 => ColumnType::Binary,
            9 => ColumnType::Timestamp,
            10 => ColumnType::Date,
            11 => ColumnType::List { element: Box::new(self.data_type(depth - 1)), nullable: self.below(2) == 0 },
            _ => ColumnType::Struct(self.columns(depth - 1)),
        }
    }

    /// A value, and how a row shows it.
    fn cell(&mut self, data_type: &ColumnType, nullable: bool) -> (Cell, Value) {
        if nullable && self.below(3) == 0 {
            return (Cell::Null, Value::Null);
        }
        let number = self.next().cast_signed();
        let whole = |value: i64| (Cell::Whole(value), json!(value));
        match data_type {
            ColumnType::Bool => (Cell::Bool(number < 0), json!(number < 0)),
            ColumnType::Int8 => whole((number as i8).into()),
            ColumnType::Int16 => whole((number as i16).into()),
            ColumnType::Int32 => whole((number as i32).into()),
            ColumnType::Int64 => whole(number),
            ColumnType::Float64 => (Cell::Float(number as f64 / 3.0), json!(number as f64 / 3.0)),
            ColumnType::Decimal { scale: 0, .. } => whole(number),
            ColumnType::Decimal { .. } => (Cell::Whole(number), json!(format!("{number}.000"))),
            ColumnType::Text | ColumnType::Binary => {
                let text: String = (0..self.below(6)).map(|_| ['a', '\u{e4}', '\u{1F600}', '"', '\0'][self.below(5)]).collect();
                match data_type {
                    ColumnType::Text => (Cell::Text(text.clone()), json!(text)),
                    _ => {
                        let shown: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                        (Cell::Bytes(text.into_bytes()), json!(shown))
                    }
                }
            }
            ColumnType::Timestamp => whole(number % 50_000_000_000_000),
            ColumnType::Date => {
                let day = format!("2{:03}-0{}-2{}", self.below(1_000), 1 + self.below(9), self.below(9));
                (Cell::Text(day.clone()), json!(day))
            }
            ColumnType::List { element, nullable } => {
                let (cells, shown): (Vec<_>, Vec<_>) = (0..self.below(4)).map(|_| self.cell(element, *nullable)).unzip();
                (Cell::List(cells), Value::Array(shown))
            }
            ColumnType::Struct(columns) => self.fields(columns),
        }
    }

    /// In any order; what is null may be left out.
    fn fields(&mut self, columns: &[Column]) -> (Cell, Value) {
        let (mut fields, mut shown) = (Vec::new(), serde_json::Map::new());
        for column in columns {
            let (cell, value) = self.cell(&column.data_type, column.nullable);
            shown.insert(column.name.clone(), value);
            if !matches!(cell, Cell::Null) || self.below(2) == 0 {
                let place = if self.below(2) == 0 { fields.len() } else { self.below(fields.len() + 1) };
                fields.insert(place, (column.name.clone(), cell));
            }
        }
        (Cell::Struct(fields), Value::Object(shown))
    }
}

struct Drawn {
    spec: TableSpec,
    rows: Vec<Vec<u8>>,
    shown: Vec<Value>,
}

fn drawn(seed: u64) -> Drawn {
    let mut draw = Draw(seed);
    let columns = [draw.columns(3), vec![Column::required("at", ColumnType::Timestamp)]].concat();
    let spec = TableSpec::new("t", "memory:///t", "at", columns).unwrap();
    let (cells, shown): (Vec<_>, Vec<_>) = (0..ROWS).map(|_| draw.fields(spec.columns())).unzip();
    let rows = cells.iter().map(|cell| encode_row(spec.columns(), cell).unwrap()).collect();
    Drawn { spec, rows, shown }
}

/// The values of an array as rows show them.
fn show(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(at)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(at)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(at)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(at)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(at)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(at)),
        DataType::Decimal128(_, scale) => {
            let array = array.as_primitive::<Decimal128Type>();
            match i64::try_from(array.value(at)) {
                Ok(number) if *scale == 0 => json!(number),
                _ => json!(array.value_as_string(at)),
            }
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(at)),
        DataType::Binary => json!(array.as_binary::<i32>().value(at).iter().map(|b| format!("{b:02x}")).collect::<String>()),
        DataType::Timestamp(..) => json!(array.as_primitive::<TimestampMicrosecondType>().value(at) / 1_000),
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value_as_date(at).unwrap().to_string()),
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(at);
            (0..elements.len()).map(|at| show(&elements, at)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), show(column, at))).collect()
        }
        other => panic!("no column has the type {other}"),
    }
}

fn decode(spec: &TableSpec, rows_of: &[Vec<u8>]) -> Result<Vec<Value>, String> {
    let file: Schema = schema::of_file(spec.schema()).unwrap().as_ref().try_into_arrow().unwrap();
    let columns: Vec<_> = file.fields().iter().filter(|field| field.name() != schema::ORIGIN).cloned().collect();
    let record = |row: &Vec<u8>| OutRecord {
        sink: 0,
        partition: 0,
        origin: Origin::record(1, 3, 9),
        diff: 1,
        key: None,
        value: Some(row.clone()),
        headers: vec![],
    };
    let records: Vec<_> = rows_of.iter().map(record).collect();
    let records: Vec<_> = records.iter().collect();
    let batch = rows(spec, &Arc::new(Schema::new(columns)), &records).map_err(|e| e.to_string())?;
    let batch = delta_kernel::arrow::array::StructArray::from(batch);
    Ok((0..records.len()).map(|at| show(&batch, at)).collect())
}

#[test]
fn a_row_comes_back_as_it_was_whatever_its_columns() {
    for seed in 0..SEEDS {
        let Drawn { spec, rows, shown } = drawn(seed);
        let read: Vec<_> = rows.iter().map(|row| row_json(spec.columns(), row).unwrap()).collect();
        assert_eq!(read, shown, "seed {seed}: {:?}", spec.columns());
        assert_eq!(decode(&spec, &rows).unwrap(), shown, "seed {seed}: {:?}", spec.columns());
    }
}

/// The order in which fields come, and whether null is said, do not matter.
#[test]
fn the_same_result_gives_the_same_bytes() {
    for seed in 0..SEEDS {
        let mut draw = Draw(seed);
        let columns = draw.columns(0);
        let (Cell::Struct(mut fields), shown) = draw.fields(&columns) else { panic!("a row is a struct") };
        let one = encode_row(&columns, &Cell::Struct(fields.iter().map(|(n, c)| (n.clone(), copy(c))).collect())).unwrap();
        fields.reverse();
        let missing = columns.iter().filter(|column| shown[&column.name].is_null());
        let missing: Vec<_> = missing.filter(|column| fields.iter().all(|(name, _)| *name != column.name)).collect();
        fields.extend(missing.into_iter().map(|column| (column.name.clone(), Cell::Null)));
        assert_eq!(encode_row(&columns, &Cell::Struct(fields)).unwrap(), one, "seed {seed}: {columns:?}");
    }
}

/// Of a leaf.
fn copy(cell: &Cell) -> Cell {
    match cell {
        Cell::Bool(value) => Cell::Bool(*value),
        Cell::Whole(value) => Cell::Whole(*value),
        Cell::Float(value) => Cell::Float(*value),
        Cell::Text(value) => Cell::Text(value.clone()),
        Cell::Bytes(value) => Cell::Bytes(value.clone()),
        _ => Cell::Null,
    }
}

/// Cut off, it is an error; with another byte in it, it is an error or another row, and both readers say the same.
#[test]
fn a_damaged_row_is_an_error_and_never_a_panic() {
    for seed in 0..SEEDS {
        let Drawn { spec, rows, .. } = drawn(seed);
        let row = &rows[0];
        for length in 0..row.len() {
            assert!(row_json(spec.columns(), &row[..length]).is_err(), "seed {seed}, length {length}");
        }
        assert!(decode(&spec, &[row[..row.len() - 1].to_vec()]).unwrap_err().contains("row 1/3@9 "), "seed {seed}");
        for at in 0..row.len() {
            let mut damaged = row.clone();
            damaged[at] ^= 1 << (seed % 8);
            let is_row = row_json(spec.columns(), &damaged).is_ok();
            assert_eq!(decode(&spec, &[damaged]).is_ok(), is_row, "seed {seed}, byte {at}");
        }
    }
}
