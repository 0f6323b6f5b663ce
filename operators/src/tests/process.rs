//! A process with all that it may do, against a walk over records and timers: by time over all that were ever taken, as they come over
//! each epoch, with nothing forgotten but what the time to live says.

use super::kept::{Taken, is_late, sorted};
use super::{Multiset, POISON, Record, epochs, history, restart, restart::stop, results_of, seeded, value};
use crate::{Done, Keyed, Process, Turn, Turns, as_they_come, by_time, key_by, map, process};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Observed, Step, bytes_kept, run};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::Update;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A sum, and how many timers went off.
struct Busy;

/// The key, what is said, and the event time.
type Out = (u8, i64);

impl Process<u8, Record> for Busy {
    type State = (i64, i64);
    type Out = Out;

    fn on_record(&self, turn: &mut Turn<'_, u8, Out>, (sum, _): &mut (i64, i64), record: &Record) -> Done {
        *sum += value(record) * turn.diff();
        turn.give((*turn.key(), *sum));
        match record.1 {
            -3 => Err("no")?,
            -2 => turn.forget(),
            -1 => turn.cancel_timer(turn.time().plus_ms(5)),
            0 => turn.give((*turn.key(), 1_000)),
            ahead => drop(turn.set_timer(turn.time().plus_ms(4 * ahead - 6))),
        }
        Ok(())
    }

    fn on_timer(&self, turn: &mut Turn<'_, u8, Out>, (sum, timers): &mut (i64, i64)) -> Done {
        *timers += 1;
        turn.give((*turn.key(), 100 + *timers));
        if *timers % 3 == 1 {
            turn.set_timer(turn.time().plus_ms(2));
        }
        if *sum % 5 == 4 { Err("no")? } else { Ok(()) }
    }
}

/// The same by hand.
#[derive(Clone, Debug, Default)]
struct Model {
    sum: i64,
    timers: i64,
    set: BTreeSet<i64>,
    touched: i64,
}

impl Model {
    fn last(&self) -> i64 {
        self.set.last().map_or(self.touched, |timer| self.touched.max(*timer))
    }

    /// What a record gives; `None` if it fails.
    fn record(of: &mut Option<Self>, value: i64, diff: i64, time: i64, next: i64, touched: i64) -> Option<Vec<i64>> {
        if value == POISON || value == -3 {
            return None;
        }
        let mut model = of.take().unwrap_or(Self { touched, ..Self::default() });
        model.sum += value * diff;
        model.touched = model.touched.max(touched);
        let mut given = vec![model.sum];
        match value {
            -2 => return Some(given),
            -1 => drop(model.set.remove(&(time + 5))),
            0 => given.push(1_000),
            ahead => drop(model.set.insert((time + 4 * ahead - 6).max(next))),
        }
        *of = Some(model);
        Some(given)
    }

    fn timer(&mut self, time: i64) -> Option<Vec<i64>> {
        self.set.remove(&time);
        if self.sum % 5 == 4 {
            return None;
        }
        self.timers += 1;
        self.touched = self.touched.max(time);
        if self.timers % 3 == 1 {
            self.set.insert(time + 2);
        }
        Some(vec![100 + self.timers])
    }
}

/// Results with their times; dead letters only count.
type Standing = Multiset<Option<(Out, i64)>>;

fn hear(said: &mut Standing, observed: &Observed<Out>, epoch: Epoch) {
    results_of(observed, epoch).into_iter().for_each(|(out, stamp, diff)| said.add(Some((out, stamp.time.0)), diff));
    observed.dead.iter().filter(|(e, _)| *e == epoch).for_each(|(_, letter)| said.add(None, letter.diff));
}

fn add(expected: &mut Standing, key: u8, time: i64, given: Option<Vec<i64>>, copies: i64) {
    match given {
        None => expected.add(None, copies),
        Some(given) => given.into_iter().for_each(|what| expected.add(Some(((key, what), time)), copies)),
    }
}

fn busy<'s>(
    graph: &Graph<'s>,
    input: &Collection<'s, Record>,
    turns: Turns,
    horizon: i64,
) -> Outputs<'s, Keyed<u8, Record>, Out> {
    graph.correct_for(horizon);
    process(graph, &key_by(graph, input, |(key, _)| *key), "p", turns, Busy)
}

fn ttl() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), (1_i64..25).prop_map(Some)]
}

fn with(turns: Turns, ttl: Option<i64>) -> Turns {
    ttl.map_or(turns, |ttl| turns.ttl(ttl))
}

/// By time: all turns of a key from the beginning.
fn replay(key: u8, taken: &Taken, watermark: i64, ttl: Option<i64>, expected: &mut Standing) {
    let mut model: Option<Model> = None;
    let fire = |model: &mut Option<Model>, before: i64, expected: &mut Standing| {
        while let Some(one) = model.as_mut()
            && let Some(time) = one.set.first().copied().filter(|time| *time < before)
        {
            add(expected, key, time, one.timer(time), 1);
        }
    };
    for ((stamp, record), copies) in taken.of(key).into_iter().filter(|((stamp, _), _)| stamp.time.0 <= watermark) {
        let time = stamp.time.0;
        fire(&mut model, time, expected);
        model = model.filter(|model| ttl.is_none_or(|ttl| time < model.last() + ttl));
        add(expected, key, time, Model::record(&mut model, record.1, copies, time, time, time), copies);
    }
    fire(&mut model, watermark + 1, expected);
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn by_time_it_is_as_if_all_had_come_in_order(
        steps in history(), lateness in 0_i64..12, horizon in prop_oneof![Just(0), 0_i64..30], ttl in ttl(),
    ) {
        let turns = with(by_time(lateness), ttl);
        let observed = run(steps.clone(), move |graph, input| busy(graph, &input, turns, horizon).results);
        let late = run(steps.clone(), move |graph, input| {
            let late = busy(graph, &input, turns, horizon).late;
            map(graph, &late, |late| late.value)
        });
        let (mut taken, mut said) = (Taken::default(), Standing::default());
        let mut origins = Multiset::default();
        for (epoch, updates, before, watermark) in epochs(&steps) {
            let (refused, accepted): (Vec<&Update<Record>>, Vec<_>) = updates.iter().partition(|u| is_late(u.1, before, lateness, horizon));
            accepted.into_iter().for_each(|update| taken.take(*update));
            prop_assert_eq!(sorted(refused.into_iter().copied().collect()), sorted(results_of(&late, epoch)));
            hear(&mut said, &observed, epoch);
            let mut expected = Standing::default();
            (0..3).for_each(|key| replay(key, &taken, watermark.0, ttl, &mut expected));
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            results_of(&observed, epoch).into_iter().for_each(|(out, stamp, diff)| origins.add((stamp.origin, out), diff));
            let different: BTreeSet<_> = origins.0.keys().map(|(origin, _)| origin).collect();
            prop_assert_eq!(different.len(), origins.0.len(), "origins are unique");
        }
        if ttl.is_some() {
            let mut steps = steps;
            let end = steps.last().map_or(0, |step| step.watermark.0) + 10_000;
            steps.extend([end, end + 100].map(|end| Step { updates: Vec::new(), watermark: EventTime(end) }));
            prop_assert_eq!(bytes_kept(steps, move |graph, input| busy(graph, &input, turns, horizon).results), 0);
        }
    }

    #[test]
    fn as_they_come_it_is_in_the_order_of_origins(steps in history(), horizon in prop_oneof![Just(0), 0_i64..30], ttl in ttl()) {
        let turns = with(as_they_come(), ttl);
        let observed = run(steps.clone(), move |graph, input| busy(graph, &input, turns, horizon).results);
        let mut models: BTreeMap<u8, Option<Model>> = BTreeMap::new();
        let (mut said, mut expected) = (Standing::default(), Standing::default());
        for (epoch, updates, before, watermark) in epochs(&steps) {
            let mut updates = updates.to_vec();
            updates.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
            for (record, stamp, diff) in updates {
                if ttl.is_some_and(|ttl| is_late(stamp, before, ttl, horizon)) {
                    continue;
                }
                let (time, next) = (stamp.time.0, before.0.saturating_add(1));
                let given = Model::record(models.entry(record.0).or_default(), record.1, diff, time, next, time.max(before.0));
                add(&mut expected, record.0, time, given, diff);
            }
            let due = |models: &BTreeMap<u8, Option<Model>>| {
                let timers = models.iter().filter_map(|(key, model)| Some((*model.as_ref()?.set.first()?, *key)));
                timers.filter(|(time, _)| *time <= watermark.0).min()
            };
            while let Some((time, key)) = due(&models) {
                add(&mut expected, key, time, models.get_mut(&key).and_then(Option::as_mut).unwrap().timer(time), 1);
            }
            for model in models.values_mut() {
                let last = model.as_ref().map(Model::last);
                *model = model.take().filter(|_| last.zip(ttl).is_none_or(|(last, ttl)| last + ttl + horizon > watermark.0));
            }
            hear(&mut said, &observed, epoch);
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
        }
    }

    #[test]
    fn it_goes_on(steps in history(), stop in stop(), horizon in 0_i64..30, ttl in ttl(), lateness in prop_oneof![Just(None), (0_i64..12).prop_map(Some)]) {
        let turns = with(lateness.map_or(as_they_come(), by_time), ttl);
        restart::check(steps, stop, move |graph, input| restart::all(graph, &busy(graph, &input, turns, horizon)))?;
    }
}

/// Whatever order the same records come in, and in whichever epochs.
#[test]
fn by_time_the_order_of_arrival_does_not_matter() {
    let records: Vec<_> = (0..12_i64).map(|n| distributary_runtime::testing::update((1, n % 4), n as u64, n * 3, -1)).collect();
    let said = |epochs: Vec<Vec<_>>| {
        let mut steps: Vec<_> = epochs.into_iter().map(|updates| Step { updates, watermark: EventTime(-1) }).collect();
        steps.push(Step { updates: Vec::new(), watermark: EventTime(100) });
        let observed = run(steps, |graph, input| busy(graph, &input, by_time(0), 0).results);
        observed.results.into_iter().map(|(_, update)| update).collect::<Vec<_>>()
    };
    let straight = said(vec![records.clone()]);
    assert!(straight.len() > 12);
    let backwards = records.chunks(5).rev().map(|some| some.iter().rev().copied().collect()).collect();
    assert_eq!(said(backwards), straight);
}
