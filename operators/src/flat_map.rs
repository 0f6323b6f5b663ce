//! Turns each record into any number of others.

use crate::answer::attempt;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::{Data, Origin, Stamp};
use std::convert::Infallible;
use std::fmt::Display;

/// Gives each of `f(record)`, with the record's time and difference, as its first, second, ... child.
///
/// A record is a dead letter, and gives nothing, when `f` (or the iterator it returns) panics or when there are more
/// children than an [`Origin`] can name: 65,534, or a fifth fan-out behind four others.
///
/// ```
/// use distributary_operators::flat_map;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update("to be".to_string(), 0, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     flat_map(graph, &input, |line| line.split(' ').map(str::to_string).collect::<Vec<_>>())
/// });
/// let words: Vec<&str> = seen.results.iter().map(|(_, (word, _, _))| word.as_str()).collect();
/// assert_eq!(words, ["to", "be"]);
/// ```
pub fn flat_map<'s, D: Data, I: IntoIterator<Item: Data>>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    f: impl Fn(D) -> I + 'static,
) -> Collection<'s, I::Item> {
    try_flat_map(graph, input, move |data| Ok::<_, Infallible>(f(data)))
}

/// As [`flat_map`], but a record for which `f` returns an error is a dead letter too.
pub fn try_flat_map<'s, D: Data, I: IntoIterator<Item: Data>, E: Display>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    f: impl Fn(D) -> Result<I, E> + 'static,
) -> Collection<'s, I::Item> {
    let mut children = Vec::new();
    stateless(graph, input, Spec::new("flat_map", ""), move |(data, stamp, diff), emit| {
        // All children first: a record that fails at its last one must not have given the others.
        children.clear();
        let one_too_many = Origin::CHILDREN_MAX + 1;
        let done = attempt::<(), _>(|| f(data).map(|all| children.extend(all.into_iter().take(one_too_many))));
        let too_many = !children.is_empty() && stamp.origin.child(children.len() - 1).is_none();
        match done {
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
            Ok(()) if too_many => emit.set_aside(stamp.origin, diff, "too many results"),
            Ok(()) => {
                for (i, child) in children.drain(..).enumerate() {
                    let Some(origin) = stamp.origin.child(i) else { unreachable!("the last child has an origin") };
                    emit.give((child, Stamp { origin, ..stamp }, diff));
                }
            }
        }
    })
}
