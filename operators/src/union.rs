//! Several collections as one.

use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::input::Input;
use distributary_runtime::update::Data;

/// All records of several collections of one type, each with its own stamp. A record that stands in two of them stands twice.
///
/// ```
/// use distributary_operators::{filter, union};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(1, 0, 0, 0), update(2, 1, 0, 0), update(3, 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     let (low, high) = (filter(graph, &input, |n| *n < 3), filter(graph, &input, |n| *n > 1));
///     union(graph, &[&low, &high])
/// });
/// let mut all: Vec<i32> = seen.results.iter().map(|(_, (n, _, _))| *n).collect();
/// all.sort();
/// assert_eq!(all, [1, 2, 2, 3]);
/// ```
pub fn union<'s, D: Data>(graph: &Graph<'s>, inputs: &[&Collection<'s, D>]) -> Collection<'s, D> {
    Input::all(graph, inputs).collect(graph, Spec::new("union", ""))
}
