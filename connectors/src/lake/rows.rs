//! From a run's results to data files, one for every hour of event time in which rows come or go.

use super::compact::compact;
use super::data_files::{DataFiles, Place, Written, folder, written_by};
use super::log::{Hour, NewFile, TableFile, TableLog};
use super::origin;
use super::row;
use super::schema;
use super::spec::TableSpec;
use super::store::TableStore;
use super::take_back::{Contents, Wanted};
use delta_kernel::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use delta_kernel::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use delta_kernel::arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use delta_kernel::arrow::error::ArrowError;
use distributary_runtime::bus::Token;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{OutRecord, Run};
use distributary_runtime::time::{Epoch, WallTime};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// Rows of one run that come or go, copies counted: what is beyond is a mistake in the job, and would not fit into memory.
const ROWS_MAX: u64 = 1 << 24;
/// A file of so many bytes is written again without rows that go piece by piece, and stays a file of its own.
const PIECEWISE: u64 = if cfg!(test) { 4 << 10 } else { 16 << 20 };
const HOUR_US: i64 = 3_600_000_000;

/// Writes the rows of one lane.
pub(super) struct RowWriter {
    spec: Arc<TableSpec>,
    lanes: u32,
    /// The table's own columns.
    columns: SchemaRef,
    contents: Contents,
    files: DataFiles,
}

/// Rows in several pieces.
type ByHour = BTreeMap<Hour, Vec<RecordBatch>>;

impl RowWriter {
    pub(super) fn new(spec: Arc<TableSpec>, store: TableStore, lane: u32, lanes: u32) -> Result<Self> {
        let files = DataFiles::new(spec.clone(), store, lane)?;
        let columns = files.schema().fields().iter().filter(|field| field.name() != schema::ORIGIN).cloned();
        let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let contents = Contents::new(&columns).map_err(|e| files.damaged(&e))?;
        Ok(Self { spec, lanes, columns, contents, files })
    }

    /// Writes the files of a run; nobody sees them before they are committed.
    ///
    /// Their names follow from what they hold: whoever writes the same run again writes the same files. A row that is taken back and that
    /// the run itself did not bring goes by a new file in the place of the one that holds it. The first run of a generation takes the place
    /// of everything the lane has written.
    pub(super) fn write(&self, token: Token, run: &Run, log: &mut dyn TableLog) -> Result<Written> {
        let mut rows = Rows::of(&self.spec, run)?;
        let ours = |e: &dyn Display| self.files.damaged(e);
        let schema = self.files.schema();
        let batch = row::rows(&self.spec, &self.columns, &rows.records)?;
        let hours = self.hours(&batch)?;
        let origin = origin::column(schema, &rows.records, &rows.epochs, run.marker.generation).map_err(|e| ours(&e))?;
        let columns: Vec<ArrayRef> = batch.columns().iter().cloned().chain([origin]).collect();
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|e| ours(&e))?;
        let mut wanted = Wanted::default();
        if rows.diffs.iter().any(|diff| *diff < 0) {
            let contents = self.contents.of(&batch).map_err(|e| ours(&e))?;
            wanted = Wanted::net(&contents, &hours, &mut rows.diffs);
        }

        let begins = run.previous.is_none_or(|previous| previous.generation != run.marker.generation);
        let files = if begins || wanted.len() > 0 { log.files()? } else { Vec::new() };
        let closed_at = run.epochs.last().map(|epoch| epoch.closed_at).unwrap_or_default();
        let place = |hour| Place { token, hour, epoch: run.marker.epoch, closed_at };
        let mut written = Written::default();
        let mut stays = match begins {
            true => {
                written.removes = files.into_iter().map(|file| file.path).filter(|path| self.is_ours(path)).collect();
                ByHour::new()
            }
            false => self.without(files, &mut wanted, place, &mut written)?,
        };
        if wanted.len() > 0 {
            let what = format!("{} rows that are taken back are not in it", wanted.len());
            return Err(Error::Damaged { object: format!("table `{}`", self.spec.name()), what });
        }

        for (hour, come) in rows.by_hour(&hours, &batch).map_err(|e| ours(&e))? {
            stays.entry(hour).or_default().push(come);
        }
        for (hour, batches) in stays {
            let batch = concat_batches(schema, &batches).map_err(|e| ours(&e))?;
            if batch.num_rows() == 0 {
                continue;
            }
            let file = self.files.put(&batch, place(hour))?;
            // The same rows in the same place: a file that is written again as it is.
            if written.removes.contains(&file.path) {
                written.removes.retain(|gone| *gone != file.path);
            } else {
                written.adds.push(file);
            }
        }
        Ok(written)
    }

    /// Joins small files of the lane. `None` when there is nothing to do. See [`compact`].
    pub(super) fn compact(&self, token: Token, files: &[TableFile], seen: Epoch, at: WallTime) -> Result<Option<Written>> {
        compact(&self.files, files.iter().filter(|file| self.is_ours(&file.path)), seen, (token, at))
    }

    /// What stays of the files that hold rows that are to go, by hour; the newest are looked at first, because it is what came lately that
    /// is corrected. What stays of a large file is written at once.
    fn without(
        &self,
        files: Vec<TableFile>,
        wanted: &mut Wanted,
        place: impl Fn(Hour) -> Place,
        written: &mut Written,
    ) -> Result<ByHour> {
        let mut stays = ByHour::new();
        for hour in wanted.hours() {
            let folder = folder(hour);
            let mut of_hour: Vec<_> = files.iter().filter(|file| file.path.starts_with(&folder)).collect();
            of_hour.sort_by_key(|file| std::cmp::Reverse(written_by(&file.path)));
            for file in of_hour {
                if !wanted.has(hour) {
                    break;
                }
                let mut held = Vec::new();
                let mut which = Vec::new();
                for rows in self.files.rows(file)? {
                    let rows = rows?;
                    which.push(wanted.without(hour, &self.contents, &rows).map_err(|e| self.files.damaged(&e))?);
                    held.extend((file.size_bytes < PIECEWISE).then_some(rows));
                }
                if which.iter().all(|stay| stay.true_count() == stay.len()) {
                    continue;
                }
                if file.size_bytes < PIECEWISE {
                    for (rows, stay) in held.iter().zip(&which) {
                        let rest = filter_record_batch(rows, stay).map_err(|e| self.files.damaged(&e))?;
                        stays.entry(hour).or_default().push(rest);
                    }
                } else {
                    written.adds.extend(self.rest(file, &which, place(hour))?);
                }
                written.removes.push(file.path.clone());
            }
        }
        Ok(stays)
    }

    /// Writes what stays of a file, if anything does.
    fn rest(&self, file: &TableFile, which: &[BooleanArray], at: Place) -> Result<Option<NewFile>> {
        let gone = which.iter().flatten().enumerate().filter(|(_, stays)| *stays != Some(true));
        let gone: Vec<u8> = gone.flat_map(|(row, _)| (row as u64).to_le_bytes()).collect();
        let changed = || self.files.damaged(&format!("{} has changed while it was read", file.path));
        self.files.write(at, &[file.path.as_bytes(), &gone].concat(), |rest| {
            let mut which = which.iter();
            for rows in self.files.rows(file)? {
                let stay = which.next().ok_or_else(changed)?;
                rest.add(&filter_record_batch(&rows?, stay).map_err(|e| self.files.damaged(&e))?)?;
            }
            if which.next().is_none() { Ok(()) } else { Err(changed()) }
        })
    }

    /// Whether a file is this lane's, or, of lane 0, of one that is no more.
    fn is_ours(&self, path: &str) -> bool {
        let (_, lane) = written_by(path).unwrap_or_default();
        lane == self.files.lane() || (self.files.lane() == 0 && lane >= self.lanes)
    }

    /// The hour of each row.
    fn hours(&self, batch: &RecordBatch) -> Result<Vec<Hour>> {
        let mut path = self.spec.event_time().split('.');
        let first = path.next().and_then(|name| batch.column_by_name(name));
        let times = path.try_fold(first, |column, name| Some(column?.as_struct_opt()?.column_by_name(name)));
        let times = times.flatten().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| self.files.damaged(&"the event time is no timestamp"))?;
        // Mostly a row has the hour of the one before.
        let (mut hour, mut began) = (Hour(0), 0);
        let hours = times.values().iter().map(|micros| {
            if !(began..began + HOUR_US).contains(micros) {
                let of = micros.div_euclid(HOUR_US);
                // A time is one of the years 1 to 9999: its hours fit.
                (hour, began) = (Hour(i32::try_from(of).unwrap_or_default()), of * HOUR_US);
            }
            hour
        });
        Ok(hours.collect())
    }
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
