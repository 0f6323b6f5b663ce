//! A running value for each key, by a closure.

use crate::answer::{Answer, attempt};
use crate::key_by::Keyed;
use crate::running::{Entry, PerKey, Running};
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful};
use distributary_runtime::plan::{Horizon, Retraction};
use distributary_runtime::state::Snapshot;
use distributary_runtime::update::{Data, Diff, Update};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// Folds all records of a key into a value that starts as `init`. At the close of each epoch it gives what changed: the
/// old value goes, the new one comes. A key without records has no value and no state.
///
/// `step` gets the value, a record, and the difference: `-1` when the record is to be undone. Records of an epoch come
/// in canonical order. It works on a copy: a record on which it panics or returns an error is a dead letter, and the
/// value is what it was. `name` names the state. Where an [aggregate](crate::aggregate()) will do, take that: it cannot
/// get the undoing wrong.
///
/// ```
/// use distributary_operators::{fold, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(7_i64, 0, 0, 0), update(5, 1, 0, 0), update(-100, 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     let all = key_by(graph, &input, |_| ());
///     fold(graph, &all, "balance", 0_i64, |balance, amount, diff| {
///         *balance += amount * diff;
///         if *balance < 0 { Err("the account is overdrawn") } else { Ok(()) }
///     })
/// });
/// assert_eq!(seen.results[0].1.0.value, 12);
/// assert_eq!(seen.dead[0].1.cause, "the account is overdrawn");
/// ```
pub fn fold<'s, K: Key, V: Data, A: Data + PartialEq, R: Answer<()> + 'static>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    init: A,
    step: impl Fn(&mut A, &V, Diff) -> R + 'static,
) -> Collection<'s, PerKey<K, A>> {
    let spec = Spec::new("fold", "").with_state::<K, Entry<Folded<A>, A>>(name).corrected(Retraction::Linear, Horizon::Always);
    let logic = Fold { init, step, running: Running::default(), answer: PhantomData };
    stateful(graph, input, spec, Keyed::group, logic).results
}

struct Fold<K, A, F, R> {
    init: A,
    step: F,
    running: Running<K, Folded<A>, A>,
    answer: PhantomData<R>,
}

/// The value, and how many records it stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Folded<A> {
    records: Diff,
    value: Option<A>,
}

impl<A> Default for Folded<A> {
    fn default() -> Self {
        Self { records: 0, value: None }
    }
}

impl<K, V, A, R, F> Logic<Keyed<K, V>> for Fold<K, A, F, R>
where
    K: Key,
    V: Data,
    A: Data + PartialEq,
    R: Answer<()> + 'static,
    F: Fn(&mut A, &V, Diff) -> R + 'static,
{
    type Out = PerKey<K, A>;
    const ORDER: Order = Order::Canonical;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        self.running.expect(updates);
    }

    fn apply(&mut self, (Keyed { hash, key, value }, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let entry = self.running.state.get(hash, &key);
        let mut folded = entry.and_then(|e| e.group.value.clone()).unwrap_or_else(|| self.init.clone());
        match attempt(|| (self.step)(&mut folded, &value, diff)) {
            Ok(()) => self.running.change(hash, key, stamp.time, |group| {
                group.records = group.records.wrapping_add(diff);
                group.value = Some(folded);
            }),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, _: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        self.running.close(emit, |group| {
            let value = group.value.clone().filter(|_| group.records > 0);
            // All records undone is the beginning, however exactly the closure undoes.
            (value.map(Ok), group.records == 0)
        });
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.running.state
    }
}
