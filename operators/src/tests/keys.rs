//! Goal: operators refuse keys that have no stable encoding when the plan is made, and stop where it shows only in a key.

use crate::aggregate::count;
use crate::{aggregate, dedup, key_by, map, view};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

/// A float in a wrapper that orders it.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Score(f64);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Score {}
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Till {
    shop: i64,
    #[serde(skip)]
    till: i64,
}

/// What the plan says against it.
fn refusals(build: impl for<'s> FnOnce(&Graph<'s>, Collection<'s, i64>) + Send + Sync + 'static) -> String {
    let said = Arc::new(OnceLock::new());
    let saying = said.clone();
    run(Vec::<Step<i64>>::new(), move |graph, input| {
        build(graph, input.clone());
        saying.get_or_init(|| graph.first_error().map_or_else(|error| error.to_string(), |()| "fit".into()));
        input
    });
    said.get().unwrap().clone()
}

#[test]
fn a_key_without_a_stable_encoding_is_refused_by_name() {
    let said = refusals(|graph, input| drop(key_by(graph, &input, |cents| Decimal::new(*cents, 2))));
    assert!(
        said.starts_with("key_by: `rust_decimal::decimal::Decimal` cannot be a key: `0` and `0.00` make equal keys, "),
        "{said}"
    );
    assert!(said.contains("`amount.normalize().to_string()`"), "{said}");
    let said = refusals(|graph, input| drop(dedup(graph, &input, "once", 1, |n| (Score(*n as f64), 1))));
    assert!(
        said.starts_with("key_by: `(distributary_operators::tests::keys::Score, i32)` cannot be a key: there is a float"),
        "{said}"
    );
    let said = refusals(|graph, input| {
        drop(aggregate(
            graph,
            &map(graph, &input, |n| crate::Keyed { hash: 0, key: Score(n as f64), value: n }),
            "spend",
            count(),
        ))
    });
    assert!(said.starts_with("aggregate `spend`: `distributary_operators::tests::keys::Score` cannot be a key"), "{said}");
    let said = refusals(|graph, input| drop(key_by(graph, &input, |cents| Decimal::new(*cents, 2).normalize().to_string())));
    assert_eq!(said, "fit");
}

#[test]
fn what_brings_rows_of_a_view_together_is_a_key_too() {
    let said = refusals(|graph, input| {
        view(graph, "best", |_| EventTime::MIN, |v| v.of("scores", &input).key_by(|n| Score(*n as f64)).values());
    });
    assert!(said.starts_with("view: `distributary_operators::tests::keys::Score` cannot be a key"), "{said}");
    let said = refusals(|graph, input| {
        let rows = map(graph, &input, |n| (n, Score(n as f64)));
        view(graph, "all", |_| EventTime::MIN, |v| v.of("scores", &rows));
    });
    assert!(
        said.starts_with("view_input `all.scores`: `(i64, distributary_operators::tests::keys::Score)` cannot be a key"),
        "{said}"
    );
}

#[test]
#[should_panic(expected = "what is written of it does not make the same key when it is read")]
fn a_key_that_is_not_written_whole_stops_the_pipeline() {
    let steps = vec![Step { updates: vec![update(0, 0, 0, 0), update(1, 1, 0, 0)], watermark: EventTime(0) }];
    run(steps, |graph, input| key_by(graph, &input, |n| Till { shop: 7, till: *n }));
}
