//! Dedup that keeps the last against a recomputation of it from all records since the id was last forgotten.

use super::kept::is_late;
use super::{Multiset, Record, epochs, history, restart, restart::stop, results_of, seeded};
use crate::dedup_last;
use distributary_runtime::testing::run;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Diff, Stamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Life = BTreeMap<(EventTime, Stamp, Record), Diff>;

fn last(life: &Life) -> Option<(Stamp, Record)> {
    life.iter().rfind(|(_, copies)| **copies > 0).map(|((_, stamp, record), _)| (*stamp, *record))
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn the_last_of_each_id_stands(steps in history(), horizon in 1_i64..30, corrections in prop_oneof![Just(0), 0_i64..30]) {
        let observed = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            dedup_last(graph, &input, "ids", horizon, |(id, _)| *id).results
        });
        let late = run(steps.clone(), move |graph, input| {
            graph.correct_for(corrections);
            dedup_last(graph, &input, "ids", horizon, |(id, _)| *id).late
        });
        let mut lives: BTreeMap<u8, Life> = BTreeMap::new();
        let (mut said, mut forgotten, mut refused) = (Multiset::default(), Multiset::default(), 0);
        for (epoch, updates, before, watermark) in epochs(&steps) {
            for (record, stamp, diff) in updates {
                if is_late(*stamp, before, horizon, corrections) {
                    refused += 1;
                } else {
                    *lives.entry(record.0).or_default().entry((stamp.time, *stamp, *record)).or_default() += diff;
                }
            }
            results_of(&observed, epoch).into_iter().for_each(|(record, stamp, diff)| said.add((stamp, record), diff));
            let mut expected = forgotten.clone();
            lives.values().filter_map(last).for_each(|standing| expected.add(standing, 1));
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            lives.retain(|_, life| {
                life.retain(|_, copies| *copies != 0);
                let Some(standing) = last(life) else { return true };
                let is_over = watermark.0 >= standing.0.time.0 + horizon + corrections;
                if is_over {
                    forgotten.add(standing, 1);
                }
                !is_over
            });
        }
        prop_assert_eq!(late.results.len(), refused);
    }

    #[test]
    fn it_goes_on(steps in history(), stop in stop(), horizon in 1_i64..30, corrections in 0_i64..30) {
        restart::check(steps, stop, move |graph, input| {
            graph.correct_for(corrections);
            restart::all(graph, &dedup_last(graph, &input, "ids", horizon, |(id, _)| *id))
        })?;
    }
}
