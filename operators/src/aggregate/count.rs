//! Counts the records of a group.

use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::Diff;

/// The number of records in the group.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, count};
/// let count = count();
/// let mut group = Group::default();
/// for (word, diff) in [("a", 1), ("b", 1), ("a", -1)] {
///     group.add::<&str, _>(&count, Aggregate::<&str>::input(&count, &word).unwrap(), diff);
/// }
/// assert_eq!(group.output::<&str, _>(&count), Ok(Some(1)));
/// ```
#[must_use]
pub fn count() -> Count {
    Count
}

/// See [`count`].
#[derive(Clone, Copy, Debug)]
pub struct Count;

/// Keeps nothing: the group counts its records already.
impl<V> Aggregate<V> for Count {
    type Input = ();
    type State = ();
    type Output = u64;

    fn input(&self, _: &V) -> Result<(), AggregateError> {
        Ok(())
    }

    fn add(&self, (): &mut (), (): (), _: Diff) {}

    fn merge(&self, (): &mut (), (): &()) {}

    fn is_zero(&self, (): &()) -> bool {
        true
    }

    fn output(&self, (): &(), records: u64) -> Result<u64, AggregateError> {
        Ok(records)
    }

    fn describe(&self) -> String {
        "count".into()
    }

    fn retraction(&self) -> Retraction {
        Retraction::Linear
    }
}
