//! Windows of one length that begin at a regular distance and overlap.

mod grid;
mod logic;
mod slice;

use super::terms::Terms;
use super::{PerWindow, Windows};
use crate::aggregate::Aggregate;
use crate::key_by::Keyed;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::{Outputs, stateful};
use distributary_runtime::update::Data;
use grid::Grid;
use logic::HoppingWindows;
use slice::Slice;

/// Intervals of `size_ms` milliseconds, one of which begins every `slide_ms` milliseconds, counted from the Unix epoch.
///
/// A record is in several windows, but is added to one *slice*: time is cut at all beginnings and ends, and a window's result is
/// merged from its slices ([`Aggregate::merge`]) when it is said. So what a record costs does not depend on `size_ms / slide_ms`;
/// what a window costs at its end is one merge for each of its slices that a key is in. A slice costs 8 KiB on each worker
/// beside its keys.
///
/// A record may be late for the first windows it is in and not for the last: it counts in those that it is not late for, and leaves
/// by the late output if there are none.
///
/// ```
/// use distributary_operators::aggregate::sum;
/// use distributary_operators::{hopping, key_by, window};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(5, 0, 1_000, 0), update(7, 1, 12_000, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(30_000) }], |graph, input| {
///     let all = key_by(graph, &input, |_| ());
///     window(graph, &all, "sums", hopping(20_000, 10_000), sum(|v: &i64| *v)).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(_, (r, _, _))| (r.window.start.0, r.value)).collect();
/// assert_eq!(said, [(-10_000, 5), (0, 12), (10_000, 7)]);
/// ```
#[must_use]
pub fn hopping(size_ms: i64, slide_ms: i64) -> Hopping {
    Hopping { size_ms, slide_ms, terms: Terms::NONE }
}

/// See [`hopping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping {
    size_ms: i64,
    slide_ms: i64,
    terms: Terms,
}

/// A window that is cut finer is refused: memory is spent for each slice, and time at each end.
const SLICES_MAX: i64 = 10_000;

impl Hopping {
    /// See [`Tumbling::lateness`](super::Tumbling::lateness).
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { terms: self.terms.lateness(ms), ..self }
    }

    /// See [`Tumbling::early`](super::Tumbling::early). Each time, a key that has changed is merged anew in all windows it is in.
    #[must_use]
    pub fn early(self, every_ms: i64) -> Self {
        Self { terms: self.terms.early(every_ms), ..self }
    }

    /// How time is cut; what makes no sense is refused.
    fn grid(&self, graph: &Graph<'_>, name: &str) -> Grid {
        let Self { size_ms, slide_ms, .. } = *self;
        if size_ms < 1 || slide_ms < 1 || slide_ms > size_ms {
            let what = format!("window `{name}`: a size of {size_ms} ms that hops by {slide_ms} ms");
            let remedy = "give it a size of at least 1 ms and hops of at least 1 ms that are not longer than the size";
            graph.refuse(Error::refused(what, remedy));
            return Grid::new(1, 1);
        }
        let grid = Grid::new(size_ms, slide_ms);
        if grid.slices() > SLICES_MAX {
            let what = format!("window `{name}`: {size_ms} ms that hop by {slide_ms} ms are {} slices", grid.slices());
            let remedy = format!("choose them so that their greatest common divisor is in the size at most {SLICES_MAX} times");
            graph.refuse(Error::refused(what, remedy));
        }
        grid
    }
}

impl Windows for Hopping {
    fn over<'s, K: Key, V: Data, A: Aggregate<V>>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Keyed<K, V>>,
        name: &str,
        aggregate: A,
    ) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
        let (grid, terms) = (self.grid(graph, name), self.terms.for_graph(graph, name));
        let Self { size_ms, slide_ms, .. } = self;
        let detail = format!("hopping {size_ms} ms by {slide_ms} ms, {}: {}", terms.detail(), aggregate.describe());
        let spec = Spec::new("window", detail)
            .with_state::<(K, i64), Slice<A::State, A::Output>>(name)
            .corrected(aggregate.retraction(), graph.horizon());
        let logic = HoppingWindows::new(grid, terms, aggregate);
        stateful(graph, input, spec, Keyed::group, logic)
    }
}
