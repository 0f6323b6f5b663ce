//! The joins of two streams against all pairs of what they have taken. The model knows nothing of state: it would show any
//! record that was forgotten too early.

use super::joined::{Event, NODE, Pair, check, history, horizon, pair, sides};
use super::restart::{self, stop};
use super::seeded;
use crate::{Interval, Keyed, Side, between, interval_join, left_interval_join};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, bytes_kept, run, update};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Diff, Stamp, Update};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Bounds {
    lower: i64,
    upper: i64,
    lateness: i64,
    horizon: i64,
}

impl Bounds {
    fn interval(self) -> Interval {
        between(self.lower, self.upper).lateness(self.lateness)
    }

    fn meet(self, left: i64, right: i64) -> bool {
        (left + self.lower..=left + self.upper).contains(&right)
    }

    fn is_late(self, ((_, side), stamp, diff): &Update<Event>, before: EventTime) -> bool {
        let longer = match side {
            _ if *diff > 0 => 0,
            Side::Left(_) => self.upper.max(0),
            Side::Right(_) => (-self.lower).max(0),
        };
        let bound = stamp.time.0 + self.lateness;
        stamp.seen.0 >= bound || before.0 >= bound + longer + self.horizon
    }
}

/// Before, behind and around, and points.
fn bounds() -> impl Strategy<Value = Bounds> {
    (-15_i64..15, 0_i64..20, 0_i64..12, horizon()).prop_map(|(lower, width, lateness, horizon)| Bounds {
        lower,
        upper: lower + width,
        lateness,
        horizon,
    })
}

fn inner<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, of: Bounds) -> Outputs<'s, Keyed<u8, Side<Event, Event>>, Pair> {
    let (left, right) = sides(graph, input);
    graph.correct_for(of.horizon);
    interval_join(graph, &left, &right, "pairs", of.interval(), |key, l, r| pair(key, l, Some(r)))
}

fn outer<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>, of: Bounds) -> Outputs<'s, Keyed<u8, Side<Event, Event>>, Pair> {
    let (left, right) = sides(graph, input);
    graph.correct_for(of.horizon);
    left_interval_join(graph, &left, &right, "pairs", of.interval(), pair)
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn all_that_are_near_meet(steps in history(), of in bounds()) {
        let observed = run(steps.clone(), move |graph, input| inner(graph, &input, of).results);
        let late = run(steps.clone(), move |graph, input| inner(graph, &input, of).late);
        let expected = |taken: &super::joined::Taken, _| taken.expected(|l, r| of.meet(l, r), |_| false);
        check(&steps, &observed, &late, |update, before| of.is_late(update, before), expected)?;
    }

    #[test]
    fn who_meets_nobody_is_alone_when_that_is_certain(steps in history(), of in bounds()) {
        let observed = run(steps.clone(), move |graph, input| outer(graph, &input, of).results);
        let late = run(steps.clone(), move |graph, input| outer(graph, &input, of).late);
        check(&steps, &observed, &late, |update, before| of.is_late(update, before), |taken, watermark| {
            taken.expected(|l, r| of.meet(l, r), |left| left + of.upper + of.lateness <= watermark.0)
        })?;
    }

    #[test]
    fn interval_joins_go_on(steps in history(), of in bounds(), stop in stop()) {
        restart::check(steps.clone(), stop, move |graph, input| restart::all(graph, &inner(graph, &input, of)))?;
        restart::check(steps, stop, move |graph, input| restart::all(graph, &outer(graph, &input, of)))?;
    }

    #[test]
    fn keys_do_not_know_of_each_other(steps in history(), of in bounds()) {
        let of_key = |key: u8| {
            let mut steps = steps.clone();
            steps.iter_mut().for_each(|step| step.updates.retain(|((k, _), _, _)| *k == key));
            run(steps, move |graph, input| outer(graph, &input, of).results).results
        };
        let mut apart = [of_key(0), of_key(1)].concat();
        let mut together = run(steps.clone(), move |graph, input| outer(graph, &input, of).results).results;
        apart.sort();
        together.sort();
        prop_assert_eq!(apart, together);
    }

    /// No time is kept longer than both bounds together, from the farthest record of a history on.
    #[test]
    fn in_the_end_nothing_is_kept(mut steps in history(), of in bounds()) {
        let last = steps.iter().map(|step| step.watermark.0).max().unwrap_or_default();
        let passed = [steps.clone(), vec![step(vec![], last + 15 + 2 * 35 + 12 + of.horizon)]].concat();
        prop_assert_eq!(bytes_kept(passed, move |graph, input| outer(graph, &input, of).results), 0);
        // The same when all goes that has come, whatever the watermark says.
        steps.iter_mut().for_each(|step| step.watermark = EventTime::MIN);
        steps.iter_mut().flat_map(|step| &mut step.updates).for_each(|(_, stamp, _)| stamp.seen = EventTime::MIN);
        let gone = steps.iter().flat_map(|step| &step.updates).map(|update| back(*update)).collect();
        steps.push(Step { updates: gone, watermark: EventTime::MIN });
        prop_assert_eq!(bytes_kept(steps, move |graph, input| inner(graph, &input, of).results), 0);
    }
}

fn left(offset: u64, time: i64) -> Update<Event> {
    update((0, Side::Left(0)), offset, time, -100)
}

fn right(offset: u64, time: i64) -> Update<Event> {
    update((0, Side::Right(1)), offset, time, -100)
}

fn back((event, stamp, diff): Update<Event>) -> Update<Event> {
    (event, stamp, -diff)
}

fn step(updates: Vec<Update<Event>>, watermark: i64) -> Step<Event> {
    Step { updates, watermark: EventTime(watermark) }
}

const AROUND: Bounds = Bounds { lower: -10, upper: 10, lateness: 0, horizon: 0 };

fn said(steps: Vec<Step<Event>>, of: Bounds) -> Vec<(u64, Option<i64>, Diff)> {
    let observed = run(steps, move |graph, input| outer(graph, &input, of).results);
    let mut said: Vec<_> = observed.results.into_iter().map(|(epoch, ((_, _, right), _, diff))| (epoch.0, right, diff)).collect();
    said.sort();
    said
}

/// The left one is over at 10, the right one can be taken back until 20.
#[test]
fn a_pair_parts_when_the_longer_of_it_goes() {
    let steps = vec![step(vec![left(0, 0), right(1, 10)], 5), step(vec![], 15), step(vec![back(right(1, 10))], 15)];
    assert_eq!(said(steps.clone(), AROUND), [(1, Some(1), 1), (3, None, 1), (3, Some(1), -1)]);
    let steps = [steps, vec![step(vec![], 20)]].concat();
    assert_eq!(bytes_kept(steps, |graph, input| outer(graph, &input, AROUND).results), 0);
}

/// Days later, by the stamps they had.
#[test]
fn what_was_said_is_corrected_within_the_horizon() {
    let of = Bounds { horizon: 1_000, ..AROUND };
    let came = step(vec![left(0, 0), right(1, 5)], 900);
    let late = |(event, stamp, diff): Update<Event>| (event, Stamp { seen: EventTime(900), ..stamp }, diff);
    let steps =
        |watermark| vec![came.clone(), step(vec![], watermark), step(vec![back(right(1, 5)), late(right(2, 6))], watermark)];
    assert_eq!(said(steps(1_009), of), [(1, Some(1), 1), (3, None, 1), (3, Some(1), -1)]);
    assert_eq!(said(steps(1_015), of), [(1, Some(1), 1)], "beyond it, it stands");
    assert_eq!(bytes_kept(steps(1_025), move |graph, input| outer(graph, &input, of).results), 0);
}

/// Of two that met nobody one is over.
#[test]
fn what_is_over_is_forgotten() {
    let kept = |updates| bytes_kept(vec![step(updates, 15)], |graph, input| outer(graph, &input, AROUND).results);
    assert_eq!(kept(vec![left(0, 0), left(1, 20), right(2, 40), right(3, -20)]), kept(vec![left(1, 20), right(2, 40)]));
}

/// The right one at -5 is over at 5, but the left one stays for that at 10: which goes, and does not leave the left one alone.
#[test]
fn a_left_record_that_stays_remembers_all_that_it_met() {
    let steps =
        vec![step(vec![left(0, 0), right(1, -5), right(2, 10)], -5), step(vec![], 12), step(vec![back(right(2, 10))], 13)];
    assert_eq!(said(steps, AROUND), [(1, Some(1), 1), (1, Some(1), 1), (3, Some(1), -1)]);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for (lower, upper, lateness) in [(i64::MIN, i64::MAX, i64::MAX), (i64::MAX, i64::MAX, 0), (i64::MIN, i64::MIN, 0)] {
        let times = [i64::MIN, i64::MIN + 1, 0, i64::MAX];
        let mut updates: Vec<_> = (0..).zip(times).flat_map(|(i, time)| [left(i, time), right(10 + i, time)]).collect();
        updates.iter_mut().for_each(|(_, stamp, _)| stamp.seen = EventTime::MIN);
        let steps = vec![step(updates, 0), step(vec![], i64::MAX)];
        said(steps, Bounds { lower, upper, lateness, horizon: lateness });
    }
}

#[test]
fn an_interval_that_nothing_lies_in_is_refused() {
    for (of, what) in [(Bounds { lower: 1, upper: 0, ..AROUND }, "between"), (Bounds { lateness: -1, ..AROUND }, "lateness")] {
        run(vec![step(vec![], 0)], move |graph, input| {
            let results = inner(graph, &input, of).results;
            let error = graph.first_error().unwrap_err().to_string();
            assert!(error.contains("`pairs`") && error.contains(what), "{error}");
            results
        });
    }
}

#[test]
fn a_join_is_one_node_of_the_plan_with_both_inputs() {
    run(vec![step(vec![], 0)], |graph, input| {
        let results = outer(graph, &input, AROUND).results;
        let plan = graph.plan();
        let node = plan.nodes.last().unwrap();
        assert_eq!((node.id, node.kind.as_str(), node.inputs.as_slice()), (NODE, "left_interval_join", &[1, 3][..]));
        // Fields of both sides' types stand there: state of others is not read.
        let types = &node.state.as_ref().unwrap().types;
        assert_eq!(types.matches("(u8, Side<Left|Right> i64)").count(), 2, "{types}");
        results
    });
}
