//! What operators share that keep the records of a key by event time: whatever comes or goes, they say what the records that stand make,
//! and take back what those made that stood before.

use crate::answer::attempt;
use crate::key_by::Keyed;
use crate::saying::Saying;
use crate::side::{Held, Id, Records};
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::plan::Retraction;
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an operator makes of the records of a key: a pure function of those that stand, and of the watermark.
pub(crate) trait Rule<K, V>: 'static {
    /// What it notes of a record beside it.
    type Mark: Data;
    /// What is left of records that are forgotten.
    type Base: Data + Default;
    /// What it gives.
    type Out: Data;

    /// Whether a record counts, and what is noted of it. Pure, so that a retraction gets the same answer as its record.
    fn look(&self, base: Option<&Self::Base>, record: &V, stamp: Stamp) -> Result<Look<Self::Mark>, String>;

    /// From here on a record of this time is late.
    fn late_from(&self, time: EventTime) -> EventTime;

    /// So long a record may be needed: not shorter than it, or one that it meets, may come or go.
    fn kept_until(&self, time: EventTime) -> EventTime;

    /// Says what the records make, as far as the open epoch and its watermark may have changed it; and when there is something to say if
    /// nothing changes.
    fn say(&self, of: &Standing<'_, K, V, Self>, span: Span, saying: &mut Saying<Self::Out>);

    /// Forgets what no change can need that is still to be taken, if all that was kept until `over` is so. What is said of the others must
    /// not change by that.
    fn forget(&self, key: &K, entry: &mut Entry<Self::Base, Self::Mark, V>, at: Watermark, over: Watermark);

    /// So long a base is kept if nothing comes; `None`: for ever.
    fn base_until(&self, _base: &Self::Base) -> Option<EventTime> {
        None
    }

    /// Whether a base is what it was in the beginning.
    fn is_nothing(&self, base: &Self::Base) -> bool;
}

/// What a rule makes of a record that comes or goes.
pub(crate) enum Look<M> {
    /// It counts.
    Keep(M),
    /// It changes nothing.
    Ignore,
    /// What it belongs to has been settled.
    Late,
}

/// The times that may say something else now: those of the records that changed, and those that the watermark has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: EventTime,
    pub(crate) last: EventTime,
}

/// A record, and what is noted of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Marked<M, V> {
    pub(crate) mark: M,
    pub(crate) value: V,
}

/// What is kept of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry<B, M, V> {
    pub(crate) base: B,
    pub(crate) records: Records<Marked<M, V>>,
}

impl<B: Default, M, V> Default for Entry<B, M, V> {
    fn default() -> Self {
        Self { base: B::default(), records: Records::default() }
    }
}

/// How many copies of a record stand.
type Copies<M, V> = fn(&Held<Marked<M, V>>) -> Diff;

/// The records of a key: those that stood before the open epoch, or those that stand at its close.
pub(crate) struct Standing<'a, K, V, R: Rule<K, V> + ?Sized> {
    pub(crate) key: &'a K,
    pub(crate) hash: u64,
    pub(crate) base: &'a R::Base,
    pub(crate) watermark: Watermark,
    records: &'a Records<Marked<R::Mark, V>>,
    copies: Copies<R::Mark, V>,
}

/// A record that stands: what it is known by, itself, and its copies.
pub(crate) type Stands<'a, M, V> = (&'a Id, &'a Marked<M, V>, Diff);

impl<'a, K, V, R: Rule<K, V> + ?Sized> Standing<'a, K, V, R> {
    /// Those with times from `first` to `last`, by time and origin.
    pub(crate) fn between(
        &self,
        first: i128,
        last: i128,
    ) -> impl DoubleEndedIterator<Item = Stands<'a, R::Mark, V>> + use<'a, K, V, R> {
        let copies = self.copies;
        self.records.between(first, last).map(move |(id, held)| (id, &held.data, copies(held))).filter(|(.., copies)| *copies > 0)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Stands<'a, R::Mark, V>> + use<'a, K, V, R> {
        self.between(i128::MIN, i128::MAX)
    }
}

/// An operator with this rule.
pub(crate) fn keeping<'s, K: Key, V: Data, R: Rule<K, V>>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    spec: Spec,
    name: &str,
    rule: R,
) -> Outputs<'s, Keyed<K, V>, R::Out> {
    let horizon_ms = graph.correction_horizon_ms();
    let corrections = if horizon_ms == 0 { String::new() } else { format!(", corrections {horizon_ms} ms") };
    let spec = Spec { detail: spec.detail + &corrections, ..spec }.with_state::<K, Entry<R::Base, R::Mark, V>>(name);
    let spec = spec.corrected(Retraction::Complete, graph.horizon());
    let (state, changes, due) = (KeyedState::new(), BTreeMap::new(), BTreeSet::new());
    stateful(graph, input, spec, Keyed::group, Keeping { rule, horizon_ms, state, changes, due, watermark: EventTime::MIN })
}

/// So many copies of a record come or go.
type Change<M, V> = (Id, Marked<M, V>, Diff);

/// Changes by key hash and key.
type Changes<K, M, V> = BTreeMap<(u64, K), Vec<Change<M, V>>>;

struct Keeping<K, V, R: Rule<K, V>> {
    rule: R,
    horizon_ms: i64,
    state: KeyedState<K, Entry<R::Base, R::Mark, V>>,
    /// What the open epoch changes.
    changes: Changes<K, R::Mark, V>,
    /// When there is something to say or to forget of a key without a change. It may name a key that has nothing by then.
    due: BTreeSet<(EventTime, u64, K)>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

impl<K: Key, V: Data, R: Rule<K, V>> Logic<Keyed<K, V>> for Keeping<K, V, R> {
    type Out = R::Out;
    /// All that an epoch changes of a record counts together.
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        updates.iter().for_each(|(keyed, _, _)| self.state.touch(keyed.hash, &keyed.key));
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, R::Out>) {
        let late_from = self.rule.late_from(stamp.time);
        if stamp.seen >= late_from || self.watermark >= late_from.plus_ms(self.horizon_ms) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let base = self.state.get(keyed.hash, &keyed.key).map(|entry| &entry.base);
        let known = self.rule.look(base, &keyed.value, stamp).and_then(|look| Ok((look, Id::of(&keyed.value, stamp)?)));
        match known {
            Ok((Look::Keep(mark), id)) => {
                let change = (id, Marked { mark, value: keyed.value }, diff);
                self.changes.entry((keyed.hash, keyed.key)).or_default().push(change);
            }
            Ok((Look::Ignore, _)) => {}
            Ok((Look::Late, _)) => emit.refuse_late((keyed, stamp, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, R::Out>) {
        self.watermark = at.watermark();
        while self.due.first().is_some_and(|(time, ..)| *time <= self.watermark) {
            let passed = self.due.pop_first().map(|(_, hash, key)| (hash, key));
            passed.map(|key| self.changes.entry(key).or_default());
        }
        for ((hash, key), changes) in std::mem::take(&mut self.changes) {
            let mut saying = Saying::new(emit.node(), hash);
            let (rule, horizon_ms, watermark) = (&self.rule, self.horizon_ms, self.watermark);
            let due = self.state.update(hash, &key, |slot| {
                let mut entry = slot.take().unwrap_or_default();
                let times = changes.iter().map(|(id, ..)| id.time);
                let (first, last) = times.fold((at.before, watermark), |(first, last), time| (first.min(time), last.max(time)));
                let mut changed = BTreeSet::new();
                for (id, record, diff) in changes {
                    entry.records.change(id, record, diff);
                    changed.insert(id);
                }
                let Entry { base, records } = &entry;
                let was = Standing { key: &key, hash, base, watermark: at.before, records, copies: Held::was };
                let now = Standing { watermark, copies: Held::now, ..was };
                rule.say(&was, Span { first, last }, saying.takes_back());
                rule.say(&now, Span { first, last }, saying.says());
                changed.into_iter().for_each(|id| entry.records.settle(id));
                rule.forget(&key, &mut entry, watermark, watermark.minus_ms(horizon_ms));
                let due = due(rule, horizon_ms, watermark, &entry, saying.due());
                *slot = Some(entry).filter(|entry| !(entry.records.is_empty() && rule.is_nothing(&entry.base)));
                due
            });
            saying.emit(emit);
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
            let Entry { base, records } = entry;
            let standing = Standing { key, hash, base, watermark, records, copies: Held::now };
            let mut saying = Saying::new(0, hash);
            self.rule.say(&standing, Span { first: watermark, last: watermark }, &mut saying);
            let due = due(&self.rule, self.horizon_ms, watermark, entry, saying.due());
            self.due.extend(due.map(|time| (time, hash, key.clone())));
        }
    }
}

/// When there is something to say or to forget.
fn due<K, V, R: Rule<K, V>>(
    rule: &R,
    horizon_ms: i64,
    watermark: Watermark,
    entry: &Entry<R::Base, R::Mark, V>,
    say: Option<EventTime>,
) -> Option<EventTime> {
    let is_ahead = |over: &EventTime| *over > watermark;
    let over = entry.records.iter().map(|(id, _)| rule.kept_until(id.time).plus_ms(horizon_ms)).find(is_ahead);
    let base_over = rule.base_until(&entry.base).map(|until| until.plus_ms(horizon_ms)).filter(is_ahead);
    [say, over, base_over].into_iter().flatten().min()
}

/// Whether the user's closure says so of a record.
pub(crate) fn holds<V>(is: &dyn Fn(&V) -> bool, record: &V) -> Result<bool, String> {
    attempt::<bool, _>(|| is(record))
}
