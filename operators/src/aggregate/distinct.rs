//! How many different values a group has, exactly.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};
use serde::{Deserialize, Serialize};

/// The number of different values of what `of` takes from each record.
///
/// It is exact, and so keeps every value of the group, as [`max`](super::max) does: take from a record no more than tells it
/// apart (an id, not the payment).
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, distinct};
/// let merchants = distinct(|merchant: &&'static str| merchant.len());
/// let mut group = Group::default();
/// for (merchant, diff) in [("tea", 1), ("pea", 1), ("coffee", 1), ("tea", -1)] {
///     group.add(&merchants, merchants.input(&merchant).unwrap(), diff);
/// }
/// assert_eq!(group.output(&merchants), Ok(Some(2)), "one of three letters is left");
/// ```
pub fn distinct<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(of: F) -> Distinct<F> {
    Distinct(of)
}

/// See [`distinct`].
#[derive(Clone, Copy, Debug)]
pub struct Distinct<F>(F);

/// The values of a group, and how many they are: they are counted as they come and go, not at each result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistinctValues<T: Ord> {
    values: Multiset<T>,
    /// Those of them that came more often than they went.
    present: u64,
}

impl<T: Ord> DistinctValues<T> {
    fn add(&mut self, value: T, diff: Diff) {
        let copies = multiset::add(&mut self.values, value, diff);
        self.present = self.present + u64::from(copies.after > 0) - u64::from(copies.before > 0);
    }
}

impl<T: Ord> Default for DistinctValues<T> {
    fn default() -> Self {
        Self { values: Multiset::new(), present: 0 }
    }
}

impl<V, T: Data + Ord, F: Fn(&V) -> T + 'static> Aggregate<V> for Distinct<F> {
    type Input = T;
    type State = DistinctValues<T>;
    type Output = u64;

    fn input(&self, value: &V) -> Result<T, AggregateError> {
        Ok(canonical((self.0)(value)))
    }

    fn add(&self, state: &mut DistinctValues<T>, input: T, diff: Diff) {
        state.add(input, diff);
    }

    fn merge(&self, into: &mut DistinctValues<T>, from: &DistinctValues<T>) {
        from.values.iter().for_each(|(value, copies)| into.add(value.clone(), *copies));
    }

    fn is_zero(&self, state: &DistinctValues<T>) -> bool {
        state.values.is_empty()
    }

    fn output(&self, state: &DistinctValues<T>, _: u64) -> Result<u64, AggregateError> {
        Ok(state.present)
    }

    fn describe(&self) -> String {
        format!("distinct({})", super::type_name::<T>())
    }

    fn retraction(&self) -> Retraction {
        Retraction::Complete
    }
}
