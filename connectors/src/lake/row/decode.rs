//! From rows to Arrow: every value goes from the row into the array of its column.

use super::read;
use super::value::Reason;
use crate::lake::spec::TableSpec;
use delta_kernel::arrow::array::builder::{BinaryBuilder, BooleanBuilder, NullBufferBuilder, PrimitiveBuilder, StringBuilder};
use delta_kernel::arrow::array::{ArrayRef, ListArray, RecordBatch, StructArray};
use delta_kernel::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use delta_kernel::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Fields, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimestampMicrosecondType,
};
use delta_kernel::arrow::error::ArrowError;
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
    let mut columns: Vec<_> = spec.columns().iter().map(|column| Cells::of(column, records.len())).collect();
    for record in records {
        let read = record.value.as_deref().ok_or("has no value").and_then(|row| read_row(&mut columns, row));
        read.map_err(|what| {
            Error::refused(
                format!("table `{}`: row {} {what}", spec.name(), record.origin),
                "write rows by `encode_row` with the columns of this table",
            )
        })?;
    }
    let batch = finish(columns, schema.fields()).and_then(|arrays| RecordBatch::try_new(schema.clone(), arrays));
    batch.map_err(|e| Error::Damaged { object: format!("the rows of table `{}`", spec.name()), what: e.to_string() })
}

fn read_row(columns: &mut [Cells], mut row: &[u8]) -> Result<(), Reason> {
    columns.iter_mut().try_for_each(|cells| cells.read(&mut row))?;
    read::end(row)
}

fn finish(columns: Vec<Cells>, fields: &Fields) -> Result<Vec<ArrayRef>, ArrowError> {
    columns.into_iter().zip(fields).map(|(cells, field)| cells.values.finish(field)).collect()
}

/// The values of a column, as far as they have been read.
struct Cells {
    nullable: bool,
    values: Values,
}

enum Values {
    Bool(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Decimal { precision: u8, digits: PrimitiveBuilder<Decimal128Type> },
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Date(PrimitiveBuilder<Date32Type>),
    List { ends: Vec<i32>, nulls: NullBufferBuilder, elements: Box<Cells> },
    Struct { nulls: NullBufferBuilder, fields: Vec<Cells> },
}

/// Does one thing with the builder of a leaf, whichever it is.
macro_rules! each_leaf {
    ($values:expr, $builder:ident => $act:expr, $($rest:tt)+) => {
        match $values {
            Values::Bool($builder) => $act,
            Values::Int8($builder) => $act,
            Values::Int16($builder) => $act,
            Values::Int32($builder) => $act,
            Values::Int64($builder) => $act,
            Values::Float64($builder) => $act,
            Values::Decimal { digits: $builder, .. } => $act,
            Values::Text($builder) => $act,
            Values::Binary($builder) => $act,
            Values::Timestamp($builder) => $act,
            Values::Date($builder) => $act,
            $($rest)+
        }
    };
}

impl Cells {
    fn of(column: &Column, rows: usize) -> Self {
        Self::new(&column.data_type, column.nullable, rows)
    }

    fn new(data_type: &ColumnType, nullable: bool, rows: usize) -> Self {
        let values = match data_type {
            ColumnType::Bool => Values::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Int8 => Values::Int8(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Int16 => Values::Int16(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Int32 => Values::Int32(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Int64 => Values::Int64(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Float64 => Values::Float64(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Decimal { precision, .. } => {
                Values::Decimal { precision: *precision, digits: PrimitiveBuilder::with_capacity(rows) }
            }
            ColumnType::Text => Values::Text(StringBuilder::with_capacity(rows, 0)),
            ColumnType::Binary => Values::Binary(BinaryBuilder::with_capacity(rows, 0)),
            ColumnType::Timestamp => Values::Timestamp(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::Date => Values::Date(PrimitiveBuilder::with_capacity(rows)),
            ColumnType::List { element, nullable } => Values::List {
                ends: vec![0],
                nulls: NullBufferBuilder::new(rows),
                elements: Box::new(Self::new(element, *nullable, 0)),
            },
            ColumnType::Struct(columns) => Values::Struct {
                nulls: NullBufferBuilder::new(rows),
                fields: columns.iter().map(|column| Self::of(column, rows)).collect(),
            },
        };
        Self { nullable, values }
    }

    fn read(&mut self, row: &mut &[u8]) -> Result<(), Reason> {
        match read::is_there(row, self.nullable)? {
            true => self.values.read(row),
            false => {
                self.values.null();
                Ok(())
            }
        }
    }
}

impl Values {
    fn read(&mut self, row: &mut &[u8]) -> Result<(), Reason> {
        match self {
            Self::Bool(values) => values.append_value(read::flag(row)?),
            Self::Int8(values) => values.append_value(i8::from_le_bytes(read::array(row)?)),
            Self::Int16(values) => values.append_value(i16::from_le_bytes(read::array(row)?)),
            Self::Int32(values) => values.append_value(i32::from_le_bytes(read::array(row)?)),
            Self::Int64(values) => values.append_value(i64::from_le_bytes(read::array(row)?)),
            Self::Float64(values) => values.append_value(f64::from_le_bytes(read::array(row)?)),
            Self::Decimal { precision, digits } => digits.append_value(read::decimal(row, *precision)?),
            Self::Text(values) => values.append_value(read::text(row)?),
            Self::Binary(values) => values.append_value(read::bytes(row)?),
            Self::Timestamp(values) => values.append_value(read::timestamp(row)?),
            Self::Date(values) => values.append_value(read::day(row)?),
            Self::List { ends, nulls, elements } => {
                let count = read::count(row)?;
                (0..count).try_for_each(|_| elements.read(row))?;
                // Every element has a byte at least, so that the bytes of all rows bound their number.
                ends.push(ends.last().copied().unwrap_or_default().saturating_add_unsigned(count));
                nulls.append_non_null();
            }
            Self::Struct { nulls, fields } => {
                fields.iter_mut().try_for_each(|cells| cells.read(row))?;
                nulls.append_non_null();
            }
        }
        Ok(())
    }

    fn null(&mut self) {
        each_leaf!(self, values => values.append_null(),
            Self::List { ends, nulls, .. } => {
                ends.push(ends.last().copied().unwrap_or_default());
                nulls.append_null();
            }
            Self::Struct { nulls, fields } => {
                fields.iter_mut().for_each(|cells| cells.values.null());
                nulls.append_null();
            }
        );
    }

    fn finish(self, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
        Ok(match (self, field.data_type()) {
            (Self::Decimal { mut digits, .. }, DataType::Decimal128(precision, scale)) => {
                Arc::new(digits.finish().with_precision_and_scale(*precision, *scale)?)
            }
            (Self::Timestamp(mut values), DataType::Timestamp(_, zone)) => {
                Arc::new(values.finish().with_timezone_opt(zone.clone()))
            }
            (Self::List { ends, mut nulls, elements }, DataType::List(element)) => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                let values = elements.values.finish(element)?;
                Arc::new(ListArray::try_new(element.clone(), ends, values, nulls.finish())?)
            }
            (Self::Struct { mut nulls, fields }, DataType::Struct(of)) => {
                Arc::new(StructArray::try_new(of.clone(), finish(fields, of)?, nulls.finish())?)
            }
            (mut values, data_type) => each_leaf!(&mut values, values => Arc::new(values.finish()),
                Values::List { .. } | Values::Struct { .. } => {
                    return Err(ArrowError::SchemaError(format!("a list or a struct is no {data_type}")));
                }
            ),
        })
    }
}
