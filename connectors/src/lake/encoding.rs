//! How the columns of a data file are encoded, by what stands in them.
//!
//! A dictionary of values that hardly repeat costs time and saves nothing. So whole numbers that do not (offsets, times), or that are all the same, stand as
//! differences, and text and bytes that do not (ids, payloads) as they are, without least and greatest values, which would tell nobody where to look.

use delta_kernel::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use delta_kernel::arrow::compute::take;
use delta_kernel::arrow::datatypes::DataType;
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::arrow::row::{RowConverter, SortField};
use delta_kernel::parquet::basic::{Compression, Encoding, ZstdLevel};
use delta_kernel::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use delta_kernel::parquet::schema::types::ColumnPath;
use std::collections::HashSet;

/// Values that are looked at. Of fewer rows it does not matter.
const SAMPLE: usize = 1_024;
/// A dictionary is worth it when a value stands in so many rows.
const REPEATS: usize = 4;

/// Properties of a file that begins with these rows.
pub(super) fn properties(rows: &RecordBatch) -> Result<WriterPropertiesBuilder, ArrowError> {
    let mut properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    if rows.num_rows() >= SAMPLE {
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            properties = encode(properties, vec![field.name().clone()], column)?;
        }
    }
    Ok(properties)
}

fn encode(
    mut properties: WriterPropertiesBuilder,
    path: Vec<String>,
    column: &ArrayRef,
) -> Result<WriterPropertiesBuilder, ArrowError> {
    if let Some(of) = column.as_struct_opt() {
        for (field, column) in of.fields().iter().zip(of.columns()) {
            let path = path.iter().chain([field.name()]).cloned().collect();
            properties = encode(properties, path, column)?;
        }
        return Ok(properties);
    }
    let is_number = matches!(column.data_type(), DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) | DataType::Date32);
    let is_bytes = matches!(column.data_type(), DataType::Utf8 | DataType::Binary);
    if !(is_number || is_bytes) {
        return Ok(properties);
    }
    let (distinct, path) = (distinct(column)?, ColumnPath::new(path));
    let hardly_repeats = distinct * REPEATS > column.len();
    if is_number && (hardly_repeats || distinct == 1) {
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
        properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    } else if hardly_repeats {
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok(properties)
}

/// About how many different values a column has, as a sample tells: of n values out of d, all as likely, n * n / 2d stand there twice.
fn distinct(column: &ArrayRef) -> Result<usize, ArrowError> {
    let rows = column.len();
    let places: UInt32Array = (0..SAMPLE).map(|at| (at * rows / SAMPLE) as u32).collect();
    let sample = take(column, &places, None)?;
    let values = RowConverter::new(vec![SortField::new(column.data_type().clone())])?.convert_columns(&[sample])?;
    let distinct = values.iter().collect::<HashSet<_>>().len();
    Ok(match SAMPLE - distinct {
        0 => rows,
        _ if distinct == 1 => 1,
        twice => (SAMPLE * SAMPLE / (2 * twice)).max(distinct),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use delta_kernel::arrow::array::{BinaryArray, Int64Array, StringArray, StructArray};
    use delta_kernel::parquet::arrow::ArrowWriter;
    use delta_kernel::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::Arc;

    /// `ROWS` values, at most `distinct` of them different, in no order.
    fn values(distinct: u64) -> impl Iterator<Item = u64> {
        (0..ROWS).map(move |at| xxhash_rust::xxh3::xxh3_64(&at.to_le_bytes()) % distinct)
    }

    const ROWS: u64 = 20_000;

    #[test]
    fn a_column_has_a_dictionary_if_its_values_repeat() {
        let text = |distinct| -> ArrayRef { Arc::new(StringArray::from_iter_values(values(distinct).map(|v| format!("v{v}")))) };
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..ROWS).map(u64::to_le_bytes)));
        let long = |of: Vec<u64>| -> ArrayRef { Arc::new(Int64Array::from_iter_values(of.into_iter().map(u64::cast_signed))) };
        let offset = long((0..ROWS).collect());
        let origin = StructArray::try_from(vec![("offset", offset), ("epoch", long(vec![7; ROWS as usize]))]).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", text(u64::MAX)),
            ("user", text(2_000)),
            ("merchant", text(10)),
            ("payload", bytes),
            ("cents", long(values(500).collect())),
            ("origin", Arc::new(origin)),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties(&rows).unwrap().build())).unwrap();
        writer.write(&rows).unwrap();
        let read = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(writer.into_inner().unwrap())).unwrap();
        let found: Vec<_> = read
            .metadata()
            .row_group(0)
            .columns()
            .iter()
            .map(|column| {
                let is_delta = column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED);
                let how = if column.dictionary_page_offset().is_some() {
                    "dictionary"
                } else if is_delta {
                    "differences"
                } else {
                    "plain"
                };
                (column.column_path().string(), how, column.statistics().is_some())
            })
            .collect();
        let expected = [
            ("id", "plain", false),
            ("user", "dictionary", true),
            ("merchant", "dictionary", true),
            ("payload", "plain", false),
            ("cents", "dictionary", true),
            ("origin.offset", "differences", true),
            ("origin.epoch", "differences", true),
        ];
        assert_eq!(found, expected.map(|(name, how, has)| (name.to_string(), how, has)));
        let back: Vec<_> = read.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(delta_kernel::arrow::compute::concat_batches(&rows.schema(), &back).unwrap(), rows);
    }
}
