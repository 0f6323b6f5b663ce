//! Dedup against a recomputation of the first record of each id from all records since the id was last forgotten.

use super::{Multiset, Record, epochs, history, restart, restart::stop, results_of, seeded};
use crate::dedup;
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Stamp, Update};
use proptest::prelude::*;
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
