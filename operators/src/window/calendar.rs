//! Days and months, as the calendar of a time zone has them.

mod cut;

use super::fixed::{Intervals, fixed};
use super::terms::Terms;
use super::{PerWindow, Window, Windows};
use crate::aggregate::Aggregate;
use crate::key_by::Keyed;
use chrono_tz::Tz;
use cut::{Cut, Unit};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Data;

/// Days from midnight to midnight in a time zone of the IANA database: 23 hours long when clocks go forward, 25 when they go back.
///
/// The rules of all zones are in the program, so that every machine cuts alike; they are those of its `chrono-tz`.
///
/// ```
/// use distributary_operators::daily;
/// use distributary_runtime::time::EventTime;
/// let vienna = daily("Europe/Vienna").lateness(60_000);
/// let hours = |time| {
///     let day = vienna.window_of(EventTime(time));
///     (day.end.0 - day.start.0) / 3_600_000
/// };
/// assert_eq!(hours(1_743_300_000_000), 23, "30 March 2025");
/// assert_eq!(hours(1_761_450_000_000), 25, "26 October 2025");
/// ```
#[must_use]
pub fn daily(zone: &str) -> Calendar {
    Calendar::new(Unit::Day, zone)
}

/// Months from the midnight before the first day to that behind the last, in a time zone of the IANA database; as [`daily`].
///
/// ```
/// use distributary_operators::monthly;
/// use distributary_runtime::time::EventTime;
/// let march = monthly("Europe/Vienna").window_of(EventTime(1_743_300_000_000));
/// assert_eq!((march.end.0 - march.start.0) / 3_600_000, 31 * 24 - 1);
/// ```
#[must_use]
pub fn monthly(zone: &str) -> Calendar {
    Calendar::new(Unit::Month, zone)
}

/// See [`daily`] and [`monthly`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    unit: Unit,
    /// As it was given; UTC stands in for one that is not known, until the plan is refused.
    name: String,
    zone: Option<Tz>,
    terms: Terms,
}

impl Calendar {
    fn new(unit: Unit, zone: &str) -> Self {
        Self { unit, name: zone.into(), zone: zone.parse().ok(), terms: Terms::NONE }
    }

    /// See [`Tumbling::lateness`](super::Tumbling::lateness).
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { terms: self.terms.lateness(ms), ..self }
    }

    /// See [`Tumbling::early`](super::Tumbling::early).
    #[must_use]
    pub fn early(self, every_ms: i64) -> Self {
        Self { terms: self.terms.early(every_ms), ..self }
    }

    /// The window that a point in time belongs to.
    #[must_use]
    pub fn window_of(&self, time: EventTime) -> Window {
        Cut { unit: self.unit, zone: self.zone.unwrap_or(Tz::UTC) }.of(time)
    }
}

impl Windows for Calendar {
    fn over<'s, K: Key, V: Data, A: Aggregate<V>>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Keyed<K, V>>,
        name: &str,
        aggregate: A,
    ) -> Outputs<'s, Keyed<K, V>, PerWindow<K, A::Output>> {
        if self.zone.is_none() {
            let what = format!("window `{name}`: there is no time zone `{}`", self.name);
            graph.refuse(Error::refused(what, "write its name in the IANA database, such as `Europe/Vienna` or `UTC`"));
        }
        let (kind, cut) = (self.unit.kind(), Cut { unit: self.unit, zone: self.zone.unwrap_or(Tz::UTC) });
        let terms = self.terms.for_graph(graph, name);
        fixed(graph, input, name, (&format!("{kind} {}", self.name), cut, terms), aggregate)
    }
}

#[cfg(test)]
mod tests;
