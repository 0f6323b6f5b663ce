//! Records by their numbers against a walk over all that were ever taken. The model forgets nothing but how far it has come.

use super::kept::{Standing, Taken, hear, is_late, sorted};
use super::{Multiset, Record, epochs, restart, restart::stop, results_of, seeded};
use crate::{Keyed, Missing, Numbered, in_order, key_by, map};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Diff;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

const FIRST: u64 = 1;

/// What comes (with time and what was seen, both from the watermark), of what another copy comes, what goes, how far the watermark goes, and
/// whether it comes backwards.
type Acts = (Vec<(Record, i64, i64)>, Vec<Index>, Vec<Index>, i64, bool);

/// Numbers of two keys that mostly go up, with event times around the watermark; some come again, some go.
fn history() -> impl Strategy<Value = Vec<Step<Record>>> {
    let record = ((0_u8..2, -2_i64..4), -8_i64..8, 0_i64..6);
    let some = |most| prop::collection::vec(any::<Index>(), 0..most);
    let epoch = (prop::collection::vec(record, 0..5), some(2), some(3), 0_i64..8, any::<bool>());
    prop::collection::vec(epoch, 1..12).prop_map(|epochs| {
        let (mut offset, mut before, mut live, mut highest) = (0, 0, Vec::new(), [0_i64; 2]);
        let step = |(records, again, retracted, step, reverse): Acts| {
            let mut updates = Vec::new();
            for ((key, above), time, ahead) in records {
                let number = (highest[usize::from(key)] + above).max(0);
                highest[usize::from(key)] = highest[usize::from(key)].max(number);
                updates.push(update((key, number), offset, before + time, before + ahead));
                offset += 1;
            }
            live.extend(updates.iter().copied());
            for index in again {
                if !live.is_empty() {
                    let copy = live[index.index(live.len())];
                    updates.push(copy);
                    live.push(copy);
                }
            }
            for index in retracted {
                if !live.is_empty() {
                    let (record, stamp, _) = live.swap_remove(index.index(live.len()));
                    updates.push((record, stamp, -1));
                }
            }
            if reverse {
                updates.reverse();
            }
            before += step;
            Step { updates, watermark: EventTime(before) }
        };
        epochs.into_iter().map(step).collect()
    })
}

fn numbered<'s>(
    graph: &Graph<'s>,
    input: &Collection<'s, Record>,
    wait: i64,
    horizon: i64,
) -> Outputs<'s, Keyed<u8, Record>, Numbered<u8, Record>> {
    graph.correct_for(horizon);
    in_order(graph, &key_by(graph, input, |(key, _)| *key), "n", FIRST, wait, |(_, number)| *number as u64)
}

#[derive(Clone, Copy)]
struct Progress {
    floor: u64,
    given: u64,
}

type Said = Standing<Numbered<u8, Record>>;

/// Walks over all numbers of a key, and goes on from what had been given.
fn walk(key: u8, taken: &Taken, progress: &mut Progress, watermark: EventTime, wait: i64, expected: &mut Said, settled: &Said) {
    let mut numbers: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for ((stamp, record), copies) in taken.of(key) {
        numbers.entry(record.1 as u64).or_default().push((stamp, record, copies));
    }
    let (mut next, before) = (progress.floor, progress.given);
    for (number, records) in numbers.range(progress.floor..) {
        let time = records[0].0.time;
        if *number > next {
            if time.0 + wait <= watermark.0 {
                expected.add((Numbered::Missing(Missing { key, first: next, last: number - 1 }), time), 1);
            } else if *number >= before {
                break;
            }
        }
        next = number + 1;
        progress.given = progress.given.max(next);
        for (n, (stamp, record, copies)) in records.iter().enumerate() {
            if n == 0 {
                expected.add((Numbered::Next(*record), stamp.time), 1);
            }
            if copies - Diff::from(n == 0) > 0 {
                expected.add((Numbered::Repeat(*record), stamp.time), copies - Diff::from(n == 0));
            }
        }
    }
    for (said, copies) in &settled.0 {
        expected.add(said.clone(), *copies);
    }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn numbers_come_in_order(steps in history(), wait in 1_i64..15, horizon in prop_oneof![Just(0), 0_i64..20]) {
        let observed = run(steps.clone(), move |graph, input| numbered(graph, &input, wait, horizon).results);
        let late = run(steps.clone(), move |graph, input| {
            let late = numbered(graph, &input, wait, horizon).late;
            map(graph, &late, |late| late.value)
        });
        let mut taken = Taken::default();
        let mut progress = [Progress { floor: FIRST, given: FIRST }; 2];
        let mut settled: [Said; 2] = [Multiset::default(), Multiset::default()];
        let mut said = Multiset::default();
        for (epoch, updates, before, watermark) in epochs(&steps) {
            let mut refused = Vec::new();
            for update in updates {
                let settled = (update.0.1 as u64) < progress[usize::from(update.0.0)].floor;
                if settled || is_late(update.1, before, wait, horizon) { refused.push(*update) } else { taken.take(*update) }
            }
            prop_assert_eq!(sorted(refused), sorted(results_of(&late, epoch)), "late in epoch {}", epoch);
            hear(&mut said, &observed, epoch)?;
            let mut expected = Multiset::default();
            for key in 0..2_u8 {
                walk(key, &taken, &mut progress[usize::from(key)], watermark, wait, &mut expected, &settled[usize::from(key)]);
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            // All of a number, and of those below, is as old: what has been said of them stands.
            for key in 0..2_u8 {
                let Progress { floor, given } = progress[usize::from(key)];
                let standing = taken.of(key);
                let numbers = standing.iter().filter(|(record, _)| record.1.1 as u64 >= floor);
                let kept = numbers.clone().filter(|((stamp, _), _)| stamp.time.0 + wait + horizon > watermark.0);
                let kept = kept.map(|(record, _)| record.1.1 as u64).min().unwrap_or(u64::MAX);
                let over = numbers.map(|(record, _)| record.1.1 as u64).filter(|number| *number < given.min(kept)).max();
                let Some(over) = over else { continue };
                for (what, copies) in &said.0 {
                    let of = match &what.0 {
                        Numbered::Next(record) | Numbered::Repeat(record) => (record.0, record.1 as u64),
                        Numbered::Missing(missing) => (missing.key, missing.first),
                    };
                    if of.0 == key && (floor..=over).contains(&of.1) {
                        settled[usize::from(key)].add(what.clone(), *copies);
                    }
                }
                progress[usize::from(key)].floor = over + 1;
            }
        }
    }

    /// Whatever the order: when all came in time, the numbers are given in one unbroken row.
    #[test]
    fn in_time_nothing_is_missing(order in Just((1_i64..20).collect::<Vec<_>>()).prop_shuffle(), cut in 1_usize..6) {
        let epochs: Vec<_> = order.chunks(cut).map(<[i64]>::to_vec).collect();
        let steps = epochs.into_iter().map(|numbers| {
            let updates = numbers.into_iter().map(|number| update((0, number), number as u64, number, 0)).collect();
            Step { updates, watermark: EventTime(0) }
        });
        let observed = run(steps.collect(), |graph, input| numbered(graph, &input, 5, 0).results);
        let mut given: Vec<_> = observed.results.iter().map(|(epoch, (what, stamp, diff))| (*epoch, stamp.origin, *diff, what.clone())).collect();
        given.sort();
        let given: Vec<_> = given.into_iter().map(|(_, _, diff, what)| (diff, what)).collect();
        let expected: Vec<_> = (1..20).map(|number| (1, Numbered::Next((0, number)))).collect();
        prop_assert_eq!(given, expected);
    }

    #[test]
    fn it_goes_on(steps in history(), stop in stop(), wait in 1_i64..15, horizon in 0_i64..20) {
        restart::check(steps, stop, move |graph, input| restart::all(graph, &numbered(graph, &input, wait, horizon)))?;
    }
}
