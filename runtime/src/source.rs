//! Sources: a reader thread that prefetches and decodes, and a follower that emits exactly what a binding assigns.
//!
//! Live and replay are one path: whether a binding was minted a moment ago or read from the journal, the follower takes the
//! same records for it, in the same order, and checks their number.

use crate::binding::{Binding, Feed, Lift, Range, SourcePartition};
use crate::bus::{Batch, Bus, Consumer, Offset, Record, Topic};
use crate::error::{Error, Response, Result};
use crate::graph::{Collection, Graph, Spec};
use crate::minter::Delivered;
use crate::operator::DeadLetter;
use crate::plan::{NodeId, SourceNode};
use crate::report::{Report, Reports};
use crate::settings::Settings;
use crate::time::{Epoch, EventTime, Watermark, monotonic};
use crate::update::{Data, Origin, Stamp, Update};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// Reads an event and its time out of a record; an error is the cause of a dead letter. Runs caught, on the reader's thread.
pub type Decode<D> = dyn Fn(&Record) -> Result<(D, EventTime), String> + Send + Sync;

/// How long a poll waits for news before the reader looks after its other duties.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Pause after a bus that did not answer, and its doubling's end.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Chunks on their way to a follower; what bounds memory is the bytes of read-ahead, this only bounds the queue.
const CHUNKS_MAX: usize = 4_096;

/// A source of the plan that is about to run on one worker.
pub struct RunningSource {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The topic as it was found at the start.
    pub topic: Topic,
    /// Where this incarnation starts reading (and where each prefix stands), by partition.
    pub resume: BTreeMap<u32, (Offset, Watermark)>,
    /// Where the live part begins: nothing before it is minted again.
    pub live_from: BTreeMap<u32, Offset>,
    /// This worker, and how many there are: partition p is followed by worker p % peers.
    pub worker: (usize, usize),
    /// Bounds and intervals.
    pub settings: Settings,
    /// Where to report.
    pub reports: Reports,
}

impl RunningSource {
    fn owns(&self, partition: u32) -> bool {
        partition as usize % self.worker.1 == self.worker.0
    }
}

/// Some records of a partition without a gap, decoded.
struct Chunk<D> {
    partition: u32,
    upto: Offset,
    records: Vec<Record>,
    decoded: Vec<Result<(D, EventTime), String>>,
}

/// Bytes of each partition that were read ahead and not yet emitted.
#[derive(Clone, Debug, Default)]
struct Ahead(Arc<Mutex<BTreeMap<u32, u64>>>);

impl Ahead {
    fn change(&self, partition: u32, change: impl FnOnce(u64) -> u64) {
        let mut ahead = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = ahead.entry(partition).or_default();
        *bytes = change(*bytes);
    }

    fn full(&self, max: u64) -> Vec<u32> {
        let ahead = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.iter().filter(|(_, bytes)| **bytes >= max).map(|(p, _)| *p).collect()
    }
}

/// Reads a topic. Every record becomes an update, or a dead letter with its cause.
pub fn read<'s, D: Data>(
    graph: &Graph<'s>,
    topic: &str,
    delay_ms: i64,
    detail: &str,
    decode: Arc<Decode<D>>,
) -> Collection<'s, D> {
    let source = graph.plan().sources().count() as u16;
    let node = SourceNode { source, topic: topic.into(), delay_ms };
    let node = graph.add(Spec::new("source", detail), &[], Some(node), None);
    let scope = graph.scope();
    let mut builder = OperatorBuilder::new("source".into(), scope);
    let address = builder.operator_info().address.to_vec();
    let mut bindings = builder.new_input(graph.bindings(), Pipeline);
    let (out, stream) = builder.new_output::<Vec<Update<D>>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out);
    let mut dead = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(dead);
    let running = graph.shared().worker.source(source);
    let raw = graph.shared().raw.clone();
    builder.build(move |capabilities| {
        drop(capabilities);
        let activator = scope.worker().sync_activator_for(address);
        let mut follower = running.map(|running| Follower::start(running, source, node, delay_ms, decode, activator, raw));
        move |_frontiers| {
            let Some(follower) = &mut follower else { return };
            bindings.for_each(|time, batch| {
                for binding in batch.drain(..) {
                    follower.assign(&binding, [time.retain(0), time.retain(1)]);
                }
            });
            follower.work(|capability, updates, dead_letters| {
                if !updates.is_empty() {
                    out.activate().session(&capability[0]).give_container(updates);
                    updates.clear();
                }
                if !dead_letters.is_empty() {
                    dead.activate().session(&capability[1]).give_container(dead_letters);
                    dead_letters.clear();
                }
            });
        }
    });
    graph.set_aside(dead_stream);
    Collection { stream, node }
}

/// What an epoch still has to take from this worker's partitions.
struct Work {
    epoch: Epoch,
    capabilities: [Capability<Epoch>; 2],
    /// Partitions that start at the pipeline's watermark: lifted when the epoch's turn comes, not before.
    lifts: Vec<Lift>,
    /// (range, records found so far).
    ranges: VecDeque<(Range, u64)>,
}

struct Follower<D> {
    source: u16,
    node: NodeId,
    delay_ms: i64,
    topic: String,
    owned: (usize, usize),
    chunks: Receiver<Chunk<D>>,
    ahead: Ahead,
    fetched: BTreeMap<u32, VecDeque<Cursor<D>>>,
    watermarks: BTreeMap<u32, Watermark>,
    work: VecDeque<Work>,
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
    fn start(
        running: RunningSource,
        source: u16,
        node: NodeId,
        delay_ms: i64,
        decode: Arc<Decode<D>>,
        activator: SyncActivator,
        raw: RawRecords,
    ) -> Self {
        let (sender, chunks) = bounded(CHUNKS_MAX);
        let (topic, owned, reports) = (running.topic.spec.name.clone(), running.worker, running.reports.clone());
        let watermarks = running.resume.iter().map(|(p, (_, w))| (*p, *w)).collect();
        let ahead = Ahead::default();
        let reader = Reader { running, source, decode, sender, activator, ahead: ahead.clone() };
        spawn("reader", &reports, move || reader.run());
        Self {
            source,
            node,
            delay_ms,
            topic,
            owned,
            chunks,
            ahead,
            fetched: BTreeMap::new(),
            watermarks,
            work: VecDeque::new(),
            raw,
            reports,
            broken: false,
            updates: Vec::new(),
            dead: Vec::new(),
        }
    }

    fn assign(&mut self, binding: &Binding, capabilities: [Capability<Epoch>; 2]) {
        let lifts = binding.lifts.iter().filter(|l| l.feed.source == self.source).copied().collect();
        let (me, peers) = self.owned;
        let mine = |r: &&Range| r.feed.source == self.source && r.feed.partition.number() as usize % peers == me;
        let ranges: VecDeque<_> = binding.ranges.iter().filter(mine).map(|r| (*r, 0)).collect();
        if !ranges.is_empty() {
            self.work.push_back(Work { epoch: binding.epoch, capabilities, lifts, ranges });
        }
    }

    /// Emits what is there, epoch by epoch, partition by partition.
    fn work(&mut self, mut emit: impl FnMut(&[Capability<Epoch>; 2], &mut Vec<Update<D>>, &mut Vec<DeadLetter>)) {
        if self.broken {
            return;
        }
        while let Ok(chunk) = self.chunks.try_recv() {
            let raw = Rc::new(RawChunk { records: chunk.records, last: Cell::new(None) });
            let cursor = Cursor { upto: chunk.upto, decoded: chunk.decoded.into(), raw, next: 0 };
            self.fetched.entry(chunk.partition).or_default().push_back(cursor);
        }
        while let Some(mut work) = self.work.pop_front() {
            for lift in work.lifts.drain(..) {
                let at = self.watermarks.entry(lift.feed.partition.number()).or_insert(EventTime::MIN);
                *at = (*at).max(lift.to);
            }
            while let Some((range, found)) = work.ranges.front_mut() {
                if !self.take(work.epoch, range, found) {
                    break;
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
                match decoded {
                    Ok((data, time)) => {
                        self.updates.push((data, Stamp { origin, time, seen: *watermark }, 1));
                        *watermark = (*watermark).max(time.minus_ms(self.delay_ms));
                    }
                    Err(cause) => self.dead.push(DeadLetter { origin, node: self.node, diff: 1, cause }),
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
}

/// The original records of epochs that are still open: what a dead letter is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRecords(Rc<RefCell<BTreeMap<(u16, u32), RawChunks>>>);

/// Of one partition of one source, in order.
type RawChunks = VecDeque<Rc<RawChunk>>;

#[derive(Debug)]
struct RawChunk {
    records: Vec<Record>,
    /// The newest epoch that took records of it.
    last: Cell<Option<Epoch>>,
}

impl RawRecords {
    fn add(&self, source: u16, partition: u32, chunk: Rc<RawChunk>) {
        self.0.borrow_mut().entry((source, partition)).or_default().push_back(chunk);
    }

    /// The record an origin names, if this worker followed it and its epoch is open.
    pub(crate) fn find(&self, origin: Origin) -> Option<Record> {
        let (source, partition, offset) = origin.position()?;
        let raw = self.0.borrow();
        let chunks = raw.get(&(source, partition))?;
        let at = chunks.partition_point(|c| c.records.last().is_some_and(|r| r.offset < Offset(offset)));
        let chunk = chunks.get(at)?;
        let index = chunk.records.binary_search_by_key(&offset, |r| r.offset.0).ok()?;
        chunk.records.get(index).cloned()
    }

    /// Forgets what only closed epochs took.
    pub(crate) fn forget_before(&self, open: Epoch) {
        for chunks in self.0.borrow_mut().values_mut() {
            while chunks.front().is_some_and(|c| c.last.get() < Some(open) && Rc::strong_count(c) == 1) {
                chunks.pop_front();
            }
        }
    }
}

struct Reader<D> {
    running: RunningSource,
    source: u16,
    decode: Arc<Decode<D>>,
    sender: Sender<Chunk<D>>,
    activator: SyncActivator,
    ahead: Ahead,
}

impl<D: Data> Reader<D> {
    fn run(mut self) -> Result<()> {
        let mut positions: BTreeMap<u32, Offset> =
            self.running.resume.iter().filter(|(p, _)| self.running.owns(**p)).map(|(p, (at, _))| (*p, *at)).collect();
        let (mut wait, mut looked_at) = (RETRY_MIN, None);
        let mut consumer: Option<Box<dyn Consumer>> = None;
        while !self.running.reports.is_halted() {
            let turn = self.turn(&mut consumer, &mut positions, &mut looked_at);
            match turn {
                Ok(()) => wait = RETRY_MIN,
                Err(error) if error.response() == Response::Retry => {
                    tracing::warn!(topic = %self.running.topic.spec.name, %error, "bus did not answer, retrying");
                    consumer = None;
                    std::thread::park_timeout(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn turn(
        &mut self,
        consumer: &mut Option<Box<dyn Consumer>>,
        positions: &mut BTreeMap<u32, Offset>,
        looked_at: &mut Option<std::time::Instant>,
    ) -> Result<()> {
        let interval = Duration::from_millis(self.running.settings.metadata_interval_ms);
        if looked_at.is_none_or(|at: std::time::Instant| at.elapsed() >= interval) {
            self.look_for_partitions(consumer, positions)?;
            *looked_at = Some(monotonic());
        }
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => {
                let positions: Vec<_> = positions.iter().map(|(p, at)| (*p, *at)).collect();
                consumer.insert(self.running.bus.consumer(self.running.topic.id, &positions)?)
            }
        };
        consumer.pause(&self.ahead.full(self.running.settings.read_ahead_bytes));
        for batch in consumer.poll(POLL_WAIT)? {
            let from = positions.insert(batch.partition, batch.position).unwrap_or(batch.position);
            self.deliver(batch, from);
        }
        Ok(())
    }

    /// The topic must still be the one that was there at the start; partitions that were added are read from offset 0.
    fn look_for_partitions(&self, consumer: &mut Option<Box<dyn Consumer>>, positions: &mut BTreeMap<u32, Offset>) -> Result<()> {
        let name = &self.running.topic.spec.name;
        let now = self.running.bus.topic(name)?.filter(|t| t.id == self.running.topic.id);
        let Some(now) = now else {
            return Err(Error::refused(
                format!("topic `{name}` was deleted or re-created under the running pipeline; its offsets mean nothing any more"),
                "begin a new generation: `run --from-zero`",
            ));
        };
        for partition in (0..now.spec.partitions).filter(|p| self.running.owns(*p)) {
            if let Entry::Vacant(new) = positions.entry(partition) {
                tracing::info!(topic = %name, partition, "reading an added partition from its beginning");
                new.insert(Offset(0));
                if let Some(consumer) = consumer {
                    consumer.assign(partition, Offset(0))?;
                }
            }
        }
        Ok(())
    }

    fn deliver(&self, batch: Batch, from: Offset) {
        // The end of what was bound before this incarnation is the end of a chunk: no range and no chunk straddles it.
        let border = self.running.live_from.get(&batch.partition).copied().unwrap_or(Offset(0));
        let mut replayed = batch.records;
        let live = replayed.split_off(replayed.partition_point(|r| r.offset < border));
        if !replayed.is_empty() {
            self.chunk(batch.partition, from, replayed, batch.end);
        }
        if !live.is_empty() {
            let piece = self.chunk(batch.partition, from.max(border), live, batch.end);
            self.running.reports.send(Report::Delivered(piece));
        }
        if batch.position >= batch.end {
            self.running.reports.send(Report::Drained { feed: self.feed(batch.partition), position: batch.position });
        }
    }

    /// Decodes records and hands them to the follower.
    fn chunk(&self, partition: u32, from: Offset, records: Vec<Record>, end: Offset) -> Delivered {
        let decoded: Vec<_> = records.iter().map(|r| (self.decode)(r)).collect();
        let bytes = records.iter().map(Record::bytes).sum();
        let upto = records.last().map_or(from, |r| r.offset.next());
        let max_time = decoded.iter().flatten().map(|(_, t)| *t).max().unwrap_or(EventTime::MIN);
        let piece = Delivered { feed: self.feed(partition), from, upto, records: records.len() as u64, bytes, max_time, end };
        self.ahead.change(partition, |ahead| ahead + bytes);
        // The follower is gone only when the pipeline ends.
        let _ = self.sender.send(Chunk { partition, upto, records, decoded });
        let _ = self.activator.activate();
        piece
    }

    fn feed(&self, partition: u32) -> Feed {
        Feed { source: self.source, partition: SourcePartition::Bus { topic: self.running.topic.id, partition } }
    }
}

/// Starts a thread of the pipeline; an error it returns, or a panic, ends the pipeline.
pub(crate) fn spawn(name: &str, reports: &Reports, run: impl FnOnce() -> Result<()> + Send + 'static) {
    let to = reports.clone();
    let body = move || match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => to.fail(error),
        Err(_) => to.fail(Error::Panicked(std::thread::current().name().unwrap_or("?").to_string())),
    };
    if let Err(source) = std::thread::Builder::new().name(format!("dst-{name}")).spawn(body) {
        reports.fail(Error::Io { what: format!("starting the {name} thread"), source });
    }
}

#[cfg(test)]
mod tests;
