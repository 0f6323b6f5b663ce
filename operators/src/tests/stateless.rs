//! Operators on single records against iterators over the same records.

use super::{Record, history, restart, restart::stop, seeded, value};
use crate::{
    branch_of, filter, filter_map, flat_map, key_by, map, map_blocking, split, try_flat_map, try_map, try_map_blocking, union,
};
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Origin, Update};
use proptest::prelude::*;

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn each_update_becomes_what_the_closures_say_with_its_stamp_and_difference(steps in history()) {
        let all: Vec<Update<Record>> = steps.iter().flat_map(|s| s.updates.clone()).collect();
        let observed = run(steps, |graph, input| {
            let even = filter(graph, &input, |record| value(record) % 2 == 0);
            let doubled = map(graph, &even, |(key, value)| (key, value * 2));
            let keyed = key_by(graph, &doubled, |(key, _)| *key);
            flat_map(graph, &keyed, |keyed| vec![keyed.value.1; usize::from(keyed.key)])
        });
        let mut expected = Vec::new();
        let mut poison = Vec::new();
        for ((key, value), stamp, diff) in all {
            match value {
                super::POISON => poison.push((stamp.origin, diff)),
                even if even % 2 == 0 => expected.extend((0..usize::from(key)).map(|i| {
                    (even * 2, distributary_runtime::update::Stamp { origin: stamp.origin.child(i).unwrap(), ..stamp }, diff)
                })),
                _ => {}
            }
        }
        let mut results: Vec<_> = observed.results.into_iter().map(|(_, update)| update).collect();
        let mut dead: Vec<_> = observed.dead.into_iter().map(|(_, dead)| (dead.origin, dead.diff)).collect();
        for list in [&mut results, &mut expected] {
            list.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
        }
        for list in [&mut dead, &mut poison] {
            list.sort();
        }
        prop_assert_eq!(results, expected);
        prop_assert_eq!(dead, poison);
    }

    /// All of them, one behind the other.
    #[test]
    fn they_go_on(steps in history(), stop in stop()) {
        restart::check(steps, stop, |graph, input| {
            let no = |refused: i64| move |record: Record| if record.1 == refused { Err("no") } else { Ok(record) };
            let mapped = map(graph, &filter(graph, &input, |record| value(record) != 0), |(key, value)| (key, value * 2));
            let some = filter_map(graph, &try_map(graph, &mapped, no(2)), |(key, value)| (value != 4).then_some((key, value)));
            let branches = split(graph, &some, 2, |record| value(record).rem_euclid(3) as usize);
            let many = flat_map(graph, &branch_of(graph, &branches, 0), |(key, value)| vec![(key, value); usize::from(key)]);
            let keyed = key_by(graph, &branch_of(graph, &branches, 1), |(key, _)| *key);
            let few = try_flat_map(graph, &keyed, |keyed| if keyed.key == 1 { Err("one") } else { Ok(Some(keyed.value)) });
            union(graph, &[&many, &few, &input])
        })?;
    }

    /// Threads come back in any order.
    #[test]
    fn calls_on_threads_go_on(steps in history(), stop in stop()) {
        restart::check(steps, stop, |graph, input| {
            let called = map_blocking(graph, &key_by(graph, &input, |(key, _)| *key), 3, |key, of| (*key, value(of)));
            let keyed = key_by(graph, &called, |(_, value)| *value);
            try_map_blocking(graph, &keyed, 2, |value, of| if *value == 1 { Err("one") } else { Ok(*of) })
        })?;
    }

    /// Every record is on one branch, as it was, or is a dead letter.
    #[test]
    fn branches_together_are_all(steps in history()) {
        let all: Vec<Update<Record>> = steps.iter().flat_map(|s| s.updates.clone()).collect();
        let observed = run(steps, |graph, input| {
            let split = split(graph, &input, 3, |record| value(record).rem_euclid(4) as usize);
            let branch = |n: i64| map(graph, &branch_of(graph, &split, n as usize), move |record| (n, record));
            union(graph, &[&branch(0), &branch(1), &branch(2)])
        });
        let of = |value: i64| if value == super::POISON { 3 } else { value.rem_euclid(4) };
        let (dead, mut expected): (Vec<_>, Vec<_>) = all.into_iter().map(|(r, stamp, diff)| ((of(r.1), r), stamp, diff)).partition(|u| u.0.0 == 3);
        let mut results: Vec<_> = observed.results.into_iter().map(|(_, update)| update).collect();
        for list in [&mut results, &mut expected] {
            list.sort_by_key(|(_, stamp, diff)| (*stamp, *diff));
        }
        prop_assert_eq!(results, expected);
        prop_assert_eq!(observed.dead.len(), dead.len());
    }
}

#[test]
fn an_error_is_a_dead_letter_with_its_text() {
    let updates = vec![update(1, 0, 0, 0), update(-1, 1, 0, 0)];
    let step = Step { updates, watermark: EventTime(0) };
    let refuse = |n: i64| if n < 0 { Err("below zero") } else { Ok(n) };
    let mapped = run(vec![step.clone()], move |graph, input| try_map(graph, &input, refuse));
    let flat = run(vec![step.clone()], move |graph, input| try_flat_map(graph, &input, move |n| refuse(n).map(Some)));
    let kept = run(vec![step], move |graph, input| filter(graph, &input, move |n| refuse(*n).map(|_| true)));
    for observed in [mapped, flat, kept] {
        assert_eq!(observed.results.len(), 1);
        let (_, dead) = &observed.dead[0];
        assert_eq!((dead.origin, dead.cause.as_str()), (Origin::record(0, 0, 1), "below zero"));
    }
}

#[test]
fn a_record_with_too_many_results_gives_none() {
    let most = Origin::CHILDREN_MAX as u64;
    let updates = vec![update(most, 0, 0, 0), update(most + 1, 1, 0, 0), update(u64::MAX, 2, 0, 0)];
    let step = Step { updates, watermark: EventTime(0) };
    let observed = run(vec![step], |graph, input| flat_map(graph, &input, |n| 0..n));
    assert_eq!(observed.results.len(), Origin::CHILDREN_MAX);
    let dead: Vec<_> = observed.dead.iter().map(|(_, dead)| dead.cause.as_str()).collect();
    assert_eq!(dead, ["too many results"; 2]);
}

#[test]
fn a_fifth_fan_out_gives_nothing() {
    let step = Step { updates: vec![update(0, 0, 0, 0)], watermark: EventTime(0) };
    let observed = run(vec![step], |graph, input| (0..5).fold(input, |collection, _| flat_map(graph, &collection, |n| [n, n])));
    assert_eq!((observed.results.len(), observed.dead.len()), (0, 16));
}
