//! Running aggregates and folds against sums and counts over all records so far.

use super::{Multiset, POISON, Record, epochs, history, results_of, seeded, value};
use crate::aggregate::{avg, collect, count, distinct, first_by, last_by, max, sum, top};
use crate::{PerKey, aggregate, fold, key_by};
use distributary_runtime::testing::{Observed, Step, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Origin};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Checks every epoch of `observed` against `recompute` over the records of a key, which are at least one.
fn check<O: Data + Ord + std::fmt::Debug>(
    steps: &[Step<Record>],
    observed: &Observed<PerKey<u8, O>>,
    recompute: impl Fn(&Multiset<i64>) -> O,
) -> Result<(), TestCaseError> {
    let mut records: BTreeMap<u8, Multiset<i64>> = BTreeMap::new();
    let mut said = Multiset::default();
    for (epoch, updates, _, _) in epochs(steps) {
        let mut times: BTreeMap<u8, EventTime> = BTreeMap::new();
        for ((key, value), stamp, diff) in updates.iter().filter(|((_, value), _, _)| *value != POISON) {
            records.entry(*key).or_default().add(*value, *diff);
            let time = times.entry(*key).or_insert(stamp.time);
            *time = stamp.time.max(*time);
        }
        let results = results_of(observed, epoch);
        for pair in results.windows(2) {
            let [(a, a_stamp, a_diff), (b, b_stamp, b_diff)] = pair else { unreachable!() };
            prop_assert!((a_stamp.origin, a_diff) < (b_stamp.origin, b_diff), "{:?} stands before {:?}", a, b);
        }
        for (result, stamp, diff) in results {
            prop_assert_eq!(stamp.origin, Origin::group(1, distributary_runtime::key::stable_hash(&result.key), 0));
            prop_assert_eq!(stamp.seen, EventTime::MIN);
            if diff > 0 {
                prop_assert_eq!(Some(&stamp.time), times.get(&result.key));
            }
            // With its time: what goes is what has come.
            said.add((result.key, result.value, stamp.time), diff);
        }
        let now: Vec<_> = said.iter().map(|(key, value, _)| (*key, value.clone())).collect();
        let expected: Vec<_> = records.iter().filter(|(_, r)| !r.is_empty()).map(|(k, r)| (*k, recompute(r))).collect();
        prop_assert_eq!(now, expected, "after epoch {}", epoch);
    }
    let poison = steps.iter().flat_map(|s| &s.updates).filter(|((_, value), _, _)| *value == POISON).count();
    prop_assert_eq!(observed.dead.len(), poison);
    Ok(())
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn a_running_aggregate_is_what_the_records_so_far_give(steps in history()) {
        let observed = run(steps.clone(), |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            aggregate(graph, &keyed, "all", (count(), sum(value), max(|(_, value): &Record| *value)))
        });
        check(&steps, &observed, |r| (r.iter().count() as u64, r.iter().sum(), *r.iter().max().unwrap()))?;
    }

    #[test]
    fn running_values_are_those_of_the_records_so_far(steps in history()) {
        let observed = run(steps.clone(), |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            let all = (
                avg(value),
                distinct(value),
                top(2, value),
                first_by(|r: &Record| value(r) % 2, value),
                last_by(|r: &Record| value(r) % 2, value),
                collect(value),
            );
            aggregate(graph, &keyed, "all", all)
        });
        check(&steps, &observed, |r| {
            let values: Vec<i64> = r.iter().copied().collect();
            let different: BTreeSet<_> = values.iter().collect();
            let by_order = || values.iter().map(|v| (v % 2, *v));
            (
                values.iter().sum::<i64>().div_euclid(values.len() as i64),
                different.len() as u64,
                values.iter().rev().copied().take(2).collect::<Vec<_>>(),
                by_order().min().unwrap().1,
                by_order().max().unwrap().1,
                values,
            )
        })?;
    }

    #[test]
    fn a_fold_is_what_the_records_so_far_give(steps in history()) {
        let observed = run(steps.clone(), |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            fold(graph, &keyed, "all", (0, 0), |(count, total), record: &Record, diff| {
                *count += diff;
                *total += diff * value(record);
            })
        });
        check(&steps, &observed, |r| (r.iter().count() as i64, r.iter().sum()))?;
    }
}

#[test]
fn a_closure_that_panics_halfway_leaves_no_trace() {
    let step = |offset, value| Step { updates: vec![update((0, value), offset, 0, 0)], watermark: EventTime(0) };
    let observed = run(vec![step(0, 1), step(1, POISON), step(2, 2)], |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        fold(graph, &keyed, "sum", 0, |total, record: &Record, diff| {
            *total += 1_000;
            *total += diff * value(record) - 1_000;
        })
    });
    let said: Vec<_> = observed.results.iter().map(|(e, (r, _, diff))| (e.0, r.value, *diff)).collect();
    assert_eq!(said, [(1, 1, 1), (3, 1, -1), (3, 3, 1)]);
}

#[test]
fn a_sum_that_does_not_fit_is_a_dead_letter_until_it_fits_again() {
    let step = |updates| Step { updates, watermark: EventTime(0) };
    let (huge, one) = (update((0, i64::MAX), 0, 0, 0), update((0, 1), 1, 0, 0));
    let mut back = huge;
    back.2 = -1;
    let observed = run(vec![step(vec![huge]), step(vec![one]), step(vec![back])], |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        aggregate(graph, &keyed, "sum", sum(|(_, value): &Record| *value))
    });
    let said: Vec<_> = observed.results.iter().map(|(e, (r, _, diff))| (e.0, r.value, *diff)).collect();
    assert_eq!(said, [(1, i64::MAX, 1), (2, i64::MAX, -1), (3, 1, 1)]);
    let dead: Vec<_> = observed.dead.iter().map(|(e, dead)| (e.0, dead.cause.as_str(), dead.diff)).collect();
    let cause = "sum(i64): the result does not fit its type";
    assert_eq!(dead, [(2, cause, 1), (3, cause, -1)]);
}
