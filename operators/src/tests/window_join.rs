//! The join of windows against all pairs of what it has taken.

use super::joined::{Event, NODE, Pair, Standing, Taken, add, check, history, horizon, is_over, pair, sides};
use super::restart::{self, stop};
use super::seeded;
use crate::{Keyed, Side, tumbling, window_join};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::stable_hash;
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Origin, Update};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Of {
    size: i64,
    lateness: i64,
    horizon: i64,
}

impl Of {
    fn end(self, time: i64) -> i64 {
        (time.div_euclid(self.size) + 1) * self.size
    }

    fn expected(self, taken: &Taken, watermark: EventTime) -> Standing {
        let mut standing = Standing::default();
        for (left, l_time, l_origin, l_copies) in taken.lefts() {
            let end = self.end(l_time.0);
            let rights = taken.rights().filter(|(right, time, ..)| right.0 == left.0 && self.end(time.0) == end);
            for (right, _, r_origin, r_copies) in rights.filter(|_| end <= watermark.0) {
                let (time, origins) = (EventTime(end - 1), stable_hash(&(l_origin, r_origin)));
                add(&mut standing, left, Some(right), time, Origin::group(NODE, origins, time.0), l_copies * r_copies);
            }
        }
        standing
    }
}

fn of() -> impl Strategy<Value = Of> {
    (1_i64..25, 0_i64..12, horizon()).prop_map(|(size, lateness, horizon)| Of { size, lateness, horizon })
}

fn joined<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, of: Of) -> Outputs<'s, Keyed<u8, Side<Event, Event>>, Pair> {
    let (left, right) = sides(graph, input);
    graph.correct_for(of.horizon);
    window_join(graph, &left, &right, "pairs", tumbling(of.size).lateness(of.lateness), |key, l, r| pair(key, l, Some(r)))
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn all_of_a_window_meet_when_it_ends(steps in history(), of in of()) {
        let observed = run(steps.clone(), move |graph, input| joined(graph, &input, of).results);
        let late = run(steps.clone(), move |graph, input| joined(graph, &input, of).late);
        let is_late = |(_, stamp, _): &Update<Event>, before| is_over(*stamp, before, of.end(stamp.time.0) + of.lateness, of.horizon);
        check(&steps, &observed, &late, is_late, |taken, watermark| of.expected(taken, watermark))?;
    }

    #[test]
    fn a_window_join_goes_on(steps in history(), of in of(), stop in stop()) {
        restart::check(steps, stop, move |graph, input| restart::all(graph, &joined(graph, &input, of)))?;
    }

    #[test]
    fn keys_do_not_know_of_each_other(steps in history(), of in of()) {
        let of_key = |key: u8| {
            let mut steps = steps.clone();
            steps.iter_mut().for_each(|step| step.updates.retain(|((k, _), _, _)| *k == key));
            run(steps, move |graph, input| joined(graph, &input, of).results).results
        };
        let mut apart = [of_key(0), of_key(1)].concat();
        let mut together = run(steps.clone(), move |graph, input| joined(graph, &input, of).results).results;
        apart.sort();
        together.sort();
        prop_assert_eq!(apart, together);
    }

    #[test]
    fn in_the_end_nothing_is_kept(mut steps in history(), of in of()) {
        let last = steps.iter().map(|step| step.watermark.0).max().unwrap_or_default();
        steps.push(Step { updates: vec![], watermark: EventTime(last + 15 + of.size + of.lateness + of.horizon) });
        prop_assert_eq!(bytes_kept(steps, move |graph, input| joined(graph, &input, of).results), 0);
    }
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for (size, lateness, horizon) in [(i64::MAX, i64::MAX, i64::MAX), (7, 0, 0), (1, i64::MAX, 0)] {
        let times = [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX];
        let updates = times.into_iter().flat_map(|time| {
            let event = |side, offset| update((0, side), offset, time, i64::MIN);
            [event(Side::Left(0), 0), event(Side::Right(1), 1)]
        });
        let steps = vec![
            Step { updates: updates.collect(), watermark: EventTime(0) },
            Step { updates: vec![], watermark: EventTime(i64::MAX) },
        ];
        let seen = run(steps, move |graph, input| joined(graph, &input, Of { size, lateness, horizon }).results);
        assert!(seen.results.len() >= 3, "{:?}", seen.results);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (windows, what) in [(tumbling(0), "size"), (tumbling(1).lateness(-1), "lateness"), (tumbling(1).early(1), "early")] {
        run(vec![Step { updates: vec![], watermark: EventTime(0) }], move |graph, input| {
            let (left, right) = sides(graph, &input);
            let results = window_join(graph, &left, &right, "pairs", windows, |key, l, r| pair(key, l, Some(r))).results;
            let error = graph.first_error().unwrap_err().to_string();
            assert!(error.contains("`pairs`") && error.contains(what), "{error}");
            results
        });
    }
}
