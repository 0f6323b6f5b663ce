//! From the JSON of rows to Arrow: Arrow's own decoder for structs and lists, and ours for values, because its own would
//! cut digits off decimals, take whole numbers for microseconds, and show values in its errors.

use super::check::check_row;
use super::spec::TableSpec;
use super::value::{self, Json, Reason};
use delta_kernel::arrow::array::builder::{BinaryBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder};
use delta_kernel::arrow::array::{ArrayRef, RecordBatch};
use delta_kernel::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, TimestampMicrosecondType,
};
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::arrow::json::ReaderBuilder;
use delta_kernel::arrow::json::reader::{ArrayDecoder, DecoderContext, DecoderFactory, Tape, TapeElement};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::OutRecord;
use std::sync::Arc;

/// Decodes the values of `records`, one row each, into the columns of `schema`, which is that of `spec`'s columns.
///
/// # Errors
/// A row does not fit: says which, and why, without showing what it holds.
pub(super) fn rows(spec: &TableSpec, schema: &SchemaRef, records: &[&OutRecord]) -> Result<RecordBatch> {
    match try_rows(schema, records) {
        Some(batch) if batch.num_rows() == records.len() => Ok(batch),
        _ => Err(explain(spec, records)),
    }
}

/// What went wrong is not told here: Arrow's errors show values.
fn try_rows(schema: &SchemaRef, records: &[&OutRecord]) -> Option<RecordBatch> {
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(records.len() + 1)
        .with_strict_mode(true)
        .with_decoder_factory(Arc::new(Values))
        .build_decoder()
        .ok()?;
    for (index, record) in records.iter().enumerate() {
        let row = record.value.as_deref()?;
        let read = decoder.decode(row).ok()?;
        if read != row.len() || decoder.len() != index + 1 || decoder.has_partial_record() {
            return None;
        }
    }
    match decoder.flush() {
        Ok(Some(batch)) => Some(batch),
        Ok(None) => Some(RecordBatch::new_empty(schema.clone())),
        Err(_) => None,
    }
}

fn explain(spec: &TableSpec, records: &[&OutRecord]) -> Error {
    let misfit = records.iter().find_map(|record| match &record.value {
        Some(row) => check_row(spec.columns(), row).err().map(|misfit| format!("row {}: {misfit}", record.origin)),
        None => Some(format!("row {} has no value", record.origin)),
    });
    Error::refused(
        format!("table `{}`: {}", spec.name(), misfit.as_deref().unwrap_or("a row does not decode")),
        "correct what makes the rows, or set such rows aside before the table (`check_row` finds them)",
    )
}

/// Our decoders of values; structs and lists are left to Arrow.
#[derive(Debug)]
struct Values;

impl DecoderFactory for Values {
    fn make_default_decoder(
        &self,
        _: &DecoderContext,
        field: &FieldRef,
        _: bool,
    ) -> Result<Option<Box<dyn ArrayDecoder>>, ArrowError> {
        Ok(match field.data_type() {
            DataType::Struct(_) | DataType::List(_) => None,
            leaf => Some(Box::new(Leaf(leaf.clone()))),
        })
    }
}

struct Leaf(DataType);

impl ArrayDecoder for Leaf {
    fn decode(&mut self, tape: &Tape<'_>, places: &[u32]) -> Result<ArrayRef, ArrowError> {
        let data_type = &self.0;
        match data_type {
            DataType::Boolean => booleans(tape, places),
            DataType::Utf8 => texts(tape, places),
            DataType::Binary => binaries(tape, places),
            DataType::Int8 => numbers::<Int8Type>(data_type, tape, places, value::integer),
            DataType::Int16 => numbers::<Int16Type>(data_type, tape, places, value::integer),
            DataType::Int32 => numbers::<Int32Type>(data_type, tape, places, value::integer),
            DataType::Int64 => numbers::<Int64Type>(data_type, tape, places, value::integer),
            DataType::Float64 => numbers::<Float64Type>(data_type, tape, places, value::float),
            DataType::Date32 => numbers::<Date32Type>(data_type, tape, places, value::day),
            DataType::Timestamp(..) => numbers::<TimestampMicrosecondType>(data_type, tape, places, value::timestamp),
            DataType::Decimal128(precision, scale) => {
                let scale = u8::try_from(*scale).map_err(|_| ArrowError::SchemaError("a scale below 0".into()))?;
                numbers::<Decimal128Type>(data_type, tape, places, |json| value::decimal(json, *precision, scale))
            }
            other => Err(ArrowError::SchemaError(format!("no column has the type {other}"))),
        }
    }
}

fn booleans(tape: &Tape<'_>, places: &[u32]) -> Result<ArrayRef, ArrowError> {
    let mut column = BooleanBuilder::with_capacity(places.len());
    for place in places {
        column.append_option(unless_null(json(tape, *place), value::boolean)?);
    }
    Ok(Arc::new(column.finish()))
}

fn texts(tape: &Tape<'_>, places: &[u32]) -> Result<ArrayRef, ArrowError> {
    let mut column = StringBuilder::with_capacity(places.len(), 0);
    for place in places {
        column.append_option(unless_null(json(tape, *place), value::text)?);
    }
    Ok(Arc::new(column.finish()))
}

/// Bytes are a list of numbers in JSON.
fn binaries(tape: &Tape<'_>, places: &[u32]) -> Result<ArrayRef, ArrowError> {
    let mut column = BinaryBuilder::with_capacity(places.len(), 0);
    for place in places {
        match tape.get(*place) {
            TapeElement::Null => column.append_null(),
            TapeElement::StartList(end) => {
                let bytes = (place + 1..end).map(|place| value::integer(json(tape, place)));
                let bytes: Result<Vec<u8>, Reason> = bytes.collect();
                column.append_value(bytes.map_err(|reason| ArrowError::JsonError(reason.into()))?);
            }
            _ => return Err(ArrowError::JsonError(value::NO_BYTES.into())),
        }
    }
    Ok(Arc::new(column.finish()))
}

fn numbers<T: ArrowPrimitiveType>(
    data_type: &DataType,
    tape: &Tape<'_>,
    places: &[u32],
    parse: impl Fn(Json<'_>) -> Result<T::Native, Reason>,
) -> Result<ArrayRef, ArrowError> {
    let mut column = PrimitiveBuilder::<T>::with_capacity(places.len()).with_data_type(data_type.clone());
    for place in places {
        column.append_option(unless_null(json(tape, *place), &parse)?);
    }
    Ok(Arc::new(column.finish()))
}

fn unless_null<'a, T>(json: Json<'a>, parse: impl Fn(Json<'a>) -> Result<T, Reason>) -> Result<Option<T>, ArrowError> {
    match json {
        Json::Null => Ok(None),
        json => parse(json).map(Some).map_err(|reason| ArrowError::JsonError(reason.into())),
    }
}

/// A field that is not there stands at the tape's first place, which is null.
fn json<'a>(tape: &Tape<'a>, place: u32) -> Json<'a> {
    match tape.get(place) {
        TapeElement::Null => Json::Null,
        TapeElement::True => Json::Bool(true),
        TapeElement::False => Json::Bool(false),
        TapeElement::Number(text) => Json::Number(tape.get_string(text)),
        TapeElement::String(text) => Json::Text(tape.get_string(text)),
        TapeElement::StartList(_) => Json::List,
        // The numbers of Rust stand on no tape that was read from text.
        _ => Json::Object,
    }
}
