//! Sessions against a recomputation of all of them from the records that were ever accepted.

use super::window::{How, how};
use super::{Multiset, POISON, Record, epochs, history, results_of, seeded, value};
use crate::aggregate::{count, max, sum};
use crate::{key_by, session, window};
use distributary_runtime::key::stable_hash;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Origin;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// First, last and values of each session.
fn sessions(records: &Multiset<(i64, i64)>, gap: i64) -> Vec<(i64, i64, Vec<i64>)> {
    let mut sessions: Vec<(i64, i64, Vec<i64>)> = Vec::new();
    for (time, value) in records.iter() {
        match sessions.last_mut() {
            Some((_, last, values)) if time - *last < gap => {
                *last = *time;
                values.push(*value);
            }
            _ => sessions.push((*time, *time, vec![*value])),
        }
    }
    sessions
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn sessions_are_those_of_all_records(steps in history(), How { lateness, corrections, .. } in how(), gap in 1_i64..20) {
        let windows = session(gap).lateness(lateness);
        let observed = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "all", windows, (count(), sum(value), max(value))).results
        });
        let late = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "all", windows, count()).late
        });
        let mut accepted: BTreeMap<u8, Multiset<(i64, i64)>> = BTreeMap::new();
        let mut said = Multiset::default();
        let (mut poison, mut refused) = (0, 0);
        for (epoch, updates, before, watermark) in epochs(&steps) {
            for ((key, value), stamp, diff) in updates {
                let late_from = stamp.time.plus_ms(gap + lateness);
                if stamp.seen >= late_from || before >= late_from.plus_ms(corrections) {
                    refused += 1;
                } else if *value == POISON {
                    poison += 1;
                } else {
                    accepted.entry(*key).or_default().add((stamp.time.0, *value), *diff);
                }
            }
            let results = results_of(&observed, epoch);
            let order: Vec<_> = results.iter().map(|(r, s, diff)| (r.window.start, s.origin, r.key, *diff)).collect();
            prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", order);
            for (result, stamp, diff) in results {
                prop_assert_eq!(stamp.origin, Origin::group(1, stable_hash(&result.key), result.window.start.0));
                prop_assert_eq!((stamp.time, stamp.seen), (result.window.end.minus_ms(1), EventTime::MIN));
                said.add((result.key, result.window.start.0, result.window.end.0, result.value), diff);
            }
            let mut expected = Multiset::default();
            for (key, records) in &accepted {
                for (first, last, values) in sessions(records, gap).into_iter().filter(|(_, last, _)| last + gap <= watermark.0) {
                    let all = (values.len() as u64, values.iter().sum::<i64>(), *values.iter().max().unwrap());
                    expected.add((*key, first, last + gap, all), 1);
                }
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
        }
        prop_assert_eq!(late.results.len(), refused);
        prop_assert_eq!(observed.dead.len(), poison);
    }

    #[test]
    fn nothing_is_kept_for_ever(mut steps in history(), How { lateness, corrections, .. } in how(), gap in 1_i64..20) {
        steps.push(Step { updates: Vec::new(), watermark: EventTime(1_000) });
        let kept = bytes_kept(steps, move |graph, input| {
            graph.correct_for(corrections);
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "all", session(gap).lateness(lateness), sum(value)).results
        });
        prop_assert_eq!(kept, 0);
    }
}

fn step(updates: Vec<(i64, i64, i64)>, watermark: i64) -> Step<Record> {
    let updates = updates.into_iter().map(|(value, time, diff)| {
        let (record, stamp, _) = update((0, value), value as u64, time, 0);
        (record, stamp, diff)
    });
    Step { updates: updates.collect(), watermark: EventTime(watermark) }
}

/// Epoch, start, end, sum and difference of each result.
fn told(steps: Vec<Step<Record>>, lateness: i64) -> Vec<(u64, i64, i64, i64, i64)> {
    let observed = run(steps, move |graph, input| {
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", session(10).lateness(lateness), sum(value)).results
    });
    observed.results.iter().map(|(e, (r, _, diff))| (e.0, r.window.start.0, r.window.end.0, r.value, *diff)).collect()
}

#[test]
fn a_record_that_bridges_makes_one_session_of_two_and_its_retraction_two_of_one() {
    let steps = vec![step(vec![(1, 0, 1), (2, 15, 1)], 30), step(vec![(4, 8, 1)], 30), step(vec![(4, 8, -1)], 30)];
    let first = [(1, 0, 10, 1, 1), (1, 15, 25, 2, 1)];
    let bridged = [(2, 0, 10, 1, -1), (2, 0, 25, 7, 1), (2, 15, 25, 2, -1)];
    let split = [(3, 0, 25, 7, -1), (3, 0, 10, 1, 1), (3, 15, 25, 2, 1)];
    assert_eq!(told(steps, 100), [&first[..], &bridged, &split].concat());
}

#[test]
fn a_session_that_goes_on_takes_back_what_it_said() {
    let steps = vec![step(vec![(1, 0, 1)], 12), step(vec![(2, 8, 1)], 12), step(vec![], 18)];
    assert_eq!(told(steps, 0), [(1, 0, 10, 1, 1), (2, 0, 10, 1, -1), (3, 0, 18, 3, 1)]);
}

/// A session that never ends does not grow with its records.
#[test]
fn of_what_nothing_can_change_one_group_is_kept() {
    let kept = |records: i64| {
        let steps = (0..records).map(|i| step(vec![(1, 5 * i, 1)], 5 * i));
        bytes_kept(steps.collect(), |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "all", session(10).lateness(20), sum(value)).results
        })
    };
    assert!(kept(1_000) < kept(20) + 20, "{} and {} bytes", kept(1_000), kept(20));
}
