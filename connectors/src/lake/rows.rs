//! From a run's results to data files, one for every hour of event time that has rows in it.

use super::decode;
use super::log::{Hour, NewFile};
use super::origin;
use super::schema;
use super::spec::TableSpec;
use super::store::TableStore;
use delta_kernel::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use delta_kernel::arrow::compute::take_record_batch;
use delta_kernel::arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::expressions::ColumnName;
use delta_kernel::parquet::arrow::ArrowWriter;
use delta_kernel::parquet::arrow::arrow_writer::ArrowWriterOptions;
use delta_kernel::parquet::basic::{Compression, ZstdLevel};
use delta_kernel::parquet::file::properties::WriterProperties;
use delta_kernel_default_engine::stats::collect_stats;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{OutRecord, Run};
use distributary_runtime::time::Epoch;
use jiff::ToSpan;
use jiff::civil::date;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// Rows of one run, copies counted: what is beyond is a mistake in the job, and would not fit into memory.
const ROWS_MAX: usize = 1 << 24;
const HOUR_US: i64 = 3_600_000_000;

/// Writes the rows of one lane.
pub(super) struct RowWriter {
    spec: Arc<TableSpec>,
    store: TableStore,
    lane: u32,
    /// The table's own columns.
    columns: SchemaRef,
    /// What stands in a file: those, and the origin.
    file: SchemaRef,
    file_schema: delta_kernel::schema::SchemaRef,
    statistics: Vec<ColumnName>,
}

impl RowWriter {
    pub(super) fn new(spec: Arc<TableSpec>, store: TableStore, lane: u32) -> Result<Self> {
        let ours = |e: &dyn Display| damaged(&spec, e);
        let file_schema = schema::of_file(spec.schema()).map_err(|e| ours(&e))?;
        let file: Schema = file_schema.as_ref().try_into_arrow().map_err(|e| ours(&e))?;
        let columns = file.fields().iter().filter(|field| field.name() != schema::ORIGIN).cloned();
        let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let statistics = schema::statistics(&spec);
        Ok(Self { spec, store, lane, columns, file: Arc::new(file), file_schema, statistics })
    }

    /// Writes the files of a run; nobody sees them before they are committed.
    ///
    /// Their names follow from what they hold: whoever writes the same run again writes the same files.
    pub(super) fn write(&self, run: &Run) -> Result<Vec<NewFile>> {
        let rows = Rows::of(&self.spec, run)?;
        let ours = |e: &dyn Display| damaged(&self.spec, e);
        let batch = decode::rows(&self.spec, &self.columns, &rows.records)?;
        let hours = self.hours(&batch, &rows)?;
        let origin = origin::column(&self.file, &rows.records, &rows.epochs, run.marker.generation).map_err(|e| ours(&e))?;
        let columns: Vec<ArrayRef> = batch.columns().iter().cloned().chain([origin]).collect();
        let batch = RecordBatch::try_new(self.file.clone(), columns).map_err(|e| ours(&e))?;
        let closed_at = run.epochs.last().map(|epoch| epoch.closed_at).unwrap_or_default();
        let mut files = Vec::with_capacity(hours.len());
        for (hour, places) in hours {
            let batch = take_record_batch(&batch, &UInt32Array::from(places)).map_err(|e| ours(&e))?;
            let statistics = collect_stats(&batch, &self.statistics, &self.file_schema).map_err(|e| ours(&e))?;
            let bytes = parquet(&batch).map_err(|e| ours(&e))?;
            let path = self.path(hour, run.marker.epoch, &bytes);
            let url = self.spec.url().join(&path).map_err(|e| ours(&e))?;
            let size_bytes = bytes.len() as u64;
            self.store.put(&url, bytes)?;
            files.push(NewFile { path, hour, size_bytes, closed_at, statistics });
        }
        Ok(files)
    }

    /// Which rows lie in which hour, in the order of the run.
    fn hours(&self, batch: &RecordBatch, rows: &Rows<'_>) -> Result<BTreeMap<Hour, Vec<u32>>> {
        let mut path = self.spec.event_time().split('.');
        let first = path.next().and_then(|name| batch.column_by_name(name));
        let times = path.try_fold(first, |column, name| Some(column?.as_struct_opt()?.column_by_name(name)));
        let times = times.flatten().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| damaged(&self.spec, &"the event time is no timestamp"))?;
        let mut hours: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
        for ((place, micros), copies) in (0_u32..).zip(times.values()).zip(&rows.copies) {
            // A time is one of the years 1 to 9999: its hours fit.
            let hour = Hour(i32::try_from(micros.div_euclid(HOUR_US)).unwrap_or_default());
            hours.entry(hour).or_default().extend(std::iter::repeat_n(place, *copies));
        }
        Ok(hours)
    }

    fn path(&self, hour: Hour, epoch: Epoch, bytes: &[u8]) -> String {
        let day = date(1970, 1, 1).saturating_add(hour.0.div_euclid(24).days());
        let (hour, lane, content) = (hour.0.rem_euclid(24), self.lane, xxhash_rust::xxh3::xxh3_128(bytes));
        format!("{}={day}/{}={hour:02}/part-{epoch}-{lane}-{content:032x}.parquet", schema::EVENT_DATE, schema::EVENT_HOUR)
    }
}

/// The results of a run that become rows.
struct Rows<'a> {
    records: Vec<&'a OutRecord>,
    epochs: Vec<Epoch>,
    copies: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn of(spec: &TableSpec, run: &'a Run) -> Result<Self> {
        let mut rows = Self { records: Vec::new(), epochs: Vec::new(), copies: Vec::new() };
        let mut count = 0_usize;
        for (epoch, record) in run.epochs.iter().flat_map(|epoch| epoch.records.iter().map(|record| (epoch.epoch, record))) {
            let Ok(copies) = usize::try_from(record.diff) else {
                return Err(Error::refused(
                    format!("table `{}`: row {} is taken back, and a row table only grows", spec.name(), record.origin),
                    "write what changes to an upsert topic, or only what stands to the table",
                ));
            };
            count = count.saturating_add(copies);
            if count > ROWS_MAX {
                return Err(Error::refused(
                    format!("table `{}`: epoch {epoch} has more than {ROWS_MAX} rows", spec.name()),
                    "make the epochs smaller, or mend the job that repeats its rows",
                ));
            }
            if copies > 0 {
                rows.records.push(record);
                rows.epochs.push(epoch);
                rows.copies.push(copies);
            }
        }
        Ok(rows)
    }
}

/// A data file. Arrow's own schema is left out: other readers have no use for it.
fn parquet(batch: &RecordBatch) -> delta_kernel::parquet::errors::Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    writer.into_inner()
}

fn damaged(spec: &TableSpec, what: &dyn Display) -> Error {
    Error::Damaged { object: format!("a data file of table `{}`", spec.name()), what: what.to_string() }
}
