//! Keeps the records that satisfy a predicate.

use crate::answer::{Answer, attempt};
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::Data;

/// Gives the records for which `keep` is true (or `Ok(true)`), as they are.
///
/// A record on which `keep` panics or returns an error is a dead letter.
///
/// ```
/// use distributary_operators::filter;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = (1_u64..=4).map(|n| update(n, n, 0, 0)).collect();
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| filter(graph, &input, |n| n % 2 == 0));
/// let kept: Vec<u64> = seen.results.iter().map(|(_, (n, _, _))| *n).collect();
/// assert_eq!(kept, [2, 4]);
/// ```
pub fn filter<'s, D: Data, R: Answer<bool>>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    keep: impl Fn(&D) -> R + 'static,
) -> Collection<'s, D> {
    stateless(graph, input, Spec::new("filter", ""), move |(data, stamp, diff), emit| match attempt(|| keep(&data)) {
        Ok(true) => emit.give((data, stamp, diff)),
        Ok(false) => {}
        Err(cause) => emit.set_aside(stamp.origin, diff, cause),
    })
}
