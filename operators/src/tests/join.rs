//! The join of two tables against all pairs of what stands.

use super::joined::{Event, check, history, pair, sides, value};
use super::restart::{self, stop};
use super::seeded;
use crate::{Side, filter, join, union};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::testing::{Observed, Step, run, update};
use distributary_runtime::time::EventTime;
use proptest::prelude::*;

fn joined<'s>(graph: &Graph<'s>, input: Collection<'s, Event>) -> Collection<'s, super::joined::Pair> {
    let (left, right) = sides(graph, &input);
    join(graph, &left, &right, "pairs", |key, l, r| pair(key, l, Some(r)))
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn every_pair_that_stands_has_its_result(steps in history()) {
        let observed = run(steps.clone(), joined);
        let none = Observed { results: Vec::new(), dead: Vec::new() };
        check(&steps, &observed, &none, |_, _| false, |taken, _| taken.expected(|_, _| true, |_| false))?;
    }

    #[test]
    fn a_join_goes_on(steps in history(), stop in stop()) {
        restart::check(steps, stop, joined)?;
    }

    /// Whoever has which keys: so the number of workers changes nothing.
    #[test]
    fn keys_do_not_know_of_each_other(steps in history()) {
        let of = |key: u8| {
            let mut steps = steps.clone();
            steps.iter_mut().for_each(|step| step.updates.retain(|((k, _), _, _)| *k == key));
            run(steps, joined).results
        };
        let mut apart = [of(0), of(1)].concat();
        let mut together = run(steps.clone(), joined).results;
        apart.sort();
        together.sort();
        prop_assert_eq!(apart, together);
    }

    #[test]
    fn a_union_is_all_of_its_inputs(steps in history()) {
        let observed = run(steps.clone(), |graph, input| {
            let (even, odd) = (filter(graph, &input, |e| value(e) % 2 == 0), filter(graph, &input, |e| value(e) % 2 == 1));
            union(graph, &[&even, &odd, &input])
        });
        let mut expected: Vec<_> = (1..).zip(&steps).flat_map(|(e, s)| s.updates.iter().map(move |u| (e, *u))).collect();
        expected.extend(expected.clone());
        expected.sort();
        let mut all: Vec<_> = observed.results.into_iter().map(|(epoch, update)| (epoch.0, update)).collect();
        all.sort();
        prop_assert_eq!(all, expected);
    }
}

#[test]
fn a_union_of_nothing_is_empty() {
    let step = Step { updates: vec![update((0, Side::Left(1)), 0, 0, 0)], watermark: EventTime(0) };
    let observed = run(vec![step], |graph, _: Collection<'_, Event>| union::<Event>(graph, &[]));
    assert_eq!(observed.results, []);
}
