//! An archive: a table that holds every record of a topic as it stood on the bus, and gives them back in their order.
//!
//! A row is a record: `record` has what stood on the bus, the columns beside it what the record was decoded to, for people and engines that
//! query. Rows lie in the hour in which they were archived. One lane writes them, so that within each partition they stand in the order of
//! their offsets from file to file; and the lane's entry in the log says from which offset to which each partition is there, without a gap.

use super::data_files::written_by;
use super::delta::first_lane;
use super::parquet::{ParquetFile, ParquetRows};
use super::scan;
use super::store::{TableStore, failed, unavailable};
use super::view::is_missing;
use delta_kernel::Snapshot;
use delta_kernel::arrow::array::{Array, AsArray, BinaryArray, Int64Array, ListArray, RecordBatch, StructArray};
use delta_kernel::arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::parquet::arrow::ProjectionMask;
use delta_kernel::parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter};
use distributary_runtime::bus::{Header, Offset, Record, Topic};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::{EventTime, WallTime};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use url::Url;

/// The column that holds what stood on the bus.
pub const RECORD: &str = "record";
/// The column by whose hour the rows of an archive lie.
pub const ARCHIVED_AT: &str = "record.archived_at";
/// What the name of an archive begins with; the rest is its topic.
const PREFIX: &str = "archive.";
/// Records that are read at once.
const BATCH: usize = 2_048;
/// What is wrong with a file that lacks them.
const NO_RECORDS: &str = "it holds no records of an archive";
/// What of a row is read to find records.
const PLACES: &[&str] = &["record.partition", "record.offset", "record.timestamp_ms", "record.watermark_ms"];
/// What of a row is read to give records back.
const RECORDS: &[&str] =
    &["record.partition", "record.offset", "record.timestamp_ms", "record.key", "record.value", "record.headers"];

/// The name of the table that archives a topic.
#[must_use]
pub fn archive_of(topic: &str) -> String {
    format!("{PREFIX}{topic}")
}

/// The topic that a table of this name archives.
#[must_use]
pub fn archived_by(table: &str) -> Option<&str> {
    table.strip_prefix(PREFIX)
}

/// The column [`RECORD`].
#[must_use]
pub fn record_column() -> Column {
    let header = vec![Column::required("name", ColumnType::Text), Column::required("value", ColumnType::Binary)];
    let headers = ColumnType::List { element: Box::new(ColumnType::Struct(header)), nullable: false };
    let fields = vec![
        Column::required("partition", ColumnType::Int32).comment("partition of the topic"),
        Column::required("offset", ColumnType::Int64).comment("position in the partition"),
        Column::required("timestamp_ms", ColumnType::Int64).comment("the producer's timestamp, milliseconds since 1970"),
        Column::nullable("key", ColumnType::Binary).comment("key, as it stood on the bus").subject(),
        Column::nullable("value", ColumnType::Binary).comment("value, as it stood on the bus").subject(),
        Column::required("headers", headers).comment("headers, in their order").subject(),
        Column::nullable("watermark_ms", ColumnType::Int64)
            .comment("greatest event time of the records before it in its partition, milliseconds since 1970"),
        Column::required("archived_at", ColumnType::Timestamp).comment("when it was archived"),
    ];
    Column::required(RECORD, ColumnType::Struct(fields)).comment("the record as it stood on the bus")
}

/// What one version of an archive holds.
#[derive(Clone, Debug)]
pub struct Archive {
    store: TableStore,
    url: Url,
    held: BTreeMap<u32, (Offset, Offset)>,
    /// In the order in which they were written.
    files: Vec<File>,
}

/// A data file.
#[derive(Clone, Debug)]
struct File {
    path: String,
    size_bytes: u64,
    reach: Reach,
}

/// How far a file reaches, for all its partitions together.
#[derive(Clone, Copy, Debug)]
struct Reach {
    offset: i64,
    timestamp_ms: i64,
}

impl Archive {
    /// The newest version of the archive of a topic, in its folder of the lake; `None` when there is none, or when it is that of another topic
    /// that had the name before.
    ///
    /// # Errors
    /// The store failed, or the table cannot be read.
    pub fn open(store: &TableStore, lake: &Url, topic: &Topic) -> Result<Option<Self>> {
        let name = archive_of(&topic.spec.name);
        let what = format!("reading the archive of topic `{}`", topic.spec.name);
        let url = lake.join(&format!("{name}/")).map_err(|e| Error::Damaged { object: what.clone(), what: e.to_string() })?;
        let snapshot = match Snapshot::builder_for(url.as_str()).build(store.engine()) {
            Ok(snapshot) => snapshot,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(failed(&what, &e)),
        };
        let entry = first_lane(&snapshot, store.engine(), &name).map_err(|e| failed(&what, &e))?;
        let held = entry.map(|entry| entry.offsets_of(topic.id)).unwrap_or_default();
        if held.is_empty() {
            return Ok(None);
        }
        let files = scan::statistics(&snapshot, store.engine()).map_err(|e| failed(&what, &e))?;
        // A file of which the log says nothing is looked at.
        let everything = Reach { offset: i64::MAX, timestamp_ms: i64::MAX };
        let mut files: Vec<_> = files
            .into_iter()
            .map(|(path, size_bytes, said)| File {
                path,
                size_bytes,
                reach: said.as_deref().and_then(reach).unwrap_or(everything),
            })
            .collect();
        files.sort_by(|a, b| place(&a.path).cmp(&place(&b.path)));
        Ok(Some(Self { store: store.clone(), url, held, files }))
    }

    /// Of each partition that is there: its first offset, and the first behind it.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<u32, (Offset, Offset)> {
        &self.held
    }

    /// Reads on from the given positions.
    #[must_use]
    pub fn read(&self, positions: BTreeMap<u32, Offset>) -> ArchiveReader {
        let least = positions.values().min().map_or(i64::MAX, |offset| offset.0.cast_signed());
        self.reader(RECORDS, positions, |reach| reach.offset >= least)
    }

    fn reader(
        &self,
        columns: &'static [&'static str],
        positions: BTreeMap<u32, Offset>,
        may_have: impl Fn(&Reach) -> bool,
    ) -> ArchiveReader {
        let files = self.files.iter().filter(|file| may_have(&file.reach)).cloned().collect();
        // To look at each row costs something.
        let is_part = !positions.is_empty() && self.held.keys().any(|partition| !positions.contains_key(partition));
        let only = is_part.then(|| Arc::new(positions.keys().copied().collect()));
        ArchiveReader { store: self.store.clone(), url: self.url.clone(), columns, only, positions, files, open: None }
    }

    /// The first offset of each of the given partitions whose record's timestamp is at or after `at`, if there is one here.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn offsets_at(&self, partitions: impl IntoIterator<Item = u32>, at: WallTime) -> Result<BTreeMap<u32, Offset>> {
        let wanted = partitions.into_iter().map(|partition| (partition, at.0)).collect();
        let found = self.first(wanted, |reach| reach.timestamp_ms, |places, row| places.timestamps[row])?;
        Ok(found.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect())
    }

    /// The greatest event time of the records of each partition before the first one from the given offset on, if there was any.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn event_times_before(&self, positions: &[(u32, Offset)]) -> Result<BTreeMap<u32, EventTime>> {
        let wanted = positions.iter().map(|(partition, offset)| (*partition, offset.0.cast_signed())).collect();
        let found = self.first(wanted, |reach| reach.offset, |places, row| places.offsets[row])?;
        Ok(found.into_iter().filter_map(|(partition, (_, before))| Some((partition, before?))).collect())
    }

    /// The first record of each partition that is wanted in which `value` has come so far: its offset, and the greatest event time before it.
    fn first(
        &self,
        mut wanted: BTreeMap<u32, i64>,
        greatest: impl Fn(&Reach) -> i64,
        value: impl Fn(&Places<'_>, usize) -> i64,
    ) -> Result<BTreeMap<u32, (Offset, Option<EventTime>)>> {
        let mut found = BTreeMap::new();
        let Some(least) = wanted.values().min().copied() else { return Ok(found) };
        let mut reader = self.reader(PLACES, BTreeMap::new(), |reach| greatest(reach) >= least);
        while !wanted.is_empty() {
            let Some(batch) = reader.batch()? else { break };
            let places = Places::of(&batch).ok_or_else(|| reader.damaged(NO_RECORDS))?;
            let watermarks = watermarks(&batch).ok_or_else(|| reader.damaged(NO_RECORDS))?;
            for row in 0..batch.num_rows() {
                let (partition, offset) = places.at(row);
                if wanted.get(&partition).is_some_and(|least| value(&places, row) >= *least) {
                    wanted.remove(&partition);
                    let before = watermarks.is_valid(row).then(|| EventTime(watermarks.value(row)));
                    found.insert(partition, (offset, before));
                }
            }
        }
        Ok(found)
    }
}

/// The order in which files were written: by hour, and by epoch within it.
fn place(path: &str) -> (&str, Option<(u64, u32)>) {
    (path.rsplit_once('/').map_or("", |(folder, _)| folder), written_by(path))
}

fn reach(statistics: &str) -> Option<Reach> {
    #[derive(Deserialize)]
    struct Statistics {
        #[serde(rename = "maxValues")]
        max: Max,
    }
    #[derive(Deserialize)]
    struct Max {
        record: Fields,
    }
    #[derive(Deserialize)]
    struct Fields {
        offset: i64,
        timestamp_ms: i64,
    }
    let Fields { offset, timestamp_ms } = serde_json::from_str::<Statistics>(statistics).ok()?.max.record;
    Some(Reach { offset, timestamp_ms })
}

/// Reads an archive in its order, file by file.
pub struct ArchiveReader {
    store: TableStore,
    url: Url,
    columns: &'static [&'static str],
    /// The partitions that are wanted, if others are there too.
    only: Option<Arc<BTreeSet<u32>>>,
    /// Where each partition that is wanted goes on.
    positions: BTreeMap<u32, Offset>,
    files: VecDeque<File>,
    /// The file that is read.
    open: Option<ParquetRows>,
}

impl ArchiveReader {
    /// Some more records of the partitions that are wanted, possibly none; `None` at the end of the archive.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn read(&mut self) -> Result<Option<BTreeMap<u32, Vec<Record>>>> {
        let Some(batch) = self.batch()? else { return Ok(None) };
        let rows = Rows::of(&batch).ok_or_else(|| self.damaged(NO_RECORDS))?;
        let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let (partition, offset) = rows.places.at(row);
            let Some(position) = self.positions.get_mut(&partition).filter(|position| **position <= offset) else { continue };
            *position = offset.next();
            records.entry(partition).or_default().push(rows.record(row, offset));
        }
        Ok(Some(records))
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return batch.map(Some);
            }
            let Some(file) = self.files.pop_front() else { return Ok(None) };
            self.open = Some(self.rows_of(&file)?);
        }
    }

    fn rows_of(&self, file: &File) -> Result<ParquetRows> {
        let damaged = |e: url::ParseError| Error::Damaged { object: format!("{}{}", self.url, file.path), what: e.to_string() };
        let url = self.url.join(&file.path).map_err(damaged)?;
        // Behind a compaction it is in the table no more, and behind a vacuum gone: the newest version says where its records are now.
        let found = ParquetFile::find(&self.store, &url, file.size_bytes)?;
        let found = found.ok_or_else(|| unavailable(&format!("reading {url}"), &"it is not there any more"))?;
        let columns = |names: &[&str]| ProjectionMask::columns(found.parquet_schema(), names.iter().copied());
        let of_partitions = self.only.clone().map(|only| {
            let is_wanted = move |batch: RecordBatch| {
                let record = batch.column(0).as_struct_opt().and_then(|record| record.column(0).as_primitive_opt::<Int32Type>());
                let partitions = record.ok_or_else(|| ArrowError::SchemaError(NO_RECORDS.into()))?;
                Ok(partitions.values().iter().map(|partition| Some(only.contains(&partition.cast_unsigned()))).collect())
            };
            RowFilter::new(vec![Box::new(ArrowPredicateFn::new(columns(&PLACES[..1]), is_wanted))])
        });
        let columns = columns(self.columns);
        found.rows(columns, of_partitions, BATCH)
    }

    fn damaged(&self, what: &str) -> Error {
        match &self.open {
            Some(rows) => rows.damaged(what),
            None => Error::Damaged { object: self.url.to_string(), what: what.into() },
        }
    }
}

/// Where the rows of a batch stood.
struct Places<'a> {
    partitions: &'a [i32],
    offsets: &'a [i64],
    timestamps: &'a [i64],
}

impl<'a> Places<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let record: &StructArray = batch.column_by_name(RECORD)?.as_struct_opt()?;
        let longs = |name: &str| Some(record.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.values().as_ref());
        Some(Self {
            partitions: record.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?.values(),
            offsets: longs("offset")?,
            timestamps: longs("timestamp_ms")?,
        })
    }

    fn at(&self, row: usize) -> (u32, Offset) {
        (self.partitions[row].cast_unsigned(), Offset(self.offsets[row].cast_unsigned()))
    }
}

fn watermarks(batch: &RecordBatch) -> Option<&Int64Array> {
    batch.column_by_name(RECORD)?.as_struct_opt()?.column_by_name("watermark_ms")?.as_primitive_opt()
}

/// The rows of a batch, column by column.
struct Rows<'a> {
    places: Places<'a>,
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    headers: &'a ListArray,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let record: &StructArray = batch.column_by_name(RECORD)?.as_struct_opt()?;
        Some(Self {
            places: Places::of(batch)?,
            keys: record.column_by_name("key")?.as_binary_opt::<i32>()?,
            values: record.column_by_name("value")?.as_binary_opt::<i32>()?,
            headers: record.column_by_name("headers")?.as_list_opt::<i32>()?,
        })
    }

    fn record(&self, row: usize, offset: Offset) -> Record {
        let bytes = |column: &BinaryArray| column.is_valid(row).then(|| bytes::Bytes::copy_from_slice(column.value(row)));
        Record {
            offset,
            timestamp: WallTime(self.places.timestamps[row]),
            key: bytes(self.keys),
            value: bytes(self.values),
            headers: match self.headers.value_length(row) {
                0 => Vec::new(),
                _ => headers(&self.headers.value(row)).unwrap_or_default(),
            },
        }
    }
}

fn headers(of: &Arc<dyn Array>) -> Option<Vec<Header>> {
    let of = of.as_struct_opt()?;
    let names = of.column_by_name("name")?.as_string_opt::<i32>()?;
    let values = of.column_by_name("value")?.as_binary_opt::<i32>()?;
    let header = |at: usize| (Cow::Owned(names.value(at).to_string()), bytes::Bytes::copy_from_slice(values.value(at)));
    Some((0..of.len()).map(header).collect())
}
