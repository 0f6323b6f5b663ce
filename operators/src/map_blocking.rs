//! Turns each record into another by a call that takes long.

use crate::answer::attempt;
use crate::key_by::Keyed;
use distributary_runtime::blocking::on_threads;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::fmt::Display;

/// Gives `f(key, record)` for each record, with its stamp and its difference, at the close of its epoch: as [`map`](crate::map()), on so many
/// threads of each worker beside it. What belongs to a key is called one after the other, in the order of epochs and origins.
///
/// The epoch is held open until its calls have returned, and the results of later epochs with it: one call that hangs holds up the pipeline.
/// `f` must be pure: a retraction calls it again, and so does a replay. Whoever asks what may change wants a
/// [look-up](crate::look_up()), whose answer is written down. A record on which `f` panics is a dead letter.
///
/// ```
/// use distributary_operators::{key_by, map_blocking};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(("u1", 3_u64), 0, 0, 0), update(("u2", 4), 1, 0, 0)];
/// let updates = updates.into_iter().map(|((user, n), stamp, diff)| ((user.to_string(), n), stamp, diff)).collect();
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     let keyed = key_by(graph, &input, |(user, _)| user.clone());
///     map_blocking(graph, &keyed, 2, |user, (_, n)| {
///         std::thread::sleep(std::time::Duration::from_millis(1));
///         format!("{user}: {}", (1..=*n).product::<u64>())
///     })
/// });
/// let mut scores: Vec<_> = seen.results.iter().map(|(_, (score, ..))| score.as_str()).collect();
/// scores.sort_unstable();
/// assert_eq!(scores, ["u1: 6", "u2: 24"]);
/// ```
pub fn map_blocking<'s, K: Key, V: Data, Out: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    threads: usize,
    f: impl Fn(&K, &V) -> Out + Send + Sync + 'static,
) -> Collection<'s, Out> {
    try_map_blocking(graph, input, threads, move |key, value| Ok::<_, String>(f(key, value)))
}

/// As [`map_blocking`]; an error makes the record a dead letter with the error as its cause.
pub fn try_map_blocking<'s, K: Key, V: Data, Out: Data, E: Display>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    threads: usize,
    f: impl Fn(&K, &V) -> Result<Out, E> + Send + Sync + 'static,
) -> Collection<'s, Out> {
    let call = move |keyed: &Keyed<K, V>| attempt::<Out, _>(|| f(&keyed.key, &keyed.value));
    on_threads(graph, input, Spec::new("map_blocking", ""), |keyed| keyed.hash, threads, call)
}
