//! Tumbling windows against a recomputation of every window from the records it accepted.

use super::{Multiset, POISON, Record, epochs, history, results_of, value};
use crate::aggregate::{Aggregate, avg, bottom, count, distinct, first_by, last_by, min, sum, top};
use crate::{key_by, tumbling, window};
use distributary_runtime::key::stable_hash;
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Origin;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SIZE_MS: i64 = 10;

/// Checks every epoch of the real operator against `recompute` over the records that a window accepted, which are at least one.
fn check<A>(
    steps: &[Step<Record>],
    (lateness, early): (i64, Option<i64>),
    aggregate: A,
    recompute: impl Fn(&Multiset<i64>) -> A::Output,
) -> Result<(), TestCaseError>
where
    A: Aggregate<Record, Output: Ord + std::fmt::Debug> + Copy + Send + Sync,
{
    let windows = early.iter().fold(tumbling(SIZE_MS).lateness(lateness), |windows, every| windows.early(*every));
    let observed = run(steps.to_vec(), move |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", windows, aggregate).results
    });
    let late = run(steps.to_vec(), move |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", windows, aggregate).late
    });
    let mut accepted: BTreeMap<(i64, u8), Multiset<i64>> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    let mut said = Multiset::default();
    let (mut poison, mut refused) = (0, 0);
    for (epoch, updates, before, watermark) in epochs(steps) {
        for ((key, value), stamp, diff) in updates {
            let start = stamp.time.0.div_euclid(SIZE_MS) * SIZE_MS;
            if stamp.seen.max(before).0 >= start + SIZE_MS + lateness {
                let is_it = |(e, (keyed, s, d)): &(_, (crate::Keyed<u8, Record>, _, _))| {
                    (*e, keyed.value, *s, *d) == (epoch, (*key, *value), *stamp, *diff)
                };
                prop_assert!(late.results.iter().any(is_it));
                refused += 1;
            } else if *value == POISON {
                poison += 1;
            } else {
                accepted.entry((start, *key)).or_default().add(*value, *diff);
            }
        }
        // What a window said last stands for ever; until it is over, what it says is recomputed.
        let is_due = early.is_some_and(|every| before.0.div_euclid(every) != watermark.0.div_euclid(every));
        for ((start, key), records) in accepted.iter().filter(|((start, _), _)| is_due || start + SIZE_MS <= watermark.0) {
            expected.remove(&(*start, *key));
            if !records.is_empty() {
                expected.insert((*start, *key), recompute(records));
            }
        }
        let results = results_of(&observed, epoch);
        let order: Vec<_> = results.iter().map(|(r, s, diff)| (r.window, s.origin, r.key, *diff)).collect();
        prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", order);
        for (result, stamp, diff) in results {
            let start = result.window.start.0;
            prop_assert_eq!(stamp.origin, Origin::group(1, stable_hash(&result.key), start));
            prop_assert_eq!((stamp.time, stamp.seen), (EventTime(start + SIZE_MS - 1), before));
            said.add(((start, result.key), result.value), diff);
        }
        let now: BTreeMap<_, _> = said.iter().cloned().collect();
        prop_assert_eq!(said.iter().count(), now.len());
        prop_assert_eq!(&now, &expected, "after epoch {}", epoch);
    }
    prop_assert_eq!(late.results.len(), refused);
    prop_assert_eq!(observed.dead.len(), poison);
    Ok(())
}

/// Lateness, and how often there are early results.
fn how() -> impl Strategy<Value = (i64, Option<i64>)> {
    (0_i64..15, prop::option::of(1_i64..2 * SIZE_MS))
}

proptest! {
    #[test]
    fn a_window_is_what_its_records_give(steps in history(), how in how()) {
        let all = (count(), sum(value), min(|(_, value): &Record| *value));
        check(&steps, how, all, |r| (r.iter().count() as u64, r.iter().sum(), *r.iter().min().unwrap()))?;
    }

    #[test]
    fn a_window_counts_and_averages_its_values(steps in history(), how in how()) {
        check(&steps, how, (avg(value), distinct(value)), |r| {
            let values: Vec<i64> = r.iter().copied().collect();
            let mean = values.iter().sum::<i64>().div_euclid(values.len() as i64);
            (mean, values.iter().collect::<BTreeSet<_>>().len() as u64)
        })?;
    }

    #[test]
    fn a_window_has_the_greatest_and_the_least_of_its_values(steps in history(), how in how(), n in 1_usize..4) {
        check(&steps, how, (top(n, value), bottom(n, value)), |r| {
            let mut values: Vec<i64> = r.iter().copied().collect();
            values.sort();
            let least = values.iter().copied().take(n).collect();
            values.reverse();
            (values.into_iter().take(n).collect(), least)
        })?;
    }

    /// An order that many records share, by a closure of its own that panics.
    #[test]
    fn a_window_has_its_first_and_its_last_value(steps in history(), how in how()) {
        let all = (first_by(|r| value(r) % 2, |r: &Record| r.1), last_by(|r: &Record| r.1.abs(), value));
        check(&steps, how, all, |r| {
            let first = r.iter().map(|v| (v % 2, *v)).min().unwrap();
            let last = r.iter().map(|v| (v.abs(), *v)).max().unwrap();
            (first.1, last.1)
        })?;
    }
}

#[test]
fn an_emptied_window_takes_its_result_back() {
    let record = update((0, 1), 0, 5, 0);
    let mut back = record;
    back.2 = -1;
    let steps = vec![
        Step { updates: vec![record], watermark: EventTime(12) },
        Step { updates: vec![back], watermark: EventTime(13) },
        Step { updates: vec![update((0, 1), 1, 6, 13)], watermark: EventTime(13) },
    ];
    let observed = run(steps, |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", tumbling(10).lateness(5), sum(value)).results
    });
    let said: Vec<_> = observed.results.iter().map(|(e, (r, _, diff))| (e.0, r.value, *diff)).collect();
    assert_eq!(said, [(1, 1, 1), (2, 1, -1), (3, 1, 1)]);
}

#[test]
fn a_correction_of_a_window_that_is_gone_is_late_not_lost() {
    let record = update((0, 1), 0, 5, 0);
    let mut back = record;
    back.2 = -1;
    let steps =
        vec![Step { updates: vec![record], watermark: EventTime(20) }, Step { updates: vec![back], watermark: EventTime(20) }];
    let late = run(steps, |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", tumbling(10), count()).late
    });
    let late: Vec<_> = late.results.into_iter().map(|(_, (keyed, stamp, diff))| (keyed.value, stamp, diff)).collect();
    assert_eq!(late, [back]);
}

#[test]
fn windows_at_the_ends_of_time_do_not_overflow() {
    let updates = vec![update((0, 1), 0, i64::MIN, i64::MIN), update((0, 2), 1, i64::MAX, i64::MIN)];
    let observed = run(vec![Step { updates, watermark: EventTime(i64::MAX) }], |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", tumbling(10).lateness(i64::MAX), sum(value)).results
    });
    assert_eq!(observed.results.len(), 2);
}
