//! A bus whose topics go back as far as their archives: what retention has taken is read from there, with the same offsets, and where the
//! archive ends, from the bus.
//!
//! A record has the same place, key, value, headers and timestamp in both, so nobody behind a consumer can tell which it came from: a
//! binding, a replay and a count hold for either.

use crate::lake::{Archive, ArchiveReader, TableStore};
use distributary_runtime::bus::{
    Appended, Batch, Bus, BusError, Consumer, Features, JournalPage, LaneCommit, Marker, NewRecord, Offset, PartitionOffsets,
    Token, Topic, TopicId, TopicSpec,
};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::{EventTime, WallTime};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::Url;

/// A bus, and the lake that its archives stand in.
pub struct ArchivedBus {
    bus: Arc<dyn Bus>,
    archives: Archives,
}

/// A store, and the folder of the tables in it, which ends with `/`.
type Lake = (TableStore, Url);

#[derive(Clone)]
struct Archives {
    open: Arc<dyn Fn() -> Result<Lake> + Send + Sync>,
    lake: Arc<OnceLock<Lake>>,
}

impl ArchivedBus {
    /// The lake is opened when it is needed: a pipeline that reads nothing old has nothing to do with it.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, open: impl Fn() -> Result<Lake> + Send + Sync + 'static) -> Self {
        Self { bus, archives: Archives { open: Arc::new(open), lake: Arc::default() } }
    }

    fn archive(&self, topic: TopicId) -> Result<Option<Archive>, BusError> {
        self.archives.open(&*self.bus, topic)
    }
}

impl Archives {
    fn open(&self, bus: &dyn Bus, topic: TopicId) -> Result<Option<Archive>, BusError> {
        let topic = bus.topics()?.into_iter().find(|found| found.id == topic).ok_or(BusError::TopicChanged { topic })?;
        let (store, lake) = match self.lake.get() {
            Some(lake) => lake,
            None => {
                let lake = (self.open)().map_err(as_bus)?;
                self.lake.get_or_init(|| lake)
            }
        };
        Archive::open(store, lake, &topic).map_err(as_bus)
    }
}

/// Where what an archive adds to a partition of the bus begins, if it adds anything: between one that has fallen behind and the bus there is a
/// gap, and what is older is of no use then.
fn kept_from(archive: &Archive, there: &PartitionOffsets) -> Option<Offset> {
    let (from, upto) = archive.held().get(&there.partition)?;
    Some((*from).min(*upto)).filter(|from| *upto >= there.log_start && *from < there.log_start)
}

fn as_bus(error: Error) -> BusError {
    match error {
        Error::Bus(error) => error,
        Error::Unavailable { what, reason } => BusError::Unavailable { what, reason },
        other => BusError::Invalid(other.to_string()),
    }
}

impl Bus for ArchivedBus {
    fn readable(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError> {
        let mut offsets = self.bus.readable(topic)?;
        if offsets.iter().all(|at| at.log_start == Offset(0)) {
            return Ok(offsets);
        }
        let Some(archive) = self.archive(topic)? else { return Ok(offsets) };
        for at in &mut offsets {
            at.log_start = kept_from(&archive, at).unwrap_or(at.log_start);
        }
        Ok(offsets)
    }

    fn offsets_at(&self, topic: TopicId, at: WallTime) -> Result<Vec<(u32, Offset)>, BusError> {
        let there = self.bus.offsets(topic)?;
        let mut found = self.bus.offsets_at(topic, at)?;
        if there.iter().all(|at| at.log_start == Offset(0)) {
            return Ok(found);
        }
        let Some(archive) = self.archive(topic)? else { return Ok(found) };
        let old = there.iter().filter(|at| kept_from(&archive, at).is_some()).map(|at| at.partition);
        let archived = archive.offsets_at(old, at).map_err(as_bus)?;
        for (partition, offset) in &mut found {
            *offset = archived.get(partition).copied().unwrap_or(*offset);
        }
        Ok(found)
    }

    fn event_times_before(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<BTreeMap<u32, EventTime>, BusError> {
        let Some(archive) = self.archive(topic)? else { return Ok(BTreeMap::new()) };
        archive.event_times_before(positions).map_err(as_bus)
    }

    fn consumer(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Box<dyn Consumer>, BusError> {
        let there = self.bus.offsets(topic)?;
        let is_there =
            |(partition, resume): &(u32, Offset)| there.iter().any(|at| at.partition == *partition && at.log_start <= *resume);
        if positions.iter().all(is_there) {
            return self.bus.consumer(topic, positions);
        }
        let (archives, bus) = (self.archives.clone(), self.bus.clone());
        let (live, old) = positions.iter().copied().partition(is_there);
        let mut consumer =
            Tiered { bus, archives, topic, live: None, old, ends: BTreeMap::new(), reader: None, paused: Vec::new() };
        consumer.go_live(live)?;
        consumer.look()?;
        Ok(Box::new(consumer))
    }

    fn describe(&self) -> String {
        self.bus.describe()
    }

    fn features(&self) -> Features {
        self.bus.features()
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<bool, BusError> {
        self.bus.create_topic(spec)
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>, BusError> {
        self.bus.topic(name)
    }

    fn topics(&self) -> Result<Vec<Topic>, BusError> {
        self.bus.topics()
    }

    fn delete_topic(&self, name: &str) -> Result<(), BusError> {
        self.bus.delete_topic(name)
    }

    fn add_partitions(&self, name: &str, partitions: u32) -> Result<(), BusError> {
        self.bus.add_partitions(name, partitions)
    }

    fn offsets(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError> {
        self.bus.offsets(topic)
    }

    fn produce(&self, topic: TopicId, records: Vec<NewRecord>) -> Result<Vec<(u32, Offset)>, BusError> {
        self.bus.produce(topic, records)
    }

    fn append_lane(&self, lane: &str, records: &[(TopicId, NewRecord)]) -> Result<Vec<Offset>, BusError> {
        self.bus.append_lane(lane, records)
    }

    fn append_journal(&self, journal: TopicId, expected: Offset, entries: &[Vec<u8>]) -> Result<Appended, BusError> {
        self.bus.append_journal(journal, expected, entries)
    }

    fn read_journal(&self, journal: TopicId, from: Offset) -> Result<JournalPage, BusError> {
        self.bus.read_journal(journal, from)
    }

    fn truncate_journal(&self, journal: TopicId, before: Offset) -> Result<(), BusError> {
        self.bus.truncate_journal(journal, before)
    }

    fn fence_lane(&self, lane: &str, token: Token) -> Result<Option<Marker>, BusError> {
        self.bus.fence_lane(lane, token)
    }

    fn prepare_lane(&self, commit: &LaneCommit) -> Result<(), BusError> {
        self.bus.prepare_lane(commit)
    }

    fn commit_lane(&self, commit: &LaneCommit) -> Result<(), BusError> {
        self.bus.commit_lane(commit)
    }

    fn commit_group(&self, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        self.bus.commit_group(group, topic, positions)
    }

    fn group(&self, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>, BusError> {
        self.bus.group(group, topic)
    }

    fn groups(&self) -> Result<Vec<String>, BusError> {
        self.bus.groups()
    }

    fn maintain(&self, now: WallTime) -> Result<u64, BusError> {
        self.bus.maintain(now)
    }
}

/// Reads what is old from the archive, and goes on from the bus, partition by partition.
struct Tiered {
    bus: Arc<dyn Bus>,
    archives: Archives,
    topic: TopicId,
    /// Of the partitions that are read from the bus.
    live: Option<Box<dyn Consumer>>,
    /// Where those stand that are read from the archive.
    old: BTreeMap<u32, Offset>,
    /// Up to where the archive that is read holds them, and where the bus ended when it was opened.
    ends: BTreeMap<u32, (Offset, Offset)>,
    reader: Option<ArchiveReader>,
    paused: Vec<u32>,
}

impl Consumer for Tiered {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Batch>, BusError> {
        // One reader gives all partitions in their order: it stands still while one of them has enough.
        let is_held_up = self.old.keys().any(|partition| self.paused.contains(partition));
        let mut batches = match &mut self.live {
            Some(live) => live.poll(if self.old.is_empty() || is_held_up { wait } else { Duration::ZERO })?,
            None if is_held_up => {
                std::thread::park_timeout(wait);
                Vec::new()
            }
            None => Vec::new(),
        };
        if !self.old.is_empty() && !is_held_up {
            batches.extend(self.read()?);
        }
        Ok(batches)
    }

    fn assign(&mut self, partition: u32, resume: Offset) -> Result<(), BusError> {
        let there = self.bus.offsets(self.topic)?.into_iter().find(|at| at.partition == partition);
        if there.is_some_and(|at| resume < at.log_start) {
            self.old.insert(partition, resume);
            return self.look();
        }
        self.go_live(BTreeMap::from([(partition, resume)]))
    }

    fn pause(&mut self, partitions: &[u32]) {
        self.paused = partitions.to_vec();
        if let Some(live) = &mut self.live {
            live.pause(partitions);
        }
    }
}

impl Tiered {
    /// Some records of the archive; at its end the partitions go on from the bus.
    fn read(&mut self) -> Result<Vec<Batch>, BusError> {
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let Some(records) = reader.read().map_err(as_bus)? else {
            self.end_of_archive()?;
            return Ok(Vec::new());
        };
        let mut batches = Vec::with_capacity(records.len());
        for (partition, records) in records {
            let Some(position) = records.last().map(|record| record.offset.next()) else { continue };
            self.old.insert(partition, position);
            // It is not drained: what comes next is in the archive, or on the bus.
            let end = self.ends.get(&partition).map_or(position, |(_, end)| *end).max(position.next());
            batches.push(Batch { partition, records, position, end });
        }
        Ok(batches)
    }

    /// What the archive held has been read: on to the bus, or, if that has lost more meanwhile, to what the archive has got meanwhile.
    fn end_of_archive(&mut self) -> Result<(), BusError> {
        let there = self.bus.offsets(self.topic)?;
        let mut live = BTreeMap::new();
        self.old.retain(|partition, position| {
            *position = (*position).max(self.ends.get(partition).map_or(Offset(0), |(upto, _)| *upto));
            let is_there = there.iter().any(|at| at.partition == *partition && at.log_start <= *position);
            if is_there {
                live.insert(*partition, *position);
            }
            !is_there
        });
        self.reader = None;
        self.go_live(live)?;
        self.look()
    }

    fn go_live(&mut self, positions: BTreeMap<u32, Offset>) -> Result<(), BusError> {
        if positions.is_empty() {
            return Ok(());
        }
        tracing::debug!(topic = %self.topic, ?positions, "read from the bus");
        match &mut self.live {
            Some(live) => positions.into_iter().try_for_each(|(partition, resume)| live.assign(partition, resume)),
            None => {
                let positions: Vec<_> = positions.into_iter().collect();
                let live = self.live.insert(self.bus.consumer(self.topic, &positions)?);
                live.pause(&self.paused);
                Ok(())
            }
        }
    }

    /// Opens the archive for the partitions that are old: it must hold what comes next in each.
    fn look(&mut self) -> Result<(), BusError> {
        if self.old.is_empty() {
            return Ok(());
        }
        let there = self.bus.offsets(self.topic)?;
        let archive = self.archives.open(&*self.bus, self.topic)?;
        for (partition, resume) in &self.old {
            let at = there.iter().find(|at| at.partition == *partition);
            let at = at.ok_or(BusError::NoPartition { topic: self.topic.to_string(), partition: *partition })?;
            match archive.as_ref().and_then(|archive| archive.held().get(partition)) {
                Some((from, upto)) if (*from..*upto).contains(resume) => self.ends.insert(*partition, (*upto, at.end)),
                _ => {
                    let named = self.bus.topics()?.into_iter().find(|found| found.id == self.topic);
                    let topic = named.map_or_else(|| self.topic.to_string(), |topic| topic.spec.name);
                    let (log_start, end) = (at.log_start, at.end);
                    return Err(BusError::OutOfRange { topic, partition: *partition, resume: *resume, log_start, end });
                }
            };
        }
        tracing::debug!(topic = %self.topic, positions = ?self.old, "read from the archive");
        self.reader = archive.map(|archive| archive.read(self.old.clone()));
        Ok(())
    }
}
