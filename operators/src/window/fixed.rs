//! Windows that every record is in one of, whatever other records there are.

use super::entry::Entry;
use super::terms::Terms;
use super::{PerWindow, Window, result};
use crate::aggregate::{Aggregate, Group, take};
use crate::key_by::Keyed;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Stamp, Update};
use std::collections::BTreeSet;

/// Event time cut into intervals without gaps.
pub(super) trait Intervals: 'static {
    /// The one that a point in time belongs to. A window is the one that its start belongs to.
    fn of(&self, time: EventTime) -> Window;
}

/// An operator over such windows; `kind` says in the plan what they are.
pub(super) fn fixed<'s, K: Key, V: Data, A: Aggregate<V>, I: Intervals>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    (kind, intervals, terms): (&str, I, Terms),
    aggregate: A,
) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
    let detail = format!("{kind}, {}: {}", terms.detail(), aggregate.describe());
    let spec = Spec::new("window", detail)
        .with_state::<(K, i64), Entry<A::State, A::Output>>(name)
        .corrected(aggregate.retraction(), graph.horizon());
    let logic = FixedWindows {
        last: Place { window: intervals.of(EventTime(0)), late_from: EventTime::MIN },
        intervals,
        terms,
        aggregate,
        state: KeyedState::in_parts(),
        open: BTreeSet::new(),
        corrected: BTreeSet::new(),
        unsaid: BTreeSet::new(),
        retracted: BTreeSet::new(),
        watermark: EventTime::MIN,
    };
    stateful(graph, input, spec, Keyed::group, logic)
}

/// Keys that are touched before their results are said: what they need stays near until then.
const TOUCHED: usize = 64;

struct FixedWindows<K, V, A: Aggregate<V>, I> {
    intervals: I,
    terms: Terms,
    aggregate: A,
    /// By the start of the window.
    state: KeyedState<K, Entry<A::State, A::Output>, i64>,
    /// Where the last record belongs: mostly also the next.
    last: Place,
    /// The starts of all windows that have state: derived from it.
    open: BTreeSet<i64>,
    /// Starts, key hashes and keys that the open epoch changed after their window had fired.
    corrected: BTreeSet<(i64, u64, K)>,
    /// The same of windows that have not fired, since early results were last said; empty without such. It may name a window that
    /// has fired by then. Derived from the state.
    unsaid: BTreeSet<(i64, u64, K)>,
    /// The same of windows that have not fired, where the open epoch retracts from what has been said early.
    retracted: BTreeSet<(i64, u64, K)>,
    /// The pipeline's watermark before the open epoch: windows that end here or earlier have fired.
    watermark: Watermark,
}

/// A window, and how it stands with it in the open epoch.
#[derive(Clone, Copy)]
struct Place {
    window: Window,
    /// Records that have seen this much are refused: all, where the window's state is gone.
    late_from: Watermark,
}

impl<K: Key, V: Data, A: Aggregate<V>, I: Intervals> Logic<Keyed<K, V>> for FixedWindows<K, V, A, I> {
    type Out = PerWindow<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        for (keyed, stamp, _) in updates {
            let start = self.place_of(stamp.time).window.start.0;
            self.state.touch_in(start, keyed.hash, &keyed.key);
        }
    }

    #[inline]
    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let Place { window, late_from } = self.place_of(stamp.time);
        if stamp.seen >= late_from {
            return emit.refuse_late((keyed, stamp, diff));
        }
        match take(&self.aggregate, &keyed.value) {
            Ok(input) => self.add(window, keyed.hash, keyed.key, input, diff),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let before = std::mem::replace(&mut self.watermark, at.watermark());
        self.last = self.place(self.last.window);
        for (start, hash, key) in std::mem::take(&mut self.corrected) {
            self.fire(self.window_from(start), hash, &key, Keep::State, emit);
        }
        // Only those that have not ended before: with a long correction horizon there are many that have.
        let ended = self.open.range(self.intervals.of(before).start.0..).map(|start| self.window_from(*start));
        let ended: Vec<Window> = ended.take_while(|window| window.end <= self.watermark).collect();
        for window in ended {
            let keep = if self.is_gone(window) { Keep::Nothing } else { Keep::State };
            self.fire_all(window, keep, emit);
        }
        while let Some(start) = self.open.first().copied()
            && self.is_gone(self.window_from(start))
        {
            self.state.clear(start);
            self.open.remove(&start);
        }
        let mut due = std::mem::take(&mut self.retracted);
        if self.terms.is_early_due(before, self.watermark) {
            due.append(&mut self.unsaid);
        }
        for group in due {
            let window = self.window_from(group.0);
            if window.end > self.watermark {
                self.fire(window, group.1, &group.2, Keep::State, emit);
            }
            self.unsaid.remove(&group);
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.last = self.place(self.last.window);
        self.open = self.state.parts().collect();
        if self.terms.early_ms.is_some() {
            let aggregate = &self.aggregate;
            let open = self.open.iter().copied().filter(|start| self.window_from(*start).end > watermark);
            let unsaid = open.flat_map(|start| {
                let unsaid = self.state.iter_in(start).filter(|(_, entry)| !entry.has_said_all(aggregate));
                unsaid.map(move |(key, _)| (start, stable_hash(key), key.clone()))
            });
            self.unsaid = unsaid.collect();
        }
    }
}

/// Whether a window that has fired takes more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    State,
    Nothing,
}

impl<K: Key, V: Data, A: Aggregate<V>, I: Intervals> FixedWindows<K, V, A, I> {
    #[inline]
    fn place_of(&mut self, time: EventTime) -> Place {
        if time < self.last.window.start || self.last.window.end <= time {
            self.last = self.place(self.intervals.of(time));
        }
        self.last
    }

    fn place(&self, window: Window) -> Place {
        let late_from = if self.is_gone(window) { EventTime::MIN } else { self.terms.late_from(window.end) };
        Place { window, late_from }
    }

    fn window_from(&self, start: i64) -> Window {
        self.intervals.of(EventTime(start))
    }

    /// Whether a window takes nothing more, not even corrections.
    fn is_gone(&self, window: Window) -> bool {
        self.watermark >= self.terms.gone_from(window.end)
    }

    #[inline]
    fn add(&mut self, window: Window, hash: u64, key: K, input: A::Input, diff: Diff) {
        let start = window.start.0;
        let (was_there, is_there, takes_back) = self.state.update_in(start, hash, &key, |slot| {
            let was_there = slot.is_some();
            let entry = slot.get_or_insert_with(|| Entry::Open(Group::default()));
            entry.group().add(&self.aggregate, input, diff);
            let takes_back = diff < 0 && matches!(entry, Entry::Fired(_));
            // A retracted record leaves memory at once, unless a result of it stands: that is taken back at the close.
            if let Entry::Open(group) = entry
                && group.is_zero(&self.aggregate)
            {
                *slot = None;
            }
            (was_there, slot.is_some(), takes_back)
        });
        if !was_there {
            self.open.insert(start);
        }
        if window.end > self.watermark && self.terms.early_ms.is_none() {
            return;
        }
        let group = (start, hash, key);
        if window.end <= self.watermark {
            self.corrected.insert(group);
        } else if takes_back {
            self.retracted.insert(group);
        } else if is_there {
            self.unsaid.insert(group);
        } else {
            self.unsaid.remove(&group);
        }
    }

    /// Says the results of a window that ends, in order.
    fn fire_all(&mut self, window: Window, keep: Keep, emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>) {
        let start = window.start.0;
        let mut keys: Vec<_> = self.state.iter_in(start).map(|(key, _)| (stable_hash(key), key.clone())).collect();
        keys.sort_unstable();
        for some in keys.chunks(TOUCHED) {
            some.iter().for_each(|(hash, key)| self.state.touch_in(start, *hash, key));
            some.iter().for_each(|(hash, key)| self.fire(window, *hash, key, keep, emit));
        }
    }

    /// Says the result of a key in a window, as far as it has not been said.
    fn fire(&mut self, window: Window, hash: u64, key: &K, keep: Keep, emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>) {
        let start = window.start.0;
        let origin = Origin::group(emit.node(), hash, start);
        let stamp = Stamp { origin, time: window.end.minus_ms(1), seen: EventTime::MIN };
        self.state.update_in(start, hash, key, |slot| {
            let Some((group, mut said)) = slot.take().map(Entry::into_parts) else { return };
            let now = result(&group, &self.aggregate);
            said.say(now, stamp, emit, |value| PerWindow { key: key.clone(), window, value });
            if keep == Keep::State && !group.is_zero(&self.aggregate) {
                *slot = Some(Entry::of(group, said));
            }
        });
    }
}
