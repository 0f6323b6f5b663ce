//! From a run's results to data files, one for every hour of event time in which rows come or go.

use super::log::{Hour, NewFile, TableFile, TableLog};
use super::origin;
use super::row;
use super::schema;
use super::spec::TableSpec;
use super::store::TableStore;
use super::subjects::SubjectWriter;
use super::take_back::{Contents, Wanted};
use delta_kernel::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use delta_kernel::arrow::compute::{concat_batches, take_record_batch};
use delta_kernel::arrow::datatypes::{FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::expressions::ColumnName;
use delta_kernel::parquet::arrow::ArrowWriter;
use delta_kernel::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use delta_kernel::parquet::arrow::arrow_writer::ArrowWriterOptions;
use delta_kernel::parquet::basic::{Compression, ZstdLevel};
use delta_kernel::parquet::file::metadata::KeyValue;
use delta_kernel::parquet::file::properties::WriterProperties;
use delta_kernel_default_engine::stats::collect_stats;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{OutRecord, Run};
use distributary_runtime::time::{Epoch, WallTime};
use jiff::ToSpan;
use jiff::civil::date;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use url::Url;

/// Rows of one run that come or go, copies counted: what is beyond is a mistake in the job, and would not fit into memory.
const ROWS_MAX: u64 = 1 << 24;
/// So many small files of an hour are made into larger ones.
pub(super) const SMALL_FILES: usize = 16;
/// A file of fewer rows is small.
const SMALL_ROWS: u64 = COMPACT_ROWS / 2;
/// Rows that go into one file: what fits into memory beside everything else, 50 to 150 MB.
const COMPACT_ROWS: u64 = 1 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// Writes the rows of one lane.
pub(super) struct RowWriter {
    spec: Arc<TableSpec>,
    store: TableStore,
    lane: u32,
    lanes: u32,
    /// The table's own columns.
    columns: SchemaRef,
    /// What stands in a file: those, and the origin.
    file: SchemaRef,
    file_schema: delta_kernel::schema::SchemaRef,
    statistics: Vec<ColumnName>,
    contents: Contents,
    subjects: SubjectWriter,
}

/// Rows in several pieces.
type ByHour = BTreeMap<Hour, Vec<RecordBatch>>;

/// What a run makes of a table: files that come, and paths of files that go.
pub(super) struct Written {
    pub(super) adds: Vec<NewFile>,
    pub(super) removes: Vec<String>,
}

impl RowWriter {
    pub(super) fn new(spec: Arc<TableSpec>, store: TableStore, lane: u32, lanes: u32) -> Result<Self> {
        let ours = |e: &dyn Display| damaged(&spec, e);
        let file_schema = schema::of_file(spec.schema()).map_err(|e| ours(&e))?;
        let file: Schema = file_schema.as_ref().try_into_arrow().map_err(|e| ours(&e))?;
        let columns = file.fields().iter().filter(|field| field.name() != schema::ORIGIN).cloned();
        let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let statistics = schema::statistics(spec.columns(), spec.event_time());
        let contents = Contents::new(&columns).map_err(|e| ours(&e))?;
        let subjects = SubjectWriter::new(spec.columns());
        Ok(Self { spec, store, lane, lanes, columns, file: Arc::new(file), file_schema, statistics, contents, subjects })
    }

    /// Writes the files of a run; nobody sees them before they are committed.
    ///
    /// Their names follow from what they hold: whoever writes the same run again writes the same files. A row that is taken back and that
    /// the run itself did not bring goes by a new file in the place of the one that holds it. The first run of a generation takes the place
    /// of everything the lane has written.
    pub(super) fn write(&self, run: &Run, log: &mut dyn TableLog) -> Result<Written> {
        let mut rows = Rows::of(&self.spec, run)?;
        let ours = |e: &dyn Display| damaged(&self.spec, e);
        let batch = row::rows(&self.spec, &self.columns, &rows.records)?;
        let hours = self.hours(&batch)?;
        let origin = origin::column(&self.file, &rows.records, &rows.epochs, run.marker.generation).map_err(|e| ours(&e))?;
        let columns: Vec<ArrayRef> = batch.columns().iter().cloned().chain([origin]).collect();
        let batch = RecordBatch::try_new(self.file.clone(), columns).map_err(|e| ours(&e))?;
        let mut wanted = Wanted::default();
        if rows.diffs.iter().any(|diff| *diff < 0) {
            let contents = self.contents.of(&batch).map_err(|e| ours(&e))?;
            wanted = Wanted::net(&contents, &hours, &mut rows.diffs);
        }

        let begins = run.previous.is_none_or(|previous| previous.generation != run.marker.generation);
        let files = if begins || wanted.len() > 0 { log.files()? } else { Vec::new() };
        let (mut stays, mut removes) = match begins {
            true => (BTreeMap::new(), files.into_iter().map(|file| file.path).filter(|path| self.is_ours(path)).collect()),
            false => self.without(files, &mut wanted)?,
        };
        if wanted.len() > 0 {
            let what = format!("{} rows that are taken back are not in it", wanted.len());
            return Err(Error::Damaged { object: format!("table `{}`", self.spec.name()), what });
        }

        for (hour, come) in rows.by_hour(&hours, &batch).map_err(|e| ours(&e))? {
            stays.entry(hour).or_default().push(come);
        }
        let closed_at = run.epochs.last().map(|epoch| epoch.closed_at).unwrap_or_default();
        let mut adds = Vec::with_capacity(stays.len());
        for (hour, batches) in stays {
            let batch = concat_batches(&self.file, &batches).map_err(|e| ours(&e))?;
            if batch.num_rows() == 0 {
                continue;
            }
            let file = self.put(&batch, hour, run.marker.epoch, closed_at)?;
            // The same rows in the same place: a file that is written again as it is.
            if removes.contains(&file.path) {
                removes.retain(|gone| *gone != file.path);
            } else {
                adds.push(file);
            }
        }
        Ok(Written { adds, removes })
    }

    /// Writes the small files of every hour that has many of them as larger ones. `None` when there is nothing to do.
    ///
    /// Only neighbours become one, which is named by its newest epoch: in the order of their epochs, the files of an hour have their rows in
    /// the order in which they were written.
    pub(super) fn compact(&self, files: &[TableFile], at: WallTime) -> Result<Option<Written>> {
        let mut hours: BTreeMap<&str, Vec<&TableFile>> = BTreeMap::new();
        for file in files.iter().filter(|file| self.is_ours(&file.path)) {
            hours.entry(file.path.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default().push(file);
        }
        let mut written = Written { adds: Vec::new(), removes: Vec::new() };
        let is_small = |file: &TableFile| file.rows < SMALL_ROWS;
        for (folder, mut files) in hours {
            if files.iter().filter(|file| is_small(file)).count() < SMALL_FILES {
                continue;
            }
            let hour = hour_of(folder).ok_or_else(|| damaged(&self.spec, &format!("{folder} is no hour")))?;
            files.sort_by_key(|file| written_by(&file.path));
            for together in files.split(|file| !is_small(file)).flat_map(groups) {
                let batches = together.iter().map(|file| self.read(&file.path)).collect::<Result<Vec<_>>>()?;
                let batch = concat_batches(&self.file, &batches).map_err(|e| damaged(&self.spec, &e))?;
                let newest = together.last().and_then(|file| written_by(&file.path)).unwrap_or_default();
                written.adds.push(self.put(&batch, hour, Epoch(newest.0), at)?);
                written.removes.extend(together.iter().map(|file| file.path.clone()));
            }
        }
        Ok((!written.adds.is_empty()).then_some(written))
    }

    /// Writes a file, which nobody sees yet, and before it its index: a file that is there has one.
    fn put(&self, batch: &RecordBatch, hour: Hour, epoch: Epoch, closed_at: WallTime) -> Result<NewFile> {
        let ours = |e: &dyn Display| damaged(&self.spec, e);
        let statistics = collect_stats(batch, &self.statistics, &self.file_schema).map_err(|e| ours(&e))?;
        let bytes = parquet(batch, self.subjects.footer()).map_err(|e| ours(&e))?;
        let path = self.path(hour, epoch, &bytes);
        let size_bytes = bytes.len() as u64;
        self.subjects.write(&self.store, self.spec.url(), &path, batch)?;
        self.store.put(&self.url(&path)?, bytes)?;
        Ok(NewFile { path, hour, size_bytes, closed_at, statistics })
    }

    /// What stays of the files that hold rows that are to go, by hour, and the paths of those files; the newest are looked at first,
    /// because it is what came lately that is corrected.
    fn without(&self, files: Vec<TableFile>, wanted: &mut Wanted) -> Result<(ByHour, Vec<String>)> {
        let (mut stays, mut removes) = (ByHour::new(), Vec::new());
        for hour in wanted.hours() {
            let folder = folder(hour);
            let mut of_hour: Vec<_> = files.iter().filter(|file| file.path.starts_with(&folder)).collect();
            of_hour.sort_by_key(|file| std::cmp::Reverse(written_by(&file.path)));
            for file in of_hour {
                if !wanted.has(hour) {
                    break;
                }
                let held = self.read(&file.path)?;
                let without = wanted.without(hour, &self.contents, &held).map_err(|e| damaged(&self.spec, &e))?;
                if let Some(rest) = without {
                    stays.entry(hour).or_default().push(rest);
                    removes.push(file.path.clone());
                }
            }
        }
        Ok((stays, removes))
    }

    /// Whether a file is this lane's, or, of lane 0, of one that is no more.
    fn is_ours(&self, path: &str) -> bool {
        let (_, lane) = written_by(path).unwrap_or_default();
        lane == self.lane || (self.lane == 0 && lane >= self.lanes)
    }

    /// The rows of a file.
    fn read(&self, path: &str) -> Result<RecordBatch> {
        let ours =
            |e: &dyn Display| Error::Damaged { object: format!("{path} of table `{}`", self.spec.name()), what: e.to_string() };
        let bytes = self.store.get(&self.url(path)?)?;
        // Columns that were added later are not in it.
        let held = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|e| ours(&e))?.schema().clone();
        let ours_of = |field: &FieldRef| self.file.field_with_name(field.name()).ok().cloned();
        let fields = held.fields().iter().filter_map(|held| Some(ours_of(held)?.with_nullable(held.is_nullable())));
        let held = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = ArrowReaderOptions::new().with_schema(held.clone());
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).and_then(|builder| builder.build());
        let batches: std::result::Result<Vec<_>, _> = reader.map_err(|e| ours(&e))?.collect();
        let batch = concat_batches(&held, &batches.map_err(|e| ours(&e))?).map_err(|e| ours(&e))?;
        let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        RecordBatch::try_new(self.file.clone(), self.file.fields().iter().map(column).collect()).map_err(|e| ours(&e))
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.spec.url().join(path).map_err(|e| damaged(&self.spec, &e))
    }

    /// The hour of each row.
    fn hours(&self, batch: &RecordBatch) -> Result<Vec<Hour>> {
        let mut path = self.spec.event_time().split('.');
        let first = path.next().and_then(|name| batch.column_by_name(name));
        let times = path.try_fold(first, |column, name| Some(column?.as_struct_opt()?.column_by_name(name)));
        let times = times.flatten().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| damaged(&self.spec, &"the event time is no timestamp"))?;
        // A time is one of the years 1 to 9999: its hours fit.
        Ok(times.values().iter().map(|micros| Hour(i32::try_from(micros.div_euclid(HOUR_US)).unwrap_or_default())).collect())
    }

    fn path(&self, hour: Hour, epoch: Epoch, bytes: &[u8]) -> String {
        let (lane, content) = (self.lane, xxhash_rust::xxh3::xxh3_128(bytes));
        format!("{}part-{epoch}-{lane}-{content:032x}.parquet", folder(hour))
    }
}

/// Where the files of an hour lie; ends with `/`.
fn folder(hour: Hour) -> String {
    let day = date(1970, 1, 1).saturating_add(hour.0.div_euclid(24).days());
    format!("{}={day}/{}={:02}/", schema::EVENT_DATE, schema::EVENT_HOUR, hour.0.rem_euclid(24))
}

/// The hour of a folder, which [`folder`] names.
fn hour_of(folder: &str) -> Option<Hour> {
    let (day, hour) = folder.split_once('/')?;
    let day: jiff::civil::Date = day.strip_prefix(schema::EVENT_DATE)?.strip_prefix('=')?.parse().ok()?;
    let hour: i32 = hour.strip_prefix(schema::EVENT_HOUR)?.strip_prefix('=')?.parse().ok()?;
    let days = i32::try_from(day.duration_since(date(1970, 1, 1)).as_hours() / 24).ok()?;
    Some(Hour(days * 24 + hour))
}

/// Files that go into one: as many as make no more than [`COMPACT_ROWS`], and at least two.
fn groups<'a>(files: &'a [&'a TableFile]) -> Vec<&'a [&'a TableFile]> {
    let (mut groups, mut from, mut rows) = (Vec::new(), 0, 0);
    for (index, file) in files.iter().enumerate() {
        if rows + file.rows > COMPACT_ROWS {
            groups.push(&files[from..index]);
            (from, rows) = (index, 0);
        }
        rows += file.rows;
    }
    groups.push(&files[from..]);
    groups.into_iter().filter(|group| group.len() > 1).collect()
}

/// Epoch and lane in the name of a file.
pub(super) fn written_by(path: &str) -> Option<(u64, u32)> {
    let mut parts = path.rsplit_once("/part-")?.1.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The results of a run.
struct Rows<'a> {
    records: Vec<&'a OutRecord>,
    epochs: Vec<Epoch>,
    /// How many copies of each come or go.
    diffs: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn of(spec: &TableSpec, run: &'a Run) -> Result<Self> {
        let rows = run.epochs.iter().map(|epoch| epoch.records.len()).sum();
        let (records, epochs, diffs) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut rows = Self { records, epochs, diffs };
        let mut count = 0_u64;
        for (epoch, record) in run.epochs.iter().flat_map(|epoch| epoch.records.iter().map(|record| (epoch.epoch, record))) {
            count = count.saturating_add(record.diff.unsigned_abs());
            if count > ROWS_MAX {
                return Err(Error::refused(
                    format!("table `{}`: epoch {epoch} has more than {ROWS_MAX} rows", spec.name()),
                    "make the epochs smaller, or mend the job that repeats its rows",
                ));
            }
            rows.records.push(record);
            rows.epochs.push(epoch);
            rows.diffs.push(record.diff);
        }
        Ok(rows)
    }

    /// Those that come, as often as they do, in the order of the run.
    fn by_hour(&self, hours: &[Hour], batch: &RecordBatch) -> std::result::Result<BTreeMap<Hour, RecordBatch>, ArrowError> {
        // Mostly there is one of each, and all are of one hour.
        if let Some(hour) = hours.first()
            && hours.iter().all(|other| other == hour)
            && self.diffs.iter().all(|diff| *diff == 1)
        {
            return Ok(BTreeMap::from([(*hour, batch.clone())]));
        }
        let mut places: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
        for ((place, hour), copies) in (0_u32..).zip(hours).zip(&self.diffs) {
            let copies = usize::try_from(*copies).unwrap_or(0);
            if copies > 0 {
                places.entry(*hour).or_default().extend(std::iter::repeat_n(place, copies));
            }
        }
        places.into_iter().map(|(hour, places)| Ok((hour, take_record_batch(batch, &UInt32Array::from(places))?))).collect()
    }
}

/// A data file. Arrow's own schema is left out: other readers have no use for it.
fn parquet(batch: &RecordBatch, footer: KeyValue) -> delta_kernel::parquet::errors::Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let properties = properties.set_key_value_metadata(Some(vec![footer])).build();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    writer.into_inner()
}

fn damaged(spec: &TableSpec, what: &dyn Display) -> Error {
    Error::Damaged { object: format!("a data file of table `{}`", spec.name()), what: what.to_string() }
}
