//! The data files of a table: written as a whole or piece by piece, each with its index, and read back.

use super::encoding;
use super::log::{Hour, NewFile, TableFile};
use super::parquet::ParquetFile;
use super::schema;
use super::spec::TableSpec;
use super::store::{TableStore, Upload, unavailable};
use super::subjects::{SubjectWriter, Subjects};
use delta_kernel::arrow::array::{RecordBatch, StructArray, new_null_array};
use delta_kernel::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::expressions::ColumnName;
use delta_kernel::parquet::arrow::arrow_writer::ArrowWriterOptions;
use delta_kernel::parquet::arrow::{ArrowWriter, ProjectionMask};
use delta_kernel::parquet::errors::ParquetError;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use distributary_runtime::bus::Token;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::{Epoch, WallTime};
use jiff::ToSpan;
use jiff::civil::date;
use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use url::Url;

/// Rows that are read at once: by the first of them it is told how a joint file is encoded.
const BATCH: usize = 32_768;
/// So many encoded bytes make a row group, if its rows do not come at once.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// The data files of one lane of a table.
pub(super) struct DataFiles {
    spec: Arc<TableSpec>,
    store: TableStore,
    lane: u32,
    /// What stands in a file: the table's own columns, and the origin.
    schema: SchemaRef,
    file_schema: delta_kernel::schema::SchemaRef,
    statistics: Vec<ColumnName>,
    subjects: SubjectWriter,
}

/// Where a file belongs, when, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The incarnation that writes it.
    pub(super) token: Token,
    pub(super) hour: Hour,
    /// The newest of its rows.
    pub(super) epoch: Epoch,
    pub(super) closed_at: WallTime,
}

/// What a run makes of a table: files that come, and paths of files that go.
#[derive(Default)]
pub(super) struct Written {
    pub(super) adds: Vec<NewFile>,
    pub(super) removes: Vec<String>,
}

impl DataFiles {
    pub(super) fn new(spec: Arc<TableSpec>, store: TableStore, lane: u32) -> Result<Self> {
        let ours = |e: &dyn Display| damaged(&spec, e);
        let file_schema = schema::of_file(spec.schema()).map_err(|e| ours(&e))?;
        let file: Schema = file_schema.as_ref().try_into_arrow().map_err(|e| ours(&e))?;
        let statistics = schema::statistics(spec.columns(), spec.event_time());
        let subjects = SubjectWriter::new(spec.columns());
        Ok(Self { spec, store, lane, schema: Arc::new(file), file_schema, statistics, subjects })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn lane(&self) -> u32 {
        self.lane
    }

    /// Writes these rows as a file, which nobody sees yet; its name follows from what it holds.
    pub(super) fn put(&self, batch: &RecordBatch, at: Place) -> Result<NewFile> {
        let mut writing = Writing::new(self, Vec::new());
        writing.add(batch)?;
        let (bytes, statistics, subjects) = writing.end()?.ok_or_else(|| self.damaged(&"it has no rows"))?;
        let path = self.path(at, xxhash_rust::xxh3::xxh3_128(&bytes));
        let size_bytes = bytes.len() as u64;
        self.subjects.write(&self.store, self.spec.url(), &path, subjects)?;
        self.store.put(&self.url(&path)?, bytes)?;
        Ok(NewFile { path, hour: at.hour, size_bytes, closed_at: at.closed_at, statistics })
    }

    /// As [`DataFiles::put`], of rows that come piece by piece and are not held in memory; none give no file. Its name follows from `made_of`,
    /// as the rows do, and from who writes it: another release may encode the same rows in other bytes, and must not put them in the place of
    /// a file whose size the log tells.
    pub(super) fn write(
        &self,
        at: Place,
        made_of: &[u8],
        rows: impl FnOnce(&mut Writing<'_, Upload>) -> Result<()>,
    ) -> Result<Option<NewFile>> {
        let made_of = [made_of, &at.token.0.to_le_bytes()].concat();
        let path = self.path(at, xxhash_rust::xxh3::xxh3_128(&made_of));
        let mut writing = Writing::new(self, self.store.upload(&self.url(&path)?)?);
        rows(&mut writing)?;
        let Some((object, statistics, subjects)) = writing.end()? else { return Ok(None) };
        self.subjects.write(&self.store, self.spec.url(), &path, subjects)?;
        let size_bytes = object.complete()?;
        Ok(Some(NewFile { path, hour: at.hour, size_bytes, closed_at: at.closed_at, statistics }))
    }

    /// The rows of a file, piece by piece. Columns that were added later are not in it: they are null.
    pub(super) fn rows(&self, file: &TableFile) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let url = self.url(&file.path)?;
        let found = ParquetFile::find(&self.store, &url, file.size_bytes)?;
        let found = found.ok_or_else(|| Error::Damaged { object: url.to_string(), what: "it is not there".into() })?;
        let ours_of = |field: &FieldRef| self.schema.field_with_name(field.name()).ok().cloned();
        let fields = found.schema().fields().iter();
        let fields = fields.filter_map(|held| Some(ours_of(held)?.with_nullable(held.is_nullable()))).collect::<Vec<_>>();
        let rows = found.read_as(Arc::new(Schema::new(fields)))?.rows(ProjectionMask::all(), None, BATCH)?;
        let schema = self.schema.clone();
        Ok(rows.map(move |batch| {
            let batch = batch?;
            let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
                Some(column) => column.clone(),
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            let batch = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect());
            batch.map_err(|e| Error::Damaged { object: url.to_string(), what: e.to_string() })
        }))
    }

    pub(super) fn damaged(&self, what: &dyn Display) -> Error {
        damaged(&self.spec, what)
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.spec.url().join(path).map_err(|e| self.damaged(&e))
    }

    fn path(&self, at: Place, hash: u128) -> String {
        format!("{}part-{}-{}-{hash:032x}.parquet", folder(at.hour), at.epoch, self.lane)
    }

    /// What did not get where it was written to is tried again; anything else is our own mistake.
    fn unwritten(&self, error: &ParquetError) -> Error {
        match error {
            ParquetError::External(e) if e.is::<std::io::Error>() => self.lost(e),
            other => self.damaged(other),
        }
    }

    fn lost(&self, reason: &impl Display) -> Error {
        unavailable(&format!("writing a file of table `{}`", self.spec.name()), reason)
    }
}

/// A file that is being written, and what is to be said of it.
pub(super) struct Writing<'a, W: Write + Send> {
    files: &'a DataFiles,
    /// Before there are rows: how the file is encoded, the first of them tell.
    to: Option<W>,
    file: Option<ArrowWriter<W>>,
    statistics: FileStatsAccumulator,
    subjects: Subjects,
}

impl<'a, W: Write + Send> Writing<'a, W> {
    fn new(files: &'a DataFiles, to: W) -> Self {
        let statistics = FileStatsAccumulator::new(&files.statistics, &files.file_schema);
        Self { files, to: Some(to), file: None, statistics, subjects: Subjects::default() }
    }

    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let files = self.files;
        self.statistics.merge(rows).map_err(|e| files.damaged(&e))?;
        files.subjects.gather(&files.store, files.spec.url(), rows, &mut self.subjects)?;
        if let Some(to) = self.to.take() {
            self.file = Some(self.begin(to, rows)?);
        }
        let file = self.file.as_mut().ok_or_else(|| files.damaged(&"rows behind some that failed"))?;
        file.write(rows).map_err(|e| files.unwritten(&e))?;
        if file.in_progress_size() >= ROW_GROUP_BYTES {
            file.flush().map_err(|e| files.unwritten(&e))?;
        }
        Ok(())
    }

    fn begin(&self, to: W, rows: &RecordBatch) -> Result<ArrowWriter<W>> {
        let files = self.files;
        let properties = encoding::properties(rows).map_err(|e| files.damaged(&e))?;
        let properties = properties.set_key_value_metadata(Some(vec![files.subjects.footer()])).build();
        // Arrow's own schema is left out: other readers have no use for it.
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
        ArrowWriter::try_new_with_options(to, files.schema.clone(), options).map_err(|e| files.unwritten(&e))
    }

    /// What it was written to, its statistics, and its subjects; nothing, if there were no rows.
    fn end(self) -> Result<Option<(W, StructArray, Subjects)>> {
        let files = self.files;
        let Some(mut file) = self.file else { return Ok(None) };
        file.flush().map_err(|e| files.unwritten(&e))?;
        // All is encoded: what fails now is the way to the store.
        let to = file.into_inner().map_err(|e| files.lost(&e))?;
        let statistics = self.statistics.finish().map_err(|e| files.damaged(&e))?;
        Ok(statistics.map(|statistics| (to, statistics, self.subjects)))
    }
}

/// Where the files of an hour lie; ends with `/`.
pub(super) fn folder(hour: Hour) -> String {
    let day = date(1970, 1, 1).saturating_add(hour.0.div_euclid(24).days());
    format!("{}={day}/{}={:02}/", schema::EVENT_DATE, schema::EVENT_HOUR, hour.0.rem_euclid(24))
}

/// The hour of a folder, which [`folder`] names.
pub(super) fn hour_of(folder: &str) -> Option<Hour> {
    let (day, hour) = folder.split_once('/')?;
    let day: jiff::civil::Date = day.strip_prefix(schema::EVENT_DATE)?.strip_prefix('=')?.parse().ok()?;
    let hour: i32 = hour.strip_prefix(schema::EVENT_HOUR)?.strip_prefix('=')?.trim_end_matches('/').parse().ok()?;
    let days = i32::try_from(day.duration_since(date(1970, 1, 1)).as_hours() / 24).ok()?;
    Some(Hour(days * 24 + hour))
}

/// Epoch and lane in the name of a file.
pub(super) fn written_by(path: &str) -> Option<(u64, u32)> {
    let mut parts = path.rsplit_once("/part-")?.1.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn damaged(spec: &TableSpec, what: &dyn Display) -> Error {
    Error::Damaged { object: format!("a data file of table `{}`", spec.name()), what: what.to_string() }
}
