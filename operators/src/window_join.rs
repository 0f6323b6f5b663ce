//! Pairs of records of two streams with the same key in the same window.

use crate::joining::{Changed, Rule, Saying, joining};
use crate::key_by::Keyed;
use crate::side::{Entry, Id, Side};
use crate::window::{Tumbling, Window};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Closing, Outputs};
use distributary_runtime::plan::Retraction;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff};
use std::collections::BTreeSet;

/// Gives `f(key, left, right)` for every left and every right record of the same key whose times lie in the same window: when the
/// watermark reaches its end. When one of them comes or goes after that, within the lateness, its pairs do.
///
/// A record, and its retraction, is refused as late iff the watermark (or what its own partition had claimed before it, `Stamp::seen`) is
/// at or past the window's end plus the lateness; so long its records are kept. With a [correction horizon](Graph::correct_for) only
/// what its own partition had claimed makes it late, until the watermark is so much further. Refused updates leave unchanged by
/// [`Outputs::late`]. `name` names the state.
///
/// A result has the time of the window's last millisecond. The pair of two records on which `f` panics is a dead letter, and that is taken
/// back when one of them goes. `f` must be pure. Nothing is said before the end: [`Tumbling::early`] is refused.
///
/// ```
/// use distributary_operators::{filter, key_by, tumbling, window_join};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let event = |kind, offset, time| update((kind, 7), offset, time, 0);
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![event('v', 0, 1_000), event('c', 1, 59_999), event('c', 2, 60_000)], 59_999),
///     step(vec![], 60_000), // the minute ends: the second click is in the next one
/// ];
/// let seen = run(steps, |graph, input| {
///     let of = |kind| key_by(graph, &filter(graph, &input, move |(k, _): &(char, u32)| *k == kind), |(_, ad)| *ad);
///     let clicked = |ad: &u32, _: &_, _: &_| format!("{ad} is seen and clicked");
///     window_join(graph, &of('v'), &of('c'), "clicked", tumbling(60_000), clicked).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (text, stamp, _))| (epoch.0, text.as_str(), stamp.time.0)).collect();
/// assert_eq!(said, [(2, "7 is seen and clicked", 59_999)]);
/// ```
pub fn window_join<'s, K: Key, L: Data, R: Data, O: Data>(
    graph: &Graph<'s>,
    left: &Collection<'s, Keyed<K, L>>,
    right: &Collection<'s, Keyed<K, R>>,
    name: &str,
    windows: Tumbling,
    f: impl Fn(&K, &L, &R) -> O + 'static,
) -> Outputs<'s, Keyed<K, Side<L, R>>, O> {
    let Tumbling { size_ms, terms } = windows;
    if size_ms < 1 {
        let what = format!("window join `{name}`: a size of {size_ms} ms");
        graph.refuse(Error::refused(what, "give it a size of at least 1 ms"));
    }
    if terms.early_ms.is_some() {
        let what = format!("window join `{name}`: pairs are said at the end of their window, and not before");
        graph.refuse(Error::refused(what, "leave out `.early(..)`, or take an interval join, which says pairs at once"));
    }
    let windows = Tumbling { size_ms: size_ms.max(1), terms: terms.for_graph(graph, name) };
    let detail = format!("tumbling {size_ms} ms, {}", windows.terms.detail());
    let rule = InWindow { windows };
    let combine = move |key: &K, left: &L, right: Option<&R>| right.map(|right| f(key, left, right));
    joining(
        graph,
        left,
        right,
        Spec::new("window_join", detail).corrected(Retraction::Complete, graph.horizon()),
        name,
        rule,
        combine,
    )
}

struct InWindow {
    windows: Tumbling,
}

impl InWindow {
    fn window_of(&self, id: &Id) -> Window {
        self.windows.window_of(id.time)
    }

    fn kept_until(&self, id: &Id) -> EventTime {
        self.windows.terms.gone_from(self.window_of(id).end)
    }

    /// The times of records whose windows end behind one watermark, up to another; perhaps some before.
    fn ended(&self, before: Watermark, now: Watermark) -> (i128, i128) {
        (self.windows.window_of(before).start.0.into(), i128::from(self.windows.window_of(now).start.0) - 1)
    }
}

impl Rule for InWindow {
    fn bound<L, R>(&self, _: &Side<L, R>, time: EventTime, _: Diff) -> Option<EventTime> {
        Some(self.windows.terms.late_from(self.windows.window_of(time).end))
    }

    fn say<K, L, R, O>(&self, entry: &Entry<L, R>, changed: &Changed, at: &Closing<'_>, saying: &mut Saying<'_, K, L, R, O>) {
        let in_window = |window: Window| {
            let start = i128::from(window.start.0);
            (start, start + i128::from(self.windows.size_ms) - 1)
        };
        let (first, last) = self.ended(at.before, at.watermark());
        let mut lefts: BTreeSet<Id> = changed.left.iter().copied().collect();
        lefts.extend(entry.left.between(first, last).map(|(id, _)| *id));
        for window in changed.right.iter().map(|id| self.window_of(id)) {
            let (first, last) = in_window(window);
            lefts.extend(entry.left.between(first, last).map(|(id, _)| *id));
        }
        for (l_id, left) in lefts.iter().filter_map(|id| Some((id, entry.left.get(id)?))) {
            let window = self.window_of(l_id);
            let (first, last) = in_window(window);
            // Where time begins the first window overlaps the second.
            for (r_id, right) in entry.right.between(first, last).filter(|(id, _)| self.window_of(id) == window) {
                let (was, now) = (pairs(left.was(), right.was()), pairs(left.now(), right.now()));
                let (was, now) = (said(window, at.before, was), said(window, at.watermark(), now));
                let origins = stable_hash(&(l_id.origin, r_id.origin));
                saying.add(window.end.plus_ms(-1), origins, now.wrapping_sub(was), &left.data, Some(&right.data));
            }
        }
    }

    fn forget<L, R>(&self, entry: &mut Entry<L, R>, at: &Closing<'_>) {
        entry.left.forget_while(|id| self.kept_until(id) <= at.watermark());
        entry.right.forget_while(|id| self.kept_until(id) <= at.watermark());
    }

    fn due<L, R>(&self, entry: &Entry<L, R>, watermark: Watermark) -> Option<EventTime> {
        let open = i128::from(self.windows.window_of(watermark).start.0) - 1;
        let ends = entry.left.first_behind(open).map(|id| self.window_of(id).end);
        let kept = [entry.left.first(), entry.right.first()].into_iter().flatten().map(|id| self.kept_until(id));
        ends.into_iter().chain(kept).filter(|time| *time > watermark).min()
    }
}

/// There are as many copies of a pair as of both its records together.
fn pairs(left: Diff, right: Diff) -> Diff {
    left.wrapping_mul(right)
}

/// So many of these copies are said at this watermark.
fn said(window: Window, watermark: Watermark, copies: Diff) -> Diff {
    if window.end <= watermark { copies } else { 0 }
}
