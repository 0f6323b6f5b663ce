//! Reading: each consumer has a connection of its own, and no transaction between two polls, so that the write-ahead
//! log can start over whatever readers do.

use super::catalog;
use super::fault::{Fault, Result};
use super::file::Place;
use super::headers;
use super::signal::Signal;
use bytes::Bytes;
use distributary_runtime::bus::{Batch, BusError, Consumer, Offset, PartitionOffsets, Record, TopicId};
use distributary_runtime::time::{WallTime, monotonic};
use rusqlite::{Connection, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A partition delivers at most so many records in one poll.
const BATCH_RECORDS_MAX: usize = 1_000;

/// A partition's batch ends behind the record that reaches this.
const BATCH_BYTES_MAX: u64 = 256 << 10;

/// How often a waiting consumer looks whether another process has written. Looking reads one shared-memory counter.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Partitions that have nothing are reported this often, within the second the trait promises.
const REPORT_INTERVAL: Duration = Duration::from_millis(900);

pub(super) struct SqliteConsumer {
    connection: Connection,
    topic: TopicId,
    name: String,
    cursors: BTreeMap<u32, Cursor>,
    /// The file's version at which every partition that may deliver was known to be drained.
    drained_at: Option<i64>,
    /// When drained partitions were last reported; `None`: report at the next poll.
    reported_at: Option<Instant>,
    signal: Arc<Signal>,
    /// Keeps the file of a bus in memory as long as somebody reads it.
    _place: Arc<Place>,
}

struct Cursor {
    position: Offset,
    paused: bool,
}

impl SqliteConsumer {
    pub(super) fn open(place: Arc<Place>, signal: Arc<Signal>, topic: TopicId) -> Result<Self> {
        let connection = place.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        let (name, _) = catalog::name_and_form(&connection, topic)?;
        let cursors = BTreeMap::new();
        Ok(Self { connection, topic, name, cursors, drained_at: None, reported_at: None, signal, _place: place })
    }

    /// What there is to report now, if anything.
    fn look(&mut self) -> Result<Vec<Batch>> {
        let report = self.reported_at.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL);
        // Read before the records: a write in between is then found by the next look.
        let version = self.version()?;
        if !report && self.drained_at == Some(version) {
            return Ok(Vec::new());
        }
        let batches = self.fetch()?;
        let drained = batches.iter().all(|b| b.position == b.end);
        self.drained_at = drained.then_some(version);
        for batch in &batches {
            if let Some(cursor) = self.cursors.get_mut(&batch.partition) {
                cursor.position = batch.position;
            }
        }
        if report || batches.iter().any(|b| !b.records.is_empty()) {
            self.reported_at = Some(monotonic());
            return Ok(batches);
        }
        Ok(Vec::new())
    }

    /// Changes whenever another connection has written to the file.
    fn version(&self) -> Result<i64> {
        Ok(self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
    }

    /// One batch for every partition that is not paused, all from one snapshot.
    fn fetch(&self) -> Result<Vec<Batch>> {
        let snapshot = self.connection.unchecked_transaction()?;
        let logs = catalog::logs(&snapshot, self.topic)?;
        let mut batches = Vec::new();
        for (partition, cursor) in self.cursors.iter().filter(|(_, cursor)| !cursor.paused) {
            let Some(log) = logs.get(*partition as usize) else {
                return Err(BusError::NoPartition { topic: self.name.clone(), partition: *partition }.into());
            };
            self.check_range(&log.offsets, cursor.position)?;
            batches.push(read_batch(&snapshot, log, cursor.position)?);
        }
        Ok(batches)
    }

    fn check_range(&self, log: &PartitionOffsets, resume: Offset) -> Result<(), BusError> {
        if (log.log_start..=log.end).contains(&resume) {
            return Ok(());
        }
        let PartitionOffsets { partition, log_start, end } = *log;
        Err(BusError::OutOfRange { topic: self.name.clone(), partition, resume, log_start, end })
    }

    fn check_assignment(&self, partition: u32, resume: Offset) -> Result<()> {
        match catalog::logs(&self.connection, self.topic)?.get(partition as usize) {
            Some(log) => Ok(self.check_range(&log.offsets, resume)?),
            None => Err(BusError::NoPartition { topic: self.name.clone(), partition }.into()),
        }
    }
}

impl Consumer for SqliteConsumer {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Batch>, BusError> {
        let start = monotonic();
        loop {
            let seen = self.signal.writes();
            let batches = self.look().map_err(|e| e.while_doing(&format!("reading topic `{}`", self.name)))?;
            let left = wait.saturating_sub(start.elapsed());
            if !batches.is_empty() || left.is_zero() {
                return Ok(batches);
            }
            self.signal.wait(seen, left.min(LOOK_INTERVAL));
        }
    }

    /// Assigning a partition once more moves its position.
    fn assign(&mut self, partition: u32, resume: Offset) -> Result<(), BusError> {
        self.check_assignment(partition, resume).map_err(|e| e.while_doing(&format!("assigning {}[{partition}]", self.name)))?;
        self.cursors.insert(partition, Cursor { position: resume, paused: false });
        self.drained_at = None;
        self.reported_at = None;
        Ok(())
    }

    fn pause(&mut self, partitions: &[u32]) {
        for (partition, cursor) in &mut self.cursors {
            let paused = partitions.contains(partition);
            if cursor.paused && !paused {
                self.drained_at = None;
                self.reported_at = None;
            }
            cursor.paused = paused;
        }
    }
}

fn read_batch(connection: &Connection, log: &catalog::Log, resume: Offset) -> Result<Batch> {
    let PartitionOffsets { partition, end, .. } = log.offsets;
    if resume == end {
        return Ok(Batch { partition, records: Vec::new(), position: resume, end });
    }
    let sql = "SELECT offset, timestamp, key, headers, value FROM records WHERE log = ? AND offset >= ? ORDER BY offset";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query((log.log, resume.0))?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(row) = rows.next()? else {
            // Behind the last record there may be holes: all of it has been read.
            return Ok(Batch { partition, records, position: end, end });
        };
        let record = record(row)?;
        bytes += record.bytes();
        records.push(record);
    }
    let position = records.last().map_or(resume, |last: &Record| last.offset.next());
    Ok(Batch { partition, records, position, end })
}

fn record(row: &Row<'_>) -> Result<Record> {
    let part = |column| -> Result<Option<Bytes>> {
        Ok(row.get_ref(column)?.as_blob_or_null().map_err(rusqlite::Error::from)?.map(Bytes::copy_from_slice))
    };
    let offset = Offset(row.get(0)?);
    let headers = headers::decode(row.get_ref(3)?.as_blob_or_null().map_err(rusqlite::Error::from)?);
    let headers = headers.ok_or_else(|| {
        Fault::Bus(BusError::Invalid(format!("the headers of the record at offset {offset} are damaged or of a later format")))
    })?;
    Ok(Record { offset, timestamp: WallTime(row.get(1)?), key: part(2)?, value: part(4)?, headers })
}
