//! Windows of one length, one behind the other.

use super::fixed::{Intervals, fixed};
use super::terms::Terms;
use super::{PerWindow, Window, Windows};
use crate::aggregate::Aggregate;
use crate::key_by::Keyed;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Data;

/// Intervals of `size_ms` milliseconds, one behind the other, counted from the Unix epoch.
///
/// ```
/// use distributary_operators::{Window, tumbling};
/// use distributary_runtime::time::EventTime;
/// let minute = tumbling(60_000).lateness(5_000);
/// assert_eq!(minute.window_of(EventTime(-1)), Window { start: EventTime(-60_000), end: EventTime(0) });
/// ```
#[must_use]
pub fn tumbling(size_ms: i64) -> Tumbling {
    Tumbling { size_ms, terms: Terms::NONE }
}

/// See [`tumbling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    pub(crate) size_ms: i64,
    pub(crate) terms: Terms,
}

impl Tumbling {
    /// How long a window still takes records after the watermark has passed its end: its result is corrected then. State
    /// is kept as much longer, and an interval that is open costs 8 KiB on each worker beside its keys. Default: 0.
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { terms: self.terms.lateness(ms), ..self }
    }

    /// Results before the end: each time the watermark has come so far, every key whose result has changed says what it is by
    /// then. The next one takes its place, and the last one that of the end. In between, a result from whose records one is retracted is
    /// corrected at the close of that epoch, to what it is by then. Over results that change themselves (those of another window, say) this is as often as
    /// they do. Default: none.
    #[must_use]
    pub fn early(self, every_ms: i64) -> Self {
        Self { terms: self.terms.early(every_ms), ..self }
    }

    /// The window that a point in time belongs to.
    #[must_use]
    pub fn window_of(&self, time: EventTime) -> Window {
        let passed_ms = time.0.rem_euclid(self.size_ms);
        // Where time begins and ends, a window is as long as there is time.
        Window { start: EventTime(time.0.saturating_sub(passed_ms)), end: time.plus_ms(self.size_ms - passed_ms) }
    }
}

impl Intervals for Tumbling {
    fn of(&self, time: EventTime) -> Window {
        self.window_of(time)
    }
}

impl Windows for Tumbling {
    fn over<'s, K: Key, V: Data, A: Aggregate<V>>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Keyed<K, V>>,
        name: &str,
        aggregate: A,
    ) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
        if self.size_ms < 1 {
            let what = format!("window `{name}`: a size of {} ms", self.size_ms);
            graph.refuse(Error::refused(what, "give it a size of at least 1 ms"));
        }
        let windows = Self { size_ms: self.size_ms.max(1), terms: self.terms.for_graph(graph, name) };
        fixed(graph, input, name, (&format!("tumbling {} ms", windows.size_ms), windows, windows.terms), aggregate)
    }
}
