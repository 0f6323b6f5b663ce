//! How near in event time the records of two streams have to be, and how long they are kept for that.

use crate::joining::corrections;
use crate::side::{Records, Side};
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
    Interval { lower_ms, upper_ms, lateness_ms: 0, horizon_ms: 0 }
}

/// See [`between`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    lower_ms: i64,
    upper_ms: i64,
    lateness_ms: i64,
    /// How much longer what has been taken can be corrected: of the dataflow.
    horizon_ms: i64,
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

    /// What has to be claimed for a change to come too late: a record may be taken back as long as a partner of it may come.
    pub(crate) fn bound<L, R>(&self, record: &Side<L, R>, time: EventTime, diff: Diff) -> EventTime {
        let longer_ms = match record {
            _ if diff > 0 => 0,
            Side::Left(_) => self.left_ms(),
            Side::Right(_) => self.right_ms(),
        };
        time.plus_ms(longer_ms).plus_ms(self.lateness_ms)
    }

    /// How long left records are kept.
    pub(crate) fn lefts_kept(&self) -> Kept {
        self.kept(self.left_ms(), self.left_met_ms())
    }

    /// How long right records are kept.
    pub(crate) fn rights_kept(&self) -> Kept {
        self.kept(self.right_ms(), self.right_ms().max(self.left_met_ms().saturating_sub(self.lower_ms)))
    }

    fn kept(&self, alone_ms: i64, met_ms: i64) -> Kept {
        let longer = |ms: i64| ms.saturating_add(self.lateness_ms).saturating_add(self.horizon_ms);
        Kept { alone_ms: longer(alone_ms), met_ms: longer(met_ms) }
    }

    /// How far ahead of a left record its partners lie.
    fn left_ms(&self) -> i64 {
        self.upper_ms.max(0)
    }

    /// How far ahead of a right record its partners lie.
    fn right_ms(&self) -> i64 {
        self.lower_ms.min(0).saturating_neg()
    }

    /// How far ahead of a left record the last of its partners can be taken back.
    fn left_met_ms(&self) -> i64 {
        self.left_ms().max(self.upper_ms.saturating_add(self.right_ms()))
    }

    pub(crate) fn describe(&self, graph: &Graph<'_>) -> String {
        let Self { lower_ms, upper_ms, lateness_ms, .. } = self;
        format!("right from {lower_ms} to {upper_ms} ms after left, lateness {lateness_ms} ms{}", corrections(graph))
    }

    /// Refuses an interval that nothing can lie in; the building goes on with another, to find more errors.
    pub(crate) fn checked(self, graph: &Graph<'_>, name: &str) -> Self {
        let Self { lower_ms, upper_ms, lateness_ms, .. } = self;
        if lower_ms > upper_ms {
            let what = format!("interval join `{name}`: nothing lies between {lower_ms} and {upper_ms} ms");
            graph.refuse(Error::refused(what, "give the lower bound first: `between(lower_ms, upper_ms)`"));
        }
        if lateness_ms < 0 {
            let what = format!("interval join `{name}`: a lateness of {lateness_ms} ms");
            graph.refuse(Error::refused(what, "give it a lateness of at least 0 ms"));
        }
        let horizon_ms = graph.correction_horizon_ms();
        Self { lower_ms, upper_ms: upper_ms.max(lower_ms), lateness_ms: lateness_ms.max(0), horizon_ms }
    }
}

/// How long records of a side are kept behind their event time.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// As long as it can meet another one, and be taken back.
    alone_ms: i64,
    /// If it has met another one by then: as long as either of them, or what either of them has met, can be taken back.
    met_ms: i64,
}

impl Kept {
    /// The times of records that turn out to have met others or not, at the close of an epoch between these watermarks.
    pub(crate) fn alone_between(&self, before: Watermark, now: Watermark) -> (i128, i128) {
        (Self::over(before, self.alone_ms) + 1, Self::over(now, self.alone_ms))
    }

    /// The last time of records that are all over.
    pub(crate) fn all_until(&self, watermark: Watermark) -> i128 {
        Self::over(watermark, self.met_ms)
    }

    /// The last time of records that can no longer be taken back.
    pub(crate) fn settled_until(&self, watermark: Watermark) -> i128 {
        Self::over(watermark, self.alone_ms)
    }

    /// When the next of these records are over.
    pub(crate) fn next<D>(self, records: &Records<D>, watermark: Watermark) -> impl Iterator<Item = EventTime> {
        [self.alone_ms, self.met_ms].into_iter().filter_map(move |ms| {
            let first = records.first_behind(Self::over(watermark, ms))?;
            Some(first.time.plus_ms(ms))
        })
    }

    fn over(watermark: Watermark, ms: i64) -> i128 {
        i128::from(watermark.0) - i128::from(ms)
    }
}
