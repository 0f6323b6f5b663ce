//! How near in event time the records of two streams have to be, and how long they are kept for that.

use crate::side::Side;
use distributary_runtime::error::Error;
use distributary_runtime::graph::Graph;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::Diff;

/// A left record of time `t` meets right records of times `t + lower_ms` to `t + upper_ms`, both included.
///
/// ```
/// use distributary_operators::between;
/// let paid_within_an_hour = between(0, 3_600_000).lateness(5_000);
/// assert_ne!(paid_within_an_hour, between(0, 3_600_000));
/// ```
#[must_use]
pub fn between(lower_ms: i64, upper_ms: i64) -> Interval {
    Interval { lower_ms, upper_ms, lateness_ms: 0 }
}

/// See [`between`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    lower_ms: i64,
    upper_ms: i64,
    lateness_ms: i64,
}

impl Interval {
    /// How long a record is still taken after the watermark has passed its time. State is kept, and a left record without a
    /// match waits, as much longer. Default: 0.
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { lateness_ms: ms, ..self }
    }

    /// The times of right records that a left one meets.
    pub(crate) fn rights_of(&self, left: EventTime) -> (i128, i128) {
        (i128::from(left.0) + i128::from(self.lower_ms), i128::from(left.0) + i128::from(self.upper_ms))
    }

    /// The times of left records that a right one meets.
    pub(crate) fn lefts_of(&self, right: EventTime) -> (i128, i128) {
        (i128::from(right.0) - i128::from(self.upper_ms), i128::from(right.0) - i128::from(self.lower_ms))
    }

    /// When all right records have come that a left one may meet.
    pub(crate) fn certain_at(&self, left: EventTime) -> EventTime {
        left.plus_ms(self.upper_ms).plus_ms(self.lateness_ms)
    }

    /// The times of left records of which that is not certain yet, and perhaps some before.
    pub(crate) fn certain_behind(&self, watermark: Watermark) -> (i128, i128) {
        (i128::from(watermark.0) - i128::from(self.upper_ms) - i128::from(self.lateness_ms), i128::MAX)
    }

    /// How long a left record can still meet a right one, and be taken back.
    pub(crate) fn left_kept_until(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.upper_ms.max(0)).plus_ms(self.lateness_ms)
    }

    /// How long a right record can still meet a left one, and be taken back.
    pub(crate) fn right_kept_until(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.lower_ms.min(0).saturating_neg()).plus_ms(self.lateness_ms)
    }

    /// Whether a change comes too late, once this has been claimed.
    pub(crate) fn is_late<L, R>(&self, record: &Side<L, R>, time: EventTime, diff: Diff, claimed: Watermark) -> bool {
        let until = match record {
            _ if diff > 0 => time.plus_ms(self.lateness_ms),
            Side::Left(_) => self.left_kept_until(time),
            Side::Right(_) => self.right_kept_until(time),
        };
        claimed >= until
    }

    pub(crate) fn describe(&self) -> String {
        format!("right from {} to {} ms after left, lateness {} ms", self.lower_ms, self.upper_ms, self.lateness_ms)
    }

    /// Refuses an interval that nothing can lie in; the building goes on with another, to find more errors.
    pub(crate) fn checked(self, graph: &Graph<'_>, name: &str) -> Self {
        let Self { lower_ms, upper_ms, lateness_ms } = self;
        if lower_ms > upper_ms {
            let what = format!("interval join `{name}`: nothing lies between {lower_ms} and {upper_ms} ms");
            graph.refuse(Error::refused(what, "give the lower bound first: `between(lower_ms, upper_ms)`"));
        }
        if lateness_ms < 0 {
            let what = format!("interval join `{name}`: a lateness of {lateness_ms} ms");
            graph.refuse(Error::refused(what, "give it a lateness of at least 0 ms"));
        }
        Self { lower_ms, upper_ms: upper_ms.max(lower_ms), lateness_ms: lateness_ms.max(0) }
    }
}
