//! A worker that goes on from a checkpoint says exactly what one says that was never stopped.

use super::window::{How, how, in_hours};
use super::{Record, history, value};
use crate::aggregate::{avg, collect, count, distinct, first_by, last_by, max, min, sum, top};
use crate::{Windows, aggregate, dedup, fold, hopping, key_by, map, monthly, session, tumbling, window};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::testing::{Step, run, run_restarted};
use distributary_runtime::update::Data;
use proptest::prelude::*;
use proptest::sample::Index;

pub(super) fn check<D: Data, Out: Data + PartialEq + std::fmt::Debug>(
    steps: Vec<Step<D>>,
    stop: Index,
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    let epochs = stop.index(steps.len()) + 1;
    let (straight, restarted) = (run(steps.clone(), build.clone()), run_restarted(steps, epochs, build));
    prop_assert_eq!(straight.results, restarted.results, "restarted behind epoch {}", epochs);
    prop_assert_eq!(straight.dead, restarted.dead);
    Ok(())
}

/// Results and late records of such windows.
fn check_windows(
    steps: Vec<Step<Record>>,
    stop: Index,
    corrections: i64,
    windows: impl Windows + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    let these = windows.clone();
    check(steps.clone(), stop, move |graph, input| {
        graph.correct_for(corrections);
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "w", these.clone(), (count(), min(|(_, v): &Record| *v), sum(value))).results
    })?;
    check(steps, stop, move |graph, input| {
        graph.correct_for(corrections);
        let keyed = key_by(graph, &input, |(key, _)| *key);
        window(graph, &keyed, "w", windows.clone(), count()).late
    })
}

proptest! {
    #[test]
    fn windows_of_all_kinds_go_on(steps in history(), stop in any::<Index>(), how in how(), slide in 1_i64..=10) {
        let How { lateness, early, corrections } = how;
        check_windows(steps.clone(), stop, corrections, tumbling(10).lateness(lateness))?;
        let hops = early.iter().fold(hopping(10, slide).lateness(lateness), |windows, every| windows.early(*every));
        check_windows(steps.clone(), stop, corrections, hops)?;
        check_windows(steps.clone(), stop, corrections, session(slide).lateness(lateness))?;
        check_windows(in_hours(steps), stop, corrections * 3_600_000, monthly("Europe/Vienna").lateness(lateness * 3_600_000))?;
    }

    #[test]
    fn window_goes_on(steps in history(), stop in any::<Index>(), lateness in 0_i64..15) {
        check(steps, stop, move |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "w", tumbling(10).lateness(lateness), (count(), min(|(_, v): &Record| *v), sum(value))).results
        })?;
    }

    #[test]
    fn window_goes_on_with_early_results(steps in history(), stop in any::<Index>(), lateness in 0_i64..15, every in 1_i64..20) {
        check(steps, stop, move |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "w", tumbling(10).lateness(lateness).early(every), (count(), sum(value))).results
        })?;
    }

    #[test]
    fn window_goes_on_with_all_values(steps in history(), stop in any::<Index>(), lateness in 0_i64..15) {
        let (first, last) = (first_by(|r: &Record| r.1 % 2, value), last_by(|r: &Record| r.1 % 2, value));
        let all = (avg(value), distinct(value), top(2, value), first, last, collect(value));
        check(steps, stop, move |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "w", tumbling(10).lateness(lateness), all).results
        })?;
    }

    #[test]
    fn late_records_stay_late(steps in history(), stop in any::<Index>(), lateness in 0_i64..15) {
        check(steps, stop, move |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            window(graph, &keyed, "w", tumbling(10).lateness(lateness), count()).late
        })?;
    }

    #[test]
    fn dedup_goes_on(steps in history(), stop in any::<Index>(), horizon in 1_i64..30) {
        check(steps, stop, move |graph, input| dedup(graph, &input, "d", horizon, |(id, _)| *id).results)?;
    }

    #[test]
    fn running_aggregates_and_folds_go_on(steps in history(), stop in any::<Index>()) {
        check(steps, stop, |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            let greatest = aggregate(graph, &keyed, "a", max(value));
            let values = key_by(graph, &map(graph, &greatest, |result| (result.key, result.value)), |(key, _)| key % 2);
            fold(graph, &values, "f", 0, |total, record: &Record, diff| *total += diff * value(record))
        })?;
    }
}
