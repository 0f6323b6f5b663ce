//! From rows to Arrow: every value goes from the row into the array of its column.

use super::read;
use super::value::Reason;
use crate::lake::spec::TableSpec;
use delta_kernel::arrow::array::builder::NullBufferBuilder;
use delta_kernel::arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use delta_kernel::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use delta_kernel::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Fields, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimestampMicrosecondType,
};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::OutRecord;
use distributary_runtime::table::{Column, ColumnType};
use std::sync::Arc;

/// What the arrays of one batch can hold.
const BYTES_MAX: usize = i32::MAX as usize;

/// The values of `records`, one row each, as columns of `schema`, which is that of `spec`'s columns.
///
/// # Errors
/// What is no row is named, without showing what it holds.
pub(in crate::lake) fn rows(spec: &TableSpec, schema: &SchemaRef, records: &[&OutRecord]) -> Result<RecordBatch> {
    let bytes: usize = records.iter().filter_map(|record| record.value.as_ref()).map(Vec::len).sum();
    if bytes > BYTES_MAX {
        return Err(Error::refused(
            format!("table `{}`: one commit has more than {BYTES_MAX} bytes of rows", spec.name()),
            "make the epochs smaller, or mend the job that makes such rows",
        ));
    }
    read_rows(spec, schema, records).map_err(|what| {
        // Texts are looked at all at once: whose it was, each row tells by itself.
        let alone = |record: &&OutRecord| read_rows(spec, schema, &[*record]).err().map(|what| (record.origin, what));
        match records.iter().find_map(alone) {
            Some((origin, what)) => Error::refused(
                format!("table `{}`: row {origin} {what}", spec.name()),
                "write rows by `encode_row` with the columns of this table",
            ),
            None => Error::Damaged { object: format!("the rows of table `{}`", spec.name()), what: what.into() },
        }
    })
}

fn read_rows(spec: &TableSpec, schema: &SchemaRef, records: &[&OutRecord]) -> Result<RecordBatch, Reason> {
    let mut columns: Vec<_> = spec.columns().iter().map(|column| Cells::of(column, records.len())).collect();
    for record in records {
        let mut row = record.value.as_deref().ok_or("has no value")?;
        columns.iter_mut().try_for_each(|cells| cells.read(&mut row))?;
        read::end(row)?;
    }
    RecordBatch::try_new(schema.clone(), finish(columns, schema.fields())?).map_err(|_| "has other columns than its table")
}

fn finish(columns: Vec<Cells>, fields: &Fields) -> Result<Vec<ArrayRef>, Reason> {
    columns.into_iter().zip(fields).map(|(cells, field)| cells.finish(field)).collect()
}

/// The values of a column, as far as they have been read.
struct Cells {
    /// If any may be null.
    nulls: Option<NullBufferBuilder>,
    values: Values,
}

/// Where there is none stands any.
enum Values {
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Decimal { precision: u8, digits: Vec<i128> },
    Text(Strings),
    Binary(Strings),
    Timestamp(Vec<i64>),
    Date(Vec<i32>),
    List { ends: Vec<i32>, elements: Box<Cells> },
    Struct(Vec<Cells>),
}

/// One behind the other.
struct Strings {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Strings {
    fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { ends, bytes: Vec::new() }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // The bytes of all rows fit.
        self.ends.push(self.bytes.len() as i32);
    }
}

impl Cells {
    fn of(column: &Column, rows: usize) -> Self {
        Self::new(&column.data_type, column.nullable, rows)
    }

    fn new(data_type: &ColumnType, nullable: bool, rows: usize) -> Self {
        let values = match data_type {
            ColumnType::Bool => Values::Bool(Vec::with_capacity(rows)),
            ColumnType::Int8 => Values::Int8(Vec::with_capacity(rows)),
            ColumnType::Int16 => Values::Int16(Vec::with_capacity(rows)),
            ColumnType::Int32 => Values::Int32(Vec::with_capacity(rows)),
            ColumnType::Int64 => Values::Int64(Vec::with_capacity(rows)),
            ColumnType::Float64 => Values::Float64(Vec::with_capacity(rows)),
            ColumnType::Decimal { precision, .. } => Values::Decimal { precision: *precision, digits: Vec::with_capacity(rows) },
            ColumnType::Text => Values::Text(Strings::with_capacity(rows)),
            ColumnType::Binary => Values::Binary(Strings::with_capacity(rows)),
            ColumnType::Timestamp => Values::Timestamp(Vec::with_capacity(rows)),
            ColumnType::Date => Values::Date(Vec::with_capacity(rows)),
            ColumnType::List { element, nullable } => {
                Values::List { ends: vec![0], elements: Box::new(Self::new(element, *nullable, 0)) }
            }
            ColumnType::Struct(columns) => Values::Struct(columns.iter().map(|column| Self::of(column, rows)).collect()),
        };
        Self { nulls: nullable.then(|| NullBufferBuilder::new(rows)), values }
    }

    #[inline]
    fn read(&mut self, row: &mut &[u8]) -> Result<(), Reason> {
        if let Some(nulls) = &mut self.nulls {
            if !read::flag(row)? {
                nulls.append_null();
                self.values.push_any();
                return Ok(());
            }
            nulls.append_non_null();
        }
        self.values.read(row)
    }

    /// Part of something that is null.
    fn push_null(&mut self) {
        self.nulls.iter_mut().for_each(NullBufferBuilder::append_null);
        self.values.push_any();
    }

    fn finish(self, field: &FieldRef) -> Result<ArrayRef, Reason> {
        self.values.finish(field, self.nulls.and_then(|mut nulls| nulls.finish()))
    }
}

impl Values {
    #[inline]
    fn read(&mut self, row: &mut &[u8]) -> Result<(), Reason> {
        match self {
            Self::Bool(values) => values.push(read::flag(row)?),
            Self::Int8(values) => values.push(i8::from_le_bytes(read::array(row)?)),
            Self::Int16(values) => values.push(i16::from_le_bytes(read::array(row)?)),
            Self::Int32(values) => values.push(i32::from_le_bytes(read::array(row)?)),
            Self::Int64(values) => values.push(i64::from_le_bytes(read::array(row)?)),
            Self::Float64(values) => values.push(f64::from_le_bytes(read::array(row)?)),
            Self::Decimal { precision, digits } => digits.push(read::decimal(row, *precision)?),
            Self::Text(values) | Self::Binary(values) => values.push(read::bytes(row)?),
            Self::Timestamp(values) => values.push(read::timestamp(row)?),
            Self::Date(values) => values.push(read::day(row)?),
            Self::List { ends, elements } => {
                let count = read::count(row)?;
                (0..count).try_for_each(|_| elements.read(row))?;
                // Every element has a byte at least, so that the bytes of all rows bound their number.
                ends.push(ends.last().copied().unwrap_or_default().saturating_add_unsigned(count));
            }
            Self::Struct(fields) => fields.iter_mut().try_for_each(|cells| cells.read(row))?,
        }
        Ok(())
    }

    fn push_any(&mut self) {
        match self {
            Self::Bool(values) => values.push(false),
            Self::Int8(values) => values.push(0),
            Self::Int16(values) => values.push(0),
            Self::Int32(values) | Self::Date(values) => values.push(0),
            Self::Int64(values) | Self::Timestamp(values) => values.push(0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal { digits, .. } => digits.push(0),
            Self::Text(values) | Self::Binary(values) => values.push(&[]),
            Self::List { ends, .. } => ends.push(ends.last().copied().unwrap_or_default()),
            Self::Struct(fields) => fields.iter_mut().for_each(Cells::push_null),
        }
    }

    fn finish(self, field: &FieldRef, nulls: Option<NullBuffer>) -> Result<ArrayRef, Reason> {
        let misfit = |_| "has a value of another type than its column";
        Ok(match (self, field.data_type()) {
            (Self::Bool(values), _) => Arc::new(BooleanArray::new(values.into(), nulls)),
            (Self::Int8(values), _) => primitive::<Int8Type>(values, nulls),
            (Self::Int16(values), _) => primitive::<Int16Type>(values, nulls),
            (Self::Int32(values), _) => primitive::<Int32Type>(values, nulls),
            (Self::Int64(values), _) => primitive::<Int64Type>(values, nulls),
            (Self::Float64(values), _) => primitive::<Float64Type>(values, nulls),
            (Self::Date(values), _) => primitive::<Date32Type>(values, nulls),
            (Self::Decimal { digits, .. }, DataType::Decimal128(precision, scale)) => {
                let digits = PrimitiveArray::<Decimal128Type>::new(digits.into(), nulls);
                Arc::new(digits.with_precision_and_scale(*precision, *scale).map_err(misfit)?)
            }
            (Self::Timestamp(values), DataType::Timestamp(_, zone)) => {
                let values = PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls);
                Arc::new(values.with_timezone_opt(zone.clone()))
            }
            (Self::Text(Strings { ends, bytes }), _) => {
                let texts = StringArray::try_new(offsets(ends), bytes.into(), nulls);
                Arc::new(texts.map_err(|_| "has a text that is not UTF-8")?)
            }
            (Self::Binary(Strings { ends, bytes }), _) => {
                Arc::new(BinaryArray::try_new(offsets(ends), bytes.into(), nulls).map_err(misfit)?)
            }
            (Self::List { ends, elements }, DataType::List(element)) => {
                let elements = elements.finish(element)?;
                Arc::new(ListArray::try_new(element.clone(), offsets(ends), elements, nulls).map_err(misfit)?)
            }
            (Self::Struct(fields), DataType::Struct(of)) => {
                Arc::new(StructArray::try_new(of.clone(), finish(fields, of)?, nulls).map_err(misfit)?)
            }
            (Self::Decimal { .. } | Self::Timestamp(_) | Self::List { .. } | Self::Struct(_), _) => {
                return Err("has a value of another type than its column");
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}
