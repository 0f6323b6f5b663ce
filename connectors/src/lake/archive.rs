//! An archive: a table that holds every record of a topic as it stood on the bus, and gives them back in their order.
//!
//! A row is a record: `record` has what stood on the bus, the columns beside it what the record was decoded to, for people and engines that
//! query. Rows lie in the hour in which they were archived. One lane writes them, so that within each partition they stand in the order of
//! their offsets from file to file; and the lane's entry in the log says from which offset to which each partition is there, without a gap.

use super::delta::first_lane;
use super::log::TableFile;
use super::rows::written_by;
use super::scan;
use super::store::{TableStore, failed, unavailable};
use super::view::is_missing;
use delta_kernel::Snapshot;
use delta_kernel::arrow::array::{Array, AsArray, BinaryArray, Int64Array, ListArray, RecordBatch, StructArray};
use delta_kernel::arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::parquet::arrow::ProjectionMask;
use delta_kernel::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use distributary_runtime::bus::{Header, Offset, Record, Topic};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::{EventTime, WallTime};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
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
/// What of a row is read back.
const READ: [&str; 7] = [
    "record.partition",
    "record.offset",
    "record.timestamp_ms",
    "record.key",
    "record.value",
    "record.headers",
    "record.watermark_ms",
];

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
    /// In the order in which they were written, with what they reach to.
    files: Vec<(TableFile, Reach)>,
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
        let files = scan::files(&snapshot, store.engine()).map_err(|e| failed(&what, &e))?;
        let statistics = scan::statistics(&snapshot, store.engine()).map_err(|e| failed(&what, &e))?;
        let mut files: Vec<_> = files
            .into_iter()
            .map(|file| {
                let reach = statistics.get(&file.path).and_then(|json| reach(json));
                // What the log does not say is looked at.
                (file, reach.unwrap_or(Reach { offset: i64::MAX, timestamp_ms: i64::MAX }))
            })
            .collect();
        files.sort_by(|(a, _), (b, _)| place(&a.path).cmp(&place(&b.path)));
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
        let files = self.files.iter().filter(|(_, reach)| reach.offset >= least);
        let files = files.map(|(file, _)| file.path.clone()).collect();
        ArchiveReader { store: self.store.clone(), url: self.url.clone(), positions, files, path: String::new(), open: None }
    }

    /// The first offset whose record's timestamp is at or after `at`; `None` when there is none here.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn offset_at(&self, partition: u32, at: WallTime) -> Result<Option<Offset>> {
        let first = self.first(partition, |reach| reach.timestamp_ms >= at.0, |rows, row| rows.timestamps[row] >= at.0);
        Ok(first?.map(|(offset, _)| offset))
    }

    /// The greatest event time of the records before the first one from `offset` on.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn watermark(&self, partition: u32, offset: Offset) -> Result<Option<EventTime>> {
        let from = offset.0.cast_signed();
        let first = self.first(partition, |reach| reach.offset >= from, |rows, row| rows.offsets[row] >= from);
        Ok(first?.and_then(|(_, watermark)| watermark))
    }

    /// The first record of a partition that is wanted, in the files where it may be: its offset, and the greatest event time before it.
    fn first(
        &self,
        partition: u32,
        may_have: impl Fn(&Reach) -> bool,
        wanted: impl Fn(&Rows<'_>, usize) -> bool,
    ) -> Result<Option<(Offset, Option<EventTime>)>> {
        let files = self.files.iter().filter(|(_, reach)| may_have(reach)).map(|(file, _)| file.path.clone());
        let mut reader = ArchiveReader { files: files.collect(), ..self.read(BTreeMap::new()) };
        while let Some(batch) = reader.batch()? {
            let rows = reader.rows(&batch)?;
            let found = (0..batch.num_rows()).find(|row| rows.position(*row).0 == partition && wanted(&rows, *row));
            if let Some(row) = found {
                let watermark = rows.watermarks.is_valid(row).then(|| EventTime(rows.watermarks.value(row)));
                return Ok(Some((rows.position(row).1, watermark)));
            }
        }
        Ok(None)
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
    /// Where each partition that is wanted goes on.
    positions: BTreeMap<u32, Offset>,
    files: VecDeque<String>,
    /// The file that is read.
    path: String,
    open: Option<ParquetRecordBatchReader>,
}

impl ArchiveReader {
    /// Some more records of the partitions that are wanted, possibly none; `None` at the end of the archive.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read.
    pub fn read(&mut self) -> Result<Option<BTreeMap<u32, Vec<Record>>>> {
        let Some(batch) = self.batch()? else { return Ok(None) };
        let rows = self.rows(&batch)?;
        let mut records: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let (partition, offset) = rows.position(row);
            let Some(position) = self.positions.get_mut(&partition).filter(|position| **position <= offset) else { continue };
            *position = offset.next();
            records.entry(partition).or_default().push(rows.record(row, offset));
        }
        Ok(Some(records))
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return batch.map(Some).map_err(|e| self.damaged(&e.to_string()));
            }
            let Some(path) = self.files.pop_front() else { return Ok(None) };
            self.open = Some(open(&self.store, &self.url, &path)?);
            self.path = path;
        }
    }

    fn rows<'a>(&self, batch: &'a RecordBatch) -> Result<Rows<'a>> {
        Rows::of(batch).ok_or_else(|| self.damaged("it holds no records of an archive"))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Damaged { object: format!("{}{}", self.url, self.path), what: what.into() }
    }
}

fn open(store: &TableStore, url: &Url, path: &str) -> Result<ParquetRecordBatchReader> {
    let damaged = |what: String| Error::Damaged { object: format!("{url}{path}"), what };
    let file = url.join(path).map_err(|e| damaged(e.to_string()))?;
    // Behind a compaction it is in the table no more, and behind a vacuum gone: the newest version says where its records are now.
    let bytes = store.find(&file)?.ok_or_else(|| unavailable(&format!("reading {file}"), &"it is not there any more"))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| damaged(e.to_string()))?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), READ);
    builder.with_projection(columns).with_batch_size(BATCH).build().map_err(|e| damaged(e.to_string()))
}

/// The rows of a batch, column by column.
struct Rows<'a> {
    partitions: &'a [i32],
    offsets: &'a [i64],
    timestamps: &'a [i64],
    watermarks: &'a Int64Array,
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    headers: &'a ListArray,
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let record: &StructArray = batch.column_by_name(RECORD)?.as_struct_opt()?;
        let longs = |name: &str| Some(record.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.values().as_ref());
        Some(Self {
            partitions: record.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?.values(),
            offsets: longs("offset")?,
            timestamps: longs("timestamp_ms")?,
            watermarks: record.column_by_name("watermark_ms")?.as_primitive_opt::<Int64Type>()?,
            keys: record.column_by_name("key")?.as_binary_opt::<i32>()?,
            values: record.column_by_name("value")?.as_binary_opt::<i32>()?,
            headers: record.column_by_name("headers")?.as_list_opt::<i32>()?,
        })
    }

    fn position(&self, row: usize) -> (u32, Offset) {
        (self.partitions[row].cast_unsigned(), Offset(self.offsets[row].cast_unsigned()))
    }

    fn record(&self, row: usize, offset: Offset) -> Record {
        let bytes = |column: &BinaryArray| column.is_valid(row).then(|| bytes::Bytes::copy_from_slice(column.value(row)));
        Record {
            offset,
            timestamp: WallTime(self.timestamps[row]),
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
