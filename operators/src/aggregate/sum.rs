//! Sums of integers and decimals: exact, in any order. (Floats have no order-independent sum, so there is none.)

use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The sum of what `of` takes from each record.
///
/// Signed integers add up to an `i64`, unsigned ones to a `u64`, decimals to a [`Decimal`] without trailing zeros. What
/// is kept cannot overflow: a sum that does not fit its type (for decimals: or needs more than 38 digits on the way) is
/// an error only until enough of it is retracted.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, sum};
/// let cents = sum(|payment: &(&str, i64)| payment.1);
/// let mut group = Group::default();
/// for (payment, diff) in [(("u1", 500), 1), (("u2", 20), 1), (("u1", 500), -1)] {
///     group.add(&cents, cents.input(&payment).unwrap(), diff);
/// }
/// assert_eq!(group.output(&cents), Ok(Some(20)));
/// ```
pub fn sum<V, X: Summand, F: Fn(&V) -> X + 'static>(of: F) -> Sum<F> {
    Sum(of)
}

/// See [`sum`].
#[derive(Clone, Copy, Debug)]
pub struct Sum<F>(F);

impl<V, X: Summand, F: Fn(&V) -> X + 'static> Aggregate<V> for Sum<F> {
    type Input = X;
    type State = X::State;
    type Output = X::Total;

    fn input(&self, value: &V) -> Result<X, AggregateError> {
        Ok((self.0)(value))
    }

    #[inline]
    fn add(&self, state: &mut X::State, input: X, diff: Diff) {
        input.add_to(state, diff);
    }

    fn merge(&self, into: &mut X::State, from: &X::State) {
        X::merge(into, from);
    }

    fn is_zero(&self, state: &X::State) -> bool {
        X::is_zero(state)
    }

    fn output(&self, state: &X::State, _: u64) -> Result<X::Total, AggregateError> {
        X::total(state).ok_or_else(|| AggregateError::overflow(Aggregate::<V>::describe(self)))
    }

    fn describe(&self) -> String {
        format!("sum({})", super::type_name::<X>())
    }

    fn retraction(&self) -> Retraction {
        Retraction::Linear
    }
}

/// A number with an exact sum, and a mean that follows from it.
pub trait Summand: 'static {
    /// The sum so far, wide enough for every intermediate value.
    type State: Data + Default;
    /// The type of a sum, and of a mean.
    type Total: Data + PartialEq;

    /// Adds `diff` times this number.
    fn add_to(self, state: &mut Self::State, diff: Diff);

    /// Adds another sum.
    fn merge(into: &mut Self::State, from: &Self::State);

    /// Whether the sum is zero.
    fn is_zero(state: &Self::State) -> bool;

    /// The sum, or `None` when it does not fit.
    fn total(state: &Self::State) -> Option<Self::Total>;

    /// The sum, divided by how many numbers it consists of and rounded; `None` when it does not fit, or of no numbers.
    fn mean(state: &Self::State, records: u64) -> Option<Self::Total>;
}

/// An `i128` holds 2^64 of the largest products; wrapping keeps even nonsense independent of the order.
macro_rules! integer_summand {
    ($total:ty: $($integer:ty)*) => {$(
        impl Summand for $integer {
            type State = i128;
            type Total = $total;

            #[inline]
            fn add_to(self, state: &mut i128, diff: Diff) {
                *state = state.wrapping_add(i128::from(self).wrapping_mul(i128::from(diff)));
            }

            fn merge(into: &mut i128, from: &i128) {
                *into = into.wrapping_add(*from);
            }

            fn is_zero(state: &i128) -> bool {
                *state == 0
            }

            fn total(state: &i128) -> Option<$total> {
                <$total>::try_from(*state).ok()
            }

            /// Rounded down, whatever the sign.
            fn mean(state: &i128, records: u64) -> Option<$total> {
                <$total>::try_from(state.checked_div_euclid(i128::from(records))?).ok()
            }
        }
    )*};
}

integer_summand!(i64: i8 i16 i32 i64);
integer_summand!(u64: u8 u16 u32 u64);

/// `Decimal` rounds and overflows when it adds, which depends on the order: so mantissas of the same scale are added
/// as integers, and only the result becomes a decimal.
impl Summand for Decimal {
    type State = DecimalSum;
    type Total = Decimal;

    fn add_to(self, state: &mut DecimalSum, diff: Diff) {
        let (mantissa, diff) = (self.mantissa(), i128::from(diff));
        // A mantissa has 96 bits. In halves, both sums stay as far from the ends of an i128 as those of integers.
        let (low, high) = ((mantissa & LOW).wrapping_mul(diff), (mantissa >> LOW_BITS).wrapping_mul(diff));
        state.add(self.scale(), Mantissas { low, high });
    }

    fn merge(into: &mut DecimalSum, from: &DecimalSum) {
        from.0.iter().for_each(|(scale, sum)| into.add(*scale, *sum));
    }

    fn is_zero(state: &DecimalSum) -> bool {
        state.0.is_empty()
    }

    fn total(state: &DecimalSum) -> Option<Decimal> {
        let (total, scale) = state.exact()?;
        Decimal::try_from_i128_with_scale(total, scale).ok()
    }

    /// A long division, rounded to the nearest (halves away from zero): the sum need not fit a decimal where its mean does.
    fn mean(state: &DecimalSum, records: u64) -> Option<Decimal> {
        let (total, mut scale) = state.exact()?;
        let (size, mut divisor) = (total.unsigned_abs(), u128::from(records));
        if divisor == 0 {
            return None;
        }
        // Digits on the right that leave a decimal no room for those on the left.
        while scale > 0 && size.div_ceil(divisor) > MANTISSA_MAX {
            (divisor, scale) = (divisor * 10, scale - 1);
        }
        let (mut mean, mut rest) = (size / divisor, size % divisor);
        while rest != 0 && scale < Decimal::MAX_SCALE && mean < MANTISSA_MAX / 10 {
            (mean, rest, scale) = (mean * 10 + rest * 10 / divisor, rest * 10 % divisor, scale + 1);
        }
        let nearest = mean + u128::from(rest * 2 >= divisor);
        let mean = i128::try_from(nearest).ok()? * total.signum();
        Decimal::try_from_i128_with_scale(mean, scale).ok().map(|mean| mean.normalize())
    }
}

/// A sum of decimals: for each scale the sum of its mantissas. Scales whose sum is zero are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecimalSum(BTreeMap<u32, Mantissas>);

impl DecimalSum {
    fn add(&mut self, scale: u32, mantissas: Mantissas) {
        let sum = self.0.entry(scale).or_default();
        sum.low = sum.low.wrapping_add(mantissas.low);
        sum.high = sum.high.wrapping_add(mantissas.high);
        if sum.value() == Some(0) {
            self.0.remove(&scale);
        }
    }

    /// The sum as a mantissa without trailing zeros, and its scale; `None` where it needs more than 38 digits on the way.
    fn exact(&self) -> Option<(i128, u32)> {
        // From the finest scale on, without its trailing zeros, so that only digits which count need room.
        let mut total = 0_i128;
        let mut scale = 0;
        for (at, sum) in self.0.iter().rev() {
            let value = sum.value()?;
            if total == 0 {
                (total, scale) = (value, *at);
                continue;
            }
            while scale > *at && total % 10 == 0 {
                (total, scale) = (total / 10, scale - 1);
            }
            total = 10_i128.checked_pow(scale - at)?.checked_mul(value)?.checked_add(total)?;
        }
        while scale > 0 && total % 10 == 0 {
            (total, scale) = (total / 10, scale - 1);
        }
        Some((total, scale))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mantissas {
    low: i128,
    high: i128,
}

/// The most that a decimal's 96 bits hold.
const MANTISSA_MAX: u128 = Decimal::MAX.mantissa().unsigned_abs();
const LOW_BITS: u32 = 64;
const LOW: i128 = (1 << LOW_BITS) - 1;

impl Mantissas {
    /// The sum; `None` beyond an `i128`, where no decimal is.
    fn value(self) -> Option<i128> {
        self.high.checked_mul(1 << LOW_BITS)?.checked_add(self.low)
    }
}
