//! Look-ups against a recomputation: who stands, has the answer of the first epoch since he came that brought one.

use super::restart::check;
use super::{Multiset, POISON, Record, epochs, history, results_of, value};
use crate::{LookUp, TakenBack, filter, filter_map, key_by, look_up};
use distributary_runtime::asking::Questions;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, run, run_rescaled, update};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::Stamp;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

type Outcome = Result<i64, String>;

/// Some records of a history are answers to the question that is their key.
fn answer((_, value): &Record) -> Option<Outcome> {
    match value {
        -3 => Some(Err("unknown".into())),
        -2 => Some(Ok(2)),
        -1 => Some(Ok(1)),
        _ => None,
    }
}

/// Nobody takes an answer back.
fn asked() -> impl Strategy<Value = Vec<Step<Record>>> {
    history().prop_map(|mut steps| {
        steps.iter_mut().for_each(|step| step.updates.retain(|(record, _, diff)| *diff > 0 || answer(record).is_none()));
        steps
    })
}

fn build<'s>(
    graph: &Graph<'s>,
    input: &Collection<'s, Record>,
    fresh_for_ms: i64,
) -> Outputs<'s, crate::Keyed<u8, Record>, (Record, i64)> {
    let records = filter(graph, input, |record| answer(record).is_none());
    let answers = filter_map(graph, input, |record| Some((record.0, answer(&record)?)));
    let look = LookUp { name: "l", fresh_for_ms, taken_back: TakenBack::Within(0) };
    let keyed = key_by(graph, &records, |(key, _)| *key);
    look_up(graph, &keyed, (answers, Questions::to_nobody()), look, |record, answer| (*record, *answer * 100 + value(record)))
}

proptest! {
    #[test]
    fn who_stands_has_the_first_answer_since_he_came(steps in asked()) {
        let observed = run(steps.clone(), |graph, input| {
            graph.correct_for(1_000);
            build(graph, &input, 0).results
        });
        let mut came: BTreeMap<(Stamp, Record), Epoch> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        let mut answers: BTreeMap<(u8, Epoch), (Stamp, Outcome)> = BTreeMap::new();
        let (mut said, mut dead) = (Multiset::default(), Multiset::default());
        for (epoch, updates, ..) in epochs(&steps) {
            for (record, stamp, diff) in updates {
                match (answer(record), *diff > 0) {
                    (Some(answer), _) => {
                        // Of several, the last in the order of origins.
                        let newest = answers.entry((record.0, epoch)).or_insert((*stamp, answer.clone()));
                        if newest.0 < *stamp {
                            *newest = (*stamp, answer);
                        }
                    }
                    (None, true) => drop(came.insert((*stamp, *record), epoch)),
                    (None, false) => drop(gone.insert((*stamp, *record))),
                }
            }
            results_of(&observed, epoch).into_iter().for_each(|(result, stamp, diff)| said.add((result, stamp), diff));
            observed.dead.iter().filter(|(e, _)| *e == epoch).for_each(|(_, letter)| dead.add(letter.origin, letter.diff));
            let (mut expected, mut failed) = (Multiset::default(), Multiset::default());
            for (at @ (stamp, record), since) in came.iter().filter(|(at, _)| !gone.contains(*at)) {
                let Some((_, (_, answer))) = answers.range((record.0, *since)..=(record.0, epoch)).next() else { continue };
                match answer {
                    Ok(answer) if record.1 != POISON => expected.add(((*record, answer * 100 + record.1), *stamp), 1),
                    _ => failed.add(at.0.origin, 1),
                }
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            prop_assert_eq!(&dead, &failed, "after epoch {}", epoch);
        }
    }

    #[test]
    fn look_ups_go_on(steps in asked(), stop in any::<Index>(), corrections in 0_i64..30, fresh in 0_i64..6) {
        check(steps.clone(), stop, move |graph, input| {
            graph.correct_for(corrections);
            build(graph, &input, fresh).results
        })?;
        check(steps, stop, move |graph, input| {
            graph.correct_for(corrections);
            build(graph, &input, fresh).late
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_number_of_workers_changes_nothing(steps in asked(), stop in any::<Index>(), before in 1_usize..4, behind in 1_usize..4) {
        let epochs = stop.index(steps.len()) + 1;
        let one = run_rescaled(steps.clone(), epochs, (1, 1), |graph, input| {
            graph.correct_for(50);
            build(graph, &input, 3).results
        });
        let many = run_rescaled(steps, epochs, (before, behind), |graph, input| {
            graph.correct_for(50);
            build(graph, &input, 3).results
        });
        prop_assert_eq!(one.results, many.results);
        prop_assert_eq!(one.dead, many.dead);
    }
}

#[test]
fn an_answer_serves_as_long_as_it_is_fresh() {
    let step = |updates| Step { updates, watermark: EventTime(0) };
    let record = |n, offset| update((1, n), offset, 0, 0);
    // Epochs close a millisecond after each other.
    let steps = vec![
        step(vec![record(5, 0)]),
        step(vec![record(-2, 1)]),
        step(vec![record(6, 2)]),
        step(vec![]),
        step(vec![]),
        step(vec![record(7, 3)]),
        step(vec![record(-1, 4)]),
    ];
    let observed = run(steps, |graph, input| build(graph, &input, 3).results);
    let said: Vec<_> = observed.results.iter().map(|(epoch, ((_, said), ..))| (epoch.0, *said)).collect();
    assert_eq!(said, [(2, 205), (3, 206), (7, 107)]);
}

#[test]
fn with_the_last_record_of_a_question_goes_its_answer() {
    let step = |updates| Step { updates, watermark: EventTime(0) };
    let (asks, says) = (update((1, 5), 0, 50, 0), update((1, -2), 1, 0, 0));
    let steps = vec![step(vec![asks]), step(vec![says]), step(vec![(asks.0, asks.1, -1)]), step(vec![update((1, 6), 2, 50, 0)])];
    let observed = run(steps.clone(), |graph, input| build(graph, &input, 1_000).results);
    let said: Vec<_> = observed.results.iter().map(|(epoch, (_, _, diff))| (epoch.0, *diff)).collect();
    assert_eq!(said, [(2, 1), (3, -1)]);
    let kept = distributary_runtime::testing::bytes_kept(steps[..3].to_vec(), |graph, input| build(graph, &input, 1_000).results);
    assert_eq!(kept, 0);
}
