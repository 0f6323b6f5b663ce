//! Reading: each consumer is a client of its own on its caller's thread, with the partitions it was told and no group.
//!
//! Offsets have holes (control records of transactions, aborted transactions, compaction). So a position is behind the last
//! record that was delivered, or where librdkafka found the end of what may be read.
//!
//! librdkafka's own pause throws away what it has fetched, and fetches it again. So a paused partition here just gathers in
//! its own queue, up to `client::QUEUE_BYTES`, and what was on its way to the common one is held back here.

use super::Shared;
use super::client::{Voice, learn};
use super::fault::unavailable;
use super::ffi::{self, Event, Route};
use super::offsets;
use super::watch::{Seen, Watch};
use distributary_runtime::bus::{Batch, BusError, Consumer, Offset, PartitionOffsets, Record, TopicId};
use distributary_runtime::time::monotonic;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::time::{Duration, Instant};

/// What one poll gathers at most, of all partitions together.
const POLL_RECORDS_MAX: usize = 4_000;
const POLL_BYTES_MAX: u64 = 1 << 20;

/// An idle broker answers ten fetches a second; a partition that is added or resumed waits no longer than this.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often a consumer that waits for records looks at what its watch has seen.
const TURN: Duration = Duration::from_millis(100);

/// A drained partition is reported this often: with the pause of the watch, within the second the trait promises.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct KafkaConsumer {
    client: BaseConsumer<Voice>,
    shared: Shared,
    topic: TopicId,
    name: String,
    c_name: CString,
    cursors: BTreeMap<u32, Cursor>,
    watch: Watch,
}

struct Cursor {
    position: Offset,
    paused: bool,
    /// Whether it ever was: from then on librdkafka leaves it to us where its queue leads.
    was_paused: bool,
    /// What came although it is paused: at most what was in the common queue then.
    held: VecDeque<Event>,
    /// Everything that may be read has been.
    drained: bool,
    reported_at: Instant,
}

/// What a poll will return.
#[derive(Default)]
struct Gathered {
    records: BTreeMap<u32, Vec<Record>>,
    count: usize,
    bytes: u64,
}

impl KafkaConsumer {
    pub(super) fn open(shared: Shared, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Self, BusError> {
        let name = shared.topics.by_id(topic)?.name;
        let c_name = CString::new(name.as_str()).map_err(|e| BusError::Invalid(format!("topic name {name:?}: {e}")))?;
        let client = shared.settings.consumer(PATIENCE)?;
        learn(client.client(), &name).map_err(|e| unavailable(&format!("reading topic `{name}`"), e))?;
        let watch = Watch::start(shared.topics.clone(), shared.uncommitted.clone(), topic)?;
        let mut consumer = Self { client, shared, topic, name, c_name, cursors: BTreeMap::new(), watch };
        consumer.add(positions)?;
        Ok(consumer)
    }

    fn add(&mut self, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        if positions.is_empty() {
            return Ok(());
        }
        let offsets = self.bounds()?;
        for (partition, resume) in positions {
            let Some(log) = offsets.get(*partition as usize) else {
                return Err(BusError::NoPartition { topic: self.name.clone(), partition: *partition });
            };
            self.check_range(log, *resume)?;
        }
        self.read_from(positions)?;
        for (partition, resume) in positions {
            let was_paused = self.cursors.get(partition).is_some_and(|before| before.was_paused);
            let (position, reported_at) = (*resume, monotonic());
            let cursor = Cursor { position, paused: false, was_paused, held: VecDeque::new(), drained: false, reported_at };
            self.cursors.insert(*partition, cursor);
        }
        Ok(())
    }

    /// First and last stable offset of every partition.
    fn bounds(&self) -> Result<Vec<PartitionOffsets>, BusError> {
        let known = self.shared.topics.by_id(self.topic)?;
        offsets::bounds(&self.shared.committed, &self.name, 0..known.partitions)
    }

    fn check_range(&self, log: &PartitionOffsets, resume: Offset) -> Result<(), BusError> {
        let PartitionOffsets { partition, log_start, end } = *log;
        if (log_start..=end).contains(&resume) {
            return Ok(());
        }
        Err(BusError::OutOfRange { topic: self.name.clone(), partition, resume, log_start, end })
    }

    /// Makes librdkafka fetch from these positions, whatever it did with the partitions before.
    fn read_from(&self, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        let failed = |e: KafkaError| unavailable(&format!("assigning partitions of `{}`", self.name), e);
        let again = self.list(positions.iter().filter(|(p, _)| self.cursors.contains_key(p)).copied()).map_err(failed)?;
        if again.count() > 0 {
            self.client.incremental_unassign(&again).map_err(failed)?;
        }
        let list = self.list(positions.iter().copied()).map_err(failed)?;
        self.client.incremental_assign(&list).map_err(failed)
    }

    fn list(&self, positions: impl Iterator<Item = (u32, Offset)>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, resume) in positions {
            list.add_partition_offset(&self.name, partition as i32, Position::Offset(resume.0 as i64))?;
        }
        Ok(list)
    }

    /// What was held back of partitions that are not paused any more.
    fn release(&mut self, gathered: &mut Gathered) -> Result<(), BusError> {
        let partitions: Vec<u32> = self.cursors.iter().filter(|(_, c)| !c.held.is_empty()).map(|(p, _)| *p).collect();
        for partition in partitions {
            while !gathered.is_full()
                && let Some(cursor) = self.cursors.get_mut(&partition).filter(|cursor| !cursor.paused)
                && let Some(event) = cursor.held.pop_front()
            {
                self.take(event, gathered)?;
            }
            self.lead(partition);
        }
        Ok(())
    }

    /// Leads the queue of a partition. It delivers only when nothing is held back of it: so each of the two holds no more than
    /// the bounds of a queue, however often the partition is paused.
    fn lead(&self, partition: u32) {
        let Some(cursor) = self.cursors.get(&partition).filter(|cursor| cursor.was_paused) else { return };
        let gathers = cursor.paused || !cursor.held.is_empty();
        ffi::route(&self.client, &self.c_name, partition, if gathers { Route::Gather } else { Route::Deliver });
    }

    fn take(&mut self, event: Event, gathered: &mut Gathered) -> Result<(), BusError> {
        match event {
            Event::Record { partition, .. } | Event::End { partition, .. } if self.is_paused(partition) => {
                if let Some(cursor) = self.cursors.get_mut(&partition) {
                    cursor.held.push_back(event);
                }
            }
            Event::Record { partition, record } => {
                let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(()) };
                // What was fetched before the position was moved.
                if record.offset < cursor.position {
                    return Ok(());
                }
                cursor.position = record.offset.next();
                cursor.drained = false;
                gathered.count += 1;
                gathered.bytes += record.bytes();
                gathered.records.entry(partition).or_default().push(record);
            }
            Event::End { partition, at } => {
                let Some(cursor) = self.cursors.get_mut(&partition) else { return Ok(()) };
                cursor.position = cursor.position.max(at);
                cursor.drained = true;
                gathered.records.entry(partition).or_default();
            }
            Event::Failed { partition, code } => self.failed(partition, code)?,
        }
        Ok(())
    }

    fn is_paused(&self, partition: u32) -> bool {
        self.cursors.get(&partition).is_some_and(|cursor| cursor.paused)
    }

    fn failed(&mut self, partition: Option<u32>, code: RDKafkaErrorCode) -> Result<(), BusError> {
        use RDKafkaErrorCode as Code;
        tracing::debug!(topic = self.name, ?partition, %code, "a fetch failed");
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let bounds = self.bounds()?;
                for (partition, cursor) in self.cursors.iter().filter(|(p, _)| partition.is_none_or(|named| named == **p)) {
                    if let Some(log) = bounds.get(*partition as usize) {
                        self.check_range(log, cursor.position)?;
                        // In range after all: a replica that lagged behind has answered.
                        self.read_from(&[(*partition, cursor.position)])?;
                    }
                }
                Ok(())
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId => {
                self.shared.topics.by_id(self.topic).map(|_| ())
            }
            // librdkafka connects again by itself.
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable => Ok(()),
            code => Err(unavailable(&format!("reading topic `{}`", self.name), code)),
        }
    }

    /// Drained partitions are reported again when the cluster has answered again.
    fn look(&mut self, gathered: &mut Gathered) -> Result<(), BusError> {
        match self.watch.seen() {
            Some(Seen::Changed) => Err(BusError::TopicChanged { topic: self.topic }),
            Some(Seen::Same { asked_at, .. }) => {
                for (partition, cursor) in self.cursors.iter().filter(|(_, c)| c.drained && !c.paused) {
                    if asked_at > cursor.reported_at && cursor.reported_at.elapsed() >= REPORT_INTERVAL {
                        gathered.records.entry(*partition).or_default();
                    }
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn batches(&mut self, gathered: Gathered) -> Vec<Batch> {
        let seen = match self.watch.seen() {
            Some(Seen::Same { asked_at, ends }) => Some((asked_at, ends)),
            _ => None,
        };
        let mut batches = Vec::with_capacity(gathered.records.len());
        for (partition, records) in gathered.records {
            let Some(cursor) = self.cursors.get_mut(&partition) else { continue };
            let position = cursor.position;
            let fetched = ffi::high_watermark(&self.client, &self.c_name, partition);
            let asked = seen.as_ref().filter(|(asked_at, _)| *asked_at > cursor.reported_at);
            let asked = asked.and_then(|(_, ends)| ends.get(partition as usize).copied().flatten());
            // The greater one: a transaction that is open behind the position is not the end. Without an answer there is
            // no evidence that nothing more stands there.
            let end = fetched.max(asked).map_or(position.next(), |end| end.max(position));
            cursor.reported_at = monotonic();
            batches.push(Batch { partition, records, position, end });
        }
        batches
    }
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.count >= POLL_RECORDS_MAX || self.bytes >= POLL_BYTES_MAX
    }
}

impl Consumer for KafkaConsumer {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Batch>, BusError> {
        let (start, mut gathered) = (monotonic(), Gathered::default());
        self.look(&mut gathered)?;
        self.release(&mut gathered)?;
        while !gathered.is_full() {
            let left = if gathered.records.is_empty() { wait.saturating_sub(start.elapsed()) } else { Duration::ZERO };
            match ffi::poll(&self.client, &self.c_name, left.min(TURN)) {
                Some(event) => self.take(event, &mut gathered)?,
                None if left.is_zero() => break,
                None => self.look(&mut gathered)?,
            }
        }
        Ok(self.batches(gathered))
    }

    /// Assigning a partition once more moves its position.
    fn assign(&mut self, partition: u32, resume: Offset) -> Result<(), BusError> {
        self.add(&[(partition, resume)])
    }

    /// Says it again and again: a partition that was assigned anew has forgotten where its queue leads.
    fn pause(&mut self, partitions: &[u32]) {
        for (partition, cursor) in &mut self.cursors {
            cursor.paused = partitions.contains(partition);
            cursor.was_paused |= cursor.paused;
        }
        self.cursors.keys().for_each(|partition| self.lead(*partition));
    }
}
