//! The two shapes of an operator: one that looks at a record alone, and one that keeps keyed state and works epoch by
//! epoch. An operator of `distributary-operators` is one small file that fills in one of them.

use crate::binding::Binding;
use crate::graph::{Collection, Graph, Spec};
use crate::input::Input;
use crate::plan::NodeId;
use crate::state::{Saved, Slice, Snapshot};
use crate::time::{Epoch, Watermark};
use crate::update::{Data, DeadLetter, Diff, Origin, Update};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// What an operator gives.
#[derive(Debug)]
pub struct Emit<D, Out> {
    node: NodeId,
    out: Vec<Update<Out>>,
    late: Vec<Update<D>>,
    dead: Vec<DeadLetter>,
}

impl<D, Out> Emit<D, Out> {
    fn new(node: NodeId) -> Self {
        Self { node, out: Vec::new(), late: Vec::new(), dead: Vec::new() }
    }

    /// The operator's place in the plan: part of the origin of an aggregate.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Gives a result.
    #[inline]
    pub fn give(&mut self, update: Update<Out>) {
        self.out.push(update);
    }

    /// What has been given and has not left yet: in canonical order all that the epoch gives. An operator may still take of it.
    pub fn given(&mut self) -> &mut Vec<Update<Out>> {
        &mut self.out
    }

    /// Refuses an update as late; it goes, unchanged, to the late output.
    pub fn refuse_late(&mut self, update: Update<D>) {
        self.late.push(update);
    }

    /// Sets a record aside with its cause.
    pub fn set_aside(&mut self, origin: Origin, diff: Diff, cause: impl Into<String>) {
        self.dead.push(DeadLetter { origin, node: self.node, diff, cause: cause.into() });
    }
}

/// An operator that looks at each record alone. `each` may emit anything for it, at once.
pub fn stateless<'s, D: Data, Out: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    spec: Spec,
    mut each: impl FnMut(Update<D>, &mut Emit<D, Out>) + 'static,
) -> Collection<'s, Out> {
    let name = spec.kind;
    let node = graph.node(spec, &[input.node]);
    let mut builder = OperatorBuilder::new(name.to_string(), graph.scope());
    let mut handle = builder.new_input(input.stream.clone(), Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (out, stream) = builder.new_output::<Vec<Update<Out>>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut out, mut dead) =
        (OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out), OutputBuilder::<_, CapacityContainerBuilder<_>>::from(dead));
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut emit = Emit::new(node);
        move |_frontiers| {
            handle.for_each(|time, updates| {
                emit.out.reserve(updates.len());
                for update in updates.drain(..) {
                    each(update, &mut emit);
                }
                if !emit.out.is_empty() {
                    let capability = time.retain(0);
                    out.activate().session(&capability).give_container(&mut emit.out);
                    emit.out.clear();
                }
                if !emit.dead.is_empty() {
                    let capability = time.retain(1);
                    dead.activate().session(&capability).give_container(&mut emit.dead);
                    emit.dead.clear();
                }
            });
        }
    });
    graph.set_aside(dead_stream);
    Collection { stream, node }
}

/// When a stateful operator may see an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it arrives, as long as it belongs to the lowest open epoch: for operators whose result does not depend on order.
    Any,
    /// At the close of its epoch, sorted by origin.
    Canonical,
}

/// What an operator may know about the epoch that closes: never a clock.
#[derive(Debug)]
pub struct Closing<'a> {
    /// The epoch's binding.
    pub binding: &'a Binding,
    /// The pipeline's watermark before it.
    pub before: Watermark,
}

impl Closing<'_> {
    /// The pipeline's watermark as of this epoch.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.binding.watermark
    }
}

/// An operator that keeps keyed state. It sees epochs one after the other: all updates of an epoch, its close, then the next.
pub trait Logic<D: Data>: 'static {
    /// What it gives.
    type Out: Data;
    /// When it may see an update.
    const ORDER: Order;

    /// These updates are about to be applied, if the epoch is theirs: a chance to [touch](crate::state::KeyedState::touch) the
    /// state they need. Changes nothing.
    fn expect(&mut self, _updates: &[Update<D>]) {}

    /// Takes one update of the lowest open epoch. Must leave the state untouched when it sets the record aside.
    fn apply(&mut self, update: Update<D>, emit: &mut Emit<D, Self::Out>);

    /// The epoch is complete: give what it changed, in an order that no hash map decides.
    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<D, Self::Out>);

    /// Its state, to be saved and restored.
    fn state(&mut self) -> &mut dyn Snapshot;

    /// The state has been restored, as of an epoch that closed with this watermark: rebuild what is derived from it.
    fn restored(&mut self, _watermark: Watermark) {}
}

/// What a stateful operator gives.
pub struct Outputs<'s, D, Out> {
    /// Its results.
    pub results: Collection<'s, Out>,
    /// What it refused as late, unchanged.
    pub late: Collection<'s, D>,
}

/// An operator with keyed state. `route` is the key group of an update (see [`crate::key::key_group`]): it decides the worker.
pub fn stateful<'s, D: Data, L: Logic<D>>(
    graph: &Graph<'s>,
    input: impl Into<Input<'s, D>>,
    spec: Spec,
    route: impl Fn(&D) -> u8 + 'static,
    mut logic: L,
) -> Outputs<'s, D, L::Out> {
    let name = spec.kind;
    let state = spec.state.clone();
    let input = input.into();
    let node = graph.node(spec, &input.nodes);
    let (scope, index) = (graph.scope(), graph.scope().index());
    let shared = graph.shared();
    let (worker, bindings) = (shared.worker.clone(), shared.bindings.clone());
    if let Some(state) = &state {
        if let Err(error) = worker.restore(state, logic.state()) {
            graph.refuse(error);
        }
        logic.restored(worker.watermark());
    }

    let mut builder = OperatorBuilder::new(name.to_string(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut handle = builder.new_input(input.stream, Exchange::new(move |u: &Update<D>| u64::from(route(&u.0))));
    let (out, out_stream) = builder.new_output::<Vec<Update<L::Out>>>();
    let (late, late_stream) = builder.new_output::<Vec<Update<D>>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut outputs =
        OutPorts { out: OutputBuilder::from(out), late: OutputBuilder::from(late), dead: OutputBuilder::from(dead) };
    builder.build(move |mut capabilities| {
        let mut driver =
            Driver { logic, stash: BTreeMap::new(), open: worker.start(), watermark: worker.watermark(), emit: Emit::new(node) };
        let mut snapshot: Option<(Epoch, Vec<Slice>)> = None;
        for capability in &mut capabilities {
            capability.downgrade(&driver.open);
        }
        move |frontiers| {
            handle.for_each(|time, updates| driver.take(*time.time(), updates));
            outputs.flush(&mut driver.emit, &capabilities);
            while !frontiers[0].less_equal(&driver.open) {
                // An empty frontier is the end of the pipeline: there is no binding behind the last one.
                let Some(binding) = bindings.get(driver.open) else { break };
                driver.close(&binding);
                outputs.flush(&mut driver.emit, &capabilities);
                for capability in &mut capabilities {
                    capability.downgrade(&driver.open);
                }
                if state.is_some() && binding.is_checkpoint() {
                    driver.logic.state().begin_snapshot();
                    snapshot = Some((binding.epoch, Vec::new()));
                }
                driver.take_stashed();
                outputs.flush(&mut driver.emit, &capabilities);
            }
            if frontiers[0].is_empty() {
                capabilities.clear();
            }
            // One slice a visit: a checkpoint never holds up the records for longer than one key group takes.
            if let Some((epoch, slices)) = &mut snapshot {
                match (driver.logic.state().drain_slice(), &state) {
                    (Ok(Some(slice)), _) => {
                        slices.push(slice);
                        activator.activate();
                    }
                    (Ok(None), Some(state)) => {
                        let (epoch, slices) = (*epoch, std::mem::take(slices));
                        worker.save(Saved { state: state.clone(), worker: index, epoch, slices });
                        snapshot = None;
                    }
                    (Ok(None), None) => unreachable!("only an operator with state takes a snapshot"),
                    (Err(error), _) => {
                        worker.fail(error);
                        snapshot = None;
                    }
                }
            }
        }
    });
    graph.set_aside(dead_stream);
    Outputs { results: Collection { stream: out_stream, node }, late: Collection { stream: late_stream, node } }
}

type Port<T> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<T>>>;

struct OutPorts<D: 'static, Out: 'static> {
    out: Port<Update<Out>>,
    late: Port<Update<D>>,
    dead: Port<DeadLetter>,
}

impl<D: Data, Out: Data> OutPorts<D, Out> {
    fn flush(&mut self, emit: &mut Emit<D, Out>, capabilities: &[Capability<Epoch>]) {
        let [out, late, dead] = capabilities else { return };
        send(&mut self.out, out, &mut emit.out);
        send(&mut self.late, late, &mut emit.late);
        send(&mut self.dead, dead, &mut emit.dead);
    }
}

fn send<T: 'static>(port: &mut Port<T>, capability: &Capability<Epoch>, batch: &mut Vec<T>) {
    if !batch.is_empty() {
        port.activate().session(capability).give_container(batch);
        batch.clear();
    }
}

/// So many updates are expected before they are applied: what they touch stays near until then.
const EXPECTED: usize = 64;

/// Feeds epochs to a logic one after the other.
struct Driver<D: Data, L: Logic<D>> {
    logic: L,
    /// Updates of epochs that are not open yet, or (in canonical order) of the open one: in batches, as they arrived.
    stash: BTreeMap<Epoch, Vec<Vec<Update<D>>>>,
    /// The lowest epoch that has not closed.
    open: Epoch,
    watermark: Watermark,
    emit: Emit<D, L::Out>,
}

impl<D: Data, L: Logic<D>> Driver<D, L> {
    fn take(&mut self, epoch: Epoch, updates: &mut Vec<Update<D>>) {
        assert!(epoch >= self.open, "an update of epoch {epoch} arrived after its close");
        if L::ORDER == Order::Any && epoch == self.open {
            self.apply(updates);
        } else {
            let batches = self.stash.entry(epoch).or_default();
            match batches.last_mut() {
                // A batch may be a few updates in much memory.
                Some(last) if last.capacity() - last.len() >= updates.len() => last.append(updates),
                _ => batches.push(std::mem::take(updates)),
            }
        }
    }

    fn apply(&mut self, updates: &mut Vec<Update<D>>) {
        let mut updates = updates.drain(..);
        while !updates.as_slice().is_empty() {
            let ahead = updates.as_slice();
            self.logic.expect(&ahead[..ahead.len().min(EXPECTED)]);
            for update in updates.by_ref().take(EXPECTED) {
                self.logic.apply(update, &mut self.emit);
            }
        }
    }

    fn close(&mut self, binding: &Binding) {
        if let Some(batches) = self.stash.remove(&self.open) {
            let batches = if L::ORDER == Order::Canonical { in_order(batches) } else { batches };
            batches.into_iter().for_each(|mut updates| self.apply(&mut updates));
        }
        self.logic.close(&Closing { binding, before: self.watermark }, &mut self.emit);
        self.watermark = binding.watermark;
        self.open = self.open.next();
    }

    /// Works ahead on what has already arrived of the epoch that is open now.
    fn take_stashed(&mut self) {
        if L::ORDER == Order::Any
            && let Some(batches) = self.stash.remove(&self.open)
        {
            batches.into_iter().for_each(|mut updates| self.apply(&mut updates));
        }
    }
}

/// The updates of an epoch in canonical order; mostly they arrive so.
fn in_order<D>(mut batches: Vec<Vec<Update<D>>>) -> Vec<Vec<Update<D>>> {
    // Of a correction the old goes before the new comes: a closure that keeps the first would not take the new.
    let rank = |(_, stamp, diff): &Update<D>| (*stamp, *diff);
    if batches.iter().flatten().is_sorted_by_key(rank) {
        return batches;
    }
    let mut updates = Vec::with_capacity(batches.iter().map(Vec::len).sum());
    batches.iter_mut().for_each(|batch| updates.append(batch));
    updates.sort_by_key(rank);
    vec![updates]
}
