//! The embedded bus: one SQLite file in write-ahead mode, shared by any number of threads and processes.
//!
//! Writers take turns (one at a time in the whole file, milliseconds each); readers never wait for a writer. Reads by
//! timestamp scan the partition. A finished call outlives `kill -9` of every process, and with [`Durability::Full`] a
//! power loss. The file must be on a local disk: SQLite's locks do not hold on network file systems.
//!
//! Every call may be repeated after [`BusError::Unavailable`]; a repeated `produce` or `append_journal` whose first try
//! did happen writes twice or is told [`Appended::Taken`], as on any bus.

mod append;
mod catalog;
mod checkpoint;
mod consumer;
mod fault;
mod file;
mod groups;
mod headers;
mod journal;
mod lanes;
mod signal;
mod upkeep;

pub use file::Durability;
pub use upkeep::TOMBSTONE_MS;

use crate::rules::RECORD_BYTES_MAX;
use append::Appender;
use checkpoint::Checkpointer;
use distributary_runtime::bus::{
    Appended, Bus, BusError, Consumer, Features, JournalPage, LaneCommit, Marker, NewRecord, Offset, PartitionOffsets, Token,
    Topic, TopicId, TopicSpec,
};
use distributary_runtime::time::{Clock, WallTime};
use fault::Fault;
use file::Place;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use signal::Signal;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bus in a SQLite file.
///
/// ```
/// use distributary_connectors::sqlite::SqliteBus;
/// use distributary_runtime::bus::{Bus, NewRecord, Offset, TopicSpec};
/// use distributary_runtime::time::{SystemClock, WallTime};
/// use std::{sync::Arc, time::Duration};
///
/// let bus = SqliteBus::in_memory(Arc::new(SystemClock))?;
/// bus.create_topic(&TopicSpec::new("payments", 2))?;
/// let topic = bus.topic("payments")?.unwrap().id;
/// let record = NewRecord {
///     partition: Some(1), timestamp: WallTime(5), key: Some("u1".into()), value: Some("7".into()), headers: vec![],
/// };
/// assert_eq!(bus.produce(topic, vec![record])?, [(1, Offset(0))]);
/// let batches = bus.consumer(topic, &[(1, Offset(0))])?.poll(Duration::from_secs(1))?;
/// assert_eq!(batches[0].records[0].value.as_deref(), Some(&b"7"[..]));
/// # Ok::<(), distributary_runtime::bus::BusError>(())
/// ```
pub struct SqliteBus {
    writer: Mutex<Connection>,
    /// For questions that are not a consumer's; they do not wait for a writer.
    reader: Mutex<Connection>,
    clock: Arc<dyn Clock>,
    signal: Arc<Signal>,
    _checkpointer: Option<Checkpointer>,
    // Last, because the connections must be closed before a scratch directory goes.
    place: Arc<Place>,
}

impl SqliteBus {
    /// Opens the bus in this file, creating it if there is none. The clock dates journal entries.
    ///
    /// # Errors
    /// The file cannot be opened, is no SQLite file, or was written by another version of this program.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, durability: Durability) -> Result<Self, BusError> {
        Self::at(Place { path: path.to_path_buf(), durability, scratch: None }, clock)
    }

    /// A bus that goes with its last user: the same code on a file that never waits for the disk.
    ///
    /// # Errors
    /// There is no room for a temporary directory.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        let scratch = tempfile::Builder::new()
            .prefix("distributary-bus-")
            .tempdir()
            .map_err(|e| BusError::Unavailable { what: "creating a temporary directory".to_string(), reason: e.to_string() })?;
        let path = scratch.path().join("bus.sqlite");
        Self::at(Place { path, durability: Durability::Normal, scratch: Some(scratch) }, clock)
    }

    fn at(place: Place, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        let open = || {
            let (mut writer, reader) = (place.connect()?, place.connect()?);
            // In memory nothing waits for the disk: no thread is needed.
            let checkpointer = match place.scratch {
                None => Some(Checkpointer::start(&place, &mut writer)?),
                Some(_) => None,
            };
            Ok((writer, reader, checkpointer))
        };
        let (writer, reader, checkpointer) =
            open().map_err(|e: Fault| e.while_doing(&format!("opening {}", place.path.display())))?;
        Ok(Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            clock,
            signal: Arc::default(),
            _checkpointer: checkpointer,
            place: Arc::new(place),
        })
    }

    /// One write transaction; nothing of it stands when `act` fails.
    fn write<T>(&self, what: &str, act: impl FnOnce(&Transaction<'_>) -> fault::Result<T>) -> Result<T, BusError> {
        let run = || {
            let mut connection = lock(&self.writer);
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = act(&tx)?;
            tx.commit()?;
            Ok(result)
        };
        let result = run().map_err(|e: Fault| e.while_doing(what))?;
        self.signal.notify();
        Ok(result)
    }

    /// Several questions to one snapshot.
    fn read<T>(&self, what: &str, act: impl FnOnce(&Connection) -> fault::Result<T>) -> Result<T, BusError> {
        let run = || {
            let connection = lock(&self.reader);
            let snapshot = connection.unchecked_transaction()?;
            act(&snapshot)
        };
        run().map_err(|e: Fault| e.while_doing(what))
    }
}

/// A panic while the lock was held has rolled its transaction back: the connection is as good as before.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for SqliteBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Bus for SqliteBus {
    fn describe(&self) -> String {
        match (&self.place.scratch, self.place.durability) {
            (Some(_), _) => "embedded bus in memory".to_string(),
            (None, Durability::Normal) => format!("embedded bus {} (safe against kill -9)", self.place.path.display()),
            (None, Durability::Full) => format!("embedded bus {} (safe against power loss)", self.place.path.display()),
        }
    }

    fn features(&self) -> Features {
        Features {
            atomic_lanes: true,
            conditional_append: true,
            offsets_by_time: true,
            compaction: true,
            upkeep_on_call: true,
            record_bytes_max: RECORD_BYTES_MAX,
            earliest: WallTime(i64::MIN),
        }
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<bool, BusError> {
        self.write(&format!("creating topic `{}`", spec.name), |tx| catalog::create(tx, spec))
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>, BusError> {
        self.read(&format!("looking up topic `{name}`"), |c| catalog::topic(c, name))
    }

    fn topics(&self) -> Result<Vec<Topic>, BusError> {
        self.read("listing topics", catalog::topics)
    }

    fn delete_topic(&self, name: &str) -> Result<(), BusError> {
        self.write(&format!("deleting topic `{name}`"), |tx| catalog::delete(tx, name))?;
        // The topic is gone; if its records cannot be removed now, `maintain` does it.
        if let Err(error) = upkeep::reap(self) {
            tracing::warn!(%error, "the records of a deleted topic wait for the next maintenance");
        }
        Ok(())
    }

    fn add_partitions(&self, name: &str, partitions: u32) -> Result<(), BusError> {
        self.write(&format!("adding partitions to `{name}`"), |tx| catalog::add_partitions(tx, name, partitions))
    }

    fn offsets(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError> {
        self.read("reading offsets", |c| Ok(catalog::logs(c, topic)?.into_iter().map(|log| log.offsets).collect()))
    }

    fn offsets_at(&self, topic: TopicId, at: WallTime) -> Result<Vec<(u32, Offset)>, BusError> {
        self.read("finding offsets by time", |c| {
            let sql = "SELECT offset FROM records WHERE log = ? AND timestamp >= ? ORDER BY offset LIMIT 1";
            let mut find = c.prepare_cached(sql)?;
            let first = |log: catalog::Log| -> fault::Result<(u32, Offset)> {
                let found = find.query_row((log.log, at.0), |row| Ok(Offset(row.get(0)?))).optional()?;
                Ok((log.offsets.partition, found.unwrap_or(log.offsets.end)))
            };
            catalog::logs(c, topic)?.into_iter().map(first).collect()
        })
    }

    fn produce(&self, topic: TopicId, records: Vec<NewRecord>) -> Result<Vec<(u32, Offset)>, BusError> {
        self.write("appending records", |tx| {
            let mut appender = Appender::new(tx)?;
            let places = records.iter().map(|record| appender.append(topic, record)).collect::<fault::Result<_>>()?;
            appender.finish()?;
            Ok(places)
        })
    }

    fn append_lane(&self, _lane: &str, records: &[(TopicId, NewRecord)]) -> Result<Vec<Offset>, BusError> {
        self.write("appending records", |tx| {
            let mut appender = Appender::new(tx)?;
            let place = |(topic, record): &(TopicId, NewRecord)| appender.append(*topic, record).map(|(_, offset)| offset);
            let offsets = records.iter().map(place).collect::<fault::Result<_>>()?;
            appender.finish()?;
            Ok(offsets)
        })
    }

    fn consumer(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Box<dyn Consumer>, BusError> {
        let opened = consumer::SqliteConsumer::open(self.place.clone(), self.signal.clone(), topic);
        let mut consumer = opened.map_err(|e| e.while_doing("opening a consumer"))?;
        for (partition, resume) in positions {
            consumer.assign(*partition, *resume)?;
        }
        Ok(Box::new(consumer))
    }

    fn append_journal(&self, journal: TopicId, expected: Offset, entries: &[Vec<u8>]) -> Result<Appended, BusError> {
        let now = self.clock.now();
        self.write("appending to a journal", |tx| journal::append(tx, journal, expected, entries, now))
    }

    fn read_journal(&self, journal: TopicId, from: Offset) -> Result<JournalPage, BusError> {
        self.read("reading a journal", |c| journal::read(c, journal, from))
    }

    fn truncate_journal(&self, journal: TopicId, before: Offset) -> Result<(), BusError> {
        let log = self.read("looking up a journal", |c| catalog::log(c, journal, 0))?;
        upkeep::truncate(self, log.log, before)
    }

    fn fence_lane(&self, lane: &str, token: Token) -> Result<Option<Marker>, BusError> {
        self.write(&format!("fencing lane `{lane}`"), |tx| lanes::fence(tx, lane, token))
    }

    fn commit_lane(&self, commit: &LaneCommit) -> Result<(), BusError> {
        self.write(&format!("committing lane `{}`", commit.lane), |tx| lanes::commit(tx, commit))
    }

    fn commit_group(&self, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        self.write("publishing group offsets", |tx| groups::commit(tx, group, topic, positions))
    }

    fn group(&self, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>, BusError> {
        self.read("reading group offsets", |c| groups::read(c, group, topic))
    }

    fn groups(&self) -> Result<Vec<String>, BusError> {
        self.read("listing groups", groups::names)
    }

    fn maintain(&self, now: WallTime) -> Result<u64, BusError> {
        upkeep::maintain(self, now)
    }
}
