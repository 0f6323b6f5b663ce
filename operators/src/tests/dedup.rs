//! Dedup against a recomputation of the first record of each id from all records since the id was last forgotten.

use super::{Multiset, Record, epochs, history, restart, restart::stop, results_of, seeded};
use crate::dedup;
use distributary_runtime::graph::Graph;
use distributary_runtime::testing::{Step, bytes_kept, run, run_rescaled, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Diff, Stamp, Update};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// The first of those that stand, by when they came: one that goes altogether and comes again comes behind the others.
fn first(history: &[Update<Record>]) -> Option<(Record, Stamp)> {
    let mut standing: Vec<Update<Record>> = Vec::new();
    for (record, stamp, diff) in history {
        match standing.iter_mut().find(|(_, s, _)| s == stamp) {
            Some((_, _, copies)) => *copies += diff,
            None => standing.push((*record, *stamp, *diff)),
        }
        standing.retain(|(_, _, copies)| *copies != 0);
    }
    standing.into_iter().find(|(_, _, copies)| *copies > 0).map(|(record, stamp, _)| (record, stamp))
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn the_first_of_each_id_stands(steps in history(), horizon in 1_i64..30, corrections in prop_oneof![Just(0_i64), 0_i64..90]) {
        let observed = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            dedup(graph, &input, "ids", horizon, |(id, _)| *id).results
        });
        let late = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            dedup(graph, &input, "ids", horizon, |(id, _)| *id).late
        });
        let mut lives: BTreeMap<u8, Vec<Update<Record>>> = BTreeMap::new();
        let mut said = Multiset::default();
        let mut forgotten = Multiset::default();
        let mut refused = 0;
        for (epoch, updates, before, watermark) in epochs(&steps) {
            let mut updates = updates.to_vec();
            updates.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
            for update in updates {
                if update.1.seen.0 >= update.1.time.0 + horizon || before.0 >= update.1.time.0 + horizon + corrections {
                    refused += 1;
                } else {
                    lives.entry(update.0.0).or_default().push(update);
                }
            }
            for (record, stamp, diff) in results_of(&observed, epoch) {
                said.add((record, stamp), diff);
            }
            let mut expected = forgotten.clone();
            for sighting in lives.values().filter_map(|history| first(history)) {
                expected.add(sighting, 1);
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            lives.retain(|_, history| {
                let Some(sighting) = first(history) else { return true };
                let is_over = watermark.0 >= sighting.1.time.0 + horizon + corrections;
                if is_over {
                    forgotten.add(sighting, 1);
                }
                !is_over
            });
        }
        prop_assert_eq!(late.results.len(), refused);
    }

    #[test]
    fn it_goes_on(steps in history(), stop in stop(), horizon in 1_i64..30, corrections in prop_oneof![Just(0_i64), 0_i64..90]) {
        restart::check(steps, stop, move |graph, input| {
            graph.correct_for(corrections);
            restart::all(graph, &dedup(graph, &input, "ids", horizon, |(id, _)| *id))
        })?;
    }

    /// The promise to users: with event times that do not change when an event is sent again, none passes twice.
    #[test]
    fn no_event_passes_twice(mut steps in history(), horizon in 1_i64..30) {
        for step in &mut steps {
            step.updates.retain(|(_, _, diff)| *diff > 0);
            for ((id, _), stamp, _) in &mut step.updates {
                stamp.time = EventTime(i64::from(*id) * 7);
            }
        }
        let observed = run(steps, move |graph, input| dedup(graph, &input, "ids", horizon, |(id, _)| *id).results);
        let mut ids: Vec<u8> = observed.results.iter().map(|(_, ((id, _), _, _))| *id).collect();
        let passed = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(passed, ids.len());
    }
}

#[test]
fn a_retracted_first_record_is_followed_by_the_next() {
    let (a, b) = (update((7, 1), 0, 0, 0), update((7, 2), 1, 0, 0));
    let back = |u: &Update<Record>| (u.0, u.1, -1);
    let step = |updates| Step { updates, watermark: EventTime(0) };
    let steps = vec![step(vec![a, b]), step(vec![back(&a)]), step(vec![back(&b)])];
    let observed = run(steps, |graph, input| dedup(graph, &input, "ids", 10, |(id, _)| *id).results);
    let said: Vec<_> = observed.results.iter().map(|(epoch, update)| (epoch.0, *update)).collect();
    assert_eq!(said, [(1, a), (2, back(&a)), (2, b), (3, back(&b))]);
}

/// Copies of a record that come or go: its id, which of the id's records it is, and how many.
type Change = (u8, u8, Diff);

/// Records that come and go as often as they like, also before they came; each has its own stamp.
fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = (0_u8..2, 0_u8..4, prop_oneof![4 => Just(1), 4 => Just(-1), 1 => Just(2), 1 => Just(-2)]);
    prop::collection::vec(prop::collection::vec(change, 0..6), 1..10)
}

fn change((id, which, diff): Change) -> Update<Record> {
    let (record, stamp, _) = update((id, i64::from(which)), u64::from(id) * 10 + u64::from(which), i64::from(which), 0);
    (record, stamp, diff)
}

fn standing_still(epochs: &[Vec<Change>]) -> Vec<Step<Record>> {
    let step = |epoch: &Vec<Change>| Step { updates: epoch.iter().copied().map(change).collect(), watermark: EventTime(0) };
    epochs.iter().map(step).collect()
}

proptest! {
    /// Against the definition: of the records of which there are copies that one stands that has been there longest.
    #[test]
    fn the_one_that_has_been_there_longest_stands(changes in changes()) {
        let steps = standing_still(&changes);
        let observed = run(steps.clone(), |graph, input| dedup(graph, &input, "ids", 1_000, |(id, _)| *id).results);
        // By record: copies, and since when there are any.
        let mut all: BTreeMap<Record, (Stamp, Diff, usize)> = BTreeMap::new();
        let (mut said, mut count) = (Multiset::default(), 0);
        for (epoch, updates, ..) in epochs(&steps) {
            let mut updates = updates.to_vec();
            updates.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
            for (record, stamp, diff) in updates {
                count += 1;
                let (_, copies, since) = all.entry(record).or_insert((stamp, 0, count));
                if *copies <= 0 {
                    *since = count;
                }
                *copies += diff;
            }
            let mut net = Multiset::default();
            for (record, stamp, diff) in results_of(&observed, epoch) {
                prop_assert!(net.0.insert((record, stamp), diff).is_none(), "what goes and comes within epoch {} is not said", epoch);
                said.add((record, stamp), diff);
            }
            let mut expected = Multiset::default();
            for id in 0..2 {
                let there = all.iter().filter(|((of, _), (_, copies, _))| *of == id && *copies > 0);
                let longest = there.min_by_key(|(_, (_, _, since))| *since);
                longest.into_iter().for_each(|(record, (stamp, ..))| expected.add((*record, *stamp), 1));
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
        }
    }

    #[test]
    fn workers_and_a_restart_change_nothing(changes in changes(), steps in history(), stop in any::<Index>(), workers in (1_usize..4, 1_usize..4), horizon in 1_i64..30) {
        for steps in [standing_still(&changes), steps] {
            let epochs = stop.index(steps.len()) + 1;
            let ids = move |graph: &Graph<'_>, horizon| graph.correct_for(horizon / 2);
            let alone = run(steps.clone(), move |graph, input| {
                ids(graph, horizon);
                dedup(graph, &input, "ids", horizon, |(id, _)| *id).results
            });
            let many = run_rescaled(steps, epochs, workers, move |graph, input| {
                ids(graph, horizon);
                dedup(graph, &input, "ids", horizon, |(id, _)| *id).results
            });
            prop_assert_eq!(many.results, alone.sorted().results);
        }
    }
}

/// Epochs of one update each, and what they say.
fn said(updates: &[Update<Record>]) -> Vec<(u64, Update<Record>)> {
    let steps = updates.iter().map(|update| Step { updates: vec![*update], watermark: EventTime(0) }).collect();
    let observed = run(steps, |graph, input| dedup(graph, &input, "ids", 10, |(id, _)| *id).results);
    observed.results.iter().map(|(epoch, update)| (epoch.0, *update)).collect()
}

#[test]
fn several_copies_stand_until_the_last_one_goes() {
    let ((a, of_a, _), b) = (update((7, 1), 0, 0, 0), update((7, 2), 1, 0, 0));
    let said = said(&[(a, of_a, 2), b, (a, of_a, -1), (a, of_a, -1)]);
    assert_eq!(said, [(1, (a, of_a, 1)), (4, (a, of_a, -1)), (4, b)]);
}

#[test]
fn a_result_that_changes_keeps_its_origin() {
    let (old, stamp, _) = update((7, 1), 0, 0, 0);
    let new = (7, 2);
    let steps = [vec![(old, stamp, 1)], vec![(new, stamp, 1), (old, stamp, -1)], vec![(new, stamp, -1)]];
    let steps = steps.map(|updates| Step { updates, watermark: EventTime(0) }).to_vec();
    let observed = run(steps, |graph, input| dedup(graph, &input, "ids", 10, |(id, _)| *id).results);
    let said: Vec<_> = observed.results.iter().map(|(epoch, update)| (epoch.0, *update)).collect();
    assert_eq!(said, [(1, (old, stamp, 1)), (2, (old, stamp, -1)), (2, (new, stamp, 1)), (3, (new, stamp, -1))]);
}

#[test]
fn a_record_that_stands_is_not_kept() {
    let steps = vec![Step { updates: vec![update((7, "x".repeat(10_000)), 0, 0, 0)], watermark: EventTime(0) }];
    let bytes = bytes_kept(steps, |graph, input| dedup(graph, &input, "ids", 10, |(id, _): &(u64, String)| *id).results);
    assert!(bytes < 32, "{bytes} bytes");
}

/// More ids than are looked at when one epoch closes.
#[test]
fn forgotten_ids_leave_memory() {
    let updates: Vec<_> = (0..50_000).map(|id| update((id, ()), id, 0, 0)).collect();
    let step = |watermark| Step { updates: Vec::new(), watermark: EventTime(watermark) };
    let kept = |watermarks: &[i64]| {
        let first = Step { updates: updates.clone(), watermark: EventTime(0) };
        let steps = std::iter::once(first).chain(watermarks.iter().copied().map(step)).collect();
        bytes_kept(steps, |graph, input| dedup(graph, &input, "ids", 10_000, |(id, ())| *id).results)
    };
    let all = kept(&[9_999]);
    let part = kept(&[9_999, 10_000]);
    assert!(part > 0 && part < all, "{part} of {all} bytes");
    assert_eq!(kept(&[9_999, 11_250, 11_250]), 0, "in an eighth of the horizon, and as many epochs as it takes");
}
