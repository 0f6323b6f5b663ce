//! What a follower does about requests to delete: it suppresses what they cover, and recalls what was bound before them.

use super::{Decoder, SourcePartition};
use crate::binding::{Delivered, Feed, RecallFacts, recalled};
use crate::bus::{Bus, BusError, Offset, Record, Topic};
use crate::deletion::{Requests, Suppression};
use crate::error::{Error, Result};
use crate::report::{Report, Reports};
use crate::response::Response;
use crate::source::running::RunningSource;
use crate::threads::spawn;
use crate::time::{EventTime, Watermark};
use crate::update::{Data, Diff, Origin, Stamp, Update};
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

/// See the module.
pub(super) struct Deletions<D> {
    again: Option<Again<D>>,
    topic: String,
    requests: Requests,
    /// Those that hold now.
    suppression: Suppression,
    /// How far this worker's partitions are bound, and what they were lifted to.
    bound: BTreeMap<u32, Offset>,
    facts: RecallFacts,
    /// How much of a recall was bound before this incarnation.
    bound_before: BTreeMap<Feed, Offset>,
    shelf: Shelf<D>,
}

impl<D: Data> Deletions<D> {
    /// Before there are any.
    pub(super) fn none() -> Self {
        Self {
            again: None,
            topic: String::new(),
            requests: Requests::default(),
            suppression: Suppression::default(),
            bound: BTreeMap::new(),
            facts: RecallFacts::default(),
            bound_before: BTreeMap::new(),
            shelf: Shelf::default(),
        }
    }

    /// Goes on where the checkpoint stood: with recalls that were not complete.
    pub(super) fn start(running: &RunningSource, again: Again<D>) -> Self {
        let suppression = Suppression::of(running.requests.between(Offset(0), running.requests_upto));
        let bound = running.resume.iter().filter(|(p, _)| running.owns(**p)).map(|(p, (at, _))| (*p, *at)).collect();
        let mut deletions = Self {
            topic: again.topic.spec.name.clone(),
            requests: running.requests.clone(),
            suppression,
            bound,
            facts: running.recalls.clone(),
            bound_before: running.recalled.clone(),
            ..Self::none()
        };
        for (deletion, recall) in &running.recalls.open {
            let mine =
                recall.bound.iter().filter(|(feed, _)| feed.source == again.source && running.owns(feed.partition.number()));
            let mine = mine.map(|(feed, upto)| (feed.partition.number(), *upto)).collect();
            deletions.recall(&again, (Offset(u64::from(*deletion)), recall.upto), mine);
        }
        deletions.again = Some(again);
        deletions
    }

    /// Requests hold from here on. What was bound before them is recalled.
    pub(super) fn hold(&mut self, (from, upto): (Offset, Offset)) {
        let Some(again) = self.again.clone() else { return };
        let bound = self.bound.iter().map(|(partition, at)| (*partition, *at));
        let of = |partition| again.feed(partition);
        let mine = bound.filter(|(partition, at)| *at > self.facts.since(of(*partition))).collect();
        self.recall(&again, (from, upto), mine);
        self.suppression.add(self.requests.between(from, upto));
    }

    fn recall(&mut self, again: &Again<D>, (from, upto): (Offset, Offset), partitions: BTreeMap<u32, Offset>) {
        let deletion = from.0 as u32;
        let earlier = Suppression::of(self.requests.between(Offset(0), from));
        let now = Suppression::of(self.requests.between(from, upto));
        for (partition, upto) in partitions {
            let feed = again.feed(partition);
            let bound_before = self.bound_before.get(&recalled(feed, deletion)).copied().unwrap_or(Offset(0));
            let recall = Recall {
                again: again.clone(),
                deletion,
                partition,
                span: (self.facts.since(feed), upto),
                lifts: self.facts.lifts.get(&feed).cloned().unwrap_or_default(),
                earlier: earlier.clone(),
                now: now.clone(),
                bound_before,
                shelf: self.shelf.clone(),
            };
            spawn("recall", &again.reports, move || recall.run());
        }
    }

    /// A partition is lifted in front of what an epoch binds of it.
    pub(super) fn lifted(&mut self, partition: u32, to: Watermark) {
        if let Some(again) = &self.again {
            let at = self.bound.get(&partition).copied().unwrap_or(Offset(0));
            self.facts.lifts.entry(again.feed(partition)).or_default().push((at, to));
        }
    }

    pub(super) fn bound(&mut self, partition: u32, upto: Offset) {
        if self.again.is_some() {
            self.bound.insert(partition, upto);
        }
    }

    /// Whether a record is not to enter.
    ///
    /// # Errors
    /// Its subject cannot be told.
    pub(super) fn suppresses(&self, record: &Record, data: &D, partition: u32) -> Result<bool, String> {
        match &self.again {
            Some(again) if !self.suppression.is_empty() => {
                again.is_covered(&self.suppression, (&self.topic, partition), record, data)
            }
            _ => Ok(false),
        }
    }

    /// Gives the recalled records of a range that are there, up to its end; how many, or `None` when they are still being read.
    pub(super) fn take(&mut self, feed: Feed, upto: Offset, from: Offset, mut give: impl FnMut(Recalled<D>)) -> Option<u64> {
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

impl<D: Data> Again<D> {
    fn feed(&self, partition: u32) -> Feed {
        Feed { source: self.source, partition: SourcePartition::Bus { topic: self.topic.id, partition } }
    }

    fn is_covered(&self, by: &Suppression, (topic, partition): (&str, u32), record: &Record, data: &D) -> Result<bool, String> {
        let Some(subject_of) = self.decoder.subject.as_ref().filter(|_| !record.is_derived()) else { return Ok(false) };
        catch(|| subject_of(data).is_some_and(|subject| by.covers(&subject, topic, partition, record.offset)))
    }

    pub(super) fn diff(&self, record: &Record) -> Diff {
        if self.takes_back && record.is_retraction() { -1 } else { 1 }
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
    earlier: Suppression,
    now: Suppression,
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
                    let place = (topic.spec.name.as_str(), self.partition);
                    let is_covered = |by: &Suppression| self.again.is_covered(by, place, &record, &data).unwrap_or(false);
                    if is_covered(&self.now) && !is_covered(&self.earlier) {
                        let diff = -self.again.diff(&record);
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
