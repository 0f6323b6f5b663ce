//! A bus that is away, forgets its answers, or can do less, when a scenario says so.

use distributary_runtime::bus::{
    Appended, Batch, Bus, BusError, Consumer, Features, JournalPage, LaneCommit, Marker, NewRecord, Offset, PartitionOffsets,
    Token, Topic, TopicId, TopicSpec,
};
use distributary_runtime::time::WallTime;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

type Result<T> = std::result::Result<T, BusError>;

/// See the module.
pub(crate) struct UnrulyBus {
    inner: Arc<dyn Bus>,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
}

struct Mood {
    features: Features,
    away: bool,
    /// Calls that failed because of `away`.
    failed: u64,
    /// So many answers of writes are still to be lost.
    answers_to_lose: u32,
    /// Partitions with this number and above are not there.
    partitions_from: Option<u32>,
    /// Bytes that consumers delivered.
    delivered: u64,
    /// The most records that a poll brings of a partition.
    trickles: BTreeMap<u32, usize>,
}

impl UnrulyBus {
    pub(crate) fn new(inner: Arc<dyn Bus>) -> Self {
        let mood = Mood {
            features: inner.features(),
            away: false,
            failed: 0,
            answers_to_lose: 0,
            partitions_from: None,
            delivered: 0,
            trickles: BTreeMap::new(),
        };
        Self { inner, shared: Arc::new(Shared { mood: Mutex::new(mood), changed: Condvar::new() }) }
    }

    /// Takes features away.
    pub(crate) fn lacks(&self, change: impl FnOnce(&mut Features)) {
        change(&mut self.shared.mood.lock().unwrap().features);
    }

    /// Fails every call from now on, until [`UnrulyBus::returns`].
    pub(crate) fn goes_away(&self) {
        let mut mood = self.shared.mood.lock().unwrap();
        mood.away = true;
        mood.failed = 0;
    }

    pub(crate) fn returns(&self) {
        self.shared.mood.lock().unwrap().away = false;
    }

    /// Waits until so many calls have failed.
    pub(crate) fn wait_failed(&self, calls: u64) {
        let mood = self.shared.mood.lock().unwrap();
        let waited = self.shared.changed.wait_timeout_while(mood, crate::rig::PATIENCE, |m| m.failed < calls);
        assert!(!waited.unwrap().1.timed_out(), "nobody calls a bus that is away");
    }

    /// The next writes to journals and lanes stand, but their writers are told otherwise.
    pub(crate) fn loses_answers(&self, count: u32) {
        self.shared.mood.lock().unwrap().answers_to_lose = count;
    }

    /// How many answers are still to be lost.
    pub(crate) fn answers_to_lose(&self) -> u32 {
        self.shared.mood.lock().unwrap().answers_to_lose
    }

    /// Hides partitions with this number and above.
    pub(crate) fn hides_partitions_from(&self, partition: u32) {
        self.shared.mood.lock().unwrap().partitions_from = Some(partition);
    }

    /// New consumers bring no more than `records` of this partition in a poll.
    pub(crate) fn trickles(&self, partition: u32, records: usize) {
        self.shared.mood.lock().unwrap().trickles.insert(partition, records);
    }

    /// Bytes of records that consumers have delivered so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.shared.mood.lock().unwrap().delivered
    }
}

impl Shared {
    fn answer(&self) -> Result<()> {
        let mut mood = self.mood.lock().unwrap();
        if !mood.away {
            return Ok(());
        }
        mood.failed += 1;
        self.changed.notify_all();
        Err(unavailable("it is away"))
    }

    fn answer_of_write<T>(&self, written: T) -> Result<T> {
        let mut mood = self.mood.lock().unwrap();
        if mood.answers_to_lose == 0 {
            return Ok(written);
        }
        mood.answers_to_lose -= 1;
        Err(unavailable("the answer is lost"))
    }

    fn shows(&self, partition: u32) -> bool {
        self.mood.lock().unwrap().partitions_from.is_none_or(|from| partition < from)
    }
}

fn unavailable(reason: &str) -> BusError {
    BusError::Unavailable { what: "calling a bus".into(), reason: reason.into() }
}

impl Bus for UnrulyBus {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn features(&self) -> Features {
        self.shared.mood.lock().unwrap().features
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.shared.answer()?;
        self.inner.create_topic(spec)
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>> {
        self.shared.answer()?;
        self.inner.topic(name)
    }

    fn topics(&self) -> Result<Vec<Topic>> {
        self.shared.answer()?;
        self.inner.topics()
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.shared.answer()?;
        self.inner.delete_topic(name)
    }

    fn add_partitions(&self, name: &str, partitions: u32) -> Result<()> {
        self.shared.answer()?;
        self.inner.add_partitions(name, partitions)
    }

    fn offsets(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>> {
        self.shared.answer()?;
        Ok(self.inner.offsets(topic)?.into_iter().filter(|at| self.shared.shows(at.partition)).collect())
    }

    fn offsets_at(&self, topic: TopicId, at: WallTime) -> Result<Vec<(u32, Offset)>> {
        self.shared.answer()?;
        Ok(self.inner.offsets_at(topic, at)?.into_iter().filter(|(partition, _)| self.shared.shows(*partition)).collect())
    }

    fn produce(&self, topic: TopicId, records: Vec<NewRecord>) -> Result<Vec<(u32, Offset)>> {
        self.shared.answer()?;
        self.inner.produce(topic, records)
    }

    fn append_lane(&self, lane: &str, records: &[(TopicId, NewRecord)]) -> Result<Vec<Offset>> {
        self.shared.answer()?;
        let offsets = self.inner.append_lane(lane, records)?;
        self.shared.answer_of_write(offsets)
    }

    fn consumer(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Box<dyn Consumer>> {
        self.shared.answer()?;
        let inner = self.inner.consumer(topic, positions)?;
        let trickles = self.shared.mood.lock().unwrap().trickles.clone();
        Ok(Box::new(UnrulyConsumer { inner, shared: self.shared.clone(), trickles, held: BTreeMap::new() }))
    }

    fn append_journal(&self, journal: TopicId, expected: Offset, entries: &[Vec<u8>]) -> Result<Appended> {
        self.shared.answer()?;
        let appended = self.inner.append_journal(journal, expected, entries)?;
        self.shared.answer_of_write(appended)
    }

    fn read_journal(&self, journal: TopicId, from: Offset) -> Result<JournalPage> {
        self.shared.answer()?;
        self.inner.read_journal(journal, from)
    }

    fn truncate_journal(&self, journal: TopicId, before: Offset) -> Result<()> {
        self.shared.answer()?;
        self.inner.truncate_journal(journal, before)
    }

    fn fence_lane(&self, lane: &str, token: Token) -> Result<Option<Marker>> {
        self.shared.answer()?;
        self.inner.fence_lane(lane, token)
    }

    fn commit_lane(&self, commit: &LaneCommit) -> Result<()> {
        self.shared.answer()?;
        self.inner.commit_lane(commit)?;
        self.shared.answer_of_write(())
    }

    fn commit_group(&self, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<()> {
        self.shared.answer()?;
        self.inner.commit_group(group, topic, positions)
    }

    fn group(&self, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>> {
        self.shared.answer()?;
        self.inner.group(group, topic)
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.shared.answer()?;
        self.inner.groups()
    }

    fn maintain(&self, now: WallTime) -> Result<u64> {
        self.shared.answer()?;
        self.inner.maintain(now)
    }
}

struct UnrulyConsumer {
    inner: Box<dyn Consumer>,
    shared: Arc<Shared>,
    trickles: BTreeMap<u32, usize>,
    /// What was fetched of slow partitions and has not trickled through.
    held: BTreeMap<u32, Batch>,
}

impl UnrulyConsumer {
    /// Holds back what a slow partition has brought, and lets some of it through.
    fn trickle(&mut self, batches: &mut Vec<Batch>) {
        for batch in batches.extract_if(.., |batch| self.trickles.contains_key(&batch.partition)) {
            match self.held.entry(batch.partition) {
                Entry::Vacant(held) => drop(held.insert(batch)),
                Entry::Occupied(mut held) => {
                    let held = held.get_mut();
                    held.records.extend(batch.records);
                    (held.position, held.end) = (batch.position, batch.end);
                }
            }
        }
        for (partition, most) in &self.trickles {
            let Some(mut some) = self.held.remove(partition) else { continue };
            if some.records.len() > *most {
                let records = some.records.split_off(*most);
                self.held.insert(*partition, Batch { records, ..some.clone() });
                some.position = some.records.last().unwrap().offset.next();
            }
            batches.push(some);
        }
    }
}

impl Consumer for UnrulyConsumer {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Batch>> {
        self.shared.answer()?;
        let mut batches = self.inner.poll(if self.held.is_empty() { wait } else { Duration::ZERO })?;
        self.trickle(&mut batches);
        let bytes: u64 = batches.iter().flat_map(|b| &b.records).map(|r| r.bytes()).sum();
        self.shared.mood.lock().unwrap().delivered += bytes;
        Ok(batches)
    }

    fn assign(&mut self, partition: u32, resume: Offset) -> Result<()> {
        self.shared.answer()?;
        self.inner.assign(partition, resume)
    }

    fn pause(&mut self, partitions: &[u32]) {
        self.inner.pause(partitions);
    }
}
