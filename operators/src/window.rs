//! Tumbling windows of event time: an aggregate for each key and interval.

use crate::aggregate::{Aggregate, Group, take};
use crate::key_by::Keyed;
use crate::said::Said;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot, sub_hash};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Intervals of `size_ms` milliseconds, one behind the other, counted from the Unix epoch.
///
/// ```
/// use distributary_operators::{Window, tumbling};
/// use distributary_runtime::time::EventTime;
/// let minute = tumbling(60_000).lateness(5_000);
/// assert_eq!(minute.window_of(EventTime(-1)), Window { start: EventTime(-60_000), end: EventTime(0) });
/// ```
#[must_use]
pub fn tumbling(size_ms: i64) -> Tumbling {
    Tumbling { size_ms, lateness_ms: 0 }
}

/// See [`tumbling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    size_ms: i64,
    lateness_ms: i64,
}

impl Tumbling {
    /// How long a window still takes records after the watermark has passed its end: its result is corrected then. State
    /// is kept as much longer. Default: 0.
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { lateness_ms: ms, ..self }
    }

    /// The window that a point in time belongs to.
    #[must_use]
    pub fn window_of(&self, time: EventTime) -> Window {
        self.window_from(time.0.saturating_sub(time.0.rem_euclid(self.size_ms)))
    }

    fn window_from(&self, start: i64) -> Window {
        Window { start: EventTime(start), end: EventTime(start).plus_ms(self.size_ms) }
    }

    /// Whether a window takes nothing more once this has been claimed.
    fn is_over(&self, window: Window, watermark: Watermark) -> bool {
        watermark >= window.end.plus_ms(self.lateness_ms)
    }
}

/// An interval of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// Its first millisecond.
    pub start: EventTime,
    /// The first millisecond behind it.
    pub end: EventTime,
}

/// A result for a key and a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PerWindow<K, O> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// The result.
    pub value: O,
}

/// Aggregates the records of each key in each window.
///
/// A window gives its result at the close of the epoch whose watermark reaches its end; when a record is accepted after
/// that, the old result goes and the new one comes. Results are ordered by window, key hash and key, and have the event time
/// of the window's last millisecond. `name` names the state.
///
/// A record is refused as late iff what its own partition had claimed before it ([`Stamp::seen`]) is at or past the
/// window's end plus the allowed lateness. So is a correction that comes when the window's state is gone. Refused updates
/// leave unchanged by [`Outputs::late`]. A record that the aggregate's closures panic on is a dead letter.
///
/// ```
/// use distributary_operators::aggregate::count;
/// use distributary_operators::{key_by, tumbling, window};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![update('a', 0, 1_000, 0), update('a', 1, 9_999, 1_000)], 9_999),
///     step(vec![update('b', 2, 11_000, 9_999)], 11_000), // the first window ends
///     step(vec![update('a', 3, 5_000, 11_000)], 11_000), // late, but within two seconds
/// ];
/// let seen = run(steps, |graph, input| {
///     let letters = key_by(graph, &input, |letter| *letter);
///     window(graph, &letters, "letters", tumbling(10_000).lateness(2_000), count()).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (r, _, diff))| (epoch.0, r.key, r.value, *diff)).collect();
/// assert_eq!(said, [(2, 'a', 2, 1), (3, 'a', 2, -1), (3, 'a', 3, 1)]);
/// ```
pub fn window<'s, K: Key, V: Data, A: Aggregate<V>>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    windows: Tumbling,
    aggregate: A,
) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
    let Tumbling { size_ms, lateness_ms } = windows;
    if size_ms < 1 || lateness_ms < 0 {
        let what = format!("window `{name}`: a size of {size_ms} ms with a lateness of {lateness_ms} ms");
        graph.refuse(Error::refused(what, "give it a size of at least 1 ms and a lateness of at least 0 ms"));
    }
    let windows = Tumbling { size_ms: size_ms.max(1), lateness_ms: lateness_ms.max(0) };
    let detail = format!("tumbling {size_ms} ms, lateness {lateness_ms} ms: {}", aggregate.describe());
    let spec = Spec::new("window", detail).with_state::<Pane<K>, Entry<A::State, A::Output>>(name);
    let state = KeyedState::hashed_by(|(key, start): &Pane<K>| sub_hash(stable_hash(key), *start as u64));
    let logic = TumblingWindow {
        windows,
        aggregate,
        state,
        panes: BTreeMap::new(),
        corrected: BTreeSet::new(),
        watermark: EventTime::MIN,
    };
    stateful(graph, input, spec, Keyed::group, logic)
}

/// Panes that are touched before they are fired: what they need stays near until then.
const TOUCHED: usize = 64;

/// A key in the window that starts here.
type Pane<K> = (K, i64);

/// The panes of a window, with the hashes of their keys, in the order in which they came. Some may have no state any more, some
/// stand here twice: so many are `stale`.
struct Panes<K> {
    list: Vec<(u64, Pane<K>)>,
    stale: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry<S, O> {
    group: Group<S>,
    /// Elsewhere: few panes have said anything yet, and what is looked at for every record is to be small.
    said: Option<Box<Said<O>>>,
}

struct TumblingWindow<K, V, A: Aggregate<V>> {
    windows: Tumbling,
    aggregate: A,
    state: KeyedState<Pane<K>, Entry<A::State, A::Output>>,
    /// All panes that have state, by the start of their window: derived from the state.
    panes: BTreeMap<i64, Panes<K>>,
    /// Panes that the open epoch changed after their window had fired.
    corrected: BTreeSet<(i64, u64, Pane<K>)>,
    /// The pipeline's watermark before the open epoch: windows that end here or earlier have fired.
    watermark: Watermark,
}

impl<K: Key, V: Data, A: Aggregate<V>> Logic<Keyed<K, V>> for TumblingWindow<K, V, A> {
    type Out = PerWindow<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&self, updates: &[Update<Keyed<K, V>>]) {
        for (keyed, stamp, _) in updates {
            let start = self.windows.window_of(stamp.time).start.0;
            self.state.touch(sub_hash(keyed.hash, start as u64), |pane| pane.1 == start && pane.0 == keyed.key);
        }
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let window = self.windows.window_of(stamp.time);
        if self.windows.is_over(window, stamp.seen.max(self.watermark)) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        match take(&self.aggregate, &keyed.value) {
            Ok(input) => self.add(window, keyed.hash, keyed.key, input, diff),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let before = std::mem::replace(&mut self.watermark, at.watermark());
        for (start, hash, pane) in std::mem::take(&mut self.corrected) {
            if self.fire(hash, &pane, before, Keep::State, emit) == Left::Nothing {
                self.forget(start);
            }
        }
        // Taken out for the while, to be looked at while entries change.
        let mut kept = BTreeMap::new();
        for (start, mut panes) in std::mem::take(&mut self.panes) {
            let window = self.windows.window_from(start);
            let ends = before < window.end && window.end <= self.watermark;
            let keep = if self.windows.is_over(window, self.watermark) { Keep::Nothing } else { Keep::State };
            if ends {
                panes.settle(|_| true);
                self.fire_all(&mut panes, before, keep, emit);
            } else if keep == Keep::Nothing {
                panes
                    .list
                    .iter()
                    .for_each(|(hash, pane)| self.state.update(sub_hash(*hash, start as u64), pane, |slot| *slot = None));
            }
            if keep == Keep::State {
                kept.insert(start, panes);
            }
        }
        self.panes = kept;
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.panes.clear();
        for group in 0..KEY_GROUPS {
            for (_, pane, _) in self.state.iter(group as u8) {
                self.panes.entry(pane.1).or_default().list.push((stable_hash(&pane.0), pane.clone()));
            }
        }
    }
}

/// Whether a pane that has fired takes more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    State,
    Nothing,
}

/// Whether a pane still has state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Something,
    Nothing,
}

impl<K: Key, V: Data, A: Aggregate<V>> TumblingWindow<K, V, A> {
    fn add(&mut self, window: Window, hash: u64, key: K, input: A::Input, diff: Diff) {
        let start = window.start.0;
        let pane = (key, start);
        let (was_there, left) = self.state.update(sub_hash(hash, start as u64), &pane, |slot| {
            let was_there = slot.is_some();
            let entry = slot.get_or_insert_with(|| Entry { group: Group::default(), said: None });
            entry.group.add(&self.aggregate, input, diff);
            // A retracted record leaves memory at once, unless a result of it stands: that is taken back at the close.
            if entry.said.is_none() && entry.group.is_zero(&self.aggregate) {
                *slot = None;
            }
            (was_there, if slot.is_some() { Left::Something } else { Left::Nothing })
        });
        if left == Left::Something && window.end <= self.watermark {
            self.corrected.insert((start, hash, pane.clone()));
        }
        match (was_there, left) {
            (false, Left::Something) => self.panes.entry(start).or_default().list.push((hash, pane)),
            (true, Left::Nothing) => self.forget(start),
            _ => {}
        }
    }

    /// Says the results of a window that ends, in order.
    fn fire_all(
        &mut self,
        panes: &mut Panes<K>,
        seen: Watermark,
        keep: Keep,
        emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>,
    ) {
        for some in panes.list.chunks(TOUCHED) {
            for (hash, pane) in some {
                self.state.touch(sub_hash(*hash, pane.1 as u64), |other| other == pane);
            }
            for (hash, pane) in some {
                if self.fire(*hash, pane, seen, keep, emit) == Left::Nothing {
                    panes.stale += 1;
                }
            }
        }
    }

    /// Says the result of a pane, as far as it has not been said.
    fn fire(
        &mut self,
        hash: u64,
        pane: &Pane<K>,
        seen: Watermark,
        keep: Keep,
        emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>,
    ) -> Left {
        let (key, start) = pane;
        let window = self.windows.window_from(*start);
        let stamp = Stamp { origin: Origin::group(emit.node(), hash, *start), time: window.end.minus_ms(1), seen };
        self.state.update(sub_hash(hash, *start as u64), pane, |slot| {
            let Some(entry) = slot else { return Left::Nothing };
            let now = entry.group.output(&self.aggregate).map_err(|e| e.to_string()).transpose();
            let mut said = entry.said.take().unwrap_or_default();
            said.say(now, stamp, emit, |value| PerWindow { key: key.clone(), window, value });
            if keep == Keep::Nothing || entry.group.is_zero(&self.aggregate) {
                *slot = None;
                return Left::Nothing;
            }
            entry.said = (!said.is_nothing()).then_some(said);
            Left::Something
        })
    }

    /// A pane of this window has lost its state.
    fn forget(&mut self, start: i64) {
        let Some(panes) = self.panes.get_mut(&start) else { return };
        panes.stale += 1;
        if panes.stale * 2 > panes.list.len() {
            let state = &self.state;
            panes.settle(|(hash, pane)| state.get(sub_hash(*hash, pane.1 as u64), pane).is_some());
        }
        if panes.list.is_empty() {
            self.panes.remove(&start);
        }
    }
}

impl<K> Default for Panes<K> {
    fn default() -> Self {
        Self { list: Vec::new(), stale: 0 }
    }
}

impl<K: Key> Panes<K> {
    /// Puts them in the order of results, each once, and lets those go that `keep` does not want.
    fn settle(&mut self, keep: impl FnMut(&(u64, Pane<K>)) -> bool) {
        self.list.sort_unstable();
        self.list.dedup();
        self.list.retain(keep);
        self.stale = 0;
    }
}
