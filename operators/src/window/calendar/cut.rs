//! *Pure*: where days and months begin and end in a time zone.

use super::super::Window;
use super::super::fixed::Intervals;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use distributary_runtime::time::EventTime;

/// What a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Month,
}

impl Unit {
    /// As it stands in the plan.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Month => "monthly",
        }
    }

    /// The first date of the interval with this date.
    fn first(self, date: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => date,
            Self::Month => date.with_day(1).unwrap_or(date),
        }
    }

    /// The first date of the next interval.
    fn behind(self, first: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => first + Days::new(1),
            Self::Month => first + Months::new(1),
        }
    }

    /// The first date of the interval before.
    fn before(self, first: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => first - Days::new(1),
            Self::Month => first - Months::new(1),
        }
    }
}

/// How a calendar cuts time.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) unit: Unit,
    pub(super) zone: Tz,
}

impl Intervals for Cut {
    /// The last interval that has begun by then and the next that begins behind it. By the beginnings alone: where clocks have gone
    /// back over midnight, the date of a later time may be an earlier one, and where they have gone forward over a whole day, two
    /// begin at once.
    fn of(&self, time: EventTime) -> Window {
        let (from, to) = (EventTime(-CALENDAR_MS), EventTime(CALENDAR_MS));
        if time < from || to <= time {
            return if time < from {
                Window { start: EventTime::MIN, end: from }
            } else {
                Window { start: to, end: EventTime(i64::MAX) }
            };
        }
        let mut first = self.unit.before(self.unit.first(self.date(time)));
        let mut start = self.start_of(first);
        loop {
            first = self.unit.behind(first);
            let end = self.start_of(first);
            if end > time {
                return Window { start: start.max(from), end: end.min(to) };
            }
            start = end;
        }
    }
}

/// So far before and behind 1970 there are dates, about 190,000 years. What is farther is one window.
pub(super) const CALENDAR_MS: i64 = 6_000_000_000_000_000;

/// Clocks of different zones are less than this apart at any moment, and a zone never changed by more.
const FAR_MS: i64 = 2 * 24 * 3_600_000;

impl Cut {
    /// What calendars show at this time.
    fn date(self, time: EventTime) -> NaiveDate {
        let Some(utc) = DateTime::from_timestamp_millis(time.0) else { unreachable!("there is a date within the calendar") };
        utc.with_timezone(&self.zone).date_naive()
    }

    /// The moment at which clocks first show midnight of this date, or what comes behind it where they skip that.
    fn start_of(self, date: NaiveDate) -> EventTime {
        let midnight = date.and_time(NaiveTime::MIN);
        if let Some(start) = self.zone.from_local_datetime(&midnight).earliest() {
            return EventTime(start.timestamp_millis());
        }
        let has_come = |ms: i64| {
            let utc = midnight + TimeDelta::milliseconds(ms);
            self.zone.from_utc_datetime(&utc).naive_local() >= midnight
        };
        let (mut not_yet, mut by_then) = (-FAR_MS, FAR_MS);
        while by_then - not_yet > 1 {
            let middle = not_yet + (by_then - not_yet) / 2;
            if has_come(middle) { by_then = middle } else { not_yet = middle }
        }
        EventTime(midnight.and_utc().timestamp_millis() + by_then)
    }
}
