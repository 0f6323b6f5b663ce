//! Where rows come into a view, and where its results leave it.

use super::held::{Aside, Hashed};
use crate::answer::attempt;
use crate::key_by::Keyed;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key, key_group};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful, stateless};
use distributary_runtime::plan::NodeId;
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Diff, Origin, Stamp, Update};
use distributary_runtime::view::{self, Rows};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Lets a collection into a view; its rows are the state `name`.
pub(super) fn enter<'s, D: Key>(graph: &Graph<'s>, rows: &Collection<'s, D>, name: &str) -> (Rows<'s, D>, NodeId) {
    let hashed = stateless(graph, rows, Spec::new("rows", ""), |(row, stamp, diff), emit| match Hashed::of(row) {
        Ok(Hashed { hash, key }) => emit.give((Keyed { hash, key, value: () }, stamp, diff)),
        Err(cause) => emit.set_aside(stamp.origin, diff, cause),
    });
    let restored = Rc::<RefCell<Vec<(D, Diff)>>>::default();
    let logic = Entering { state: KeyedState::new(), changes: BTreeMap::new(), restored: restored.clone() };
    let spec = Spec::new("view_input", "").with_state::<D, Diff>(name);
    let changes = stateful(graph, &hashed, spec, Keyed::group, logic).results;
    (view::enter(graph, &changes, move || restored.take()), changes.node())
}

/// Keeps how many copies of each row there are. A view gets what stands: of a row that went before it came, nothing.
struct Entering<D> {
    state: KeyedState<D, Diff>,
    /// What the open epoch changes.
    changes: BTreeMap<(u64, D), Diff>,
    /// What the view has to get again.
    restored: Rc<RefCell<Vec<(D, Diff)>>>,
}

impl<D: Key> Logic<Keyed<D, ()>> for Entering<D> {
    type Out = D;
    /// All that an epoch changes of a row counts together.
    const ORDER: Order = Order::Any;

    fn apply(&mut self, (row, _, diff): Update<Keyed<D, ()>>, _: &mut Emit<Keyed<D, ()>, D>) {
        *self.changes.entry((row.hash, row.key)).or_default() += diff;
    }

    fn close(&mut self, _: &Closing<'_>, emit: &mut Emit<Keyed<D, ()>, D>) {
        for ((hash, row), diff) in std::mem::take(&mut self.changes).into_iter().filter(|(_, diff)| *diff != 0) {
            let (was, now) = self.state.update(hash, &row, |copies| {
                let was = copies.unwrap_or_default();
                *copies = Some(was.wrapping_add(diff)).filter(|now| *now != 0);
                (was.max(0), copies.unwrap_or_default().max(0))
            });
            if was != now {
                let stamp = Stamp { origin: Origin::group(emit.node(), hash, 0), time: EventTime::MIN, seen: EventTime::MIN };
                emit.give((row, stamp, now - was));
            }
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, _: Watermark) {
        let standing = (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8));
        *self.restored.borrow_mut() =
            standing.filter(|(_, _, copies)| **copies > 0).map(|(_, row, copies)| (row.clone(), *copies)).collect();
    }
}

/// What leaves a view: a result, or what it set aside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Leaving<D> {
    Row(Hashed<D>),
    Aside(Aside),
}

impl<D> Leaving<D> {
    fn hash(&self) -> u64 {
        match self {
            Self::Row(row) => row.hash,
            Self::Aside(aside) => aside.hash,
        }
    }
}

/// Lets the results of a view out: at the close of each epoch what it changed, each row once.
pub(super) fn leave<'s, D: Key>(
    graph: &Graph<'s>,
    rows: Rows<'s, Leaving<D>>,
    inputs: Vec<NodeId>,
    spec: Spec,
    time: impl Fn(&D) -> EventTime + 'static,
) -> Collection<'s, D> {
    let logic = Edge { changes: BTreeMap::new(), time, nothing: KeyedState::new() };
    stateful(graph, view::leave(graph, rows, inputs), spec, |leaving| key_group(leaving.hash()), logic).results
}

struct Edge<D, F> {
    changes: BTreeMap<Leaving<D>, Diff>,
    time: F,
    /// All state is that of the inputs.
    nothing: KeyedState<(), ()>,
}

impl<D: Key, F: Fn(&D) -> EventTime + 'static> Logic<Leaving<D>> for Edge<D, F> {
    type Out = D;
    const ORDER: Order = Order::Any;

    fn apply(&mut self, (leaving, _, diff): Update<Leaving<D>>, _: &mut Emit<Leaving<D>, D>) {
        *self.changes.entry(leaving).or_default() += diff;
    }

    fn close(&mut self, _: &Closing<'_>, emit: &mut Emit<Leaving<D>, D>) {
        let mut rows = Vec::new();
        for (leaving, diff) in std::mem::take(&mut self.changes).into_iter().filter(|(_, diff)| *diff != 0) {
            let origin = Origin::group(emit.node(), leaving.hash(), 0);
            match leaving {
                Leaving::Aside(aside) => emit.set_aside(origin, diff, aside.cause),
                Leaving::Row(Hashed { key: row, .. }) => match attempt::<EventTime, _>(|| (self.time)(&row)) {
                    Ok(time) => rows.push((row, Stamp { origin, time, seen: EventTime::MIN }, diff)),
                    Err(cause) => emit.set_aside(origin, diff, cause),
                },
            }
        }
        // Rows of one time stand by hash, as they came out of the map.
        rows.sort_by_key(|(_, stamp, _)| stamp.time);
        rows.into_iter().for_each(|update| emit.give(update));
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.nothing
    }
}
