//! Views against recomputations over all rows that stand: joins of three tables, the best of each key, fixed points.

use super::{Multiset, Record, history, restart, restart::stop, seeded, value};
use crate::{filter, view};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::testing::{Step, bytes_kept, drive, run, update};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::Diff;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const NO_TIME: fn(&Row) -> EventTime = |_| EventTime::MIN;

/// What all views here give.
type Row = (u8, i64, i64);

/// Checks after every epoch that what stands is what `recompute` makes of the rows that stand, and that each row is said once.
fn check(
    steps: &[Step<Record>],
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, Record>) -> Collection<'s, Row> + Clone + Send + Sync + 'static,
    recompute: impl Fn(&Multiset<Record>) -> Multiset<Row>,
) -> Result<(), TestCaseError> {
    let observed = run(steps.to_vec(), build);
    let (mut records, mut said) = (Multiset::default(), Multiset::default());
    for (epoch, step) in (1..).map(Epoch).zip(steps) {
        step.updates.iter().for_each(|(record, _, diff)| records.add(*record, *diff));
        let results: Vec<_> = observed.results.iter().filter(|(e, _)| *e == epoch).map(|(_, update)| update).collect();
        prop_assert!(results.is_sorted_by_key(|(_, stamp, _)| (stamp.time, stamp.origin)));
        let rows: BTreeSet<_> = results.iter().map(|(row, ..)| row).collect();
        prop_assert_eq!(rows.len(), results.len(), "a row is said once in an epoch");
        for (row, stamp, diff) in results {
            prop_assert_eq!(stamp.seen, EventTime::MIN);
            said.add(*row, *diff);
        }
        prop_assert_eq!(&said, &recompute(&records), "after epoch {}", epoch);
    }
    Ok(())
}

/// Rows of each key that are in three tables: those with an even value, those with an odd one, and all; with what is in no pair.
fn three_tables<'s>(graph: &Graph<'s>, input: Collection<'s, Record>) -> Collection<'s, Row> {
    let (even, odd) = (filter(graph, &input, |r| r.1 % 2 == 0), filter(graph, &input, |r| r.1 % 2 != 0));
    view(graph, "v", NO_TIME, |v| {
        let key = |record: &Record| record.0;
        let (even, odd) = (v.of("even", &even).key_by(key), v.of("odd", &odd).key_by(key));
        let pairs = even.join(&odd, |key, l, r| (*key, l.1, r.1)).key_by(|pair| pair.0);
        let all = v.of("all", &input).distinct();
        let triples = pairs.join(&all.key_by(key), |key, pair, r| (*key, pair.1 + 10 * pair.2, r.1));
        let alone = odd.antijoin(&even.values().map(key)).values().map(|r| (r.0, r.1, -100));
        let met = odd.semijoin(&even.values().map(key)).values().map(|r| (r.0, r.1, 100));
        triples.concat(&alone).concat(&met)
    })
}

fn three_tables_again(records: &Multiset<Record>) -> Multiset<Row> {
    let mut rows = Multiset::default();
    let of = |key: u8| records.iter().filter(move |r| r.0 == key);
    let all: BTreeSet<&Record> = records.iter().collect();
    for key in 0..3 {
        for odd in of(key).filter(|r| r.1 % 2 != 0) {
            let is_alone = !of(key).any(|r| r.1 % 2 == 0);
            rows.add((key, odd.1, if is_alone { -100 } else { 100 }), 1);
            for even in of(key).filter(|r| r.1 % 2 == 0) {
                all.iter().filter(|r| r.0 == key).for_each(|r| rows.add((key, even.1 + 10 * odd.1, r.1), 1));
            }
        }
    }
    rows
}

/// The two greatest keys by the sum of their two greatest values, over a table that itself changes.
fn best<'s>(graph: &Graph<'s>, input: Collection<'s, Record>) -> Collection<'s, Row> {
    view(graph, "v", NO_TIME, |v| {
        let top = v.of("rows", &input).key_by(|r| r.0).top(2);
        let sums = top.key_by(|r| r.0).reduce(|key, rows| [(rows.iter().map(|(r, n)| r.1 * *n as i64).sum::<i64>(), *key)]);
        let best = sums.key_by(|_| ()).top(2).map(|(sum, key)| (*key, *sum, 0));
        let counts = v.of("again", &input).key_by(|r| r.0).count().map(|(key, n)| (*key, *n as i64, 1));
        best.concat(&counts)
    })
}

fn best_again(records: &Multiset<Record>) -> Multiset<Row> {
    let mut of = BTreeMap::<u8, Vec<i64>>::new();
    records.iter().for_each(|(key, value)| of.entry(*key).or_default().push(*value));
    let mut rows = Multiset::default();
    of.iter().for_each(|(key, values)| rows.add((*key, values.len() as i64, 1), 1));
    let mut sums: Vec<_> = of.into_iter().map(|(key, values)| (values.iter().rev().take(2).sum::<i64>(), key)).collect();
    sums.sort();
    sums.into_iter().rev().take(2).for_each(|(sum, key)| rows.add((key, sum, 0), 1));
    rows
}

/// The least key that each key is joined to by a chain of keys with a value in common, two by two.
fn components<'s>(graph: &Graph<'s>, input: Collection<'s, Record>) -> Collection<'s, Row> {
    view(graph, "v", NO_TIME, |v| {
        let uses = v.of("uses", &input).distinct();
        let alone = uses.map(|(key, _)| (*key, i64::from(*key), 0)).distinct();
        alone.iterate(|rounds, least| {
            let uses = uses.within(rounds);
            let of_value = least.key_by(|l| l.0).join(&uses.key_by(|u| u.0), |_, l, u| (u.1, l.1)).key_by(|l| l.0).bottom(1);
            let of_key = of_value.key_by(|l| l.0).join(&uses.key_by(|u| u.1), |_, l, u| (u.0, l.1, 0));
            of_key.key_by(|l| l.0).bottom(1)
        })
    })
}

fn components_again(records: &Multiset<Record>) -> Multiset<Row> {
    let mut least: BTreeMap<u8, i64> = records.iter().map(|(key, _)| (*key, i64::from(*key))).collect();
    for _ in 0..least.len() {
        for (a, value) in records.iter() {
            for (b, _) in records.iter().filter(|(_, other)| other == value) {
                let low = least[a].min(least[b]);
                least.insert(*a, low);
                least.insert(*b, low);
            }
        }
    }
    let mut rows = Multiset::default();
    least.into_iter().for_each(|(key, least)| rows.add((key, least, 0), 1));
    rows
}

/// Every second row fails somewhere: in a closure of rows, of pairs, of a key, or in the time of a result.
fn poisoned<'s>(graph: &Graph<'s>, input: Collection<'s, Record>) -> Collection<'s, Row> {
    let time = |row: &Row| EventTime(if row.1 == 3 { panic!("three") } else { row.1 });
    view(graph, "v", time, |v| {
        let rows = v.of("rows", &input).map(|r| (r.0, value(r)));
        let rows = rows.filter(|r| if r.1 == -3 { panic!("minus three") } else { r.1 != 0 });
        let joined =
            rows.key_by(|r| r.0).join(&rows.key_by(|r| r.0), |_, l, r| if l.1 * r.1 == 1 { panic!("one") } else { l.1.max(r.1) });
        let reduced = rows.key_by(|r| r.1).reduce(|value, rows| {
            assert!(*value != 2 || rows.len() < 2, "two keys have a two");
            rows.iter().map(|(r, _)| (r.0, r.1, 0)).collect::<Vec<_>>()
        });
        reduced.concat(&joined.flat_map(|value| vec![(9, *value, 1); 2]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..seeded() })]

    #[test]
    fn tables_are_joined(steps in history()) {
        check(&steps, three_tables, three_tables_again)?;
    }

    #[test]
    fn the_best_of_what_changes(steps in history()) {
        check(&steps, best, best_again)?;
    }

    #[test]
    fn chains_are_followed(steps in history()) {
        check(&steps, components, components_again)?;
    }

    #[test]
    fn views_go_on(steps in history(), stop in stop()) {
        restart::check(steps.clone(), stop, three_tables)?;
        restart::check(steps.clone(), stop, best)?;
        restart::check(steps.clone(), stop, components)?;
        restart::check(steps, stop, poisoned)?;
    }

    /// When all rows are taken back, results and dead letters are, too.
    #[test]
    fn what_fails_is_set_aside_and_taken_back(mut steps in history()) {
        let back = steps.iter().flat_map(|step| step.updates.clone()).map(|(record, stamp, diff)| (record, stamp, -diff));
        let last = Step { updates: back.collect(), watermark: EventTime(1_000) };
        steps.push(last);
        let kept = bytes_kept(steps.clone(), poisoned);
        let observed = run(steps, poisoned);
        let mut rows = Multiset::default();
        observed.results.iter().for_each(|(_, (row, stamp, diff))| rows.add((row, stamp), *diff));
        prop_assert!(rows.is_empty());
        let mut dead = BTreeMap::<_, Diff>::new();
        observed.dead.iter().for_each(|(_, letter)| *dead.entry((letter.origin, &letter.cause)).or_default() += letter.diff);
        prop_assert!(dead.values().all(|copies| *copies == 0), "{:?}", dead);
        prop_assert!(kept <= 256, "{} bytes of nothing", kept);
    }
}

#[test]
fn a_rule_without_a_fixed_point_is_set_aside() {
    let mut back = update((0, 1), 0, 0, 0);
    back.2 = -1;
    let step = |update| Step { updates: vec![update], watermark: EventTime(0) };
    let observed = run(vec![step(update((0, 1), 0, 0, 0)), step(back)], |graph, input: Collection<'_, Record>| {
        view(
            graph,
            "v",
            |_| EventTime::MIN,
            |v| v.of("rows", &input).iterate(|_, rows| rows.map(|(key, value)| (*key, value + 1))),
        )
    });
    let dead: Vec<_> = observed.dead.iter().map(|(e, letter)| (e.0, letter.diff, letter.cause.as_str())).collect();
    let cause = "the iteration has not come to rest after 10000 rounds";
    assert_eq!(dead, [(1, 1, cause), (2, -1, cause)]);
}

/// A row that counts how many of its kind are in memory, on this thread.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
struct Counted(u64);

thread_local!(static IN_MEMORY: Cell<i64> = const { Cell::new(0) });

impl From<u64> for Counted {
    fn from(n: u64) -> Self {
        IN_MEMORY.set(IN_MEMORY.get() + 1);
        Self(n)
    }
}

impl From<Counted> for u64 {
    fn from(counted: Counted) -> Self {
        counted.0
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::from(self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        IN_MEMORY.set(IN_MEMORY.get() - 1);
    }
}

/// What is retracted leaves the arrangements, and not only the state: when somebody is to be forgotten, nothing of the rows may stay.
#[test]
fn a_retracted_row_leaves_memory() {
    const ROWS: u64 = 2_000;
    let step = |updates| Step { updates, watermark: EventTime(0) };
    let rows = |diff| step((0..ROWS).map(|n| (Counted::from(n), update((), n, 0, 0).1, diff)).collect());
    let idle = || step(Vec::new());
    let mut steps = vec![rows(1)];
    steps.extend(std::iter::repeat_with(idle).take(20));
    steps.push(rows(-1));
    steps.extend(std::iter::repeat_with(idle).take(20));
    // One more shows how many are in memory when it has gone through.
    steps.push(step(vec![update(Counted::from(ROWS), ROWS, 0, 0)]));
    let epochs = steps.into_iter().map(|step| (vec![step.updates], step.watermark)).collect();
    let seen = Arc::new(Mutex::new(BTreeMap::<u64, i64>::new()));
    let told = seen.clone();
    drive(
        epochs,
        |graph, input: Collection<'_, Counted>| {
            view(
                graph,
                "v",
                |_| EventTime::MIN,
                |v| {
                    let rows = v.of("rows", &input);
                    let best = rows.key_by(|r| r.0 % 100).top(3);
                    best.key_by(|r| r.0).join(&rows.key_by(|r| r.0), |_, l, _| l.clone()).distinct()
                },
            )
        },
        move |epoch, _| told.lock().unwrap().extend([(epoch.0, IN_MEMORY.get())]),
    );
    let seen: Vec<_> = std::mem::take(&mut *seen.lock().unwrap()).into_iter().collect();
    let [(1, full), (22, _), (43, empty)] = seen[..] else { panic!("{seen:?}") };
    assert!(full > 3 * ROWS as i64 && empty < 20, "{seen:?}");
    assert_eq!(IN_MEMORY.get(), 0, "all is dropped at the end");
}
