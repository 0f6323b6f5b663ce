//! Records under rules, against a model that evaluates each record once, under the rules of the epoch that read it, and remembers that
//! for ever.

use super::joined::{Event, history, value};
use super::{Multiset, POISON, epochs, restart, restart::stop, results_of, seeded};
use crate::{Rules, Side, TakenBack, aggregate, aggregate::count, filter, key_by, with_broadcast};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::stable_hash;
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, bytes_kept, run, run_rescaled, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Diff, Origin, Stamp, Update};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A record, and the rule of its key.
type Ruled = (Event, Option<i64>);

fn under(record: &Event, rules: &Rules<'_, u8, Event>) -> Ruled {
    assert_ne!(value(record), POISON, "poison");
    (*record, rules.get(&record.0).map(value))
}

/// Left records under right ones as rules.
fn ruled<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, horizon: i64, taken_back: TakenBack) -> Outputs<'s, Event, Ruled> {
    graph.correct_for(horizon);
    let records = filter(graph, input, |(_, side): &Event| matches!(side, Side::Left(_)));
    let rules = key_by(graph, &filter(graph, input, |(_, side): &Event| matches!(side, Side::Right(_))), |(key, _)| *key);
    with_broadcast(graph, &records, &rules, "rules", taken_back, under)
}

/// The rules: of each key, the records that stand.
#[derive(Default)]
struct Standing(BTreeMap<(u8, EventTime, Origin, u64), (i64, Diff)>);

impl Standing {
    fn take(&mut self, (event, stamp, diff): &Update<Event>) {
        let id = (event.0, stamp.time, stamp.origin, stable_hash(event));
        self.0.entry(id).or_insert((value(event), 0)).1 += diff;
    }

    fn rows(&self) -> BTreeMap<u8, i64> {
        self.0.iter().filter(|(_, (_, copies))| *copies > 0).map(|((key, ..), (value, _))| (*key, *value)).collect()
    }
}

/// Whether a version is forgotten when one replaces it that comes behind records of these times.
fn is_forgotten(latest: EventTime, horizon: i64, before: EventTime) -> bool {
    before >= latest.plus_ms(horizon)
}

fn check(steps: &[Step<Event>], horizon: i64) -> Result<(), TestCaseError> {
    let observed = run(steps.to_vec(), move |graph, input| ruled(graph, &input, horizon, TakenBack::Within(0)).results);
    let late = run(steps.to_vec(), move |graph, input| ruled(graph, &input, horizon, TakenBack::Within(0)).late);
    let mut rules = Standing::default();
    // The rules of each epoch, those of the epoch that read an offset, and the greatest time until a version was replaced.
    let (mut versions, mut read, mut greatest) = (vec![(BTreeMap::new(), EventTime::MIN)], BTreeMap::new(), EventTime::MIN);
    let (mut said, mut expected) = (Multiset::default(), Multiset::default());
    let mut replaced: Vec<(usize, EventTime)> = Vec::new();
    for (epoch, updates, before, _) in epochs(steps) {
        let is_rule = |update: &&Update<Event>| matches!(update.0.1, Side::Right(_));
        updates.iter().filter(is_rule).for_each(|update| rules.take(update));
        let rows = rules.rows();
        let new = versions.last().is_none_or(|(last, _)| *last != rows);
        if new {
            versions.push((rows, greatest));
            replaced.push((versions.len() - 1, greatest));
        }
        for (_, stamp, _) in updates.iter().filter(|(_, _, diff)| *diff > 0) {
            if read.len() as u64 <= stamp.origin.position().unwrap().2 {
                greatest = greatest.max(stamp.time);
            }
        }
        for (_, stamp, _) in updates.iter().filter(|(_, _, diff)| *diff > 0) {
            read.entry(stamp.origin.position().unwrap().2).or_insert(versions.len() - 1);
        }
        let mut refused = Multiset::default();
        for (record, stamp, diff) in updates.iter().filter(|update| !is_rule(update)) {
            let version = read[&stamp.origin.position().unwrap().2];
            // What is replaced now still holds for this epoch.
            let earlier = replaced.iter().take_while(|(by, _)| *by < versions.len() - usize::from(new));
            let gone = earlier.take_while(|(_, latest)| is_forgotten(*latest, horizon, before)).last();
            if gone.is_some_and(|(by, _)| version < *by) {
                refused.add((*record, *stamp), *diff);
            } else if value(record) == POISON {
                expected.add((None, *stamp), *diff);
            } else {
                expected.add((Some((*record, versions[version].0.get(&record.0).copied())), *stamp), *diff);
            }
        }
        let mut late_here = Multiset::default();
        results_of(&late, epoch).into_iter().for_each(|(record, stamp, diff)| late_here.add((record, stamp), diff));
        prop_assert_eq!(late_here, refused, "late in epoch {}", epoch);
        results_of(&observed, epoch).into_iter().for_each(|(result, stamp, diff)| said.add((Some(result), stamp), diff));
        let stamps: BTreeMap<Origin, Stamp> = steps.iter().flat_map(|s| &s.updates).map(|u| (u.1.origin, u.1)).collect();
        let dead = observed.dead.iter().filter(|(e, _)| *e == epoch);
        dead.for_each(|(_, letter)| said.add((None, stamps[&letter.origin]), letter.diff));
        prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
    }
    Ok(())
}

/// How much longer corrections are taken: shorter and longer than a history.
fn horizon() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(0), 2 => 1_i64..40, 2 => Just(1_000)]
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn each_record_is_said_under_the_rules_of_its_epoch(steps in history(), horizon in horizon()) {
        check(&steps, horizon)?;
    }

    #[test]
    fn rules_go_on(steps in history(), horizon in horizon(), stop in stop(), table in any::<bool>()) {
        let taken_back = if table { TakenBack::AtAnyTime } else { TakenBack::Within(0) };
        restart::check(steps.clone(), stop, move |graph, input| restart::all(graph, &ruled(graph, &input, horizon, taken_back)))?;
        restart::check(steps, stop, move |graph, input| counts(graph, &input, taken_back))?;
    }

    /// A table takes back exactly what was said of its rows, however long ago.
    #[test]
    fn what_goes_is_what_came(steps in history(), within in prop_oneof![Just(None), Just(Some(1_000))]) {
        let taken_back = within.map_or(TakenBack::AtAnyTime, TakenBack::Within);
        let observed = run(steps.clone(), move |graph, input| counts(graph, &input, taken_back));
        let upstream = run(steps.clone(), |graph, input| {
            aggregate(graph, &key_by(graph, &lefts(graph, &input), |(key, _)| *key), "counts", count())
        });
        let (mut rules, mut said, mut standing) = (Standing::default(), Multiset::default(), BTreeMap::new());
        for (epoch, updates, ..) in epochs(&steps) {
            updates.iter().filter(|update| matches!(update.0.1, Side::Right(_))).for_each(|update| rules.take(update));
            for (result, _, diff) in results_of(&upstream, epoch) {
                let id = (result.key, result.value);
                if diff > 0 {
                    standing.insert(id, rules.rows().get(&result.key).copied());
                } else {
                    standing.remove(&id);
                }
            }
            results_of(&observed, epoch).into_iter().for_each(|(result, _, diff)| said.add(result, diff));
            let mut expected = Multiset::default();
            standing.iter().for_each(|((key, count), rule)| expected.add((*key, *count, *rule), 1));
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
        }
    }
}

fn lefts<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>) -> Collection<'s, Event> {
    filter(graph, input, |(_, side): &Event| matches!(side, Side::Left(_)))
}

/// Results of an operator under rules.
fn counts<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, taken_back: TakenBack) -> Collection<'s, (u8, u64, Option<i64>)> {
    let counts = aggregate(graph, &key_by(graph, &lefts(graph, input), |(key, _)| *key), "counts", count());
    let rules = key_by(graph, &filter(graph, input, |(_, side): &Event| matches!(side, Side::Right(_))), |(key, _)| *key);
    let of = with_broadcast(graph, &counts, &rules, "rules", taken_back, |of, rules| {
        (of.key, of.value, rules.get(&of.key).map(value))
    });
    of.results
}

fn record(offset: u64, time: i64) -> Update<Event> {
    update((0, Side::Left(0)), offset, time, -100)
}

fn rule(value: i64, offset: u64) -> Update<Event> {
    update((0, Side::Right(value)), offset, i64::try_from(offset).unwrap(), -100)
}

fn step(updates: Vec<Update<Event>>, watermark: i64) -> Step<Event> {
    Step { updates, watermark: EventTime(watermark) }
}

/// Days later, three versions on, behind a restart.
#[test]
fn a_retraction_gives_what_its_record_gave() {
    let back = |(record, stamp, diff): Update<Event>| (record, stamp, -diff);
    let steps = vec![
        step(vec![record(0, 5), rule(1, 1)], 5),
        step(vec![rule(2, 2)], 500),
        step(vec![record(3, 500), rule(3, 4)], 800),
        step(vec![back(record(0, 5))], 1_005),
        step(vec![back(record(3, 500)), back(record(0, 5))], 1_006),
    ];
    let said = |taken_back| {
        let seen = run(steps.clone(), move |graph, input| ruled(graph, &input, 1_000, taken_back).results);
        let again = run_rescaled(steps.clone(), 2, (2, 3), move |graph, input| ruled(graph, &input, 1_000, taken_back).results);
        assert_eq!(seen.results.len(), again.results.len());
        seen.results.into_iter().map(|(epoch, ((_, rule), _, diff))| (epoch.0, rule.unwrap(), diff)).collect::<Vec<_>>()
    };
    let within = [(1, 1, 1), (3, 3, 1), (4, 1, -1)];
    // When the first version is forgotten a second retraction is too late; of a table it is one of a row that never came.
    assert_eq!(said(TakenBack::Within(0)), [&within[..], &[(5, 3, -1)]].concat());
    assert_eq!(said(TakenBack::AtAnyTime), [&within[..], &[(5, 3, -1), (5, 3, -1)]].concat());
}

/// However often rules change, in the end one version is kept.
#[test]
fn versions_are_forgotten() {
    let kept = |changes: i64| {
        let mut steps: Vec<_> = (1..=changes).map(|i| step(vec![rule(i, i as u64 - 1)], i)).collect();
        steps.push(step(vec![], 10_000));
        bytes_kept(steps, |graph, input| ruled(graph, &input, 10, TakenBack::Within(0)).results)
    };
    let (few, many) = (kept(10), kept(100));
    assert!(many - few < 90 * 40, "{few} bytes with 10 changes, {many} with 100: only the records of the rules themselves");
}
