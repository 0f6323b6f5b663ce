//! Slices that records are added to, and windows that are merged from them.

use super::super::terms::Terms;
use super::super::{PerWindow, Window, result};
use super::grid::{Grid, Place};
use super::slice::Slice;
use crate::aggregate::{Aggregate, Group, take};
use crate::key_by::Keyed;
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Origin, Stamp, Update};
use std::collections::BTreeSet;

/// The windows of a [`Grid`].
pub(super) struct HoppingWindows<K, V, A: Aggregate<V>> {
    grid: Grid,
    terms: Terms,
    aggregate: A,
    /// By the start of the slice; what a window has said stands in the slice that it begins with.
    state: KeyedState<K, Slice<A::State, A::Output>, i64>,
    /// Where the last record belongs: mostly also the next.
    last: Place,
    /// The starts of all slices that have state: derived from it.
    open: BTreeSet<i64>,
    /// Starts of windows, key hashes and keys that the open epoch changed after the window had fired.
    corrected: BTreeSet<(i64, u64, K)>,
    /// Starts of slices, key hashes and keys that have changed since early results were last said, or may have; empty without such.
    unsaid: BTreeSet<(i64, u64, K)>,
    /// Starts of windows that have not fired, key hashes and keys, where the open epoch retracts from what may have been said early.
    retracted: BTreeSet<(i64, u64, K)>,
    /// The pipeline's watermark before the open epoch: windows that end here or earlier have fired.
    watermark: Watermark,
}

impl<K: Key, V: Data, A: Aggregate<V>> Logic<Keyed<K, V>> for HoppingWindows<K, V, A> {
    type Out = PerWindow<K, A::Output>;
    const ORDER: Order = Order::Any;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        for (keyed, stamp, _) in updates {
            let start = self.place_of(stamp.time).start;
            self.state.touch_in(start, keyed.hash, &keyed.key);
        }
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let place = self.place_of(stamp.time);
        let Some(first) = self.grid.first_that_takes(&place, stamp.seen, &self.terms) else {
            return emit.refuse_late((keyed, stamp, diff));
        };
        let input = match take(&self.aggregate, &keyed.value) {
            Ok(input) => input,
            Err(cause) => return emit.set_aside(stamp.origin, diff, cause),
        };
        let Keyed { hash, key, .. } = keyed;
        let was_there = self.state.update_in(place.start, hash, &key, |slot| {
            let was_there = slot.is_some();
            let slice = slot.get_or_insert_default();
            let late_for_some = (first > place.first).then_some(first);
            slice.add(&self.aggregate, late_for_some, input, diff);
            if slice.is_nothing(&self.aggregate) {
                *slot = None;
            }
            was_there
        });
        if !was_there {
            self.open.insert(place.start);
        }
        for start in self.grid.windows(first, place.last).take_while(|start| self.grid.end_of(*start) <= self.watermark) {
            self.corrected.insert((start, hash, key.clone()));
        }
        if self.terms.early_ms.is_some() {
            if diff < 0 {
                let open = self.grid.windows(first, place.last).filter(|start| self.grid.end_of(*start) > self.watermark);
                self.retracted.extend(open.map(|start| (start, hash, key.clone())));
            }
            self.unsaid.insert((place.start, hash, key));
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, Self::Out>) {
        let before = std::mem::replace(&mut self.watermark, at.watermark());
        self.last = self.grid.place_of(EventTime(self.last.start), &self.terms, self.watermark);
        for (start, hash, key) in std::mem::take(&mut self.corrected) {
            // One that was gone before the epoch stands as it is, though it shares slices with others.
            if before < self.terms.gone_from(self.grid.end_of(start)) {
                self.fire(start, hash, &key, emit);
            }
        }
        for start in self.ended(before) {
            self.fire_all(start, emit);
        }
        let mut due = std::mem::take(&mut self.retracted);
        due.retain(|(start, hash, key)| self.state.get_in(*start, *hash, key).is_some_and(|slice| !slice.said.is_nothing()));
        if self.terms.is_early_due(before, self.watermark) {
            due.append(&mut self.unsaid_windows());
        }
        due.retain(|(start, ..)| self.grid.end_of(*start) > self.watermark);
        for (start, hash, key) in due {
            self.fire(start, hash, &key, emit);
        }
        while let Some(start) = self.open.first().copied()
            && self.grid.place_of(EventTime(start), &self.terms, self.watermark).is_gone
        {
            self.state.clear(start);
            self.open.remove(&start);
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.last = self.grid.place_of(EventTime(self.last.start), &self.terms, watermark);
        self.open = self.state.parts().collect();
        if self.terms.early_ms.is_some() {
            // What has been said already is not said again, so these may be more than have changed.
            let open = self.open.iter().copied().filter(|start| self.grid.end_of(self.grid.last_with(*start)) > watermark);
            let keys =
                open.flat_map(|start| self.state.iter_in(start).map(move |(key, _)| (start, stable_hash(key), key.clone())));
            self.unsaid = keys.collect();
        }
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> HoppingWindows<K, V, A> {
    pub(super) fn new(grid: Grid, terms: Terms, aggregate: A) -> Self {
        Self {
            last: grid.place_of(EventTime(0), &terms, EventTime::MIN),
            grid,
            terms,
            aggregate,
            state: KeyedState::in_parts(),
            open: BTreeSet::new(),
            corrected: BTreeSet::new(),
            unsaid: BTreeSet::new(),
            retracted: BTreeSet::new(),
            watermark: EventTime::MIN,
        }
    }

    #[inline]
    fn place_of(&mut self, time: EventTime) -> Place {
        if time.0 < self.last.start || self.last.end <= time.0 {
            self.last = self.grid.place_of(time, &self.terms, self.watermark);
        }
        self.last
    }

    /// The windows with state that have ended since this watermark.
    fn ended(&self, before: Watermark) -> BTreeSet<i64> {
        let Some((from, to)) = self.grid.ended_between(before, self.watermark) else { return BTreeSet::new() };
        let slices = self.open.range(from..self.grid.end_of(to).0);
        slices
            .flat_map(|start| self.grid.windows(self.grid.first_with(*start).max(from), self.grid.last_with(*start).min(to)))
            .collect()
    }

    /// Says the results of a window that ends, in order.
    fn fire_all(&mut self, start: i64, emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>) {
        let slices = self.open.range(start..self.grid.end_of(start).0);
        let slices = slices.flat_map(|slice| self.state.iter_in(*slice)).map(|(key, slice)| (stable_hash(key), key, slice));
        let mut slices: Vec<_> = slices.collect();
        slices.sort_unstable_by_key(|(hash, key, _)| (*hash, *key));
        let of_keys = slices.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
        let results = of_keys.map(|of_key| {
            let (hash, key, _) = of_key[0];
            (hash, key.clone(), self.merged(start, of_key.iter().map(|(_, _, slice)| *slice)))
        });
        for (hash, key, now) in results.collect::<Vec<_>>() {
            self.say(start, hash, &key, now, emit);
        }
    }

    /// The windows of all slices that have changed since early results were last said.
    fn unsaid_windows(&mut self) -> BTreeSet<(i64, u64, K)> {
        let unsaid = std::mem::take(&mut self.unsaid);
        let of_windows = unsaid.into_iter().flat_map(|(slice, hash, key)| {
            let windows = self.grid.windows(self.grid.first_with(slice), self.grid.last_with(slice));
            windows.map(move |start| (start, hash, key.clone()))
        });
        of_windows.collect()
    }

    /// Says the result of a key in a window, as far as it has not been said.
    fn fire(&mut self, start: i64, hash: u64, key: &K, emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>) {
        let slices = self.open.range(start..self.grid.end_of(start).0);
        let now = self.merged(start, slices.filter_map(|slice| self.state.get_in(*slice, hash, key)));
        self.say(start, hash, key, now, emit);
    }

    /// What a window's slices are together.
    fn merged<'a>(
        &self,
        start: i64,
        slices: impl Iterator<Item = &'a Slice<A::State, A::Output>>,
    ) -> Option<Result<A::Output, String>> {
        let mut whole = Group::default();
        slices.for_each(|slice| slice.merge_into(&mut whole, start, &self.aggregate));
        result(&whole, &self.aggregate)
    }

    fn say(
        &mut self,
        start: i64,
        hash: u64,
        key: &K,
        now: Option<Result<A::Output, String>>,
        emit: &mut Emit<Keyed<K, V>, PerWindow<K, A::Output>>,
    ) {
        let window = Window { start: EventTime(start), end: self.grid.end_of(start) };
        let origin = Origin::group(emit.node(), hash, start);
        let stamp = Stamp { origin, time: window.end.minus_ms(1), seen: EventTime::MIN };
        let is_gone = self.watermark >= self.terms.gone_from(window.end);
        let is_there = self.state.update_in(start, hash, key, |slot| {
            let mut slice = slot.take().unwrap_or_default();
            slice.said.say(now, stamp, emit, |value| PerWindow { key: key.clone(), window, value });
            // Later windows do not begin with this slice: of one that is gone, nothing is needed.
            *slot = Some(slice).filter(|slice| !is_gone && !slice.is_nothing(&self.aggregate));
            slot.is_some()
        });
        if is_there {
            self.open.insert(start);
        }
    }
}
