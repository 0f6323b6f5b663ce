//! The mean of integers or decimals: of their exact sum, so it is the same in any order.

use super::{Aggregate, AggregateError, Retraction, Summand};
use distributary_runtime::update::Diff;

/// The mean of what `of` takes from each record.
///
/// Of integers it is an integer, rounded down (an `i64` of signed, a `u64` of unsigned ones): it always fits. Of decimals it is
/// a decimal without trailing zeros, rounded to the nearest with as many digits as there is room for; it has no result where the
/// exact sum needs more than 38 digits. Of floats there is none, as there is no [`sum`](super::sum) of them.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, avg};
/// let cents = avg(|payment: &(&str, i64)| payment.1);
/// let mut group = Group::default();
/// for (payment, diff) in [(("u1", 500), 1), (("u2", 20), 1), (("u3", 25), 1), (("u1", 500), -1)] {
///     group.add(&cents, cents.input(&payment).unwrap(), diff);
/// }
/// assert_eq!(group.output(&cents), Ok(Some(22)));
/// ```
pub fn avg<V, X: Summand, F: Fn(&V) -> X + 'static>(of: F) -> Avg<F> {
    Avg(of)
}

/// See [`avg`].
#[derive(Clone, Copy, Debug)]
pub struct Avg<F>(F);

/// Keeps the sum: the group counts its records already.
impl<V, X: Summand, F: Fn(&V) -> X + 'static> Aggregate<V> for Avg<F> {
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

    fn output(&self, state: &X::State, records: u64) -> Result<X::Total, AggregateError> {
        X::mean(state, records).ok_or_else(|| AggregateError::overflow(Aggregate::<V>::describe(self)))
    }

    fn describe(&self) -> String {
        format!("avg({})", super::type_name::<X>())
    }

    fn retraction(&self) -> Retraction {
        Retraction::Linear
    }
}
