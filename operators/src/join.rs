//! Pairs of records of two tables with the same key.

use crate::joining::joining;
use crate::key_by::Keyed;
use crate::pairs::Meet;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::plan::{Horizon, Retraction};
use distributary_runtime::update::Data;

/// Gives `f(key, left, right)` for every left and every right record of the same key, as long as both stand. At the close of each
/// epoch it gives what changed.
///
/// Both sides keep all their records for ever: `join` is for tables, collections whose rows go when they change or are
/// deleted. Of streams take an [`interval_join`](crate::interval_join()), or an [aggregate](crate::aggregate()) of each
/// before the join. `name` names the state.
///
/// A result has the later event time of its two records. The pair of two records on which `f` panics is a dead letter, and that
/// is taken back when one of them goes. `f` must be pure: a retraction of a record has to become the retraction of the same results.
///
/// ```
/// use distributary_operators::{filter, join, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// type Row = (char, u32, String);
/// let row = |kind, text: &str, offset, time| update((kind, 7, text.to_string()), offset, time, 0);
/// let (order, ada, eve) = (row('o', "tea", 0, 5), row('u', "Ada", 1, 0), row('u', "Eve", 2, 9));
/// let gone = (ada.0.clone(), ada.1, -1);
/// let step = |updates| Step { updates, watermark: EventTime(0) };
/// let seen = run(vec![step(vec![order, ada]), step(vec![gone, eve])], |graph, input| {
///     let users = key_by(graph, &filter(graph, &input, |row: &Row| row.0 == 'u'), |user| user.1);
///     let orders = key_by(graph, &filter(graph, &input, |row: &Row| row.0 == 'o'), |order| order.1);
///     join(graph, &users, &orders, "orders", |_, user, order| format!("{}: {}", user.2, order.2))
/// });
/// let mut said: Vec<_> = seen.results.iter().map(|(epoch, (text, _, diff))| (epoch.0, *diff, text.as_str())).collect();
/// said.sort();
/// assert_eq!(said, [(1, 1, "Ada: tea"), (2, -1, "Ada: tea"), (2, 1, "Eve: tea")]);
/// ```
pub fn join<'s, K: Key, L: Data, R: Data, O: Data>(
    graph: &Graph<'s>,
    left: &Collection<'s, Keyed<K, L>>,
    right: &Collection<'s, Keyed<K, R>>,
    name: &str,
    f: impl Fn(&K, &L, &R) -> O + 'static,
) -> Collection<'s, O> {
    let combine = move |key: &K, left: &L, right: Option<&R>| right.map(|right| f(key, left, right));
    joining(graph, left, right, Spec::new("join", "").corrected(Retraction::Complete, Horizon::Always), name, Meet::All, combine)
        .results
}
