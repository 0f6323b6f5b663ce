//! Look-ups against a recomputation: who stands, has the answer of the first epoch since he came that brought one.

use super::restart::{all, check, stop};
use super::{Multiset, POISON, Record, epochs, history, results_of, seeded, value};
use crate::{LookUp, TakenBack, filter, filter_map, key_by, look_up};
use distributary_runtime::asking::Questions;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::{Diff, Stamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
    #![proptest_config(seeded())]

    #[test]
    fn who_stands_has_the_first_answer_since_he_came(steps in asked()) {
        let observed = run(steps.clone(), |graph, input| {
            graph.correct_for(1_000);
            build(graph, &input, 0).results
        });
        // Of each record that stands, the copies and since when they wait.
        let mut standing: BTreeMap<(Stamp, Record), (Diff, Epoch)> = BTreeMap::new();
        let mut answers: BTreeMap<(u8, Epoch), (Stamp, Outcome)> = BTreeMap::new();
        let (mut said, mut dead) = (Multiset::default(), Multiset::default());
        for (epoch, updates, ..) in epochs(&steps) {
            let mut updates = updates.to_vec();
            updates.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
            for (record, stamp, diff) in updates {
                // Of several answers, the last in the order of origins.
                if let Some(answer) = answer(&record) {
                    answers.insert((record.0, epoch), (stamp, answer));
                    continue;
                }
                let (copies, _) = standing.entry((stamp, record)).or_insert((0, epoch));
                *copies += diff;
                standing.retain(|_, (copies, _)| *copies != 0);
            }
            results_of(&observed, epoch).into_iter().for_each(|(result, stamp, diff)| said.add((result, stamp), diff));
            observed.dead.iter().filter(|(e, _)| *e == epoch).for_each(|(_, letter)| dead.add(letter.origin, letter.diff));
            let (mut expected, mut failed) = (Multiset::default(), Multiset::default());
            for ((stamp, record), (copies, since)) in &standing {
                let Some((_, (_, answer))) = answers.range((record.0, *since)..=(record.0, epoch)).next() else { continue };
                match answer {
                    Ok(answer) if record.1 != POISON => expected.add(((*record, answer * 100 + record.1), *stamp), *copies),
                    _ => failed.add(stamp.origin, *copies),
                }
            }
            prop_assert_eq!(&said, &expected, "after epoch {}", epoch);
            prop_assert_eq!(&dead, &failed, "after epoch {}", epoch);
        }
    }

    #[test]
    fn look_ups_go_on(steps in asked(), stop in stop(), corrections in 0_i64..30, fresh in 0_i64..6) {
        check(steps, stop, move |graph, input| {
            graph.correct_for(corrections);
            all(graph, &build(graph, &input, fresh))
        })?;
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
    let kept = bytes_kept(steps[..3].to_vec(), |graph, input| build(graph, &input, 1_000).results);
    assert_eq!(kept, 0);
}
