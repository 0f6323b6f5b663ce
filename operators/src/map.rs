//! Turns each record into another.

use crate::answer::attempt;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::Data;
use std::convert::Infallible;
use std::fmt::Display;

/// Gives `f(record)` for each record, with its stamp and its difference.
///
/// A record that `f` panics on is a dead letter. `f` must be pure: a retraction of the record has to become the
/// retraction of the same result.
///
/// ```
/// use distributary_operators::map;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(20_u32, 0, 0, 0), update(0, 1, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| map(graph, &input, |n| 100 / n));
/// assert_eq!(seen.results[0].1.0, 5);
/// assert_eq!(seen.dead[0].1.cause, "panicked: attempt to divide by zero");
/// ```
pub fn map<'s, D: Data, Out: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    f: impl Fn(D) -> Out + 'static,
) -> Collection<'s, Out> {
    try_map(graph, input, move |data| Ok::<_, Infallible>(f(data)))
}

/// As [`map`], but a record for which `f` returns an error is a dead letter too.
pub fn try_map<'s, D: Data, Out: Data, E: Display>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    f: impl Fn(D) -> Result<Out, E> + 'static,
) -> Collection<'s, Out> {
    stateless(graph, input, Spec::new("map", ""), move |(data, stamp, diff), emit| match attempt::<Out, _>(|| f(data)) {
        Ok(data) => emit.give((data, stamp, diff)),
        Err(cause) => emit.set_aside(stamp.origin, diff, cause),
    })
}
