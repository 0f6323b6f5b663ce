//! Windows against a recomputation of every window from the records it accepted, as long as it accepts any.

use super::{Multiset, POISON, Record, epochs, history, results_of, seeded, value};
use crate::aggregate::{Aggregate, avg, bottom, count, distinct, first_by, last_by, min, sum, top};
use crate::{Window, Windows, daily, hopping, key_by, session, tumbling, window};
use distributary_runtime::key::stable_hash;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Origin;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SIZE_MS: i64 = 10;

/// What all kinds of windows are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) lateness: i64,
    /// How often there are early results.
    pub(super) early: Option<i64>,
    pub(super) corrections: i64,
}

pub(super) fn how() -> impl Strategy<Value = How> {
    let corrections = prop_oneof![Just(0_i64), 0_i64..90];
    (0_i64..15, prop::option::of(1_i64..2 * SIZE_MS), corrections).prop_map(|(lateness, early, corrections)| How {
        lateness,
        early,
        corrections,
    })
}

fn tumbling_as(how: How) -> impl Windows + Copy + Send + Sync {
    how.early.iter().fold(tumbling(SIZE_MS).lateness(how.lateness), |windows, every| windows.early(*every))
}

/// The windows that a time is in: one starts at every multiple of `slide`.
fn windows_of(time: i64, size: i64, slide: i64) -> Vec<Window> {
    let window = |start| Window { start: EventTime(start), end: EventTime(start + size) };
    let starts = (0..).map(|back| time.div_euclid(slide) * slide - back * slide);
    starts.take_while(|start| start + size > time).map(window).collect()
}

/// Checks tumbling windows.
fn check<A>(
    steps: &[Step<Record>],
    how: How,
    aggregate: A,
    recompute: impl Fn(&Multiset<i64>) -> A::Output,
) -> Result<(), TestCaseError>
where
    A: Aggregate<Record, Output: Ord + std::fmt::Debug> + Copy + Send + Sync,
{
    check_windows(steps, how, tumbling_as(how), |time| windows_of(time, SIZE_MS, SIZE_MS), aggregate, recompute)
}

/// Checks every epoch of the real operator against `recompute` over the records that a window accepted, which are at least one.
/// `of` tells what windows a time is in.
fn check_windows<A>(
    steps: &[Step<Record>],
    how: How,
    windows: impl Windows + Clone + Send + Sync + 'static,
    of: impl Fn(i64) -> Vec<Window>,
    aggregate: A,
    recompute: impl Fn(&Multiset<i64>) -> A::Output,
) -> Result<(), TestCaseError>
where
    A: Aggregate<Record, Output: Ord + std::fmt::Debug> + Copy + Send + Sync,
{
    let (these, others) = (windows.clone(), windows);
    let observed = run(steps.to_vec(), move |graph, input| {
        graph.correct_for(how.corrections);
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", these, aggregate).results
    });
    let late = run(steps.to_vec(), move |graph, input| {
        graph.correct_for(how.corrections);
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "all", others, aggregate).late
    });
    let mut accepted: BTreeMap<(Window, u8), Multiset<i64>> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    let mut said = Multiset::default();
    let (mut poison, mut refused) = (0, 0);
    for (epoch, updates, before, watermark) in epochs(steps) {
        let mut retracted = BTreeSet::new();
        for ((key, value), stamp, diff) in updates {
            let takes = |window: &Window| {
                let late_from = window.end.plus_ms(how.lateness);
                stamp.seen < late_from && before < late_from.plus_ms(how.corrections)
            };
            let taken: Vec<_> = of(stamp.time.0).into_iter().filter(takes).collect();
            if taken.is_empty() {
                let is_it = |(e, (keyed, s, d)): &(_, (crate::Keyed<u8, Record>, _, _))| {
                    (*e, keyed.value, *s, *d) == (epoch, (*key, *value), *stamp, *diff)
                };
                prop_assert!(late.results.iter().any(is_it));
                refused += 1;
            } else if *value == POISON {
                poison += 1;
            } else {
                retracted.extend(taken.iter().map(|window| (*window, *key)).filter(|_| *diff < 0));
                taken.into_iter().for_each(|window| accepted.entry((window, *key)).or_default().add(*value, *diff));
            }
        }
        retracted.retain(|group| expected.contains_key(group));
        // What a window said last stands for ever; until it is over, what it says is recomputed: early where it is time, or where
        // something stands that is retracted from.
        let is_due = how.early.is_some_and(|every| before.0.div_euclid(every) != watermark.0.div_euclid(every));
        let speaks = |group: &(Window, u8)| is_due || group.0.end <= watermark || retracted.contains(group);
        for ((window, key), records) in accepted.iter().filter(|(group, _)| speaks(group)) {
            expected.remove(&(*window, *key));
            if !records.is_empty() {
                expected.insert((*window, *key), recompute(records));
            }
        }
        let results = results_of(&observed, epoch);
        let order: Vec<_> = results.iter().map(|(r, s, diff)| (r.window, s.origin, r.key, *diff)).collect();
        prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", order);
        for (result, stamp, diff) in results {
            prop_assert_eq!(stamp.origin, Origin::group(1, stable_hash(&result.key), result.window.start.0));
            prop_assert_eq!((stamp.time, stamp.seen), (result.window.end.minus_ms(1), EventTime::MIN));
            said.add(((result.window, result.key), result.value), diff);
        }
        let now: BTreeMap<_, _> = said.iter().cloned().collect();
        prop_assert_eq!(said.iter().count(), now.len());
        prop_assert_eq!(&now, &expected, "after epoch {}", epoch);
    }
    prop_assert_eq!(late.results.len(), refused);
    prop_assert_eq!(observed.dead.len(), poison);
    Ok(())
}

const HOUR_MS: i64 = 3_600_000;

/// 2025-10-25T00:00:00Z: clocks in Vienna go back the day after.
const BACK: i64 = 1_761_350_400_000;

/// The same with hours for milliseconds, when clocks go back.
pub(super) fn in_hours(mut steps: Vec<Step<Record>>) -> Vec<Step<Record>> {
    let hours = |time: &mut EventTime| time.0 = BACK + time.0 * HOUR_MS;
    for step in &mut steps {
        hours(&mut step.watermark);
        for (_, stamp, _) in &mut step.updates {
            hours(&mut stamp.time);
            hours(&mut stamp.seen);
        }
    }
    steps
}

/// The day in Vienna: of the hours from that [`BACK`] on, the first begins 2 hours before, the second is 25 hours long.
fn day_of(time: i64) -> Vec<Window> {
    let midnight = |day: i64| EventTime(BACK + (day * 24 - if day <= 1 { 2 } else { 1 }) * HOUR_MS);
    let days = (-5..10).map(|day| Window { start: midnight(day), end: midnight(day + 1) });
    days.filter(|day| day.start.0 <= time && time < day.end.0).collect()
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn a_window_is_what_its_records_give(steps in history(), how in how()) {
        let all = (count(), sum(value), min(|(_, value): &Record| *value));
        check(&steps, how, all, |r| (r.iter().count() as u64, r.iter().sum(), *r.iter().min().unwrap()))?;
    }

    #[test]
    fn a_hopping_window_is_what_its_records_give(steps in history(), how in how(), size in 1_i64..25, slide in 1_i64..25) {
        let slide = slide.min(size);
        let windows = how.early.iter().fold(hopping(size, slide).lateness(how.lateness), |windows, every| windows.early(*every));
        let all = (count(), sum(value), min(|(_, value): &Record| *value));
        let of = |time| windows_of(time, size, slide);
        check_windows(&steps, how, windows, of, all, |r| (r.iter().count() as u64, r.iter().sum(), *r.iter().min().unwrap()))?;
    }

    #[test]
    fn a_day_is_what_its_records_give(steps in history(), how in how()) {
        let in_ms = How { lateness: how.lateness * HOUR_MS, early: how.early.map(|every| every * HOUR_MS), corrections: how.corrections * HOUR_MS };
        let days = in_ms.early.iter().fold(daily("Europe/Vienna").lateness(in_ms.lateness), |windows, every| windows.early(*every));
        check_windows(&in_hours(steps), in_ms, days, day_of, (count(), sum(value)), |r| (r.iter().count() as u64, r.iter().sum()))?;
    }

    /// Of windows that are gone nothing is kept.
    #[test]
    fn nothing_is_kept_for_ever(mut steps in history(), how in how(), slide in 1_i64..=SIZE_MS) {
        steps.push(Step { updates: Vec::new(), watermark: EventTime(1_000) });
        let tumbling = tumbling_as(how);
        let kept = bytes_kept(steps.clone(), move |graph, input| {
            graph.correct_for(how.corrections);
            window(graph, &key_by(graph, &input, |(key, _)| *key), "all", tumbling, count()).results
        });
        let hopping = how.early.iter().fold(hopping(SIZE_MS, slide).lateness(how.lateness), |windows, every| windows.early(*every));
        let kept_of_slices = bytes_kept(steps, move |graph, input| {
            graph.correct_for(how.corrections);
            window(graph, &key_by(graph, &input, |(key, _)| *key), "all", hopping, count()).results
        });
        prop_assert_eq!((kept, kept_of_slices), (0, 0));
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

/// A deletion retracts what was accepted, long after its window has said its last word to anybody else.
#[test]
fn corrections_are_taken_up_to_their_horizon() {
    let (record, other) = (update((0, 1), 0, 5, 0), update((0, 2), 1, 6, 0));
    let back = |mut update: distributary_runtime::update::Update<Record>| {
        update.2 = -1;
        update
    };
    let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
    let steps = vec![
        step(vec![record, other], 10_000),
        step(vec![back(record)], 10_015), // a new record is late since 15
        step(vec![back(other)], 10_015),
        step(vec![update((0, 3), 2, 7, 15)], 10_015),
    ];
    let build = |late: bool| {
        run(steps.clone(), move |graph, input| {
            graph.correct_for(10_000);
            let keyed = key_by(graph, &input, |(key, _)| *key);
            let outputs = window(graph, &keyed, "all", tumbling(10).lateness(5), sum(value));
            let late_ones = crate::map(graph, &outputs.late, |keyed| keyed.value.1);
            if late { late_ones } else { crate::map(graph, &outputs.results, |result| result.value) }
        })
    };
    let told = |late| build(late).results.into_iter().map(|(e, (value, _, diff))| (e.0, value, diff)).collect::<Vec<_>>();
    assert_eq!(told(false), [(1, 3, 1), (2, 3, -1), (2, 2, 1)]);
    assert_eq!(told(true), [(3, 2, -1), (4, 3, 1)]);
}

#[test]
fn windows_at_the_ends_of_time_do_not_overflow() {
    fn results(windows: impl Windows + Send + Sync + 'static) -> usize {
        let updates = vec![update((0, 1), 0, i64::MIN, i64::MIN), update((0, 2), 1, i64::MAX, i64::MIN)];
        let observed = run(vec![Step { updates, watermark: EventTime(i64::MAX) }], move |graph, input| {
            graph.correct_for(i64::MAX);
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "all", windows, sum(value)).results
        });
        observed.results.len()
    }
    assert_eq!(results(tumbling(10).lateness(i64::MAX)), 2);
    assert_eq!(results(session(10).lateness(i64::MAX)), 2);
    assert_eq!(results(daily("Pacific/Apia").lateness(i64::MAX)), 2);
    // Before time begins, no window does.
    assert_eq!(results(hopping(10, 5).lateness(i64::MAX)), 2);
}
