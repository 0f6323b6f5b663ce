//! The shared bus for real: Apache Kafka, through librdkafka.
//!
//! What is Kafka's own, beside the embedded bus:
//! - Offsets have holes: every transaction ends with a control record in each partition it wrote to.
//! - There is no conditional append. A journal's writer learns from [`Appended::Behind`] that others were there.
//! - A transactional lane is a transactional id; its marker is a record in a compacted topic `<pipeline>.topics.markers`, written in
//!   the lane's transaction, which is opened and filled while the journal's append is on its way. A tail lane has neither.
//! - Retention and compaction are settings of the topics, applied by the brokers when they get to it.
//! - `produce` checks all records first; when a broker fails in the middle, some of them may stand.
//!
//! Topics are found by name, because the protocol that librdkafka speaks writes by name. A topic that is deleted and created
//! again is noticed by its id: before a `produce`, within 400 ms by a reader, within 5 s by a lane.

mod append;
mod client;
mod consumer;
mod fault;
mod ffi;
mod greet;
mod groups;
mod lanes;
mod marker;
mod offsets;
mod scan;
mod security;
mod topics;
mod watch;

pub use client::KafkaSettings;
pub use security::{Login, Security};

use crate::rules::{RECORD_BYTES_MAX, check_record};
use append::{Appender, EARLIEST, Placed};
use bytes::Bytes;
use client::{Asker, Isolation, Linger};
use consumer::KafkaConsumer;
use distributary_runtime::bus::{
    Appended, Bus, BusError, Consumer, Features, JournalPage, LaneCommit, Marker, NewRecord, Offset, PartitionOffsets, Record,
    Token, Topic, TopicId, TopicSpec,
};
use distributary_runtime::key::java_partition;
use distributary_runtime::time::{Clock, WallTime};
use fault::{unavailable, wait};
use groups::Groups;
use lanes::Lanes;
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use scan::Scanner;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use topics::Topics;

/// So often a journal is read again because its owner has truncated it meanwhile, which it does every few seconds.
const READS_MAX: usize = 20;

/// The bus on a Kafka cluster. Clients are made when they are needed first.
pub struct KafkaBus {
    shared: Shared,
    clock: Arc<dyn Clock>,
    /// For journals apart from the rest: a pipeline does not wait for what else its process writes.
    journals: Appender,
    records: Appender,
    /// Of each writer of its own.
    writers: Mutex<BTreeMap<String, Arc<Appender>>>,
    lanes: Lanes,
    groups: Groups,
}

/// What all parts ask with.
#[derive(Clone)]
struct Shared {
    settings: KafkaSettings,
    topics: Arc<Topics>,
    /// To this one logs end where the oldest open transaction begins.
    committed: Arc<Asker>,
    /// To this one they end where the next record goes.
    uncommitted: Arc<Asker>,
    scanner: Arc<Scanner>,
}

impl Shared {
    /// Where each record goes, by name; everything that can be seen to be wrong is seen before anything is written.
    fn places<'a>(&self, records: &'a [(TopicId, NewRecord)]) -> Result<Vec<Placed<'a>>, BusError> {
        let mut wanted = BTreeMap::new();
        for (topic, record) in records {
            let partitions = wanted.entry(*topic).or_insert(0);
            *partitions = record.partition.map_or(1, |p| p + 1).max(*partitions);
        }
        let mut known = BTreeMap::new();
        for (topic, partitions) in wanted {
            let found = self.topics.recent(topic, partitions)?;
            known.insert(topic, (Arc::<str>::from(found.name.as_str()), found));
        }
        let mut places = Vec::with_capacity(records.len());
        for (topic, record) in records {
            let Some((name, known)) = known.get(topic) else { unreachable!("every topic was looked up") };
            let Some(partition) = record.partition else {
                return Err(BusError::Invalid(format!("a record for `{name}` names no partition")));
            };
            if partition >= known.partitions {
                return Err(BusError::NoPartition { topic: name.to_string(), partition });
            }
            check_record(name, known.form, record)?;
            places.push(Placed { topic: name.clone(), partition, record });
        }
        Ok(places)
    }
}

impl KafkaBus {
    /// Connects to a cluster; the clock dates journal entries and markers.
    ///
    /// # Errors
    /// A setting is wrong, no broker answers, or none lets us in.
    pub fn connect(settings: KafkaSettings, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        settings.security.check()?;
        greet::greet(&settings)?;
        let committed = Arc::new(settings.asker(Isolation::Committed)?);
        let uncommitted = Arc::new(settings.asker(Isolation::Uncommitted)?);
        let topics = Arc::new(Topics::new(settings.clone(), committed.clone())?);
        let scanner = Arc::new(Scanner::new(settings.clone(), committed.clone()));
        let shared = Shared { settings: settings.clone(), topics, committed: committed.clone(), uncommitted, scanner };
        Ok(Self {
            // An epoch's binding comes by itself, and everything waits for it.
            journals: Appender::new(settings.clone(), Linger::NONE),
            records: Appender::new(settings.clone(), Linger::SHORT),
            writers: Mutex::default(),
            lanes: Lanes::new(shared.clone(), clock.clone()),
            groups: Groups::new(settings, committed),
            shared,
            clock,
        })
    }

    fn journal(&self, journal: TopicId) -> Result<(String, PartitionOffsets), BusError> {
        let name = self.shared.topics.by_id(journal)?.name;
        match offsets::bounds(&self.shared.committed, &name, 0..1)?.first() {
            Some(log) => Ok((name, *log)),
            None => Err(BusError::NoPartition { topic: name, partition: 0 }),
        }
    }
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Bus for KafkaBus {
    fn describe(&self) -> String {
        format!("Kafka at {}", self.shared.settings.brokers)
    }

    fn features(&self) -> Features {
        Features {
            atomic_lanes: true,
            conditional_append: false,
            offsets_by_time: true,
            compaction: true,
            upkeep_on_call: false,
            record_bytes_max: RECORD_BYTES_MAX,
            earliest: EARLIEST,
        }
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<bool, BusError> {
        self.shared.topics.create(spec)
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>, BusError> {
        self.shared.topics.topic(name)
    }

    fn topics(&self) -> Result<Vec<Topic>, BusError> {
        self.shared.topics.topics()
    }

    fn delete_topic(&self, name: &str) -> Result<(), BusError> {
        self.shared.topics.delete(name)
    }

    fn add_partitions(&self, name: &str, partitions: u32) -> Result<(), BusError> {
        self.shared.topics.add_partitions(name, partitions)
    }

    fn offsets(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError> {
        let known = self.shared.topics.by_id(topic)?;
        offsets::bounds(&self.shared.committed, &known.name, 0..known.partitions)
    }

    fn offsets_at(&self, topic: TopicId, at: WallTime) -> Result<Vec<(u32, Offset)>, BusError> {
        let known = self.shared.topics.by_id(topic)?;
        // What comes between the two answers stands behind the ends of the first.
        let there = offsets::bounds(&self.shared.committed, &known.name, 0..known.partitions)?;
        let found = offsets::at(&self.shared.committed, &known.name, 0..known.partitions, at)?;
        Ok(there.iter().zip(found).map(|(there, found)| (there.partition, found.unwrap_or(there.end))).collect())
    }

    fn produce(&self, topic: TopicId, records: Vec<NewRecord>) -> Result<Vec<(u32, Offset)>, BusError> {
        let known = self.shared.topics.by_id(topic)?;
        let mut placed = Vec::with_capacity(records.len());
        for record in records {
            check_record(&known.name, known.form, &record)?;
            let partition = match (record.partition, &record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => java_partition(key, known.partitions),
                (None, None) => 0,
            };
            if partition >= known.partitions {
                return Err(BusError::NoPartition { topic: known.name, partition });
            }
            placed.push((partition, record));
        }
        let topic: Arc<str> = known.name.as_str().into();
        let places: Vec<_> =
            placed.iter().map(|(partition, record)| Placed { topic: topic.clone(), partition: *partition, record }).collect();
        let offsets = self.records.append(&topic, &places)?;
        Ok(placed.iter().zip(offsets).map(|((partition, _), offset)| (*partition, offset)).collect())
    }

    fn append_lane(&self, lane: &str, records: &[(TopicId, NewRecord)]) -> Result<Vec<Offset>, BusError> {
        let placed = self.shared.places(records)?;
        let appender = {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Appender::new(self.shared.settings.clone(), Linger::SHORT));
            writers.entry(lane.to_string()).or_insert_with(new).clone()
        };
        appender.append(lane, &placed)
    }

    fn read(&self, topic: TopicId, partition: u32, from: Offset, to: Offset) -> Result<Vec<Record>, BusError> {
        self.shared.scanner.scan(&self.shared.topics.recent(topic, partition + 1)?.name, partition, from, to)
    }

    fn consumer(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(KafkaConsumer::open(self.shared.clone(), topic, positions)?))
    }

    fn append_journal(&self, journal: TopicId, expected: Offset, entries: &[Vec<u8>]) -> Result<Appended, BusError> {
        let known = self.shared.topics.recent(journal, 1)?;
        let timestamp = self.clock.now();
        let record = |entry: &Vec<u8>| {
            let value = Some(Bytes::copy_from_slice(entry));
            NewRecord { partition: Some(0), timestamp, key: None, value, headers: Vec::new() }
        };
        let records: Vec<_> = entries.iter().map(record).collect();
        let topic: Arc<str> = known.name.as_str().into();
        let placed: Vec<_> = records.iter().map(|record| Placed { topic: topic.clone(), partition: 0, record }).collect();
        let offsets = self.journals.append(&topic, &placed)?;
        let follow = offsets.iter().enumerate().all(|(n, at)| at.0 == expected.0 + n as u64);
        match offsets.first() {
            Some(at) if !follow => Ok(Appended::Behind { at: *at }),
            _ => Ok(Appended::At(expected)),
        }
    }

    fn read_journal(&self, journal: TopicId, from: Offset) -> Result<JournalPage, BusError> {
        for _ in 0..READS_MAX {
            let (name, log) = self.journal(journal)?;
            let from = from.max(log.log_start);
            let records = self.shared.scanner.scan(&name, 0, from, log.end)?;
            // Offsets of a journal have no holes. If the owner has truncated it meanwhile, the checkpoint that let it do so may stand
            // behind this end, and what is left tells nothing.
            if records.first().map_or(log.end, |first| first.offset) <= from {
                let entries = records.into_iter().map(|r| (r.offset, r.value.unwrap_or_default().to_vec())).collect();
                return Ok(JournalPage { entries, end: log.end });
            }
        }
        Err(unavailable("reading a journal", "it is truncated faster than it can be read"))
    }

    fn truncate_journal(&self, journal: TopicId, before: Offset) -> Result<(), BusError> {
        let (name, log) = self.journal(journal)?;
        if before <= log.log_start {
            return Ok(());
        }
        let what = format!("truncating `{name}`");
        let mut list = TopicPartitionList::new();
        let wanted = list.add_partition_offset(&name, 0, Position::Offset(before.0 as i64));
        wanted.map_err(|e| unavailable(&what, e))?;
        let admin = self.shared.topics.admin(&name)?;
        let done = wait(admin.delete_records(&list, &topics::options())).map_err(|e| unavailable(&what, e))?;
        done.elements().iter().try_for_each(|partition| partition.error()).map_err(|e| unavailable(&what, e))
    }

    fn fence_lane(&self, lane: &str, token: Token) -> Result<Option<Marker>, BusError> {
        self.lanes.fence(lane, token)
    }

    fn prepare_lane(&self, commit: &LaneCommit) -> Result<(), BusError> {
        self.lanes.prepare(commit)
    }

    fn commit_lane(&self, commit: &LaneCommit) -> Result<(), BusError> {
        self.lanes.commit(commit)
    }

    fn commit_group(&self, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        self.groups.commit(group, &self.shared.topics.by_id(topic)?.name, positions)
    }

    fn group(&self, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>, BusError> {
        match self.shared.topics.by_id(topic) {
            Ok(known) => self.groups.read(group, &known.name, known.partitions),
            // What was published for a topic goes with it.
            Err(BusError::TopicChanged { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn groups(&self) -> Result<Vec<String>, BusError> {
        self.groups.names()
    }

    /// The brokers do it by the settings of each topic; here is nothing to do.
    fn maintain(&self, _now: WallTime) -> Result<u64, BusError> {
        Ok(0)
    }
}
