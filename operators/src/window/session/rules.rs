//! *Pure*: what makes a session, and when it is over.

use super::super::terms::Terms;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::Stamp;
use std::ops::Bound;

/// What makes a session, and when it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) gap_ms: i64,
    pub(super) terms: Terms,
}

impl Rules {
    /// A record is judged by the session it would make alone.
    pub(super) fn is_late(&self, stamp: Stamp, watermark: Watermark) -> bool {
        let end = stamp.time.plus_ms(self.gap_ms);
        stamp.seen >= self.terms.late_from(end) || watermark >= self.terms.gone_from(end)
    }

    /// Once the watermark is there, nothing at this time can come or go.
    pub(super) fn settled_from(&self, time: i64) -> Watermark {
        self.terms.gone_from(EventTime(time).plus_ms(self.gap_ms))
    }

    /// Once the watermark is there, nothing can come that reaches back to this time.
    pub(super) fn forgotten_from(&self, time: i64) -> Watermark {
        self.settled_from(time.saturating_add(self.gap_ms))
    }

    pub(super) fn are_near(&self, earlier: i64, later: i64) -> bool {
        later.saturating_sub(earlier) < self.gap_ms
    }

    pub(super) fn end_of(&self, last: i64) -> EventTime {
        EventTime(last).plus_ms(self.gap_ms)
    }

    /// The times that a session has as its last if it has not ended.
    pub(super) fn not_ended(&self, watermark: Watermark) -> (Bound<i64>, Bound<i64>) {
        let last = if watermark.0 == i64::MAX { watermark } else { watermark.minus_ms(self.gap_ms) };
        (if last == EventTime::MIN { Bound::Unbounded } else { Bound::Excluded(last.0) }, Bound::Unbounded)
    }

    /// The times that a session has as its last if it ended between these watermarks.
    pub(super) fn ended_between(&self, before: Watermark, now: Watermark) -> Option<(Bound<i64>, Bound<i64>)> {
        match (self.not_ended(before).0, self.not_ended(now).0) {
            (from, Bound::Excluded(to)) if from != Bound::Excluded(to) => Some((from, Bound::Included(to))),
            _ => None,
        }
    }
}
