//! Event time as jobs see it, and short names for durations.

use distributary_runtime::time::EventTime;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// A point in time: milliseconds since the Unix epoch, UTC.
///
/// In JSON it is read from an integer (milliseconds) or from RFC 3339 text with an offset, and written as RFC 3339 text
/// with milliseconds; what is finer than a millisecond is cut off. In state and journal it is a plain `i64`.
///
/// ```
/// use distributary::{Timestamp, secs};
/// let at: Timestamp = serde_json::from_str("\"2024-05-01T14:00:00.5+02:00\"").unwrap();
/// assert_eq!(at, Timestamp::from_millis(1_714_564_800_500));
/// assert_eq!((at + secs(1)).to_string(), "2024-05-01T12:00:01.500Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    ///
    /// ```
    /// use distributary::{Timestamp, millis};
    /// let (a, b) = (Timestamp::from_millis(5), Timestamp::from_millis(12));
    /// assert_eq!((b.since(a), a.since(b)), (millis(7), millis(0)));
    /// ```
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let ms = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// The start of the interval of this length (counted from the Unix epoch) that holds this point; itself for a
    /// length below 1 ms.
    ///
    /// ```
    /// use distributary::{Timestamp, secs};
    /// assert_eq!(Timestamp::from_millis(19_999).floor(secs(10)), Timestamp::from_millis(10_000));
    /// assert_eq!(Timestamp::from_millis(-1).floor(secs(10)), Timestamp::from_millis(-10_000));
    /// ```
    #[must_use]
    pub fn floor(self, length: Duration) -> Self {
        let past = self.0.checked_rem_euclid(duration_ms(length)).unwrap_or(0);
        Self(self.0.saturating_sub(past))
    }
}

/// Milliseconds of a duration, cut off at what an `i64` holds.
fn duration_ms(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Later by a duration, without overflow.
impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(duration_ms(d)))
    }
}

/// Earlier by a duration, without overflow.
impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ms(d)))
    }
}

/// This long after the Unix epoch: tests count time from there.
impl From<Duration> for Timestamp {
    fn from(d: Duration) -> Self {
        Self(duration_ms(d))
    }
}

impl From<Timestamp> for EventTime {
    fn from(t: Timestamp) -> Self {
        Self(t.0)
    }
}

impl From<EventTime> for Timestamp {
    fn from(t: EventTime) -> Self {
        Self(t.0)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(t: jiff::Timestamp) -> Self {
        let ms = t.as_nanosecond().div_euclid(1_000_000);
        Self(i64::try_from(ms).unwrap_or_else(|_| unreachable!("jiff's years end at 9999")))
    }
}

/// RFC 3339 with milliseconds; outside the years -9999 to 9999, which that cannot write, the milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// The text is not RFC 3339 with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATimestamp;

impl fmt::Display for NotATimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time: write RFC 3339 with an offset, such as `2024-05-01T12:00:00Z`")
    }
}

impl std::error::Error for NotATimestamp {}

impl FromStr for Timestamp {
    type Err = NotATimestamp;
    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        text.parse::<jiff::Timestamp>().map(Self::from).map_err(|_| NotATimestamp)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // By the name a table knows a time, and may ask for the integer inside; formats do not write it.
        s.serialize_newtype_struct(EventTime::NAME, &Inside(*self))
    }
}

struct Inside(Timestamp);

impl Serialize for Inside {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(time) = self;
        // The integer where text is impossible: what was read must be writable, for instance into a dead letter.
        if s.is_human_readable() && jiff::Timestamp::from_millisecond(time.0).is_ok() {
            s.collect_str(time)
        } else {
            s.serialize_i64(time.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() { d.deserialize_any(FromJson) } else { i64::deserialize(d).map(Self) }
    }
}

struct FromJson;

impl Visitor<'_> for FromJson {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Timestamp::EXPECTED)
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(ms))
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
        i64::try_from(ms).map(Timestamp).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl Timestamp {
    /// What decoding says it wanted; the codec repeats it in a cause.
    pub(crate) const EXPECTED: &str = "a time (RFC 3339 text with an offset, or integer milliseconds)";
}

/// `n` milliseconds.
#[must_use]
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
#[must_use]
pub const fn mins(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

/// `n` hours.
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(3_600))
}

/// `n` days of 24 hours.
#[must_use]
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_takes_milliseconds_and_rfc_3339_and_writes_rfc_3339() {
        for text in ["1714564800123", "\"2024-05-01T12:00:00.123Z\"", "\"2024-05-01T05:00:00.1239-07:00\""] {
            let t: Timestamp = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&t).unwrap(), "\"2024-05-01T12:00:00.123Z\"", "{text}");
        }
        assert_eq!("1969-12-31T23:59:59.9991Z".parse(), Ok(Timestamp::from_millis(-1)));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in ["\"2024-05-01T12:00:00\"", "\"noon\"", "1.5", "18446744073709551615", "true", "null", "{}"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_value_survives_json_and_state() {
        for ms in [i64::MIN, -377_705_116_800_001, -1, 0, 1, 253_402_300_800_000, i64::MAX] {
            let t = Timestamp::from_millis(ms);
            assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&t).unwrap()).unwrap(), t);
            let state = distributary_runtime::key::encode(&t).unwrap();
            assert_eq!(state, distributary_runtime::key::encode(&ms).unwrap());
            assert_eq!(distributary_runtime::key::decode::<Timestamp>(&state).unwrap(), t);
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let max = Timestamp::from_millis(i64::MAX);
        assert_eq!(max + days(1), max);
        assert_eq!(Timestamp::from_millis(i64::MIN) - Duration::MAX, Timestamp::from_millis(i64::MIN));
        assert_eq!(max.since(Timestamp::from_millis(i64::MIN)), millis(u64::MAX));
        assert_eq!(Timestamp::from_millis(7).floor(Duration::ZERO), Timestamp::from_millis(7));
        assert_eq!(hours(2), mins(120));
    }
}
