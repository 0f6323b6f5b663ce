//! The as-of join against the version that each record meets among all that were ever taken: the model forgets nothing.

use super::joined::{Event, NODE, Pair, Standing, Taken, add, check, history, horizon, is_over, pair, sides};
use super::restart::{self, stop};
use super::seeded;
use crate::{Keyed, Side, as_of_join};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::stable_hash;
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Diff, Origin, Update};
use proptest::prelude::*;

type Versions<'s> = Outputs<'s, Keyed<u8, Side<Event, Event>>, Pair>;

fn versions<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, ms: i64) -> Versions<'s> {
    corrected(graph, input, ms, 0)
}

fn corrected<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, ms: i64, horizon: i64) -> Versions<'s> {
    let (left, right) = sides(graph, input);
    graph.correct_for(horizon);
    as_of_join(graph, &left, &right, "versions", ms, pair)
}

fn expected(taken: &Taken, watermark: EventTime) -> Standing {
    let mut standing = Standing::default();
    for (record, time, origin, copies) in taken.lefts().filter(|(_, time, ..)| *time <= watermark) {
        let versions = taken.rights().filter(|(version, at, ..)| version.0 == record.0 && *at <= time);
        let valid = versions.max_by_key(|(version, at, origin, _)| (*at, *origin, stable_hash(*version)));
        let result = Origin::group(NODE, stable_hash(&origin), time.0);
        add(&mut standing, record, valid.map(|(version, ..)| version), time, result, copies);
    }
    standing
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn each_record_meets_the_version_of_its_time(steps in history(), ms in 0_i64..15, more in horizon()) {
        let observed = run(steps.clone(), move |graph, input| corrected(graph, &input, ms, more).results);
        let late = run(steps.clone(), move |graph, input| corrected(graph, &input, ms, more).late);
        check(&steps, &observed, &late, |(_, stamp, _), before| is_over(*stamp, before, stamp.time.0 + ms, more), expected)?;
    }

    #[test]
    fn an_as_of_join_goes_on(steps in history(), ms in 0_i64..15, more in horizon(), stop in stop()) {
        restart::check(steps, stop, move |graph, input| restart::all(graph, &corrected(graph, &input, ms, more)))?;
    }

    #[test]
    fn keys_do_not_know_of_each_other(steps in history(), ms in 0_i64..15) {
        let of_key = |key: u8| {
            let mut steps = steps.clone();
            steps.iter_mut().for_each(|step| step.updates.retain(|((k, _), _, _)| *k == key));
            run(steps, move |graph, input| versions(graph, &input, ms).results).results
        };
        let mut apart = [of_key(0), of_key(1)].concat();
        let mut together = run(steps.clone(), move |graph, input| versions(graph, &input, ms).results).results;
        apart.sort();
        together.sort();
        prop_assert_eq!(apart, together);
    }

    /// A key without a version keeps nothing in the end.
    #[test]
    fn records_are_not_kept(mut steps in history(), ms in 0_i64..15, more in horizon()) {
        steps.iter_mut().for_each(|step| step.updates.retain(|((_, side), _, _)| matches!(side, Side::Left(_))));
        let last = steps.iter().map(|step| step.watermark.0).max().unwrap_or_default();
        steps.push(step(vec![], last + 15 + 15 + more));
        prop_assert_eq!(bytes_kept(steps, move |graph, input| corrected(graph, &input, ms, more).results), 0);
    }
}

fn record(offset: u64, time: i64) -> Update<Event> {
    update((0, Side::Left(0)), offset, time, -100)
}

fn version(value: i64, offset: u64, time: i64) -> Update<Event> {
    update((0, Side::Right(value)), offset, time, -100)
}

fn step(updates: Vec<Update<Event>>, watermark: i64) -> Step<Event> {
    Step { updates, watermark: EventTime(watermark) }
}

fn said(steps: Vec<Step<Event>>, ms: i64) -> Vec<(u64, Option<i64>, Diff)> {
    let observed = run(steps, move |graph, input| versions(graph, &input, ms).results);
    observed.results.into_iter().map(|(epoch, ((_, _, version), _, diff))| (epoch.0, version, diff)).collect()
}

/// Long after it came, and although a newer one came meanwhile.
#[test]
fn the_newest_version_is_remembered() {
    let steps = vec![
        step(vec![version(1, 0, 0), version(2, 1, 5)], 1_000),
        step(vec![record(2, 2_000), version(3, 3, 2_001)], 2_000),
        step(vec![record(4, 3_000)], 3_000),
        step(vec![], 3_010),
    ];
    assert_eq!(said(steps.clone(), 10), [(2, Some(2), 1), (3, Some(3), 1)]);
    let kept = |steps| bytes_kept(steps, |graph, input| versions(graph, &input, 10).results);
    assert_eq!(kept(steps), kept(vec![step(vec![version(3, 3, 2_001)], 3_000)]), "and no other");
}

/// The version before is needed again.
#[test]
fn a_version_that_goes_uncovers_the_one_before() {
    let (old, new) = (version(1, 0, 0), version(2, 1, 100));
    let gone = (new.0, new.1, -1);
    let steps = vec![step(vec![old, new, record(2, 101)], 101), step(vec![gone], 101)];
    assert_eq!(said(steps, 10), [(1, Some(2), 1), (2, Some(2), -1), (2, Some(1), 1)]);
}

#[test]
fn a_version_that_says_the_same_again_corrects_nothing() {
    let steps = vec![step(vec![version(1, 0, 0), record(1, 11)], 11), step(vec![version(1, 2, 11)], 11)];
    assert_eq!(said(steps, 10), [(1, Some(1), 1)]);
}

#[test]
fn a_negative_lateness_is_refused() {
    run(vec![step(vec![], 0)], |graph, input| {
        let results = versions(graph, &input, -1).results;
        assert!(graph.first_error().unwrap_err().to_string().contains("`versions`"));
        results
    });
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let updates = [i64::MIN, 0, i64::MAX].into_iter().flat_map(|time| [record(0, time), version(1, 1, time)]);
    let mut updates: Vec<_> = updates.collect();
    updates.iter_mut().for_each(|(_, stamp, _)| stamp.seen = EventTime::MIN);
    assert_eq!(said(vec![step(updates, i64::MAX)], i64::MAX).len(), 3);
}
