//! The hidden column that says where each row comes from.

use super::schema::ORIGIN;
use delta_kernel::arrow::array::builder::{Int32Builder, Int64Builder};
use delta_kernel::arrow::array::{ArrayRef, Int64Array, StructArray};
use delta_kernel::arrow::datatypes::{DataType, Schema};
use delta_kernel::arrow::error::ArrowError;
use distributary_runtime::sink::OutRecord;
use distributary_runtime::time::Epoch;
use std::sync::Arc;

/// The origin of each record, as the file's schema has it. A result of an aggregation has no position, and the hash of its
/// key does not stand here: it would say who it is about.
pub(super) fn column(file: &Schema, records: &[&OutRecord], epochs: &[Epoch], generation: u32) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = file.field_with_name(ORIGIN)?.data_type() else {
        return Err(ArrowError::SchemaError(format!("{ORIGIN} is no struct")));
    };
    let rows = records.len();
    let mut source = Int32Builder::with_capacity(rows);
    let [mut partition, mut offset, mut sub, mut epoch] = std::array::from_fn(|_| Int64Builder::with_capacity(rows));
    for (record, written) in records.iter().zip(epochs) {
        let position = record.origin.position();
        source.append_option(position.map(|(source, _, _)| i32::from(source)));
        partition.append_option(position.map(|(_, partition, _)| i64::from(partition)));
        offset.append_option(position.map(|(_, _, offset)| offset.cast_signed()));
        // Its 64 bits: four levels of fan-out fill the sign bit too.
        sub.append_value(record.origin.sub().cast_signed());
        epoch.append_value(written.0.cast_signed());
    }
    let generation = Int64Array::from(vec![i64::from(generation); rows]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(source.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(sub.finish()),
        Arc::new(epoch.finish()),
        Arc::new(generation),
    ];
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}
