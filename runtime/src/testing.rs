//! Runs one operator, or a few, over given epochs without a bus: for doctests, property tests and measurements of operators.

use crate::binding::{Binding, BindingLog, Control};
use crate::error::Result;
use crate::graph::{Collection, Graph, Worker};
use crate::plan::StateNode;
use crate::source::running::RunningSource;
use crate::state::{Saved, Snapshot};
use crate::time::{Epoch, EventTime, WallTime, Watermark};
use crate::update::{Data, DeadLetter, Origin, Stamp, Update};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    let first = Incarnation { start: Epoch(1), watermark: EventTime::MIN, checkpoint: Some(checkpoint), saved: Vec::new() };
    let (mut observed, saved) = run_incarnation(first, before.to_vec(), build.clone());
    let second = Incarnation { start: checkpoint.next(), watermark, checkpoint: None, saved };
    let (rest, _) = run_incarnation(second, after.to_vec(), build);
    observed.results.extend(rest.results);
    observed.dead.extend(rest.dead);
    observed
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
struct Incarnation {
    start: Epoch,
    watermark: Watermark,
    checkpoint: Option<Epoch>,
    saved: Vec<Saved>,
}

impl Incarnation {
    fn fresh() -> Self {
        Self { start: Epoch(1), watermark: EventTime::MIN, checkpoint: None, saved: Vec::new() }
    }
}

fn run_incarnation<D: Data, Out: Data>(
    from: Incarnation,
    steps: Vec<Step<D>>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
) -> (Observed<Out>, Vec<Saved>) {
    let observed = Arc::new(Mutex::new(Observed { results: Vec::new(), dead: Vec::new() }));
    let seen = observed.clone();
    let epochs = steps.into_iter().map(|step| (vec![step.updates], step.watermark)).collect();
    let saved = incarnate(from, epochs, build, move || {
        let (results, dead) = (seen.clone(), seen);
        let look = move |t: Epoch, d: &[Update<Out>]| lock(&results).results.extend(d.iter().map(|d| (t, d.clone())));
        (look, move |t: Epoch, d: &[DeadLetter]| lock(&dead).dead.extend(d.iter().map(|d| (t, d.clone()))))
    });
    let observed = std::mem::replace(&mut *lock(&observed), Observed { results: Vec::new(), dead: Vec::new() });
    (observed, saved)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one incarnation on the calling thread; `look` makes what results and dead letters are shown to.
fn incarnate<D: Data, Out: Data, L, M>(
    from: Incarnation,
    epochs: Vec<(Vec<Vec<Update<D>>>, Watermark)>,
    build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Send + Sync + 'static,
    look: impl FnOnce() -> (L, M) + Send + 'static,
) -> Vec<Saved>
where
    L: FnMut(Epoch, &[Update<Out>]) + 'static,
    M: FnMut(Epoch, &[DeadLetter]) + 'static,
{
    let moved = Mutex::new((from, epochs, look));
    timely::execute_directly(move |timely_worker| {
        let (from, epochs, look) = moved.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (start, checkpoint) = (from.start, from.checkpoint);
        let worker = Rc::new(InMemory { start, watermark: from.watermark, restored: from.saved, saved: RefCell::default() });
        let log = BindingLog::default();
        let mut input = InputHandle::<Epoch, timely::container::CapacityContainerBuilder<Vec<Update<D>>>>::new();
        let (probe, states) = timely_worker.dataflow(|scope| {
            let graph = Graph::new(scope, log.clone(), worker.clone());
            let stream = scope.input_from(&mut input);
            let out = build(&graph, Collection { stream, node: 0 });
            let (mut look, mut look_dead) = look();
            let streams = std::mem::take(&mut *graph.shared().dead.borrow_mut());
            scope.concatenate(streams).inspect_batch(move |t, d| look_dead(*t, d));
            let stream = out.stream.inspect_batch(move |t, d| look(*t, d));
            (stream.probe().0, graph.plan().states().count())
        });
        input.advance_to(start);
        for (epoch, (batches, watermark)) in (start.0..).map(Epoch).zip(epochs) {
            let closed_at = WallTime(epoch.0 as i64);
            let (ranges, lifts) = (Vec::new(), Vec::new());
            let controls = if checkpoint == Some(epoch) { vec![Control::Checkpoint] } else { Vec::new() };
            log.insert(Rc::new(Binding { epoch, closed_at, watermark, ranges, lifts, controls }));
            for mut batch in batches {
                input.send_batch(&mut batch);
                timely_worker.step();
            }
            input.advance_to(epoch.next());
            while probe.less_than(&epoch.next()) {
                timely_worker.step();
            }
        }
        while checkpoint.is_some() && worker.saved.borrow().len() < states {
            timely_worker.step();
        }
        input.close();
        while timely_worker.step() {}
        worker.saved.take()
    })
}

/// A worker that saves to memory, and restores from there.
pub(crate) struct InMemory {
    start: Epoch,
    watermark: Watermark,
    restored: Vec<Saved>,
    saved: RefCell<Vec<Saved>>,
}

impl InMemory {
    /// One that begins at the first epoch, with nothing.
    pub(crate) fn fresh() -> Self {
        Self { start: Epoch(1), watermark: EventTime::MIN, restored: Vec::new(), saved: RefCell::default() }
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
        for slice in self.restored.iter().filter(|saved| saved.state == *state).flat_map(|saved| &saved.slices) {
            into.restore(slice.group, &[slice.bytes.clone().into()])?;
        }
        Ok(())
    }
    fn source(&self, _: u16) -> Option<RunningSource> {
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
        self.saved.borrow_mut().push(saved);
    }
}
