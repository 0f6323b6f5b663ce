//! A process that has its turns when records come.

use crate::key_by::Keyed;
use crate::process::Process;
use crate::turn::{Memory, When, children, take};
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Origin, Stamp, Update};
use std::collections::BTreeSet;

/// See [`as_they_come`](crate::as_they_come).
pub(crate) struct AsTheyCome<K, V, P: Process<K, V>> {
    process: P,
    ttl_ms: Option<i64>,
    horizon_ms: i64,
    state: KeyedState<K, Memory<P::State>>,
    /// Timers by time, key hash and key. It may name one that has been taken back.
    timers: BTreeSet<(EventTime, u64, K)>,
    /// Keys by their last turns, or earlier: when to look whether they can be forgotten.
    last: BTreeSet<(EventTime, u64, K)>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

impl<K: Key, V: Data, P: Process<K, V>> AsTheyCome<K, V, P> {
    pub(crate) fn new(process: P, ttl_ms: Option<i64>, horizon_ms: i64) -> Self {
        let (timers, last) = (BTreeSet::new(), BTreeSet::new());
        Self { process, ttl_ms, horizon_ms, state: KeyedState::new(), timers, last, watermark: EventTime::MIN }
    }

    /// Puts what a turn left in the place of what was there.
    fn keep(&mut self, hash: u64, key: &K, memory: Option<Memory<P::State>>) {
        let known = self.state.get(hash, key);
        let timers = memory.iter().flat_map(|memory| &memory.timers);
        let new = timers.filter(|timer| known.is_none_or(|known| !known.timers.contains(timer)));
        self.timers.extend(new.map(|timer| (*timer, hash, key.clone())));
        // Later ones are found when an earlier time is looked at.
        let last = memory.as_ref().map(Memory::last).filter(|_| self.ttl_ms.is_some());
        let sooner = last.filter(|last| known.is_none_or(|known| *last < known.last()));
        self.last.extend(sooner.map(|last| (last, hash, key.clone())));
        self.state.update(hash, key, |slot| *slot = memory);
    }

    fn fire(&mut self, (time, hash, key): (EventTime, u64, K), before: Watermark, emit: &mut Emit<Keyed<K, V>, P::Out>) {
        let Some(memory) = self.state.get(hash, &key).filter(|memory| memory.timers.contains(&time)) else { return };
        let mut memory = memory.clone();
        memory.timers.remove(&time);
        let when = When { time, diff: 1, watermark: before, next: time.plus_ms(1), touched: time };
        let origin = Origin::group(emit.node(), hash, time.0);
        match take(&key, Some(&memory), when, origin, |turn, state| self.process.on_timer(turn, state)) {
            Ok((memory, given)) => {
                let stamp = |origin| Stamp { origin, time, seen: EventTime::MIN };
                children(origin, given).for_each(|(origin, result)| emit.give((result, stamp(origin), 1)));
                self.keep(hash, &key, memory);
            }
            Err(cause) => {
                emit.set_aside(origin, 1, cause);
                self.keep(hash, &key, Some(memory));
            }
        }
    }

    /// Forgets keys that have had no turn for long.
    fn purge(&mut self, ttl_ms: i64) {
        let over = |last: EventTime| last.plus_ms(ttl_ms).plus_ms(self.horizon_ms) <= self.watermark;
        while self.last.first().is_some_and(|(last, ..)| over(*last)) {
            let Some((_, hash, key)) = self.last.pop_first() else { return };
            match self.state.get(hash, &key).map(Memory::last) {
                Some(last) if over(last) => self.state.update(hash, &key, |slot| *slot = None),
                Some(last) => drop(self.last.insert((last, hash, key))),
                None => {}
            }
        }
    }
}

impl<K: Key, V: Data, P: Process<K, V>> Logic<Keyed<K, V>> for AsTheyCome<K, V, P> {
    type Out = P::Out;
    const ORDER: Order = Order::Canonical;

    fn expect(&mut self, updates: &[Update<Keyed<K, V>>]) {
        updates.iter().for_each(|(keyed, _, _)| self.state.touch(keyed.hash, &keyed.key));
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<K, V>>, emit: &mut Emit<Keyed<K, V>, P::Out>) {
        if let Some(late_from) = self.ttl_ms.map(|ttl_ms| stamp.time.plus_ms(ttl_ms))
            && (stamp.seen >= late_from || self.watermark >= late_from.plus_ms(self.horizon_ms))
        {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let Keyed { hash, key, value } = keyed;
        let (time, watermark) = (stamp.time, self.watermark);
        let when = When { time, diff, watermark, next: watermark.plus_ms(1), touched: time.max(watermark) };
        let memory = self.state.get(hash, &key);
        match take(&key, memory, when, stamp.origin, |turn, state| self.process.on_record(turn, state, &value)) {
            Ok((memory, given)) => {
                children(stamp.origin, given).for_each(|(origin, result)| emit.give((result, Stamp { origin, ..stamp }, diff)));
                self.keep(hash, &key, memory);
            }
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<K, V>, P::Out>) {
        self.watermark = at.watermark();
        while self.timers.first().is_some_and(|(time, ..)| *time <= self.watermark) {
            let timer = self.timers.pop_first();
            timer.into_iter().for_each(|timer| self.fire(timer, at.before, emit));
        }
        self.ttl_ms.into_iter().for_each(|ttl_ms| self.purge(ttl_ms));
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        (self.timers, self.last) = (BTreeSet::new(), BTreeSet::new());
        for (hash, key, memory) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            self.timers.extend(memory.timers.iter().map(|timer| (*timer, hash, key.clone())));
            self.last.extend(self.ttl_ms.map(|_| (memory.last(), hash, key.clone())));
        }
    }
}
