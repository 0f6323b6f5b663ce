//! What a follower does about requests to delete: it suppresses what they cover, and recalls what was bound before them.

use super::{Decoder, SourcePartition};
use crate::binding::{Delivered, Feed, Lift, Range, RecallFacts, recalled};
use crate::bus::{Bus, BusError, Offset, Record, Topic};
use crate::deletion::{Requests, Suppression};
use crate::error::{Error, Result};
use crate::report::{Report, Reports};
use crate::response::Response;
use crate::source::running::RunningSource;
use crate::threads::spawn;
use crate::time::{EventTime, Watermark};
use crate::update::{Data, Origin, Stamp, Update};
use crate::user_code::catch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// Records that are bound as one piece: what an epoch retracts is so bounded.
const PIECE_RECORDS: usize = 1_000;
/// Pause after a bus that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How the records of a source are read once more.
pub(super) struct Again<D> {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) topic: Topic,
    pub(super) source: u16,
    pub(super) decoder: Decoder<D>,
    pub(super) delay_ms: i64,
    pub(super) takes_back: bool,
    pub(super) reports: Reports,
    pub(super) activator: SyncActivator,
}

impl<D> Clone for Again<D> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            topic: self.topic.clone(),
            decoder: self.decoder.clone(),
            reports: self.reports.clone(),
            activator: self.activator.clone(),
            ..*self
        }
    }
}

/// A covered record, as an update with the difference turned round.
pub(super) type Recalled<D> = (Record, Update<D>);

/// What has been recalled, until an epoch takes it.
type Shelf<D> = Arc<Mutex<BTreeMap<Feed, Recalls<D>>>>;

struct Recalls<D> {
    /// The offset of the first that is still there.
    first: u64,
    records: VecDeque<Recalled<D>>,
}

/// Recalls that wait for their turn. One is done after the other, by one thread, which is there as long as there are any.
type Waiting<D> = Arc<Mutex<Queue<D>>>;

struct Queue<D> {
    recalls: VecDeque<Recall<D>>,
    is_worked: bool,
}

/// See the module.
pub(super) struct Deletions<D> {
    again: Again<D>,
    requests: Requests,
    /// Those that hold now.
    suppression: Suppression,
    /// How far this worker's partitions are bound, and what they were lifted to.
    bound: BTreeMap<u32, Offset>,
    facts: RecallFacts,
    /// How much of a recall was bound before this incarnation.
    bound_before: BTreeMap<Feed, Offset>,
    waiting: Waiting<D>,
    shelf: Shelf<D>,
}

impl<D: Data> Deletions<D> {
    /// Goes on where the checkpoint stood: with recalls that were not complete.
    pub(super) fn start(running: &RunningSource, requests: Requests, again: Again<D>) -> Self {
        let mine = |partition: u32| running.owns(partition);
        let mut deletions = Self {
            suppression: Suppression::of(requests.between(Offset(0), running.requests_upto)),
            requests,
            bound: running.resume.iter().filter(|(p, _)| mine(**p)).map(|(p, (at, _))| (*p, *at)).collect(),
            facts: running.recalls.clone(),
            bound_before: running.recalled.clone(),
            waiting: Arc::new(Mutex::new(Queue { recalls: VecDeque::new(), is_worked: false })),
            shelf: Shelf::default(),
            again,
        };
        for (deletion, recall) in std::mem::take(&mut deletions.facts.open) {
            let bound = recall.bound.iter().map(|(feed, upto)| (feed.partition.number(), *upto));
            deletions.recall((Offset(u64::from(deletion)), recall.upto), bound.filter(|(p, _)| mine(*p)).collect());
        }
        deletions
    }

    /// Requests hold from here on. What was bound before them is recalled.
    pub(super) fn hold(&mut self, (from, upto): (Offset, Offset)) {
        let bound = self.bound.iter().map(|(partition, at)| (*partition, *at));
        let is_read = |(partition, at): &(u32, Offset)| *at > self.facts.since(self.again.feed(*partition));
        self.recall((from, upto), bound.filter(is_read).collect());
        self.suppression.add(self.requests.between(from, upto));
    }

    fn recall(&self, (from, upto): (Offset, Offset), partitions: Vec<(u32, Offset)>) {
        let deletion = from.0 as u32;
        let earlier = Arc::new(Suppression::of(self.requests.between(Offset(0), from)));
        let now = Arc::new(Suppression::of(self.requests.between(from, upto)));
        let recalls = partitions.into_iter().map(|(partition, upto)| {
            let feed = self.again.feed(partition);
            Recall {
                again: self.again.clone(),
                deletion,
                partition,
                span: (self.facts.since(feed), upto),
                lifts: self.facts.lifts.get(&feed).cloned().unwrap_or_default(),
                earlier: earlier.clone(),
                now: now.clone(),
                bound_before: self.bound_before.get(&recalled(feed, deletion)).copied().unwrap_or(Offset(0)),
                shelf: self.shelf.clone(),
            }
        });
        let mut queue = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recalls.extend(recalls);
        if !queue.is_worked && !queue.recalls.is_empty() {
            queue.is_worked = true;
            let waiting = self.waiting.clone();
            spawn("recall", &self.again.reports, move || work(&waiting));
        }
    }

    /// A partition is lifted in front of what an epoch binds of it.
    pub(super) fn lifted(&mut self, lift: Lift) {
        let at = self.bound.get(&lift.feed.partition.number()).copied().unwrap_or(Offset(0));
        self.facts.lifts.entry(lift.feed).or_default().push((at, lift.to));
    }

    pub(super) fn bound(&mut self, range: &Range) {
        if let SourcePartition::Bus { partition, .. } = range.feed.partition {
            self.bound.insert(partition, range.upto);
        }
    }

    /// Whether a record is not to enter.
    ///
    /// # Errors
    /// Its subject cannot be told.
    pub(super) fn suppresses(&self, record: &Record, data: &D, partition: u32) -> Result<bool, String> {
        if self.suppression.is_empty() { Ok(false) } else { self.again.is_covered(&self.suppression, partition, record, data) }
    }

    /// Gives the recalled records of a range; how many, or `None` when they are still being read.
    pub(super) fn take(&self, feed: Feed, (from, upto): (Offset, Offset), mut give: impl FnMut(Recalled<D>)) -> Option<u64> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let recalls = shelf.get_mut(&feed)?;
        let mut found = 0;
        while recalls.first < upto.0 {
            let Some(record) = recalls.records.pop_front() else { break };
            // What a checkpoint holds the effect of has been given before.
            if recalls.first >= from.0 {
                give(record);
                found += 1;
            }
            recalls.first += 1;
        }
        if upto == SourcePartition::RECALLED {
            found += 1;
            shelf.remove(&feed);
        }
        Some(found)
    }
}

/// Does one recall after the other, until none waits.
fn work<D: Data>(waiting: &Waiting<D>) -> Result<()> {
    loop {
        let recall = {
            let mut queue = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let next = queue.recalls.pop_front();
            queue.is_worked = next.is_some();
            next
        };
        match recall {
            Some(recall) => recall.run()?,
            None => return Ok(()),
        }
    }
}

impl<D: Data> Again<D> {
    fn feed(&self, partition: u32) -> Feed {
        Feed::bus(self.source, self.topic.id, partition)
    }

    fn is_covered(&self, by: &Suppression, partition: u32, record: &Record, data: &D) -> Result<bool, String> {
        let Some(subject_of) = self.decoder.subject.as_ref().filter(|_| !record.is_derived()) else { return Ok(false) };
        let topic = &self.topic.spec.name;
        catch(|| subject_of(data).is_some_and(|subject| by.covers(&subject, topic, partition, record.offset)))
    }
}

/// The recall of what a partition had brought.
struct Recall<D> {
    again: Again<D>,
    deletion: u32,
    partition: u32,
    /// From the beginning of the generation to what was bound.
    span: (Offset, Offset),
    lifts: Vec<(Offset, Watermark)>,
    /// Requests before these: what they cover has been recalled, or never entered.
    earlier: Arc<Suppression>,
    now: Arc<Suppression>,
    bound_before: Offset,
    shelf: Shelf<D>,
}

impl<D: Data> Recall<D> {
    fn run(self) -> Result<()> {
        while !self.again.reports.is_halted() {
            match self.read() {
                Ok(records) => {
                    self.deliver(records);
                    return Ok(());
                }
                Err(Error::Bus(error @ BusError::OutOfRange { .. })) => {
                    tracing::error!(
                        deletion = self.deletion, %error,
                        "records that a request to delete may cover are gone and cannot be taken back: it stays open here until the \
                         archive of the topic has them, or a new generation begins (`run --from-zero`)"
                    );
                    return Ok(());
                }
                Err(error) if error.response() == Response::Retry => {
                    tracing::warn!(topic = %self.again.topic.spec.name, %error, "bus did not answer a recall, retrying");
                    std::thread::park_timeout(RETRY);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Everything from the beginning on, for what a record has seen is what those before it have claimed.
    fn read(&self) -> Result<Vec<Recalled<D>>> {
        let Again { bus, topic, source, decoder, delay_ms, .. } = &self.again;
        if decoder.subject.is_none() {
            return Ok(Vec::new());
        }
        let (mut at, upto) = self.span;
        let readable = bus.readable(topic.id)?.into_iter().find(|there| there.partition == self.partition);
        if let Some(there) = readable.filter(|there| at < there.log_start) {
            let (topic, log_start, end) = (topic.spec.name.clone(), there.log_start, there.end);
            return Err(BusError::OutOfRange { topic, partition: self.partition, resume: at, log_start, end }.into());
        }
        let mut consumer = bus.consumer(topic.id, &[(self.partition, at)])?;
        let (mut seen, mut lifts, mut covered) = (EventTime::MIN, self.lifts.iter().peekable(), Vec::new());
        while at < upto && !self.again.reports.is_halted() {
            for batch in consumer.poll(Duration::from_millis(100))? {
                at = batch.position;
                for record in batch.records.into_iter().filter(|record| record.offset < upto) {
                    while let Some((_, to)) = lifts.next_if(|(from, _)| *from <= record.offset) {
                        seen = seen.max(*to);
                    }
                    let Ok((data, time)) = (decoder.decode)(&record) else { continue };
                    let stamp = Stamp { origin: Origin::record(*source, self.partition, record.offset.0), time, seen };
                    seen = seen.max(time.minus_ms(*delay_ms));
                    // A record whose subject cannot be told is nobody's; behind a request it does not enter, but becomes a dead letter.
                    let is_covered = |by| self.again.is_covered(by, self.partition, &record, &data).unwrap_or(false);
                    if is_covered(&self.now) && !is_covered(&self.earlier) {
                        let diff = -super::diff(&record, self.again.takes_back);
                        covered.push((record, (data, stamp, diff)));
                    }
                }
            }
        }
        Ok(covered)
    }

    /// The records first, then that they are there: who binds them finds them.
    fn deliver(&self, records: Vec<Recalled<D>>) {
        let feed = recalled(self.again.feed(self.partition), self.deletion);
        let (count, bytes): (u64, Vec<u64>) = (records.len() as u64, records.iter().map(|(record, _)| record.bytes()).collect());
        tracing::info!(deletion = self.deletion, topic = %self.again.topic.spec.name, partition = self.partition, count, "recalled");
        let recalls = Recalls { first: 0, records: records.into() };
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).insert(feed, recalls);
        // The follower is gone only when the pipeline ends.
        let _ = self.again.activator.activate();
        let mut from = self.bound_before;
        while from < SourcePartition::RECALLED {
            let behind = (from.0 + PIECE_RECORDS as u64).min(count);
            // Behind the last record there is the end, as one more.
            let (upto, records) = match behind == count {
                true => (SourcePartition::RECALLED, count - from.0 + 1),
                false => (Offset(behind), behind - from.0),
            };
            let bytes = bytes[from.0 as usize..behind as usize].iter().sum();
            let (max_time, end) = (EventTime::MIN, SourcePartition::RECALLED);
            self.again.reports.send(Report::Delivered(Delivered { feed, from, upto, records, bytes, max_time, end }));
            from = upto;
        }
    }
}
