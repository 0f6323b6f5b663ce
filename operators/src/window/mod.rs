//! Windows of event time: an aggregate for each key and interval.
//!
//! | windows | a record is in | it stays for |
//! |---|---|---|
//! | [`tumbling`] | one of them, all of one length | the window |
//! | [`daily`], [`monthly`] | one of them, by the calendar of a time zone | the window |
//! | [`hopping`] | several that overlap, but added to one slice | the last of them |
//! | [`session`] | one, with those of its key that are near | the session |
//!
//! What they have in common, which is when they speak and how long they listen, is in `terms`.

mod calendar;
mod entry;
mod fixed;
mod hopping;
mod session;
mod terms;
mod tumbling;

pub use calendar::{Calendar, daily, monthly};
pub use hopping::{Hopping, hopping};
pub use session::{Session, session};
pub use tumbling::{Tumbling, tumbling};

use crate::aggregate::{Aggregate, Group};
use crate::key_by::Keyed;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Data;
use serde::{Deserialize, Serialize};

/// An interval of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// Its first millisecond.
    pub start: EventTime,
    /// The first millisecond behind it.
    pub end: EventTime,
}

/// A result for a key and a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PerWindow<K, O> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// The result.
    pub value: O,
}

/// How event time is cut into windows: [`tumbling`], [`hopping`], [`session`], [`daily`], [`monthly`].
pub trait Windows {
    /// The operator that [`window`] adds.
    fn over<'s, K: Key, V: Data, A: Aggregate<V>>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Keyed<K, V>>,
        name: &str,
        aggregate: A,
    ) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>>;
}

/// Aggregates the records of each key in each window.
///
/// A window gives its result at the close of the epoch whose watermark reaches its end, or one before that if it is told to
/// ([`Tumbling::early`]); when a record is accepted after that, the old result goes and the new one comes. What was said early is corrected at
/// the close of an epoch that retracts from it, if it is right no longer. Results are ordered by
/// window, key hash and key, and have the event time of the window's last millisecond. They make no claim of their own
/// ([`Stamp::seen`] is [`EventTime::MIN`]): who reads them refuses one only when the state for it is gone. `name` names the state.
///
/// A record is refused as late iff what its own partition had claimed before it ([`Stamp::seen`]) is at or past the
/// window's end plus the allowed lateness. So a retraction, which has the stamp of its record, is taken where that was: as long as
/// the window's state is there, which is until the watermark has passed the same point by the correction horizon
/// ([`Graph::correct_for`]). What comes after that is refused as well. Refused updates leave unchanged by [`Outputs::late`]. A
/// record that the aggregate's closures panic on is a dead letter.
///
/// [`Stamp::seen`]: distributary_runtime::update::Stamp::seen
///
/// ```
/// use distributary_operators::aggregate::count;
/// use distributary_operators::{key_by, tumbling, window};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![update('a', 0, 1_000, 0), update('a', 1, 9_999, 1_000)], 9_999),
///     step(vec![update('b', 2, 11_000, 9_999)], 11_000), // the first window ends
///     step(vec![update('a', 3, 5_000, 11_000)], 11_000), // late, but within two seconds
/// ];
/// let seen = run(steps, |graph, input| {
///     let letters = key_by(graph, &input, |letter| *letter);
///     window(graph, &letters, "letters", tumbling(10_000).lateness(2_000), count()).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (r, _, diff))| (epoch.0, r.key, r.value, *diff)).collect();
/// assert_eq!(said, [(2, 'a', 2, 1), (3, 'a', 2, -1), (3, 'a', 3, 1)]);
/// ```
pub fn window<'s, K: Key, V: Data, A: Aggregate<V>>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    windows: impl Windows,
    aggregate: A,
) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
    windows.over(graph, input, name, aggregate)
}

/// The result of a group that has records, or why there is none.
fn result<V, A: Aggregate<V>>(group: &Group<A::State>, aggregate: &A) -> Option<Result<A::Output, String>> {
    group.output(aggregate).map_err(|e| e.to_string()).transpose()
}
