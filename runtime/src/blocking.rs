//! Calls that take long: on threads of their own, so that the worker goes on meanwhile.
//!
//! The epoch stays open until all its calls have returned, and so do the results behind it: what is behind sees the epoch whole. Later
//! epochs are worked on meanwhile, as many as may be in flight.

use crate::graph::{Collection, Graph, Spec};
use crate::key::key_group;
use crate::time::Epoch;
use crate::update::{Data, DeadLetter, Diff, Stamp, Update};
use crate::user_code::catch;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// Calls that lie ready for a thread, and results for the worker.
const READY_MAX: usize = 256;

/// What is called.
type Call<D, Out> = dyn Fn(&D) -> Result<Out, String> + Send + Sync;

/// Gives `call(record)` for each record, on so many threads of each worker. `hash` is the hash of a record's key: those of a key are called
/// one after the other, in the order of their epochs and origins. An error, or a panic, makes its record a dead letter.
pub fn on_threads<'s, D: Data, Out: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    spec: Spec,
    hash: impl Fn(&D) -> u64 + Copy + 'static,
    threads: usize,
    call: impl Fn(&D) -> Result<Out, String> + Send + Sync + 'static,
) -> Collection<'s, Out> {
    let name = spec.kind;
    let node = graph.node(spec, &[input.node]);
    let scope = graph.scope();
    let mut builder = OperatorBuilder::new(name.to_string(), scope);
    let address = builder.operator_info().address.to_vec();
    let mut handle =
        builder.new_input(input.stream.clone(), Exchange::new(move |u: &Update<D>| u64::from(key_group(hash(&u.0)))));
    let (out, stream) = builder.new_output::<Vec<Update<Out>>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out);
    let mut dead = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(dead);
    let call: Arc<Call<D, Out>> = Arc::new(call);
    let worker = graph.shared().worker.clone();
    builder.build(move |capabilities| {
        drop(capabilities);
        let activator = scope.worker().sync_activator_for(address);
        let mut open: BTreeMap<Epoch, Open<D, Out>> = BTreeMap::new();
        let mut pool: Option<Pool<D, Out>> = None;
        move |frontiers| {
            handle.for_each(|time, updates| {
                let new = || Open {
                    capabilities: [time.retain(0), time.retain(1)],
                    records: Vec::new(),
                    waits_for: 0,
                    returned: Vec::new(),
                };
                open.entry(*time.time()).or_insert_with(new).records.append(updates);
            });
            let closed = |epoch: &Epoch| !frontiers[0].less_equal(epoch);
            for (epoch, open) in open.iter_mut().filter(|(epoch, open)| closed(epoch) && !open.records.is_empty()) {
                let pool = match &mut pool {
                    Some(pool) => pool,
                    None => match Pool::start(threads, &call, &activator) {
                        Ok(started) => pool.insert(started),
                        Err(source) => {
                            return worker.fail(crate::error::Error::Io { what: format!("starting threads of {name}"), source });
                        }
                    },
                };
                let mut records = std::mem::take(&mut open.records);
                records.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
                open.waits_for = records.len();
                for (data, stamp, diff) in records {
                    pool.call(hash(&data), Task { epoch: *epoch, data, stamp, diff });
                }
            }
            for Returned { epoch, stamp, diff, result } in pool.iter().flat_map(|pool| pool.returned.try_iter()) {
                let Some(of) = open.get_mut(&epoch) else { unreachable!("an epoch stays open until its calls have returned") };
                of.returned.push((stamp, diff, result));
                of.waits_for -= 1;
            }
            pool.iter_mut().for_each(Pool::hand_out);
            for (_, mut of) in open.extract_if(.., |_, of| of.waits_for == 0 && of.records.is_empty()) {
                of.returned.sort_by_key(|(stamp, diff, _)| (*stamp, *diff));
                let (mut results, mut letters) = (Vec::new(), Vec::new());
                for (stamp, diff, result) in of.returned {
                    match result {
                        Ok(result) => results.push((result, stamp, diff)),
                        Err(cause) => letters.push(DeadLetter { origin: stamp.origin, node, diff, cause }),
                    }
                }
                out.activate().session(&of.capabilities[0]).give_container(&mut results);
                dead.activate().session(&of.capabilities[1]).give_container(&mut letters);
            }
        }
    });
    graph.set_aside(dead_stream);
    Collection { stream, node }
}

/// An epoch whose calls have not all returned.
struct Open<D, Out> {
    capabilities: [Capability<Epoch>; 2],
    /// Until the epoch is closed.
    records: Vec<Update<D>>,
    waits_for: usize,
    returned: Vec<(Stamp, Diff, Result<Out, String>)>,
}

struct Task<D> {
    epoch: Epoch,
    data: D,
    stamp: Stamp,
    diff: Diff,
}

struct Returned<Out> {
    epoch: Epoch,
    stamp: Stamp,
    diff: Diff,
    result: Result<Out, String>,
}

/// What is to be called on a thread, in order. The epochs in flight bound it.
struct Queue<D> {
    ready: Sender<Task<D>>,
    waiting: VecDeque<Task<D>>,
}

/// Threads, each with a queue of its own.
struct Pool<D, Out> {
    threads: Vec<Queue<D>>,
    returned: Receiver<Returned<Out>>,
    /// Nobody waits any more.
    over: Arc<AtomicBool>,
}

impl<D: Data, Out: Data> Pool<D, Out> {
    fn start(threads: usize, call: &Arc<Call<D, Out>>, activator: &SyncActivator) -> std::io::Result<Self> {
        let (to, returned) = bounded(READY_MAX);
        let mut pool = Self { threads: Vec::new(), returned, over: Arc::default() };
        for _ in 0..threads.max(1) {
            let (ready, tasks) = bounded::<Task<D>>(READY_MAX);
            let (call, to, over, activator) = (call.clone(), to.clone(), pool.over.clone(), activator.clone());
            std::thread::Builder::new().name("dst-blocking".into()).spawn(move || {
                for Task { epoch, data, stamp, diff } in tasks {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = catch(|| call(&data)).flatten();
                    // The receiver is gone only when the pipeline ends.
                    let _ = to.send(Returned { epoch, stamp, diff, result });
                    let _ = activator.activate();
                }
            })?;
            pool.threads.push(Queue { ready, waiting: VecDeque::new() });
        }
        Ok(pool)
    }

    fn call(&mut self, hash: u64, task: Task<D>) {
        let thread = (hash % self.threads.len() as u64) as usize;
        self.threads[thread].waiting.push_back(task);
    }

    /// Gives the threads what they have room for. There will be more when something has returned.
    fn hand_out(&mut self) {
        for Queue { ready, waiting } in &mut self.threads {
            while let Some(task) = waiting.pop_front() {
                // A thread ends only behind its queue.
                if let Err(TrySendError::Full(task)) = ready.try_send(task) {
                    waiting.push_front(task);
                    break;
                }
            }
        }
    }
}

impl<D, Out> Drop for Pool<D, Out> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
