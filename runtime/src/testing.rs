//! Runs one operator, or a few, over given epochs without a bus: for doctests, property tests and measurements of operators.

use crate::asking::Asking;
use crate::binding::{Binding, BindingLog, Control, Feed, Range, SourcePartition};
use crate::bus::{Offset, TopicId};
use crate::error::Result;
use crate::graph::{Collection, Graph, Worker};
use crate::key::encode;
use crate::plan::StateNode;
use crate::source::running::RunningSource;
use crate::state::{Saved, Snapshot};
use crate::time::{Epoch, EventTime, WallTime, Watermark, monotonic};
use crate::update::{Data, DeadLetter, Origin, Stamp, Update};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use timely::communication::allocator::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::{Concatenate, Input, Inspect, Probe};

/// The input of one epoch, and the pipeline's watermark at its close.
#[derive(Clone, Debug)]
pub struct Step<D> {
    /// Updates of the epoch.
    pub updates: Vec<Update<D>>,
    /// The watermark its binding carries.
    pub watermark: EventTime,
}

/// What came out, by epoch, in the order it came.
#[derive(Clone, Debug)]
pub struct Observed<Out> {
    /// Results.
    pub results: Vec<(Epoch, Update<Out>)>,
    /// Dead letters of all operators.
    pub dead: Vec<(Epoch, DeadLetter)>,
}

impl<Out: Data> Observed<Out> {
    /// The same by epoch, stamp, difference and encoding: an order that does not know who said something first.
    ///
    /// # Panics
    /// A result cannot be encoded.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        let encoded = |data: &Out| encode(data).unwrap_or_else(|e| panic!("a result cannot be encoded: {e}"));
        self.results.sort_by_cached_key(|(epoch, (data, stamp, diff))| (*epoch, *stamp, *diff, encoded(data)));
        self.dead.sort();
        self
    }
}

/// An update of source 0, partition 0, with the given offset, event time and `seen` watermark.
///
/// ```
/// use distributary_runtime::testing::update;
/// let (data, stamp, diff) = update("a", 7, 1_000, 0);
/// assert_eq!((data, stamp.time.0, diff), ("a", 1_000, 1));
/// ```
pub fn update<D>(data: D, offset: u64, time: i64, seen: i64) -> Update<D> {
    (data, Stamp { origin: Origin::record(0, 0, offset), time: EventTime(time), seen: EventTime(seen) }, 1)
}

/// Feeds `steps` as epochs 1, 2, ... to what `build` makes, on one worker.
pub fn run<D: Data, Out: Data>(
    steps: Vec<Step<D>>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
) -> Observed<Out> {
    run_incarnation(Incarnation::fresh(), steps, build).0
}

/// As [`run`], but what comes out is only shown to `look`, batch by batch: for measuring.
///
/// Each epoch is given as the batches that a source would give, and the watermark of its binding. Everything happens on the
/// calling thread.
pub fn drive<D: Data, Out: Data>(
    epochs: Vec<(Vec<Vec<Update<D>>>, Watermark)>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
    look: impl FnMut(Epoch, &[Update<Out>]) + Send + 'static,
) {
    incarnate(Incarnation::fresh(), epochs, build, move || (look, |_: Epoch, _: &[DeadLetter]| ()));
}

/// As [`run`], but behind `epochs` epochs all states are saved, everything is dropped, and a new worker goes on from
/// what was saved.
///
/// # Panics
/// There are fewer steps than `epochs`, or none before the checkpoint.
pub fn run_restarted<D: Data, Out: Data>(
    steps: Vec<Step<D>>,
    epochs: usize,
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Clone + Send + Sync + 'static,
) -> Observed<Out> {
    let (before, after) = steps.split_at(epochs);
    let checkpoint = Epoch(epochs as u64);
    let watermark = before.last().map_or(EventTime::MIN, |step| step.watermark);
    let first = Incarnation { checkpoint: Some(checkpoint), ..Incarnation::fresh() };
    let (mut observed, saved) = run_incarnation(first, before.to_vec(), build.clone());
    let second = Incarnation { start: checkpoint.next(), watermark, checkpoint: None, saved, read: read_of(before) };
    let (rest, _) = run_incarnation(second, after.to_vec(), build);
    observed.results.extend(rest.results);
    observed.dead.extend(rest.dead);
    observed
}

/// As [`run_restarted`], with so many workers before the restart, and so many behind it; each of them brings a part of every epoch.
///
/// What comes out is [sorted](Observed::sorted): workers do not wait for each other to say something.
///
/// # Panics
/// There are fewer steps than `epochs`, or none before the checkpoint; or a worker panics.
pub fn run_rescaled<D: Data, Out: Data>(
    steps: Vec<Step<D>>,
    epochs: usize,
    (workers_before, workers_behind): (usize, usize),
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Clone + Send + Sync + 'static,
) -> Observed<Out> {
    let (before, after) = steps.split_at(epochs);
    let checkpoint = Epoch(epochs as u64);
    let watermark = before.last().map_or(EventTime::MIN, |step| step.watermark);
    let first = Incarnation { checkpoint: Some(checkpoint), ..Incarnation::fresh() };
    let (mut observed, saved) = run_on(workers_before, &first, before, &build);
    let second = Incarnation { start: checkpoint.next(), watermark, checkpoint: None, saved, read: read_of(before) };
    let (rest, _) = run_on(workers_behind, &second, after, &build);
    observed.results.extend(rest.results);
    observed.dead.extend(rest.dead);
    observed.sorted()
}

/// As [`run`], but tells how many bytes all states have behind the last step, as a checkpoint writes them: 0 when nothing is kept.
pub fn bytes_kept<D: Data, Out: Data>(
    steps: Vec<Step<D>>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
) -> u64 {
    let checkpoint = Some(Epoch(steps.len() as u64));
    let (_, saved) = run_incarnation(Incarnation { checkpoint, ..Incarnation::fresh() }, steps, build);
    saved.iter().flat_map(|saved| &saved.slices).map(|slice| slice.bytes.len() as u64).sum()
}

/// Where a run begins, with what, and whether it ends with a checkpoint.
#[derive(Clone)]
struct Incarnation {
    start: Epoch,
    watermark: Watermark,
    checkpoint: Option<Epoch>,
    saved: Vec<Arc<Saved>>,
    /// How far the source partitions have been read.
    read: Read,
}

impl Incarnation {
    fn fresh() -> Self {
        Self { start: Epoch(1), watermark: EventTime::MIN, checkpoint: None, saved: Vec::new(), read: Read::new() }
    }

    /// What stands in the journal of the epochs that it works on.
    fn bindings<'a, D: 'a>(&self, epochs: impl Iterator<Item = (Vec<&'a Update<D>>, Watermark)>) -> Vec<Binding> {
        let mut read = self.read.clone();
        let numbered = (self.start.0..).map(Epoch).zip(epochs);
        let bindings = numbered.map(|(epoch, (updates, watermark))| {
            let closed_at = WallTime(epoch.0 as i64);
            let controls = if self.checkpoint == Some(epoch) { vec![Control::Checkpoint] } else { Vec::new() };
            Binding { epoch, closed_at, watermark, ranges: ranges(&mut read, &updates), lifts: Vec::new(), controls }
        });
        bindings.collect()
    }
}

/// The offset behind the last record, by source and partition.
type Read = BTreeMap<(u16, u32), u64>;

fn read_of<D>(steps: &[Step<D>]) -> Read {
    let mut read = Read::new();
    steps.iter().for_each(|step| drop(ranges(&mut read, &step.updates.iter().collect::<Vec<_>>())));
    read
}

/// What comes with an offset that is behind all before has been read in this epoch; the rest, a retraction say, was made of it.
fn ranges<D>(read: &mut Read, updates: &[&Update<D>]) -> Vec<Range> {
    let mut ranges = BTreeMap::new();
    for (_, stamp, diff) in updates {
        let Some((source, partition, offset)) = stamp.origin.position().filter(|_| *diff > 0) else { continue };
        let from = read.get(&(source, partition)).copied().unwrap_or(0);
        if offset < from {
            continue;
        }
        let feed = Feed { source, partition: SourcePartition::Bus { topic: TopicId([0; 16]), partition } };
        let one = Range { feed, from: Offset(from), upto: Offset(offset + 1), records: 1, max_time: stamp.time };
        let range: &mut Range = ranges.entry((source, partition)).or_insert(Range { records: 0, ..one });
        let upto = range.upto.max(one.upto);
        range.extend(&Range { upto, ..one });
    }
    read.extend(ranges.iter().map(|(of, range)| (*of, range.upto.0)));
    ranges.into_values().collect()
}

fn run_incarnation<D: Data, Out: Data>(
    from: Incarnation,
    steps: Vec<Step<D>>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
) -> (Observed<Out>, Vec<Arc<Saved>>) {
    let observed = Seen::default();
    let seen = observed.clone();
    let epochs = steps.into_iter().map(|step| (vec![step.updates], step.watermark)).collect();
    let saved = incarnate(from, epochs, build, move || (seen.results(), seen.dead()));
    (observed.take(), saved)
}

/// What several workers show.
struct Seen<Out>(Arc<Mutex<Observed<Out>>>);

impl<Out> Clone for Seen<Out> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Out> Default for Seen<Out> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Observed { results: Vec::new(), dead: Vec::new() })))
    }
}

impl<Out: Data> Seen<Out> {
    fn results(&self) -> impl FnMut(Epoch, &[Update<Out>]) + use<Out> {
        let seen = self.0.clone();
        move |t, d| lock(&seen).results.extend(d.iter().map(|d| (t, d.clone())))
    }

    fn dead(&self) -> impl FnMut(Epoch, &[DeadLetter]) + use<Out> {
        let seen = self.0.clone();
        move |t, d| lock(&seen).dead.extend(d.iter().map(|d| (t, d.clone())))
    }

    fn take(&self) -> Observed<Out> {
        std::mem::replace(&mut *lock(&self.0), Observed { results: Vec::new(), dead: Vec::new() })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The batches of an epoch.
type Batches<D> = Vec<Vec<Update<D>>>;

/// Runs one incarnation on the calling thread; `look` makes what results and dead letters are shown to.
fn incarnate<D: Data, Out: Data, L, M>(
    from: Incarnation,
    epochs: Vec<(Batches<D>, Watermark)>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
    look: impl FnOnce() -> (L, M) + Send + 'static,
) -> Vec<Arc<Saved>>
where
    L: FnMut(Epoch, &[Update<Out>]) + 'static,
    M: FnMut(Epoch, &[DeadLetter]) + 'static,
{
    let bindings = from.bindings(epochs.iter().map(|(batches, watermark)| (batches.iter().flatten().collect(), *watermark)));
    let epochs = bindings.into_iter().zip(epochs).map(|(binding, (batches, _))| (binding, batches)).collect();
    let moved = Mutex::new((epochs, look));
    on_this_thread(move |timely_worker| {
        let (epochs, look) = moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        work(timely_worker, from, epochs, build, look())
    })
}

/// Runs one incarnation on so many workers.
fn run_on<D: Data, Out: Data>(
    workers: usize,
    from: &Incarnation,
    steps: &[Step<D>],
    build: &(impl for<'s> Fn(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Clone + Send + Sync + 'static),
) -> (Observed<Out>, Vec<Arc<Saved>>) {
    let bindings = from.bindings(steps.iter().map(|step| (step.updates.iter().collect(), step.watermark)));
    let share = |worker: usize| {
        let mine = |step: &Step<D>| step.updates.iter().skip(worker).step_by(workers).cloned().collect();
        bindings.iter().cloned().zip(steps.iter().map(|step| vec![mine(step)])).collect::<Vec<_>>()
    };
    let shares = Mutex::new((0..workers).map(|worker| Some(share(worker))).collect::<Vec<_>>());
    let observed = Seen::default();
    let (seen, from, build) = (observed.clone(), from.clone(), build.clone());
    let communication = timely::CommunicationConfig::Process(workers);
    let config = timely::Config { communication, worker: crate::view::worker_config() };
    let guards = timely::execute(config, move |timely_worker| {
        let share = lock(&shares)[timely_worker.index()].take().unwrap_or_default();
        work(timely_worker, from.clone(), share, build.clone(), (seen.results(), seen.dead()))
    });
    let guards = guards.unwrap_or_else(|e| panic!("the workers do not start: {e}"));
    let saved = guards.join().into_iter().flat_map(|saved| saved.unwrap_or_else(|e| panic!("a worker panicked: {e}")));
    let saved = saved.collect();
    (observed.take(), saved)
}

/// How long a worker waits for another one before it looks again by itself: a spinning worker would take the core that the other one needs.
const PATIENCE: Duration = Duration::from_millis(10);

/// What a worker does with its part of the epochs.
fn work<D: Data, Out: Data>(
    timely_worker: &mut timely::worker::Worker,
    from: Incarnation,
    epochs: Vec<(Binding, Batches<D>)>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out>,
    (mut look, mut look_dead): (impl FnMut(Epoch, &[Update<Out>]) + 'static, impl FnMut(Epoch, &[DeadLetter]) + 'static),
) -> Vec<Arc<Saved>> {
    let (start, checkpoint) = (from.start, from.checkpoint);
    let (index, peers) = (timely_worker.index(), timely_worker.peers());
    let patience = Some(if peers == 1 { Duration::ZERO } else { PATIENCE });
    let (restored, saved) = (from.saved, RefCell::default());
    let worker = Rc::new(InMemory { start, watermark: from.watermark, index, peers, restored, saved });
    let log = BindingLog::default();
    let mut input = InputHandle::<Epoch, timely::container::CapacityContainerBuilder<Vec<Update<D>>>>::new();
    let (probe, states) = timely_worker.dataflow(|scope| {
        let graph = Graph::new(scope, log.clone(), worker.clone());
        // As in a pipeline, an operator gives the input.
        let stream = scope.input_from(&mut input).inspect_batch(|_, _| ());
        let out = build(&graph, Collection { stream, node: 0 });
        let streams = std::mem::take(&mut *graph.shared().dead.borrow_mut());
        scope.concatenate(streams).inspect_batch(move |t, d| look_dead(*t, d));
        let stream = out.stream.inspect_batch(move |t, d| look(*t, d));
        (stream.probe().0, graph.plan().states().count())
    });
    input.advance_to(start);
    for (binding, batches) in epochs {
        let epoch = binding.epoch;
        log.insert(Rc::new(binding));
        for mut batch in batches {
            input.send_batch(&mut batch);
            timely_worker.step();
        }
        input.advance_to(epoch.next());
        while probe.less_than(&epoch.next()) {
            timely_worker.step_or_park(patience);
        }
    }
    while checkpoint.is_some() && worker.saved.borrow().len() < states {
        timely_worker.step_or_park(patience);
    }
    input.close();
    while timely_worker.step_or_park(patience) {}
    worker.saved.take()
}

/// Runs a worker, set as those of a pipeline are, on the calling thread.
fn on_this_thread<T>(run: impl FnOnce(&mut timely::worker::Worker) -> T) -> T {
    let config = crate::view::worker_config();
    let mut worker = timely::worker::Worker::new(config, Allocator::Thread(Thread::default()), Some(monotonic()));
    let result = run(&mut worker);
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
    result
}

/// A worker that saves to memory, and restores from there.
pub(crate) struct InMemory {
    start: Epoch,
    watermark: Watermark,
    index: usize,
    peers: usize,
    restored: Vec<Arc<Saved>>,
    saved: RefCell<Vec<Arc<Saved>>>,
}

impl InMemory {
    /// One that begins at the first epoch, with nothing.
    pub(crate) fn fresh() -> Self {
        let (restored, saved) = (Vec::new(), RefCell::default());
        Self { start: Epoch(1), watermark: EventTime::MIN, index: 0, peers: 1, restored, saved }
    }
}

impl Worker for InMemory {
    fn start(&self) -> Epoch {
        self.start
    }
    fn watermark(&self) -> Watermark {
        self.watermark
    }
    fn restore(&self, state: &StateNode, into: &mut dyn Snapshot) -> Result<()> {
        let slices = self.restored.iter().filter(|saved| saved.state == *state).flat_map(|saved| &saved.slices);
        for slice in slices.filter(|slice| usize::from(slice.group) % self.peers == self.index) {
            into.restore(slice.group, &[slice.bytes.clone().into()])?;
        }
        Ok(())
    }
    fn source(&self, _: u16) -> Option<RunningSource> {
        None
    }
    fn asking(&self, _: u16) -> Option<Asking> {
        None
    }
    fn partitions(&self, _: &str) -> u32 {
        1
    }
    fn record_bytes_max(&self) -> u64 {
        u64::MAX
    }
    fn fail(&self, error: crate::error::Error) {
        panic!("{error}");
    }
    fn save(&self, saved: Saved) {
        self.saved.borrow_mut().push(Arc::new(saved));
    }
}
