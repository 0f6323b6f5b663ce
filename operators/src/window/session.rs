//! Windows that records of a key make by being near each other.

mod line;
mod rules;

use super::terms::Terms;
use super::{PerWindow, Windows};
use crate::aggregate::{Aggregate, take};
use crate::key_by::Keyed;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Origin, Stamp, Update};
use line::{Change, Line};
use rules::Rules;
use std::collections::BTreeSet;

/// Sessions: records of a key of which each is less than `gap_ms` milliseconds behind the one before.
///
/// A session lasts from its first record until `gap_ms` behind its last. A record that bridges two makes them one, and a retraction
/// may make two of one: what had been said is taken back, and the new sessions are said when they have ended. A result's
/// origin is (operator, key, start of the session).
///
/// A record is late iff the session that it would make alone is over by the lateness: whether it is taken never depends on other
/// records, so sessions are always those of all records that were taken. State of a session is kept until nothing that is still
/// taken can touch it, which is `gap_ms` longer than of other windows: for each millisecond in which something happened one group,
/// and one for all of a session that nothing can change any more.
///
/// ```
/// use distributary_operators::aggregate::count;
/// use distributary_operators::{key_by, session, window};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let click = |offset, time, watermark| Step { updates: vec![update('a', offset, time, 0)], watermark: EventTime(watermark) };
/// let seen = run(vec![click(0, 1_000, 0), click(1, 9_000, 6_000), click(2, 5_000, 20_000)], |graph, input| {
///     let letters = key_by(graph, &input, |letter| *letter);
///     window(graph, &letters, "visits", session(5_000), count()).results
/// });
/// let said: Vec<_> =
///     seen.results.iter().map(|(e, (r, _, diff))| (e.0, r.window.start.0, r.window.end.0, r.value, *diff)).collect();
/// assert_eq!(said, [(2, 1_000, 6_000, 1, 1), (3, 1_000, 6_000, 1, -1), (3, 1_000, 14_000, 3, 1)]);
/// ```
#[must_use]
pub fn session(gap_ms: i64) -> Session {
    Session { gap_ms, terms: Terms::NONE }
}

/// See [`session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    gap_ms: i64,
    terms: Terms,
}

impl Session {
    /// See [`Tumbling::lateness`](super::Tumbling::lateness).
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { terms: self.terms.lateness(ms), ..self }
    }
}

impl Windows for Session {
    fn over<'s, K: Key, V: Data, A: Aggregate<V>>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Keyed<K, V>>,
        name: &str,
        aggregate: A,
    ) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
        if self.gap_ms < 1 {
            let what = format!("window `{name}`: sessions with a gap of {} ms", self.gap_ms);
            graph.refuse(Error::refused(what, "give them a gap of at least 1 ms"));
        }
        let rules = Rules { gap_ms: self.gap_ms.max(1), terms: self.terms.for_graph(graph, name) };
        let detail = format!("session {} ms, {}: {}", rules.gap_ms, rules.terms.detail(), aggregate.describe());
        let spec = Spec::new("window", detail)
            .with_state::<K, Line<A::State, A::Output>>(name)
            .corrected(aggregate.retraction(), graph.horizon());
        let logic = Sessions {
            rules,
            aggregate,
            state: KeyedState::new(),
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            watermark: EventTime::MIN,
        };
        stateful(graph, input, spec, Keyed::group, logic)
    }
}

struct Sessions<K, V, A: Aggregate<V>> {
    rules: Rules,
    aggregate: A,
    state: KeyedState<K, Line<A::State, A::Output>>,
    /// Hashes and keys that the open epoch has changed.
    touched: BTreeSet<(u64, K)>,
    /// When to look at a key: when one of its sessions ends or can be forgotten, or earlier. Derived from the state.
    due: BTreeSet<(Watermark, u64, K)>,
    /// The pipeline's watermark before the open epoch: sessions that end here or earlier have fired.
    watermark: Watermark,
}

impl<K: Key, V: Data, A: Aggregate<V>> Logic<Keyed<K, V>> for Sessions<K, V, A> {
    type Out = PerWindow<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        updates.iter().for_each(|(keyed, _, _)| self.state.touch(keyed.hash, &keyed.key));
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        if self.rules.is_late(stamp, self.watermark) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        match take(&self.aggregate, &keyed.value) {
            Ok(input) => {
                let Keyed { hash, key, .. } = keyed;
                let is_first = self.state.modify_or_insert_with(hash, &key, Line::default, |line| {
                    line.add(stamp.time, input, diff, &self.rules, &self.aggregate, self.watermark)
                });
                if is_first {
                    self.touched.insert((hash, key));
                }
            }
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let before = std::mem::replace(&mut self.watermark, at.watermark());
        let mut keys = std::mem::take(&mut self.touched);
        while self.due.first().is_some_and(|(due, _, _)| *due <= self.watermark) {
            keys.extend(self.due.pop_first().map(|(_, hash, key)| (hash, key)));
        }
        let mut changes = Vec::new();
        for (hash, key) in keys {
            let due = self.state.update(hash, &key, |slot| {
                let line = slot.as_mut()?;
                for change in line.close((before, self.watermark), &self.rules, &self.aggregate) {
                    changes.push((change.window, hash, key.clone(), change));
                }
                let due = line.due(self.watermark, &self.rules);
                if line.is_nothing() {
                    *slot = None;
                }
                due
            });
            if let Some(due) = due {
                self.due.insert((due, hash, key));
            }
        }
        // Two windows may begin alike: of one origin, the old goes before the new comes.
        changes.sort_by(|(a, a_hash, a_key, a_change), (b, b_hash, b_key, b_change)| {
            (a.start, a_hash, a_key, a_change.diff).cmp(&(b.start, b_hash, b_key, b_change.diff))
        });
        for (window, hash, key, Change { result, diff, .. }) in changes {
            let origin = Origin::group(emit.node(), hash, window.start.0);
            match result {
                Ok(value) => {
                    let stamp = Stamp { origin, time: window.end.minus_ms(1), seen: EventTime::MIN };
                    emit.give((PerWindow { key, window, value }, stamp, diff));
                }
                Err(cause) => emit.set_aside(origin, diff, cause),
            }
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        for (hash, key, line) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            self.due.extend(line.due_of(watermark, &self.rules).map(|due| (due, hash, key.clone())));
        }
    }
}
