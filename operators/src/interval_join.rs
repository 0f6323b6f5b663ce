//! Pairs of records of two streams with the same key and near in event time.

use crate::interval::Interval;
use crate::joining::joining;
use crate::key_by::Keyed;
use crate::pairs::Meet;
use crate::side::Side;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::plan::Retraction;
use distributary_runtime::update::Data;

/// Gives `f(key, left, right)` for every left and every right record of the same key whose times are as near as `interval` says.
/// At the close of each epoch it gives what changed.
///
/// A record is refused as late iff the watermark (or what its own partition had claimed before it, `Stamp::seen`) is at or past its
/// time plus the lateness. A retraction is taken as long as a partner of its record may still come: for a left one longer by
/// the upper bound, if that is positive, and for a right one by the lower bound, if that is negative. So long records
/// are kept; one that has met a partner by then, as long as either of them, or another partner of theirs, can be taken back. Refused
/// updates leave unchanged by [`Outputs::late`]. `name` names the state.
///
/// With a [correction horizon](Graph::correct_for) what has been taken is corrected as much longer: only what a record's own partition had
/// claimed before it makes it late then, and records are kept until the watermark is so much further.
///
/// # Why no pair is missed
/// Let a left record have time `l`, a right one `r = l + d`, and `lower <= d <= upper`; let `k` be the lateness and the horizon together.
/// - *They meet.* Say the left one is there and the right one is accepted. Then the watermark before its epoch is less than
///   `r + k <= l + max(upper, 0) + k`, so the left one has not been forgotten. The other way round it is less than
///   `l + k <= r + max(-lower, 0) + k`.
/// - *They part.* That the bounds alone do not do: between -10 and 10, a right record ten after a left one can be taken back ten
///   longer than the left one is kept, and the pair would stand for ever. Therefore a record that has met another one when its own
///   time is over stays until the last possible partner cannot be taken back, and a right one until none that it may have met can
///   change. It meets nobody new by that: whoever it could meet is late.
///
/// A correction that keeps the event time is a retraction and a record: when only the record is too late, the old results go, and
/// the new record leaves by [`Outputs::late`].
///
/// A result has the later event time of its two records. The pair of two records on which `f` panics is a dead letter, and that
/// is taken back when one of them goes. `f` must be pure: a retraction of a record has to become the retraction of the same results.
///
/// ```
/// use distributary_operators::{between, filter, interval_join, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let event = |kind, offset, time| update((kind, 7), offset, time, 0);
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![event('o', 0, 1_000)], 1_000),
///     step(vec![event('p', 1, 61_000), event('p', 2, 61_001)], 61_001), // just within a minute, and just not
/// ];
/// let seen = run(steps, |graph, input| {
///     let of = |kind| key_by(graph, &filter(graph, &input, move |(k, _): &(char, u32)| *k == kind), |(_, order)| *order);
///     let pay = |order: &u32, _: &_, _: &_| format!("{order} is paid");
///     interval_join(graph, &of('o'), &of('p'), "paid", between(0, 60_000), pay).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (text, stamp, _))| (epoch.0, text.as_str(), stamp.time.0)).collect();
/// assert_eq!(said, [(2, "7 is paid", 61_000)]);
/// ```
pub fn interval_join<'s, K: Key, L: Data, R: Data, O: Data>(
    graph: &Graph<'s>,
    left: &Collection<'s, Keyed<K, L>>,
    right: &Collection<'s, Keyed<K, R>>,
    name: &str,
    interval: Interval,
    f: impl Fn(&K, &L, &R) -> O + 'static,
) -> Outputs<'s, Keyed<K, Side<L, R>>, O> {
    let (spec, meet) = (
        Spec::new("interval_join", interval.describe(graph)).corrected(Retraction::Complete, graph.horizon()),
        Meet::Within(interval.checked(graph, name)),
    );
    let combine = move |key: &K, left: &L, right: Option<&R>| right.map(|right| f(key, left, right));
    joining(graph, left, right, spec, name, meet, combine)
}

/// As [`interval_join`], but a left record without a match gives `f(key, left, None)`: at the close of the epoch whose watermark
/// reaches its time plus the upper bound plus the lateness, when no match can come any more. When the only matches of a left record
/// are taken back after that, it comes then.
///
/// ```
/// use distributary_operators::{between, filter, key_by, left_interval_join};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let event = |kind, order, offset, time| update((kind, order), offset, time, 0);
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![event('o', 7, 0, 1_000), event('o', 8, 1, 1_000), event('p', 7, 2, 1_500)], 60_999),
///     step(vec![], 61_000), // nobody can pay for order 8 in time
/// ];
/// let seen = run(steps, |graph, input| {
///     let of = |kind| key_by(graph, &filter(graph, &input, move |(k, _): &(char, u32)| *k == kind), |(_, order)| *order);
///     let pay = |order: &u32, _: &_, payment: Option<&_>| (*order, payment.is_some());
///     left_interval_join(graph, &of('o'), &of('p'), "paid", between(0, 60_000), pay).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (result, _, _))| (epoch.0, *result)).collect();
/// assert_eq!(said, [(1, (7, true)), (2, (8, false))]);
/// ```
pub fn left_interval_join<'s, K: Key, L: Data, R: Data, O: Data>(
    graph: &Graph<'s>,
    left: &Collection<'s, Keyed<K, L>>,
    right: &Collection<'s, Keyed<K, R>>,
    name: &str,
    interval: Interval,
    f: impl Fn(&K, &L, Option<&R>) -> O + 'static,
) -> Outputs<'s, Keyed<K, Side<L, R>>, O> {
    let (spec, meet) = (
        Spec::new("left_interval_join", interval.describe(graph)).corrected(Retraction::Complete, graph.horizon()),
        Meet::WithinOrAlone(interval.checked(graph, name)),
    );
    joining(graph, left, right, spec, name, meet, move |key: &K, left: &L, right: Option<&R>| Some(f(key, left, right)))
}
