//! Time: the epoch that timely orders work by, event time, and the clock that comes in as an argument.

use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use std::fmt;
use timely::PartialOrder;
use timely::progress::Timestamp;
use timely::progress::timestamp::{PathSummary, Refines};

/// The one timely timestamp: the unit of atomic progress of a pipeline.
///
/// Epochs are minted one after the other and never restart in the life of a pipeline, so `e.next()` always exists.
///
/// ```
/// use distributary_runtime::time::Epoch;
/// assert_eq!(Epoch(7).next(), Epoch(8));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch minted after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialOrder for Epoch {
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }
}

impl Timestamp for Epoch {
    type Summary = ();
    fn minimum() -> Self {
        Self(0)
    }
}

impl timely::order::TotalOrder for Epoch {}

/// What differential's views ask of a time.
impl Lattice for Epoch {
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }
    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

/// The outermost scope of a dataflow has no time of its own.
impl Refines<()> for Epoch {
    fn to_inner((): ()) -> Self {
        Self(0)
    }
    fn to_outer(self) {}
    fn summarize((): ()) {}
}

/// No path of a pipeline advances an epoch: there are no loops outside a view.
impl PathSummary<Epoch> for () {
    fn results_in(&self, src: &Epoch) -> Option<Epoch> {
        Some(*src)
    }
    fn followed_by(&self, _: &Self) -> Option<Self> {
        Some(())
    }
}

/// A point in event time (or, as [`Watermark`], a claim about it): milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
// By this name a table knows that its column is a time.
#[serde(rename(serialize = "distributary::EventTime"))]
pub struct EventTime(pub i64);

impl EventTime {
    /// What it calls itself when it is written.
    pub const NAME: &'static str = "distributary::EventTime";

    /// Before every event: what a partition that has delivered nothing claims.
    pub const MIN: Self = Self(i64::MIN);

    /// `ms` later, without overflow.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// `ms` earlier; [`EventTime::MIN`] stays what it is.
    #[must_use]
    pub fn minus_ms(self, ms: i64) -> Self {
        if self == Self::MIN { self } else { Self(self.0.saturating_sub(ms)) }
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MIN { f.write_str("-") } else { self.0.fmt(f) }
    }
}

/// A claim that no event older than this is still to be accepted on time.
pub type Watermark = EventTime;

/// Wall-clock time of this machine: milliseconds since the Unix epoch. Only the minter and the bus read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WallTime(pub i64);

/// Where time comes from. Operators never see one: they read the binding.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> WallTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the pipeline's clock enters")]
    fn now(&self) -> WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        WallTime(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A monotonic stopwatch for intervals and metrics; never for results.
#[allow(clippy::disallowed_methods, reason = "the one place where intervals are measured")]
#[must_use]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// A clock that stands still until it is set: for tests and the test harness.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: WallTime) -> Self {
        Self(std::sync::atomic::AtomicI64::new(now.0))
    }

    /// Moves the hands.
    pub fn set(&self, now: WallTime) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> WallTime {
        WallTime(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
