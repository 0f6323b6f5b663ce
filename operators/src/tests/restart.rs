//! A worker that goes on from a checkpoint says exactly what one says that was never stopped; and so do several, on which the same input
//! comes in parts, with another number of them behind the checkpoint. Every operator is checked here, or beside its own model.

use super::window::{How, how, in_hours};
use super::{Record, history, seeded, value};
use crate::aggregate::{
    Aggregate, AggregateError, Retraction, all_first_by, all_last_by, avg, bottom, collect, count, distinct, first_by, frozen,
    last_by, max, min, percentile, sum, top, when,
};
use crate::{Side, Windows, aggregate, daily, fold, hopping, key_by, map, monthly, session, tumbling, union, window};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::testing::{Step, run, run_rescaled, run_restarted};
use distributary_runtime::update::{Data, Diff};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::Path;

/// Where a pipeline is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    behind: Index,
    /// On how many workers it runs before and behind that as well.
    workers: Option<(usize, usize)>,
}

/// One of eight also runs on several workers: those are threads, and take their time.
pub(super) fn stop() -> impl Strategy<Value = Stop> {
    let workers = prop_oneof![7 => Just(None), 1 => (1_usize..=4, 1_usize..=4).prop_map(Some)];
    (any::<Index>(), workers).prop_map(|(behind, workers)| Stop { behind, workers })
}

pub(super) fn check<D: Data, Out: Data + PartialEq + std::fmt::Debug>(
    steps: Vec<Step<D>>,
    stop: Stop,
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, D>) -> Collection<'s, Out> + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    let epochs = stop.behind.index(steps.len()) + 1;
    let straight = run(steps.clone(), build.clone());
    let restarted = run_restarted(steps.clone(), epochs, build.clone());
    prop_assert_eq!(&straight.results, &restarted.results, "restarted behind epoch {}", epochs);
    prop_assert_eq!(&straight.dead, &restarted.dead);
    let Some(workers) = stop.workers else { return Ok(()) };
    let (straight, rescaled) = (straight.sorted(), run_rescaled(steps, epochs, workers, build));
    prop_assert_eq!(straight.results, rescaled.results, "rescaled behind epoch {}", epochs);
    prop_assert_eq!(straight.dead, rescaled.dead);
    Ok(())
}

/// What an operator gives, and what it refuses.
pub(super) fn all<'s, D: Data, Out: Data>(graph: &Graph<'s>, of: &Outputs<'s, D, Out>) -> Collection<'s, Side<Out, D>> {
    let (given, refused) = (map(graph, &of.results, Side::Left), map(graph, &of.late, Side::Right));
    union(graph, &[&given, &refused])
}

/// An aggregate of one's own: the difference of even and odd values.
#[derive(Clone, Copy)]
struct Balance;

impl Aggregate<Record> for Balance {
    type Input = i64;
    type State = i64;
    type Output = i64;

    fn input(&self, record: &Record) -> Result<i64, AggregateError> {
        Ok(if value(record) % 2 == 0 { value(record) } else { -value(record) })
    }

    fn add(&self, state: &mut i64, input: i64, diff: Diff) {
        *state += input * diff;
    }

    fn merge(&self, into: &mut i64, from: &i64) {
        *into += from;
    }

    fn is_zero(&self, state: &i64) -> bool {
        *state == 0
    }

    fn output(&self, state: &i64, _records: u64) -> Result<i64, AggregateError> {
        Ok(*state)
    }

    fn describe(&self) -> String {
        "balance".into()
    }

    fn retraction(&self) -> Retraction {
        Retraction::Linear
    }
}

/// Every aggregate.
fn every() -> impl Aggregate<Record, Output: std::fmt::Debug> + Clone + Send + Sync {
    let linear = (count(), sum(value), avg(value), percentile(50.0, value), Balance);
    let kept = (min(value), max(value), distinct(value), top(2, value), bottom(2, value), collect(value));
    let by = |record: &Record| record.1 % 2;
    (
        linear,
        kept,
        (first_by(by, value), last_by(by, value), all_first_by(by, value), all_last_by(by, value)),
        when(|r: &Record| value(r) > 0, count()),
        frozen(max(value)),
    )
}

/// Results and late records of such windows.
fn check_windows(
    steps: Vec<Step<Record>>,
    stop: Stop,
    corrections: i64,
    windows: impl Windows + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    check(steps, stop, move |graph, input| {
        graph.correct_for(corrections);
        let keyed = key_by(graph, &input, |(key, _)| *key);
        all(graph, &window(graph, &keyed, "w", windows.clone(), every()))
    })
}

const HOUR_MS: i64 = 3_600_000;

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn windows_of_all_kinds_go_on(steps in history(), stop in stop(), how in how(), slide in 1_i64..=10) {
        let How { lateness, early, corrections } = how;
        let even = early.iter().fold(tumbling(10).lateness(lateness), |windows, every| windows.early(*every));
        check_windows(steps.clone(), stop, corrections, even)?;
        let hops = early.iter().fold(hopping(10, slide).lateness(lateness), |windows, every| windows.early(*every));
        check_windows(steps.clone(), stop, corrections, hops)?;
        check_windows(steps, stop, corrections, session(slide).lateness(lateness))?;
    }

    #[test]
    fn windows_of_calendars_go_on(steps in history(), stop in stop(), how in how()) {
        let (steps, lateness, corrections) = (in_hours(steps), how.lateness * HOUR_MS, how.corrections * HOUR_MS);
        let days = daily("Europe/Vienna").lateness(lateness);
        let days = how.early.iter().fold(days, |windows, every| windows.early(every * HOUR_MS));
        check_windows(steps.clone(), stop, corrections, days)?;
        check_windows(steps, stop, corrections, monthly("Europe/Vienna").lateness(lateness))?;
    }

    #[test]
    fn running_aggregates_and_folds_go_on(steps in history(), stop in stop()) {
        check(steps.clone(), stop, |graph, input| {
            let keyed = key_by(graph, &input, |(key, _)| *key);
            let greatest = aggregate(graph, &keyed, "a", max(value));
            let values = key_by(graph, &map(graph, &greatest, |result| (result.key, result.value)), |(key, _)| key % 2);
            fold(graph, &values, "f", 0, |total, record: &Record, diff| *total += diff * value(record))
        })?;
        check(steps, stop, |graph, input| aggregate(graph, &key_by(graph, &input, |(key, _)| *key), "a", every()))?;
    }
}

/// Who adds an operator or an aggregate to a table of a front page also stops it somewhere.
#[test]
fn every_operator_is_stopped() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests");
    let texts = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let stopping: Vec<_> = texts.filter(|text| text.contains("stop in stop()")).collect();
    let calls = |text: &str, name: &str| {
        let is_called = |at: usize| !text[..at].ends_with(|before: char| before.is_alphanumeric() || "_.".contains(before));
        text.match_indices(&format!("{name}(")).any(|(at, _)| is_called(at))
    };
    let pages = [include_str!("../lib.rs"), include_str!("../aggregate/mod.rs")];
    let cells = pages.iter().flat_map(|page| page.lines()).filter_map(|line| line.strip_prefix("//! | [")?.split('|').next());
    let names: Vec<_> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(|name| name.trim_end_matches("()")).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(stopping.iter().any(|text| calls(text, name)), "`{name}` is never stopped");
    }
}
