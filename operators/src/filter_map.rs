//! Turns some of the records into others.

use crate::answer::attempt;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::Data;

/// Gives `f(record)` for each record for which there is one, with its stamp and its difference.
///
/// A record on which `f` panics is a dead letter. `f` must be pure, as that of a [`map`](crate::map()).
///
/// ```
/// use distributary_operators::filter_map;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update("7".to_string(), 0, 0, 0), update("seven".to_string(), 1, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     filter_map(graph, &input, |text| text.parse::<u32>().ok())
/// });
/// assert_eq!((seen.results.len(), seen.results[0].1.0), (1, 7));
/// ```
pub fn filter_map<'s, D: Data, Out: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    f: impl Fn(D) -> Option<Out> + 'static,
) -> Collection<'s, Out> {
    stateless(graph, input, Spec::new("filter_map", ""), move |(data, stamp, diff), emit| {
        match attempt::<Option<Out>, _>(|| f(data)) {
            Ok(data) => data.into_iter().for_each(|data| emit.give((data, stamp, diff))),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    })
}
