//! A process that has its turns by event time, and again when something comes or goes.

use crate::kept::{Entry, Look, Rule, Span, Standing, Stands};
use crate::process::{Done, Process};
use crate::saying::Saying;
use crate::side::Id;
use crate::turn::{Memory, Turn, When, children, take};
use distributary_runtime::key::Key;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Stamp};

/// See [`by_time`](crate::by_time).
pub(crate) struct Replay<P> {
    pub(crate) process: P,
    pub(crate) lateness_ms: i64,
    pub(crate) ttl_ms: Option<i64>,
}

/// What happens in a turn.
type Run<'a, K, S, O> = &'a dyn Fn(&mut Turn<'_, K, O>, &mut S) -> Done;

/// What came of a turn.
struct Heard<O> {
    time: EventTime,
    origin: Origin,
    copies: Diff,
    given: Result<Vec<O>, String>,
}

impl<K: Key, V: Data, P: Process<K, V>> Rule<K, V> for Replay<P> {
    type Mark = ();
    /// What is certain.
    type Base = Option<Memory<P::State>>;
    type Out = P::Out;

    fn look(&self, _: Option<&Self::Base>, _: &V, _: Stamp) -> Result<Look<()>, String> {
        Ok(Look::Keep(()))
    }

    fn late_from(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.lateness_ms)
    }

    fn kept_until(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.lateness_ms)
    }

    fn say(&self, of: &Standing<'_, K, V, Self>, _: Span, saying: &mut Saying<P::Out>) {
        let records = of.between(i128::MIN, of.watermark.0.into());
        let timer = |time: EventTime| Origin::group(saying.node(), of.hash, time.0);
        let mut heard = Vec::new();
        let memory = self.run(of.key, of.base.clone(), records, of.watermark, timer, |turn| heard.push(turn));
        for Heard { time, origin, copies, given } in heard {
            match given {
                Ok(given) => children(origin, given).for_each(|(origin, result)| saying.add(time, origin, copies, Ok(result))),
                Err(cause) => saying.add(time, origin, copies, Err(cause)),
            }
        }
        of.between(i128::from(of.watermark.0) + 1, i128::MAX).take(1).for_each(|(id, ..)| saying.due_at(id.time));
        memory.iter().filter_map(|memory| memory.timers.first()).for_each(|timer| saying.due_at(*timer));
    }

    fn forget(&self, key: &K, entry: &mut Entry<Self::Base, (), V>, _: Watermark, over: Watermark) {
        let upto = over.minus_ms(self.lateness_ms);
        let gone: Vec<Id> = entry.records.iter().map(|(id, _)| *id).take_while(|id| id.time <= upto).collect();
        let certain = entry.records.iter().take_while(|(id, _)| id.time <= upto).filter(|(_, held)| held.now() > 0);
        let certain = certain.map(|(id, held)| (id, &held.data, held.now()));
        let memory = self.run(key, entry.base.take(), certain, upto, |time| Origin::group(0, 0, time.0), |_| ());
        entry.base = memory.filter(|memory| !self.is_over(memory, upto));
        gone.iter().for_each(|id| entry.records.remove(id));
    }

    fn base_until(&self, base: &Self::Base) -> Option<EventTime> {
        base.as_ref().zip(self.ttl_ms).map(|(memory, ttl_ms)| memory.last().plus_ms(ttl_ms).plus_ms(self.lateness_ms))
    }

    fn is_nothing(&self, base: &Self::Base) -> bool {
        base.is_none()
    }
}

impl<P> Replay<P> {
    fn is_over<S>(&self, memory: &Memory<S>, time: EventTime) -> bool {
        self.ttl_ms.is_some_and(|ttl_ms| memory.last().plus_ms(ttl_ms) <= time)
    }

    /// All turns from a memory on, up to a time: records in order, and behind those of its millisecond each timer.
    fn run<'a, K: Key, V: Data>(
        &self,
        key: &K,
        mut memory: Option<Memory<P::State>>,
        records: impl Iterator<Item = Stands<'a, (), V>>,
        upto: Watermark,
        timer: impl Fn(EventTime) -> Origin,
        mut hear: impl FnMut(Heard<P::Out>),
    ) -> Option<Memory<P::State>>
    where
        P: Process<K, V>,
    {
        let mut hear = |memory: &mut Option<Memory<P::State>>, when: When, origin, run: Run<'_, K, P::State, P::Out>| {
            let given = take(key, memory.as_ref(), when, origin, run).map(|(now, given)| {
                *memory = now;
                given
            });
            hear(Heard { time: when.time, origin, copies: when.diff, given });
        };
        // What is to be done up to a time: timers before the next record, then the record.
        let last = (upto.plus_ms(1), None);
        for (time, record) in records.map(|(id, record, copies)| (id.time, Some((id, record, copies)))).chain([last]) {
            while let Some(at) = memory.as_mut().and_then(|memory| memory.next_timer(time)) {
                let when = When { time: at, diff: 1, watermark: at, next: at.plus_ms(1), touched: at };
                hear(&mut memory, when, timer(at), &|turn, state| self.process.on_timer(turn, state));
            }
            if let Some((id, record, diff)) = record {
                memory = memory.filter(|memory| !self.is_over(memory, time));
                let when = When { time, diff, watermark: time, next: time, touched: time };
                hear(&mut memory, when, id.origin, &|turn, state| self.process.on_record(turn, state, &record.value));
            }
        }
        memory
    }
}
