//! A running aggregate for each key, and what it shares with `fold`.

use crate::aggregate::{Aggregate, Group, take};
use crate::key_by::Keyed;
use crate::said::Said;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful};
use distributary_runtime::plan::Horizon;
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Origin, Stamp, Update};
use serde::{Deserialize, Serialize};

/// A result for a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PerKey<K, O> {
    /// The key.
    pub key: K,
    /// The result.
    pub value: O,
}

/// Aggregates all records of a key. At the close of each epoch it gives what changed: the old result goes, the new one
/// comes. A key without records has no result and no state.
///
/// `name` names the state. A result has the greatest event time of the key's updates in the epoch, and makes no claim of its own
/// ([`Stamp::seen`] is [`EventTime::MIN`]). A record that the
/// aggregate's closures panic on is a dead letter; a result that does not fit its type is one too, until it fits again.
///
/// ```
/// use distributary_operators::aggregate::sum;
/// use distributary_operators::{aggregate, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let step = |updates| Step { updates, watermark: EventTime(0) };
/// let steps = vec![step(vec![update(('a', 5), 0, 0, 0), update(('a', 2), 1, 0, 0)]), step(vec![update(('a', 1), 2, 0, 0)])];
/// let seen = run(steps, |graph, input| {
///     let payments = key_by(graph, &input, |payment| payment.0);
///     aggregate(graph, &payments, "spend", sum(|payment: &(char, i64)| payment.1))
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (spend, _, diff))| (epoch.0, spend.value, *diff)).collect();
/// assert_eq!(said, [(1, 7, 1), (2, 7, -1), (2, 8, 1)]);
/// ```
pub fn aggregate<'s, K: Key, V: Data, A: Aggregate<V>>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    aggregate: A,
) -> Collection<'s, PerKey<K, A::Output>> {
    let spec = Spec::new("aggregate", aggregate.describe()).with_state::<K, Entry<Group<A::State>, A::Output>>(name);
    let spec = spec.corrected(aggregate.retraction(), Horizon::Always);
    let logic = RunningAggregate { aggregate, running: Running::default() };
    stateful(graph, input, spec, Keyed::group, logic).results
}

struct RunningAggregate<K, V, A: Aggregate<V>> {
    aggregate: A,
    running: Running<K, Group<A::State>, A::Output>,
}

impl<K: Key, V: Data, A: Aggregate<V>> Logic<Keyed<K, V>> for RunningAggregate<K, V, A> {
    type Out = PerKey<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        self.running.expect(updates);
    }

    fn apply(&mut self, (Keyed { hash, key, value }, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        match take(&self.aggregate, &value) {
            Ok(input) => self.running.change(hash, key, stamp.time, |group| group.add(&self.aggregate, input, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, _: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        self.running.close(emit, |group| {
            let output = group.output(&self.aggregate).map_err(|e| e.to_string()).transpose();
            (output, group.is_zero(&self.aggregate))
        });
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.running.state
    }
}

/// Keeps an `S` for each key, and knows which keys an epoch has touched.
pub(crate) struct Running<K, S, O> {
    pub(crate) state: KeyedState<K, Entry<S, O>>,
    touched: Vec<(u64, K)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry<S, O> {
    pub(crate) group: S,
    said: Said<O>,
    /// The greatest event time of its updates in the open epoch; always absent in a snapshot, which is between epochs.
    #[serde(skip)]
    touched: Option<EventTime>,
}

impl<K: Key, S: Data, O: Data> Default for Running<K, S, O> {
    fn default() -> Self {
        Self { state: KeyedState::new(), touched: Vec::new() }
    }
}

impl<K: Key, S: Data + Default, O: Data + PartialEq> Running<K, S, O> {
    pub(crate) fn expect<V>(&self, updates: &[Update<Keyed<K, V>>]) {
        updates.iter().for_each(|(keyed, _, _)| self.state.touch(keyed.hash, &keyed.key));
    }

    pub(crate) fn change(&mut self, hash: u64, key: K, time: EventTime, change: impl FnOnce(&mut S)) {
        let init = || Entry { group: S::default(), said: Said::default(), touched: None };
        let first = self.state.modify_or_insert_with(hash, &key, init, |entry| {
            change(&mut entry.group);
            entry.touched.replace(entry.touched.map_or(time, |t| t.max(time))).is_none()
        });
        if first {
            self.touched.push((hash, key));
        }
    }

    /// Says what the epoch changed, by key hash and key. `output` gives the result of a group, and whether it may be forgotten.
    pub(crate) fn close<D>(
        &mut self,
        emit: &mut Emit<D, PerKey<K, O>>,
        output: impl Fn(&S) -> (Option<Result<O, String>>, bool),
    ) {
        self.touched.sort_unstable();
        let node = emit.node();
        for (hash, key) in self.touched.drain(..) {
            self.state.update(hash, &key, |slot| {
                let Some(entry) = slot else { unreachable!("a touched key has an entry") };
                let Some(time) = entry.touched.take() else { unreachable!("a key is listed once an epoch") };
                let (now, is_zero) = output(&entry.group);
                let stamp = Stamp { origin: Origin::group(node, hash, 0), time, seen: EventTime::MIN };
                entry.said.say(now, stamp, emit, |value| PerKey { key: key.clone(), value });
                if is_zero && entry.said.is_nothing() {
                    *slot = None;
                }
            });
        }
    }
}
