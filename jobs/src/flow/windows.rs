//! How a stream is cut into windows.

use super::keyed::millis;
use distributary_operators as operators;
use std::time::Duration;

/// How event time is cut: [`tumbling`], [`hopping`], [`session`], [`daily`], [`monthly`].
pub trait Windows: 'static {
    /// The same for an operator.
    fn cut(self) -> impl operators::Windows;
}

/// Windows of one length, one behind the other, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling(pub(super) operators::Tumbling);

impl Windows for Tumbling {
    fn cut(self) -> impl operators::Windows {
        self.0
    }
}

/// Windows of this length, one behind the other.
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, job, mins, secs, topic, tumbling};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
/// struct Call { call: u64, at: Timestamp }
///
/// #[job(team = "ops")]
/// fn load(flow: &Flow) -> Result<()> {
///     flow.read::<Call>()?.key_by(|_| ()).window(tumbling(mins(1)).lateness(secs(5))).aggregate("calls", count()).to(topic("ops.calls"));
///     Ok(())
/// }
///
/// let mut t = TestJob::new(load);
/// t.push(Call { call: 1, at: secs(3).into() }).push(Call { call: 2, at: secs(59).into() }).advance_to(secs(60));
/// assert_eq!(t.rows("ops.calls").json()[0]["value"], 2);
/// ```
#[must_use]
pub fn tumbling(size: Duration) -> Tumbling {
    Tumbling(operators::tumbling(millis(size)))
}

impl Tumbling {
    /// How long a window still takes records after its end was passed; its result is corrected then.
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }

    /// Results before the end as well: each time event time has gone on by this much, what a window has so far. In a table or an upsert topic the
    /// next one takes its place; in a topic it is taken back. When a record is taken back, because its subject is deleted say, what was said of it does
    /// not wait for the next time: it is corrected at once.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, job, mins, secs, topic, tumbling};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
    /// struct Call { call: u64, at: Timestamp }
    ///
    /// #[job(team = "ops")]
    /// fn load(flow: &Flow) -> Result<()> {
    ///     let windows = tumbling(mins(1)).early(secs(10));
    ///     flow.read::<Call>()?.key_by(|_| ()).window(windows).aggregate("load", count()).to(topic("ops.load"));
    ///     Ok(())
    /// }
    ///
    /// let mut t = TestJob::new(load);
    /// t.push(Call { call: 1, at: secs(3).into() }).push(Call { call: 2, at: secs(8).into() }).advance_to(secs(10));
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 2);
    /// t.push(Call { call: 3, at: secs(31).into() }).advance_to(secs(60));
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 3);
    /// ```
    #[must_use]
    pub fn early(self, every: Duration) -> Self {
        Self(self.0.early(millis(every)))
    }
}

/// Windows of one length that overlap, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Hopping(operators::Hopping);

/// Windows of length `size`, one of which begins every `slide`: `hopping(hours(1), mins(5))` is the last hour, every five minutes. What
/// a record costs does not depend on how many windows it is in.
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, hopping, job, mins, secs, topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
/// struct Call { call: u64, at: Timestamp }
///
/// #[job(team = "ops")]
/// fn load(flow: &Flow) -> Result<()> {
///     flow.read::<Call>()?.key_by(|_| ()).window(hopping(mins(2), mins(1))).aggregate("calls", count()).to(topic("ops.calls"));
///     Ok(())
/// }
///
/// let mut t = TestJob::new(load);
/// t.push(Call { call: 1, at: secs(3).into() }).push(Call { call: 2, at: secs(61).into() }).advance_to(mins(3));
/// let rows = t.rows("ops.calls").json();
/// assert_eq!(rows.iter().map(|row| row["value"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 1]);
/// ```
#[must_use]
pub fn hopping(size: Duration, slide: Duration) -> Hopping {
    Hopping(operators::hopping(millis(size), millis(slide)))
}

impl Windows for Hopping {
    fn cut(self) -> impl operators::Windows {
        self.0
    }
}

impl Hopping {
    /// See [`Tumbling::lateness`].
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }

    /// See [`Tumbling::early`].
    #[must_use]
    pub fn early(self, every: Duration) -> Self {
        Self(self.0.early(millis(every)))
    }
}

/// Windows that records make by being near each other.
#[derive(Clone, Copy, Debug)]
pub struct Session(operators::Session);

/// Sessions: records of a key of which each is less than `gap` behind the one before. A session ends `gap` behind its last record.
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, job, mins, secs, session, topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
/// struct Call { call: u64, at: Timestamp }
///
/// #[job(team = "ops")]
/// fn visits(flow: &Flow) -> Result<()> {
///     flow.read::<Call>()?.key_by(|_| ()).window(session(secs(30))).aggregate("calls", count()).to(topic("ops.calls"));
///     Ok(())
/// }
///
/// let mut t = TestJob::new(visits);
/// t.push(Call { call: 1, at: secs(3).into() }).push(Call { call: 2, at: secs(20).into() }).push(Call { call: 3, at: secs(90).into() });
/// t.advance_to(mins(3));
/// let rows = t.rows("ops.calls").json();
/// assert_eq!(rows.iter().map(|row| row["value"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1]);
/// ```
#[must_use]
pub fn session(gap: Duration) -> Session {
    Session(operators::session(millis(gap)))
}

impl Windows for Session {
    fn cut(self) -> impl operators::Windows {
        self.0
    }
}

impl Session {
    /// See [`Tumbling::lateness`].
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }
}

/// Days or months of a time zone.
#[derive(Clone, Debug)]
pub struct Calendar(operators::Calendar);

/// Days from midnight to midnight in a time zone of the IANA database, with its daylight saving: some have 23 hours, some 25.
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, daily, hours, job, topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
/// struct Call { call: u64, at: Timestamp }
///
/// #[job(team = "ops")]
/// fn days(flow: &Flow) -> Result<()> {
///     flow.read::<Call>()?.key_by(|_| ()).window(daily("Europe/Vienna")).aggregate("calls", count()).to(topic("ops.calls"));
///     Ok(())
/// }
///
/// let mut t = TestJob::new(days);
/// t.push(Call { call: 1, at: hours(22).into() }).push(Call { call: 2, at: hours(23).into() }).advance_to(hours(47));
/// let rows = t.rows("ops.calls").json();
/// assert_eq!(rows.iter().map(|row| row["value"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1]);
/// ```
#[must_use]
pub fn daily(zone: &str) -> Calendar {
    Calendar(operators::daily(zone))
}

/// Months in a time zone of the IANA database; as [`daily`].
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, days, job, monthly, topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
/// struct Call { call: u64, at: Timestamp }
///
/// #[job(team = "ops")]
/// fn months(flow: &Flow) -> Result<()> {
///     flow.read::<Call>()?.key_by(|_| ()).window(monthly("Europe/Vienna")).aggregate("calls", count()).to(topic("ops.calls"));
///     Ok(())
/// }
///
/// let mut t = TestJob::new(months);
/// t.push(Call { call: 1, at: days(3).into() }).push(Call { call: 2, at: days(30).into() }).advance_to(days(31));
/// assert_eq!(t.rows("ops.calls").json()[0]["value"], 2);
/// ```
#[must_use]
pub fn monthly(zone: &str) -> Calendar {
    Calendar(operators::monthly(zone))
}

impl Windows for Calendar {
    fn cut(self) -> impl operators::Windows {
        self.0
    }
}

impl Calendar {
    /// See [`Tumbling::lateness`].
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }

    /// See [`Tumbling::early`].
    #[must_use]
    pub fn early(self, every: Duration) -> Self {
        Self(self.0.early(millis(every)))
    }
}
