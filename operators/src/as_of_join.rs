//! Records of a stream with the version of a table that was valid at their time.

use crate::joining::{Changed, Rule, Saying, corrections, joining};
use crate::key_by::Keyed;
use crate::side::{Entry, Held, Id, Side};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Closing, Outputs};
use distributary_runtime::plan::Retraction;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff};
use std::collections::BTreeSet;

/// Gives `f(key, record, version)` for each record of the stream, with the version that the table had of its key at its time: the one
/// with the greatest event time that is not past the record's (of several, that of the greatest origin), or `None`.
///
/// The result comes at the close of the epoch whose watermark reaches the record's time: the versions up to there have come.
/// When such a version comes or goes later, within the lateness, the old result goes and the new one comes. A record, or a version, is
/// refused as late iff the watermark (or what its own partition had claimed before it, `Stamp::seen`) is at or past its time plus
/// `lateness_ms`, and so is its retraction. Refused updates leave unchanged by [`Outputs::late`]. With a
/// [correction horizon](Graph::correct_for) only what its own partition had claimed makes it late, until the watermark is so much further.
///
/// The table is a collection of versions, which stay when the next one comes: prices, terms, profiles as events. (Rows of an upsert
/// topic go when they change: their past is not known.) State is the records until their time plus the lateness and the horizon, and the
/// versions that such records can still need: of each key the newest one for ever. `name` names the state.
///
/// # Why no version is missed
/// Call the watermark minus the lateness and the horizon the *bound*. All records that are kept, or still to be accepted, have times past the bound, and so
/// have all versions that are still to come or to go. Of the versions up to the bound these records can only meet the newest; the others
/// are forgotten. A version that comes or goes at `v` changes records from `v` on, which are past the bound and therefore
/// kept; what they meet instead is past the bound too, or is that newest one.
///
/// A result has the event time of its record, and an origin of its own, which it keeps when it is corrected. A record with the version
/// on which `f` panics is a dead letter, and that is taken back with them. `f` must be pure.
///
/// ```
/// use distributary_operators::{as_of_join, filter, key_by};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// type Event = (char, i64);
/// let event = |kind, amount, offset, time| update((kind, amount), offset, time, 0);
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![event('p', 2, 0, 100), event('s', 10, 1, 150), event('p', 3, 2, 160)], 150), // sold at 2
///     step(vec![event('p', 4, 3, 149)], 152), // late, but within ten
/// ];
/// let seen = run(steps, |graph, input| {
///     let of = |kind| key_by(graph, &filter(graph, &input, move |(k, _): &Event| *k == kind), |_| ());
///     let worth = |_: &(), sale: &Event, price: Option<&Event>| price.map(|price| price.1 * sale.1);
///     as_of_join(graph, &of('s'), &of('p'), "prices", 10, worth).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (worth, _, diff))| (epoch.0, *worth, *diff)).collect();
/// assert_eq!(said, [(1, Some(20), 1), (2, Some(20), -1), (2, Some(40), 1)]);
/// ```
pub fn as_of_join<'s, K: Key, S: Data, T: Data, O: Data>(
    graph: &Graph<'s>,
    stream: &Collection<'s, Keyed<K, S>>,
    table: &Collection<'s, Keyed<K, T>>,
    name: &str,
    lateness_ms: i64,
    f: impl Fn(&K, &S, Option<&T>) -> O + 'static,
) -> Outputs<'s, Keyed<K, Side<S, T>>, O> {
    if lateness_ms < 0 {
        let what = format!("as-of join `{name}`: a lateness of {lateness_ms} ms");
        graph.refuse(Error::refused(what, "give it a lateness of at least 0 ms"));
    }
    let spec = Spec::new("as_of_join", format!("lateness {lateness_ms} ms{}", corrections(graph)))
        .corrected(Retraction::Complete, graph.horizon());
    let rule = AsOf { lateness_ms: lateness_ms.max(0), horizon_ms: graph.correction_horizon_ms() };
    joining(graph, stream, table, spec, name, rule, move |key: &K, record: &S, version: Option<&T>| Some(f(key, record, version)))
}

struct AsOf {
    lateness_ms: i64,
    /// How much longer what has been taken can be corrected.
    horizon_ms: i64,
}

impl AsOf {
    /// The last time of what no change can need.
    fn over_until(&self, watermark: Watermark) -> i128 {
        i128::from(watermark.0) - i128::from(self.kept_ms())
    }

    fn kept_ms(&self) -> i64 {
        self.lateness_ms.saturating_add(self.horizon_ms)
    }
}

impl Rule for AsOf {
    fn bound<S, T>(&self, _: &Side<S, T>, time: EventTime, _: Diff) -> Option<EventTime> {
        Some(time.plus_ms(self.lateness_ms))
    }

    fn say<K, S, T, O>(&self, entry: &Entry<S, T>, changed: &Changed, at: &Closing<'_>, saying: &mut Saying<'_, K, S, T, O>) {
        let mut touched: BTreeSet<Id> = changed.left.iter().copied().collect();
        // From each version that changed to the next one, and those that the watermark has reached.
        let versions = changed.right.iter().filter(|id| entry.right.get(id).is_some_and(Held::has_changed)).map(|id| {
            let next = entry.right.behind(*id).find(|(_, version)| version.has_changed() || version.now() > 0);
            (id.time.0.into(), next.map_or(i128::MAX, |(next, _)| i128::from(next.time.0) - 1))
        });
        let reached = (i128::from(at.before.0) + 1, i128::from(at.watermark().0));
        for (first, last) in versions.chain([reached]) {
            touched.extend(entry.left.between(first, last).map(|(id, _)| *id));
        }
        for (id, record) in touched.iter().filter_map(|id| Some((id, entry.left.get(id)?))) {
            let version = |copies: fn(&Held<T>) -> Diff| {
                entry.right.between(i128::MIN, id.time.0.into()).rfind(|(_, version)| copies(version) > 0)
            };
            let copies = |watermark, copies| if id.time <= watermark { copies } else { 0 };
            let (was, now) = (copies(at.before, record.was()), copies(at.watermark(), record.now()));
            let (before, after) = (version(Held::was), version(Held::now));
            let mut say = |diff, version: Option<(&Id, &Held<T>)>| {
                let origin = stable_hash(&id.origin);
                saying.add(id.time, origin, diff, &record.data, version.map(|(_, version)| &version.data));
            };
            // A version that says the same again corrects nothing.
            if before.map(|(id, _)| id.content) == after.map(|(id, _)| id.content) {
                say(now.wrapping_sub(was), after);
            } else {
                say(was.wrapping_neg(), before);
                say(now, after);
            }
        }
    }

    fn forget<S, T>(&self, entry: &mut Entry<S, T>, at: &Closing<'_>) {
        let over = self.over_until(at.watermark());
        entry.left.forget_until(over);
        let versions = entry.right.between(i128::MIN, over).map(|(id, version)| (*id, version.now() > 0));
        let mut versions: Vec<_> = versions.collect();
        if let Some(newest) = versions.iter().rposition(|(_, stands)| *stands) {
            versions.remove(newest);
        }
        versions.iter().for_each(|(id, _)| entry.right.remove(id));
    }

    fn due<S, T>(&self, entry: &Entry<S, T>, watermark: Watermark) -> Option<EventTime> {
        let said = entry.left.first_behind(watermark.0.into()).map(|id| id.time);
        let over = self.over_until(watermark);
        let over = [entry.left.first_behind(over), entry.right.first_behind(over)];
        let over = over.into_iter().flatten().map(|id| id.time.plus_ms(self.kept_ms()));
        said.into_iter().chain(over).filter(|time| *time > watermark).min()
    }
}
