//! One collection as several.

use crate::answer::attempt;
use crate::filter_map::filter_map;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::Data;

/// Gives each record with its branch: the number that `branch` says, less than `branches`. [`branch_of`] takes the branches apart.
///
/// A record on which `branch` panics, or which it sends to a branch that there is not, is a dead letter: so every record is on one
/// branch or is one.
///
/// ```
/// use distributary_operators::{branch_of, split, union};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(5, 0, 0, 0), update(900, 1, 0, 0), update(-1, 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     let split = split(graph, &input, 2, |cents: &i64| if *cents < 0 { 2 } else { usize::from(*cents > 100) });
///     branch_of(graph, &split, 1)
/// });
/// assert_eq!((seen.results.len(), seen.results[0].1.0), (1, 900));
/// assert_eq!(seen.dead[0].1.cause, "there is no branch 2: they are 2, from 0 on");
/// ```
pub fn split<'s, D: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    branches: usize,
    branch: impl Fn(&D) -> usize + 'static,
) -> Collection<'s, (usize, D)> {
    stateless(graph, input, Spec::new("split", format!("{branches} branches")), move |(data, stamp, diff), emit| {
        match attempt::<usize, _>(|| branch(&data)) {
            Ok(number) if number < branches => emit.give(((number, data), stamp, diff)),
            Ok(number) => {
                emit.set_aside(stamp.origin, diff, format!("there is no branch {number}: they are {branches}, from 0 on"))
            }
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    })
}

/// The records of one branch of a [`split`].
pub fn branch_of<'s, D: Data>(graph: &Graph<'s>, split: &Collection<'s, (usize, D)>, branch: usize) -> Collection<'s, D> {
    filter_map(graph, split, move |(number, data)| (number == branch).then_some(data))
}
