//! The follower of a source on one worker: emits exactly the records that a binding assigns, and checks their number.

use super::Decoder;
use super::raw::{RawChunk, RawRecords};
use super::reader::{Ahead, Chunk, Reader};
use super::recall::{Again, Deletions};
use super::running::RunningSource;
use crate::binding::{Binding, Lift, Range, SourcePartition};
use crate::bus::Offset;
use crate::error::Error;
use crate::plan::NodeId;
use crate::report::Reports;
use crate::threads::spawn;
use crate::time::{Epoch, EventTime, Watermark};
use crate::update::{Data, DeadLetter, Origin, Stamp, Update};
use crossbeam_channel::{Receiver, bounded};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use timely::dataflow::operators::Capability;
use timely::scheduling::SyncActivator;

/// Chunks on their way to a follower; what bounds memory is the bytes of read-ahead, this only bounds the queue.
const CHUNKS_MAX: usize = 4_096;

/// What an epoch still has to take from this worker's partitions.
struct Work {
    epoch: Epoch,
    capabilities: [Capability<Epoch>; 2],
    /// Partitions that start at the pipeline's watermark: lifted when the epoch's turn comes, not before.
    lifts: Vec<Lift>,
    /// Offsets of the requests to delete that hold from here on.
    requests: Option<(Offset, Offset)>,
    /// (range, records found so far).
    ranges: VecDeque<(Range, u64)>,
}

pub(super) struct Follower<D> {
    source: u16,
    node: NodeId,
    delay_ms: i64,
    /// Whether a correction takes back what it corrects.
    takes_back: bool,
    topic: String,
    owned: (usize, usize),
    chunks: Receiver<Chunk<D>>,
    ahead: Ahead,
    fetched: BTreeMap<u32, VecDeque<Cursor<D>>>,
    watermarks: BTreeMap<u32, Watermark>,
    work: VecDeque<Work>,
    /// What is to be done about requests to delete; nothing in a pipeline that reads of nobody.
    deletions: Option<Deletions<D>>,
    raw: RawRecords,
    reports: Reports,
    /// The bus does not hold what a binding promises: nothing is emitted any more.
    broken: bool,
    updates: Vec<Update<D>>,
    dead: Vec<DeadLetter>,
}

/// A chunk that is being emitted.
struct Cursor<D> {
    upto: Offset,
    decoded: VecDeque<Result<(D, EventTime), String>>,
    raw: Rc<RawChunk>,
    next: usize,
}

impl<D: Data> Follower<D> {
    pub(super) fn start(
        running: RunningSource,
        (source, node): (u16, NodeId),
        (delay_ms, takes_back): (i64, bool),
        decoder: Decoder<D>,
        activator: SyncActivator,
        raw: RawRecords,
    ) -> Self {
        let (sender, chunks) = bounded(CHUNKS_MAX);
        let (topic, owned, reports) = (running.topic.spec.name.clone(), running.worker, running.reports.clone());
        let watermarks = running.resume.iter().map(|(p, (_, w))| (*p, *w)).collect();
        let ahead = Ahead::default();
        let decode = decoder.decode.clone();
        let deletions = running.requests.clone().map(|requests| {
            let (bus, topic, reports, activator) =
                (running.bus.clone(), running.topic.clone(), reports.clone(), activator.clone());
            let again = Again { bus, topic, source, decoder, delay_ms, takes_back, reports, activator };
            Deletions::start(&running, requests, again)
        });
        let reader = Reader { running, source, decode, sender, activator, ahead: ahead.clone(), told_end: None };
        spawn("reader", &reports, move || reader.run());
        Self {
            source,
            node,
            delay_ms,
            takes_back,
            topic,
            owned,
            chunks,
            ahead,
            fetched: BTreeMap::new(),
            watermarks,
            work: VecDeque::new(),
            deletions,
            raw,
            reports,
            broken: false,
            updates: Vec::new(),
            dead: Vec::new(),
        }
    }

    pub(super) fn assign(&mut self, binding: &Binding, capabilities: [Capability<Epoch>; 2]) {
        let lifts: Vec<_> = binding.lifts.iter().filter(|l| l.feed.source == self.source).copied().collect();
        let (me, peers) = self.owned;
        let mine = |r: &&Range| r.feed.source == self.source && r.feed.partition.number() as usize % peers == me;
        let ranges: VecDeque<_> = binding.ranges.iter().filter(mine).map(|r| (*r, 0)).collect();
        let requests = binding.requests();
        if !ranges.is_empty() || !lifts.is_empty() || requests.is_some() {
            self.work.push_back(Work { epoch: binding.epoch, capabilities, lifts, requests, ranges });
        }
    }

    /// Emits what is there, epoch by epoch, partition by partition.
    pub(super) fn work(&mut self, mut emit: impl FnMut(&[Capability<Epoch>; 2], &mut Vec<Update<D>>, &mut Vec<DeadLetter>)) {
        if self.broken {
            return;
        }
        while let Ok(chunk) = self.chunks.try_recv() {
            let raw = Rc::new(RawChunk { records: chunk.records, last: Cell::new(None) });
            let cursor = Cursor { upto: chunk.upto, decoded: chunk.decoded.into(), raw, next: 0 };
            self.fetched.entry(chunk.partition).or_default().push_back(cursor);
        }
        while let Some(mut work) = self.work.pop_front() {
            if let (Some(requests), Some(deletions)) = (work.requests.take(), &mut self.deletions) {
                deletions.hold(requests);
            }
            for lift in work.lifts.drain(..) {
                if let Some(deletions) = &mut self.deletions {
                    deletions.lifted(lift);
                }
                let at = self.watermarks.entry(lift.feed.partition.number()).or_insert(EventTime::MIN);
                *at = (*at).max(lift.to);
            }
            while let Some((range, found)) = work.ranges.front_mut() {
                if !self.take(work.epoch, range, found) {
                    break;
                }
                if let Some(deletions) = &mut self.deletions {
                    deletions.bound(range);
                }
                if *found != range.records {
                    let (partition, upto) = (format!("{}[{}]", self.topic, range.feed.partition), range.upto);
                    let (expected, found, epoch) = (range.records, *found, work.epoch);
                    self.reports.fail(Error::NotDefinite { partition, epoch, upto, expected, found });
                    // The epoch keeps its capability: it must not close, or a lane would show what is not definite.
                    self.broken = true;
                    self.work.push_front(work);
                    return;
                }
                work.ranges.pop_front();
            }
            emit(&work.capabilities, &mut self.updates, &mut self.dead);
            if !work.ranges.is_empty() {
                self.work.push_front(work);
                return;
            }
        }
    }

    /// Takes the records of a range that are there; true when the range is complete.
    fn take(&mut self, epoch: Epoch, range: &Range, found: &mut u64) -> bool {
        let partition = range.feed.partition.number();
        if matches!(range.feed.partition, SourcePartition::Recalled { .. }) {
            return self.take_recalled(epoch, range, found);
        }
        let Some(chunks) = self.fetched.get_mut(&partition) else { return false };
        let watermark = self.watermarks.entry(partition).or_insert(EventTime::MIN);
        while let Some(chunk) = chunks.front_mut() {
            let mut bytes = 0;
            if chunk.raw.last.replace(Some(epoch)).is_none() {
                self.raw.add(self.source, partition, chunk.raw.clone());
            }
            while let Some(record) = chunk.raw.records.get(chunk.next).filter(|r| r.offset < range.upto) {
                let Some(decoded) = chunk.decoded.pop_front() else { unreachable!("a decoded result for each record") };
                let origin = Origin::record(self.source, partition, record.offset.0);
                let diff = super::diff(record, self.takes_back);
                match decoded {
                    Ok((data, time)) => {
                        let suppresses = |of: &Deletions<D>| of.suppresses(record, &data, partition);
                        match self.deletions.as_ref().map_or(Ok(false), suppresses) {
                            Ok(true) => {}
                            Ok(false) => self.updates.push((data, Stamp { origin, time, seen: *watermark }, diff)),
                            Err(cause) => self.dead.push(DeadLetter { origin, node: self.node, diff, cause }),
                        }
                        // Event time goes on as if it had entered: what is late of others stays late.
                        *watermark = (*watermark).max(time.minus_ms(self.delay_ms));
                    }
                    Err(cause) => self.dead.push(DeadLetter { origin, node: self.node, diff, cause }),
                }
                bytes += record.bytes();
                *found += 1;
                chunk.next += 1;
            }
            self.ahead.change(partition, |ahead| ahead.saturating_sub(bytes));
            if chunk.upto > range.upto {
                return true;
            }
            let complete = chunk.upto == range.upto;
            if chunk.decoded.is_empty() {
                chunks.pop_front();
            }
            if complete {
                return true;
            }
        }
        false
    }

    /// As [`Follower::take`], of what was recalled.
    fn take_recalled(&mut self, epoch: Epoch, range: &Range, found: &mut u64) -> bool {
        let (partition, mut originals) = (range.feed.partition.number(), Vec::new());
        let give = |(original, update)| {
            originals.push(original);
            self.updates.push(update);
        };
        let deletions = self.deletions.as_ref();
        let Some(records) = deletions.and_then(|of| of.take(range.feed, (range.from, range.upto), give)) else { return false };
        *found = records;
        if !originals.is_empty() {
            self.raw.add_recalled(self.source, partition, RawChunk { records: originals, last: Cell::new(Some(epoch)) });
        }
        true
    }
}

#[cfg(test)]
mod tests;
