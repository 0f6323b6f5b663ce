//! The hidden column that says where each row comes from.

use super::schema::ORIGIN;
use delta_kernel::arrow::array::{ArrayRef, Int32Array, Int64Array, StructArray};
use delta_kernel::arrow::buffer::NullBuffer;
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
    let positions: Vec<_> = records.iter().map(|record| record.origin.position()).collect();
    let has: NullBuffer = positions.iter().map(Option::is_some).collect();
    let has = Some(has).filter(|has| has.null_count() > 0);
    // Of a result of an aggregation any, which nobody sees.
    let positions = || positions.iter().map(|position| position.unwrap_or_default());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::new(positions().map(|(source, _, _)| i32::from(source)).collect(), has.clone())),
        Arc::new(Int64Array::new(positions().map(|(_, partition, _)| i64::from(partition)).collect(), has.clone())),
        Arc::new(Int64Array::new(positions().map(|(_, _, offset)| offset.cast_signed()).collect(), has)),
        // Its 64 bits: four levels of fan-out fill the sign bit too.
        Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.origin.sub().cast_signed()))),
        Arc::new(Int64Array::from_iter_values(epochs.iter().map(|epoch| epoch.0.cast_signed()))),
        Arc::new(Int64Array::from(vec![i64::from(generation); records.len()])),
    ];
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}
