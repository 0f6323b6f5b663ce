//! The value below which so many of a group's values lie, nearly: by counts of values that are nearly equal.

use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};
use std::collections::BTreeMap;

/// The value of what `of` takes from the records below or at which `percent` of them lie (nearest rank): `percentile(99.9, |p: &Ping| p.ms)`.
///
/// It is right to within 1/256 (0.4 %) of the value, and exact for whole numbers from -256 to 255. What is kept is how many values each of the
/// intervals has that are so wide: at most 128 for each power of two that occurs. Of a decimal take the whole number of its
/// smallest unit. A float that is no number has none: its record is a dead letter. What is not from 0 to 100 is taken as the nearer of these.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, percentile};
/// let slow = percentile(90.0, |ms: &u32| *ms);
/// let mut group = Group::default();
/// for ms in (1..=10).chain([70_000]) {
///     group.add(&slow, slow.input(&ms).unwrap(), 1);
/// }
/// assert_eq!(group.output(&slow), Ok(Some(10)));
/// group.add(&slow, slow.input(&3).unwrap(), -1);
/// group.add(&slow, slow.input(&90_000).unwrap(), 1);
/// let nearly = group.output(&slow).unwrap().unwrap();
/// assert!((70_000 - 70_000 / 256..=70_000 + 70_000 / 256).contains(&nearly));
/// ```
///
/// The intervals are those of DDSketch with linear interpolation (Masson, Rim, Lee: *DDSketch*, VLDB 2019): exponent and first bits of the
/// value. No logarithm is taken, which machines round differently, and counts are whole numbers, so that a retraction is subtracted.
pub fn percentile<V, T: Measure, F: Fn(&V) -> T + 'static>(percent: f64, of: F) -> Percentile<F> {
    // To a millionth: a rank is computed of whole numbers.
    Percentile { millionths: (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32, of }
}

/// See [`percentile`].
#[derive(Clone, Copy, Debug)]
pub struct Percentile<F> {
    millionths: u32,
    of: F,
}

const MILLION: u128 = 1_000_000;

impl<V, T: Measure, F: Fn(&V) -> T + 'static> Aggregate<V> for Percentile<F> {
    type Input = i32;
    /// How many values each interval has. Those with none are absent, so that equal groups are equal states.
    type State = BTreeMap<i32, Diff>;
    type Output = T;

    fn input(&self, value: &V) -> Result<i32, AggregateError> {
        let refused = || AggregateError::Refused { aggregate: Aggregate::<V>::describe(self), cause: "not a number".into() };
        (self.of)(value).interval().ok_or_else(refused)
    }

    fn add(&self, state: &mut BTreeMap<i32, Diff>, input: i32, diff: Diff) {
        super::multiset::add(state, input, diff);
    }

    fn merge(&self, into: &mut BTreeMap<i32, Diff>, from: &BTreeMap<i32, Diff>) {
        super::multiset::merge(into, from);
    }

    fn is_zero(&self, state: &BTreeMap<i32, Diff>) -> bool {
        state.is_empty()
    }

    fn output(&self, state: &BTreeMap<i32, Diff>, records: u64) -> Result<T, AggregateError> {
        let rank = (u128::from(records) * u128::from(self.millionths)).div_ceil(MILLION).max(1);
        let mut below = 0;
        let interval = state.iter().find(|(_, copies)| {
            below += u128::try_from(**copies).unwrap_or(0);
            below >= rank
        });
        // Only while a retraction stands before its record there are fewer; the greatest is as good as any until then.
        let Some((interval, _)) = interval.or(state.last_key_value()) else {
            unreachable!("a group with records has a value that came more often than it went")
        };
        Ok(T::middle(*interval))
    }

    fn describe(&self) -> String {
        format!("percentile({}, {})", f64::from(self.millionths) / 10_000.0, super::type_name::<T>())
    }

    fn retraction(&self) -> Retraction {
        Retraction::Linear
    }
}

/// A value of which there is a [`percentile`]: integers and floats.
pub trait Measure: Data + PartialEq {
    /// The interval it lies in, in the order of the values; `None` if it is not a number.
    fn interval(self) -> Option<i32>;

    /// What stands for the values of an interval.
    fn middle(interval: i32) -> Self;
}

/// So many first bits of a value count, beside the leading one.
const BITS: u32 = 7;

/// Values below have an interval of their own.
const EXACT: u64 = 1 << (BITS + 1);

/// The interval of an absolute value: itself, or exponent and first bits.
fn interval_of(value: u64) -> i32 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    // The first bits are from 128 to 255 here: they go on where the intervals of the exponent before have ended.
    (shift as i32) * (1 << BITS) + (value >> shift) as i32
}

fn middle_of(interval: i32) -> u64 {
    let interval = interval.unsigned_abs();
    if u64::from(interval) < EXACT {
        return interval.into();
    }
    let shift = (interval >> BITS) - 1;
    let first = u64::from(interval) - (u64::from(shift) << BITS);
    (first << shift) + (1 << shift >> 1)
}

macro_rules! measure {
    ($($type:ty),+) => {$(
        impl Measure for $type {
            fn interval(self) -> Option<i32> {
                // Below zero by their distance from -1, for which there is always room.
                Some(if self >= 0 { interval_of(self as u64) } else { -1 - interval_of(!(self as i64) as u64) })
            }

            fn middle(interval: i32) -> Self {
                if interval >= 0 { middle_of(interval) as Self } else { !(middle_of(-1 - interval) as i64) as Self }
            }
        }
    )+};
}

macro_rules! unsigned_measure {
    ($($type:ty),+) => {$(
        impl Measure for $type {
            fn interval(self) -> Option<i32> {
                Some(interval_of(self.into()))
            }

            fn middle(interval: i32) -> Self {
                middle_of(interval) as Self
            }
        }
    )+};
}

measure!(i8, i16, i32, i64);
unsigned_measure!(u8, u16, u32, u64);

/// Bits of a float behind those that count: its exponent and as many of the others.
const FLOAT_SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - BITS;

impl Measure for f64 {
    fn interval(self) -> Option<i32> {
        let interval = (self.abs().to_bits() >> FLOAT_SHIFT) as i32;
        self.is_finite().then_some(if self < 0.0 { -interval } else { interval })
    }

    fn middle(interval: i32) -> Self {
        let bits = u64::from(interval.unsigned_abs()) << FLOAT_SHIFT;
        let middle = if interval == 0 { 0.0 } else { Self::from_bits(bits | 1 << (FLOAT_SHIFT - 1)) };
        if interval < 0 { -middle } else { middle }
    }
}
