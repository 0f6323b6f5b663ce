//! The hidden column that says where each row comes from.

use super::schema::ORIGIN;
use delta_kernel::arrow::array::{ArrayRef, Int32Array, Int64Array, StructArray};
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
    let positions = || records.iter().map(|record| record.origin.position());
    let source: Int32Array = positions().map(|p| p.map(|(source, _, _)| i32::from(source))).collect();
    let partition: Int64Array = positions().map(|p| p.map(|(_, partition, _)| i64::from(partition))).collect();
    let offset: Int64Array = positions().map(|p| p.map(|(_, _, offset)| offset.cast_signed())).collect();
    // Its 64 bits: four levels of fan-out fill the sign bit too.
    let sub: Int64Array = records.iter().map(|record| Some(record.origin.sub().cast_signed())).collect();
    let epoch: Int64Array = epochs.iter().map(|epoch| Some(epoch.0.cast_signed())).collect();
    let generation = Int64Array::from(vec![i64::from(generation); records.len()]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(source), Arc::new(partition), Arc::new(offset), Arc::new(sub), Arc::new(epoch), Arc::new(generation)];
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}
