//! What all joins share: one operator over both sides, the records of a key, and how results are said.

use crate::answer::attempt;
use crate::key_by::Keyed;
use crate::side::{Entry, Id, Side};
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::input::Input;
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, NodeId, Origin, Stamp, Update};
use std::collections::{BTreeMap, BTreeSet, btree_map};

/// Which records meet, and how long they are kept.
pub(crate) trait Rule: 'static {
    /// What has to be claimed for a change to come too late; never, if there is nothing.
    fn bound<L, R>(&self, record: &Side<L, R>, time: EventTime, diff: Diff) -> Option<EventTime>;

    /// Says what the changes of the open epoch and its watermark change. Every result once: so nothing comes and goes in one
    /// epoch.
    fn say<K, L, R, O>(&self, entry: &Entry<L, R>, changed: &Changed, at: &Closing<'_>, saying: &mut Saying<'_, K, L, R, O>);

    /// Forgets what no change can need that is still to be taken. It is called whenever the watermark reaches what [`Rule::due`] named.
    fn forget<L, R>(&self, entry: &mut Entry<L, R>, at: &Closing<'_>);

    /// When there is something to say or to forget, if nothing changes.
    fn due<L, R>(&self, entry: &Entry<L, R>, watermark: Watermark) -> Option<EventTime>;
}

/// The records of a key that the open epoch has changed: each once, in order.
#[derive(Default)]
pub(crate) struct Changed {
    pub(crate) left: Vec<Id>,
    pub(crate) right: Vec<Id>,
}

impl Changed {
    fn sort(&mut self) {
        for ids in [&mut self.left, &mut self.right] {
            ids.sort_unstable();
            ids.dedup();
        }
    }
}

/// A join of two keyed collections as one operator of the plan. `combine` gives the result of a left record with a right one, or
/// alone; `None` where there is none.
pub(crate) fn joining<'s, K: Key, L: Data, R: Data, O: Data>(
    graph: &Graph<'s>,
    left: &Collection<'s, Keyed<K, L>>,
    right: &Collection<'s, Keyed<K, R>>,
    spec: Spec,
    name: &str,
    rule: impl Rule,
    combine: impl Fn(&K, &L, Option<&R>) -> Option<O> + 'static,
) -> Outputs<'s, Keyed<K, Side<L, R>>, O> {
    let sides = Input::both(left, right, |left| left.map(Side::Left), |right| right.map(Side::Right));
    let (state, changes, due) = (KeyedState::new(), BTreeMap::new(), BTreeSet::new());
    let horizon_ms = graph.correction_horizon_ms();
    let logic = Joining { rule, combine, horizon_ms, state, changes, due, watermark: EventTime::MIN };
    stateful(graph, sides, spec.with_state::<K, Entry<L, R>>(name), Keyed::group, logic)
}

/// What the plan says of a join that can still be corrected when nothing new is taken.
pub(crate) fn corrections(graph: &Graph<'_>) -> String {
    match graph.correction_horizon_ms() {
        0 => String::new(),
        horizon_ms => format!(", corrections {horizon_ms} ms"),
    }
}

/// So many copies of a record come or go.
type Change<L, R> = (Id, Side<L, R>, Diff);

struct Joining<M, F, K, L, R> {
    rule: M,
    combine: F,
    /// How much longer than to the bound what has been taken can be corrected.
    horizon_ms: i64,
    state: KeyedState<K, Entry<L, R>>,
    /// What the open epoch changes, by key hash and key.
    changes: BTreeMap<(u64, K), Vec<Change<L, R>>>,
    /// When there is something to say or to forget of a key without a change. It may name a key that has nothing by then.
    due: BTreeSet<(EventTime, u64, K)>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

impl<K, L, R, O, M, F> Logic<Keyed<K, Side<L, R>>> for Joining<M, F, K, L, R>
where
    K: Key,
    L: Data,
    R: Data,
    O: Data,
    M: Rule,
    F: Fn(&K, &L, Option<&R>) -> Option<O> + 'static,
{
    type Out = O;
    /// All that an epoch changes of a record counts together.
    const ORDER: Order = Order::Any;

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, Side<L, R>>>, emit: &mut Emit<Keyed<K, Side<L, R>>, O>) {
        // A record that came too late is refused when it goes as well: that has the same stamp.
        let is_late = self.rule.bound(&keyed.value, stamp.time, 1).is_some_and(|bound| stamp.seen >= bound);
        let gone_from = self.rule.bound(&keyed.value, stamp.time, diff).map(|bound| bound.plus_ms(self.horizon_ms));
        if is_late || gone_from.is_some_and(|gone_from| self.watermark >= gone_from) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let id = match &keyed.value {
            Side::Left(left) => Id::of(left, stamp),
            Side::Right(right) => Id::of(right, stamp),
        };
        match id {
            Ok(id) => {
                let change = (id, keyed.value, diff);
                match self.changes.entry((keyed.hash, keyed.key)) {
                    btree_map::Entry::Occupied(mut changes) => changes.get_mut().push(change),
                    // Of most keys an epoch has one: there is to be room for no more.
                    btree_map::Entry::Vacant(changes) => drop(changes.insert(vec![change])),
                }
            }
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, Side<L, R>>, O>) {
        self.watermark = at.watermark();
        while self.due.first().is_some_and(|(time, ..)| *time <= self.watermark) {
            let passed = self.due.pop_first().map(|(_, hash, key)| (hash, key));
            passed.map(|key| self.changes.entry(key).or_default());
        }
        for ((hash, key), changes) in std::mem::take(&mut self.changes) {
            let mut saying = Saying { node: emit.node(), key: &key, combine: &self.combine, said: Vec::new() };
            let due = self.state.update(hash, &key, |slot| {
                let mut entry = slot.take().unwrap_or_default();
                let mut changed = Changed::default();
                for (id, record, diff) in changes {
                    match record {
                        Side::Left(left) => {
                            entry.left.change(id, left, diff);
                            changed.left.push(id);
                        }
                        Side::Right(right) => {
                            entry.right.change(id, right, diff);
                            changed.right.push(id);
                        }
                    }
                }
                changed.sort();
                self.rule.say(&entry, &changed, at, &mut saying);
                changed.left.into_iter().for_each(|id| entry.left.settle(id));
                changed.right.into_iter().for_each(|id| entry.right.settle(id));
                self.rule.forget(&mut entry, at);
                let due = self.rule.due(&entry, self.watermark);
                *slot = Some(entry).filter(|entry| !entry.is_empty());
                due
            });
            saying.say(emit);
            self.due.extend(due.map(|time| (time, hash, key)));
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.due.clear();
        for (hash, key, entry) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            self.due.extend(self.rule.due(entry, watermark).map(|time| (time, hash, key.clone())));
        }
    }
}

/// The result of a left record with a right one, or alone.
type Combine<K, L, R, O> = dyn Fn(&K, &L, Option<&R>) -> Option<O>;

/// Gathers what is to be said of a key.
pub(crate) struct Saying<'a, K, L, R, O> {
    node: NodeId,
    key: &'a K,
    combine: &'a Combine<K, L, R, O>,
    said: Vec<(EventTime, Origin, Diff, Result<O, String>)>,
}

impl<K, L, R, O> Saying<'_, K, L, R, O> {
    /// So many copies of a result come or go. `origins` is the hash of those that it comes from.
    pub(crate) fn add(&mut self, time: EventTime, origins: u64, diff: Diff, left: &L, right: Option<&R>) {
        if diff == 0 {
            return;
        }
        let result = attempt::<Option<O>, _>(|| (self.combine)(self.key, left, right)).transpose();
        let origin = Origin::group(self.node, origins, time.0);
        self.said.extend(result.map(|result| (time, origin, diff, result)));
    }

    /// By time, and of one origin what goes before what comes. A result makes no claim of its own: it is too late for another operator
    /// only where the state is gone.
    fn say<D>(mut self, emit: &mut Emit<D, O>) {
        self.said.sort_by_key(|(time, origin, diff, _)| (*time, *origin, *diff));
        for (time, origin, diff, result) in self.said {
            match result {
                Ok(result) => emit.give((result, Stamp { origin, time, seen: EventTime::MIN }, diff)),
                Err(cause) => emit.set_aside(origin, diff, cause),
            }
        }
    }
}
