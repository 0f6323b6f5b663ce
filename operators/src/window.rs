//! Tumbling windows of event time: an aggregate for each key and interval.

use crate::aggregate::{Aggregate, Group, take};
use crate::key_by::Keyed;
use crate::said::Said;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Stamp, Update};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;

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
    Tumbling { size_ms, lateness_ms: 0, early_ms: None }
}

/// See [`tumbling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    size_ms: i64,
    lateness_ms: i64,
    early_ms: Option<i64>,
}

impl Tumbling {
    /// How long a window still takes records after the watermark has passed its end: its result is corrected then. State
    /// is kept as much longer, and an interval that is open costs 8 KiB on each worker beside its keys. Default: 0.
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { lateness_ms: ms, ..self }
    }

    /// Results before the end: each time the watermark has come so far, every key whose result has changed says what it is by
    /// then. The next one takes its place, and the last one that of the end. Default: none.
    #[must_use]
    pub fn early(self, every_ms: i64) -> Self {
        Self { early_ms: Some(every_ms), ..self }
    }

    /// Whether early results are due at the close of an epoch, between these watermarks. Time goes by for all alike, so nothing of it
    /// has to be remembered.
    fn is_early_due(&self, before: Watermark, now: Watermark) -> bool {
        self.early_ms.is_some_and(|every_ms| before.0.div_euclid(every_ms) != now.0.div_euclid(every_ms))
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
/// A window gives its result at the close of the epoch whose watermark reaches its end, or one before that if it is told to
/// ([`Tumbling::early`]); when a record is accepted after that, the old result goes and the new one comes. Results are ordered by window, key hash and key, and have the event time
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
    let Tumbling { size_ms, lateness_ms, early_ms } = windows;
    if size_ms < 1 || lateness_ms < 0 {
        let what = format!("window `{name}`: a size of {size_ms} ms with a lateness of {lateness_ms} ms");
        graph.refuse(Error::refused(what, "give it a size of at least 1 ms and a lateness of at least 0 ms"));
    }
    if let Some(every_ms) = early_ms.filter(|every_ms| *every_ms < 1) {
        let what = format!("window `{name}`: early results every {every_ms} ms");
        graph.refuse(Error::refused(what, "give them a time of at least 1 ms"));
    }
    let early_ms = early_ms.map(|every_ms| every_ms.max(1));
    let windows = Tumbling { size_ms: size_ms.max(1), lateness_ms: lateness_ms.max(0), early_ms };
    let early = early_ms.map_or(String::new(), |every_ms| format!(", early every {every_ms} ms"));
    let detail = format!("tumbling {size_ms} ms, lateness {lateness_ms} ms{early}: {}", aggregate.describe());
    let spec = Spec::new("window", detail).with_state::<(K, i64), Entry<A::State, A::Output>>(name);
    let logic = TumblingWindow {
        windows,
        aggregate,
        state: KeyedState::in_parts(),
        last: windows.window_from(0),
        open: BTreeSet::new(),
        corrected: BTreeSet::new(),
        unsaid: BTreeSet::new(),
        watermark: EventTime::MIN,
    };
    stateful(graph, input, spec, Keyed::group, logic)
}

/// Keys that are touched before their results are said: what they need stays near until then.
const TOUCHED: usize = 64;

/// What a key has in a window: as small as can be while nothing has been said, because it is looked at for every record.
#[derive(Clone, Deserialize)]
#[serde(from = "Written<Group<S>, Said<O>>", bound(deserialize = "S: Data, O: Data"))]
enum Entry<S, O> {
    Open(Group<S>),
    Fired(Box<Written<Group<S>, Said<O>>>),
}

/// An entry as it stands in checkpoints.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "Entry")]
struct Written<G, S> {
    group: G,
    said: Option<S>,
}

impl<S, O> Entry<S, O> {
    fn of(group: Group<S>, said: Said<O>) -> Self {
        if said.is_nothing() { Self::Open(group) } else { Self::Fired(Box::new(Written { group, said: Some(said) })) }
    }

    #[inline]
    fn group(&mut self) -> &mut Group<S> {
        match self {
            Self::Open(group) => group,
            Self::Fired(entry) => &mut entry.group,
        }
    }
}

impl<S, O: PartialEq> Entry<S, O> {
    /// Whether what it would say stands already.
    fn has_said_all<V, A: Aggregate<V, State = S, Output = O>>(&self, aggregate: &A) -> bool {
        match self {
            Self::Open(group) => result(group, aggregate).is_none(),
            Self::Fired(entry) => entry.said.as_ref().is_some_and(|said| said.is(&result(&entry.group, aggregate))),
        }
    }
}

/// The result of a group that has records, or why there is none.
fn result<V, A: Aggregate<V>>(group: &Group<A::State>, aggregate: &A) -> Option<Result<A::Output, String>> {
    group.output(aggregate).map_err(|e| e.to_string()).transpose()
}

impl<S, O> From<Written<Group<S>, Said<O>>> for Entry<S, O> {
    fn from(Written { group, said }: Written<Group<S>, Said<O>>) -> Self {
        Self::of(group, said.unwrap_or_default())
    }
}

impl<S: Data, O: Data> Serialize for Entry<S, O> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Open(group) => Written { group, said: None::<&Said<O>> }.serialize(serializer),
            Self::Fired(entry) => entry.serialize(serializer),
        }
    }
}

struct TumblingWindow<K, V, A: Aggregate<V>> {
    windows: Tumbling,
    aggregate: A,
    /// By the start of the window.
    state: KeyedState<K, Entry<A::State, A::Output>, i64>,
    /// The window of the last record: mostly also that of the next.
    last: Window,
    /// The starts of all windows that have state: derived from it.
    open: BTreeSet<i64>,
    /// Starts, key hashes and keys that the open epoch changed after their window had fired.
    corrected: BTreeSet<(i64, u64, K)>,
    /// The same of windows that have not fired, since early results were last said; empty without such. It may name a window that
    /// has fired by then. Derived from the state.
    unsaid: BTreeSet<(i64, u64, K)>,
    /// The pipeline's watermark before the open epoch: windows that end here or earlier have fired.
    watermark: Watermark,
}

impl<K: Key, V: Data, A: Aggregate<V>> Logic<Keyed<K, V>> for TumblingWindow<K, V, A> {
    type Out = PerWindow<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        for (keyed, stamp, _) in updates {
            let start = self.window_of(stamp.time).start.0;
            self.state.touch_in(start, keyed.hash, &keyed.key);
        }
    }

    #[inline]
    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let window = self.window_of(stamp.time);
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
        for (start, hash, key) in std::mem::take(&mut self.corrected) {
            self.fire(self.windows.window_from(start), hash, &key, before, Keep::State, emit);
        }
        let ended = |start: &i64| self.windows.window_from(*start).end <= self.watermark;
        let ended: Vec<i64> = self.open.iter().copied().take_while(ended).collect();
        for start in ended {
            let window = self.windows.window_from(start);
            let over = self.windows.is_over(window, self.watermark);
            if before < window.end {
                self.fire_all(window, before, if over { Keep::Nothing } else { Keep::State }, emit);
            }
            if over {
                self.state.clear(start);
                self.open.remove(&start);
            }
        }
        if self.windows.is_early_due(before, self.watermark) {
            for (start, hash, key) in std::mem::take(&mut self.unsaid) {
                let window = self.windows.window_from(start);
                if window.end > self.watermark {
                    self.fire(window, hash, &key, before, Keep::State, emit);
                }
            }
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.open = self.state.parts().collect();
        if self.windows.early_ms.is_some() {
            let aggregate = &self.aggregate;
            for start in self.open.iter().filter(|start| self.windows.window_from(**start).end > watermark) {
                let unsaid = self.state.iter_in(*start).filter(|(_, entry)| !entry.has_said_all(aggregate));
                self.unsaid.extend(unsaid.map(|(key, _)| (*start, stable_hash(key), key.clone())));
            }
        }
    }
}

/// Whether a window that has fired takes more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    State,
    Nothing,
}

impl<K: Key, V: Data, A: Aggregate<V>> TumblingWindow<K, V, A> {
    #[inline]
    fn window_of(&mut self, time: EventTime) -> Window {
        // The first window of all overlaps the second where time begins: which one it is must not depend on the record before.
        if time < self.last.start || self.last.end <= time || self.last.start == EventTime::MIN {
            self.last = self.windows.window_of(time);
        }
        self.last
    }

    #[inline]
    fn add(&mut self, window: Window, hash: u64, key: K, input: A::Input, diff: Diff) {
        let start = window.start.0;
        let (was_there, is_there) = self.state.update_in(start, hash, &key, |slot| {
            let was_there = slot.is_some();
            let entry = slot.get_or_insert_with(|| Entry::Open(Group::default()));
            entry.group().add(&self.aggregate, input, diff);
            // A retracted record leaves memory at once, unless a result of it stands: that is taken back at the close.
            if let Entry::Open(group) = entry
                && group.is_zero(&self.aggregate)
            {
                *slot = None;
            }
            (was_there, slot.is_some())
        });
        if !was_there {
            self.open.insert(start);
        }
        if is_there && window.end <= self.watermark {
            self.corrected.insert((start, hash, key));
        } else if is_there && self.windows.early_ms.is_some() {
            self.unsaid.insert((start, hash, key));
        }
    }

    /// Says the results of a window that ends, in order.
    fn fire_all(&mut self, window: Window, seen: Watermark, keep: Keep, emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>) {
        let start = window.start.0;
        let mut keys: Vec<_> = self.state.iter_in(start).map(|(key, _)| (stable_hash(key), key.clone())).collect();
        keys.sort_unstable();
        for some in keys.chunks(TOUCHED) {
            some.iter().for_each(|(hash, key)| self.state.touch_in(start, *hash, key));
            some.iter().for_each(|(hash, key)| self.fire(window, *hash, key, seen, keep, emit));
        }
    }

    /// Says the result of a key in a window, as far as it has not been said.
    fn fire(
        &mut self,
        window: Window,
        hash: u64,
        key: &K,
        seen: Watermark,
        keep: Keep,
        emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>,
    ) {
        let start = window.start.0;
        let stamp = Stamp { origin: Origin::group(emit.node(), hash, start), time: window.end.minus_ms(1), seen };
        self.state.update_in(start, hash, key, |slot| {
            let (group, mut said) = match slot.take() {
                None => return,
                Some(Entry::Open(group)) => (group, Said::default()),
                Some(Entry::Fired(entry)) => (entry.group, entry.said.unwrap_or_default()),
            };
            let now = result(&group, &self.aggregate);
            said.say(now, stamp, emit, |value| PerWindow { key: key.clone(), window, value });
            if keep == Keep::State && !group.is_zero(&self.aggregate) {
                *slot = Some(Entry::of(group, said));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary_runtime::key::{decode, encode};
    use distributary_runtime::shape;

    /// In memory it is something else: of what stands in checkpoints, bytes and shape must not change for that.
    #[test]
    fn an_entry_is_written_as_ever() {
        let shape = "distributary_operators::window::Entry<u8, u64>=Entry{group,said: Group{records,state: i64, u8}, \
                     ?Said=?(EventTime=i64, Result<Ok|Err> u64)}";
        assert_eq!(shape::of::<Entry<u8, u64>>(), shape);
        let group = (5_i64, 1_u8);
        for said in [None, Some(Some((EventTime(7), Ok::<_, String>(3_u64))))] {
            let bytes = encode(&(group, &said)).unwrap();
            let entry: Entry<u8, u64> = decode(&bytes).unwrap();
            assert_eq!((matches!(entry, Entry::Fired(_)), encode(&entry).unwrap()), (said.is_some(), bytes));
        }
        assert_eq!(size_of::<Option<Entry<(), u64>>>(), 16, "a record looks at one cache line");
    }
}
