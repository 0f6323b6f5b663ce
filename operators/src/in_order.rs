//! Records of a key by their own numbers.

use crate::answer::attempt;
use crate::kept::{Entry, Look, Rule, Span, Standing, Stands, keeping};
use crate::key_by::Keyed;
use crate::saying::Saying;
use crate::side::Id;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What [`in_order`] gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Numbered<K, V> {
    /// The first record of its number, behind those of all smaller ones.
    Next(V),
    /// Another one of a number that has been given.
    Repeat(V),
    /// Numbers that did not come in time.
    Missing(Missing<K>),
}

/// Numbers of a key that did not come in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing<K> {
    /// The key.
    pub key: K,
    /// The first that is missing.
    pub first: u64,
    /// The last one, with all between them.
    pub last: u64,
}

/// Gives the records of each key in the order of their numbers, which begin at `first`. Those behind a gap wait, until the watermark passes
/// the event time of the first one behind it by `wait_ms`; then the gap is given as missing, and they are given behind it.
///
/// Of one number the record with the least event time (and origin) is given as the next, all others as repeats. A record that comes
/// although it was given as missing takes that back. When a record is retracted, its repeat takes its place, or its number is missing; what
/// has been given behind it stays. Results have the event time of their record (a gap: that of the record behind it), and origins that are
/// ordered by number.
///
/// A record is late from its event time plus `wait_ms` on. It is also late, whatever its time, when its number is settled: all that came of
/// it, or of the next greater number that came, is as old, and so is all of smaller ones. Late records leave by [`Outputs::late`]. State
/// is two numbers for each key, for ever, and its records for as long as they may come or go. `name` names the state. A record on which `number` panics is a dead letter; so is one with the number `u64::MAX`.
///
/// ```
/// use distributary_operators::{Missing, Numbered, in_order, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![update(2, 0, 10, 0), update(1, 1, 11, 0), update(1, 2, 11, 0), update(4, 3, 20, 0)], 20),
///     step(vec![], 24),
///     step(vec![], 25),
/// ];
/// let seen = run(steps, |graph, input| in_order(graph, &key_by(graph, &input, |_| ()), "orders", 1, 5, |n| *n).results);
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (what, ..))| (epoch.0, what.clone())).collect();
/// let missing = Numbered::Missing(Missing { key: (), first: 3, last: 3 });
/// let next = Numbered::Next;
/// assert_eq!(said, [(1, next(2)), (1, next(1)), (1, Numbered::Repeat(1)), (3, missing), (3, next(4))], "in topics by origin");
/// ```
pub fn in_order<'s, K: Key, V: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    first: u64,
    wait_ms: i64,
    number: impl Fn(&V) -> u64 + 'static,
) -> Outputs<'s, Keyed<K, V>, Numbered<K, V>> {
    if wait_ms < 1 {
        let what = format!("in_order `{name}`: a wait of {wait_ms} ms");
        graph.refuse(Error::refused(what, "give it a wait of at least 1 ms"));
    }
    let rule = InOrder { first, wait_ms: wait_ms.max(1), number };
    keeping(graph, input, Spec::new("in_order", format!("from {first} on, wait {wait_ms} ms")), name, rule)
}

struct InOrder<F> {
    first: u64,
    wait_ms: i64,
    number: F,
}

/// How far a key has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// All numbers below are settled, if there is one.
    floor: Option<u64>,
    /// All numbers below have been given, or given as missing.
    given: u64,
}

/// The records of one number, by event time and origin.
type Records<'a, V> = Vec<Stands<'a, u64, V>>;

impl<K: Key, V: Data, F: Fn(&V) -> u64 + 'static> Rule<K, V> for InOrder<F> {
    /// Its number.
    type Mark = u64;
    type Base = Progress;
    type Out = Numbered<K, V>;

    fn look(&self, base: Option<&Progress>, record: &V, _: Stamp) -> Result<Look<u64>, String> {
        let number = attempt::<u64, _>(|| (self.number)(record))?;
        if number == u64::MAX {
            return Err("the number has no next one".into());
        }
        let floor = base.map_or(self.first, |base| self.floor(base));
        Ok(if number < floor { Look::Late } else { Look::Keep(number) })
    }

    fn late_from(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.wait_ms)
    }

    fn kept_until(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.wait_ms)
    }

    fn say(&self, of: &Standing<'_, K, V, Self>, _: Span, saying: &mut Saying<Numbered<K, V>>) {
        let way = self.walk(of.base, of.iter(), of.watermark);
        way.waits_until.into_iter().for_each(|time| saying.due_at(time));
        for (time, first, last) in way.missing {
            let missing = Missing { key: of.key.clone(), first, last };
            saying.add(time, saying.origin(first as i64), 1, Ok(Numbered::Missing(missing)));
        }
        for (number, records) in way.next {
            for (n, (id, record, copies)) in records.into_iter().enumerate() {
                let next = Diff::from(n == 0);
                let repeat = saying.origin_of(&[id.origin], number as i64);
                saying.add(id.time, saying.origin(number as i64), next, Ok(Numbered::Next(record.value.clone())));
                saying.add(id.time, repeat, copies - next, Ok(Numbered::Repeat(record.value.clone())));
            }
        }
    }

    fn forget(&self, _: &K, entry: &mut Entry<Progress, u64, V>, at: Watermark, over: Watermark) {
        let standing = entry.records.iter().filter(|(_, held)| held.now() > 0).map(|(id, held)| (id, &held.data, held.now()));
        let given = self.walk(&entry.base, standing, at).given;
        // What may still change, and all behind it, is kept.
        let kept = entry.records.iter().filter(|(id, _)| !self.is_over(id.time, over)).map(|(_, held)| held.data.mark).min();
        let settled = |number: &u64| *number < given && kept.is_none_or(|kept| *number < kept);
        let settled = entry.records.iter().map(|(_, held)| held.data.mark).filter(settled).max();
        let floor = settled.map_or(self.floor(&entry.base), |number| number + 1);
        let gone: Vec<Id> = entry.records.iter().filter(|(_, held)| held.data.mark < floor).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| entry.records.remove(id));
        entry.base = Progress { floor: Some(floor), given };
    }

    fn is_nothing(&self, base: &Progress) -> bool {
        base.given <= self.first
    }
}

/// What is given of a key: how far the walk over its numbers comes.
struct Way<'a, V> {
    /// Gaps, each with the time of the record behind it.
    missing: Vec<(EventTime, u64, u64)>,
    /// Numbers that came.
    next: Vec<(u64, Records<'a, V>)>,
    /// All below have been given.
    given: u64,
    /// When the next gap will be over.
    waits_until: Option<EventTime>,
}

impl<F> InOrder<F> {
    fn floor(&self, base: &Progress) -> u64 {
        base.floor.unwrap_or(self.first)
    }

    fn is_over(&self, time: EventTime, watermark: Watermark) -> bool {
        watermark >= time.plus_ms(self.wait_ms)
    }

    fn walk<'a, V>(
        &self,
        base: &Progress,
        standing: impl Iterator<Item = Stands<'a, u64, V>>,
        watermark: Watermark,
    ) -> Way<'a, V> {
        let mut numbers: BTreeMap<u64, Records<'a, V>> = BTreeMap::new();
        standing.for_each(|(id, record, copies)| numbers.entry(record.mark).or_default().push((id, record, copies)));
        let mut way = Way { missing: Vec::new(), next: Vec::new(), given: base.given.max(self.first), waits_until: None };
        let mut expected = self.floor(base);
        for (number, records) in numbers {
            let time = records.first().map_or(EventTime::MIN, |(id, ..)| id.time);
            if number > expected && self.is_over(time, watermark) {
                way.missing.push((time, expected, number - 1));
            } else if number > expected {
                let over = time.plus_ms(self.wait_ms);
                way.waits_until = Some(way.waits_until.map_or(over, |until| until.min(over)));
                // What has been given behind a gap is not taken back.
                if number >= base.given {
                    break;
                }
            }
            expected = number + 1;
            way.given = way.given.max(expected);
            way.next.push((number, records));
        }
        way
    }
}
