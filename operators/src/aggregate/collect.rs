//! All values of a group.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};

/// All of what `of` takes from the records, the least first; a value that came twice stands twice.
///
/// For groups that stay small: the result is as large as the group, and with every change the whole of it goes out anew.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, collect};
/// let items = collect(|item: &u32| *item);
/// let mut group = Group::default();
/// for (item, diff) in [(9, 1), (2, 1), (9, 1), (4, 1), (4, -1)] {
///     group.add(&items, items.input(&item).unwrap(), diff);
/// }
/// assert_eq!(group.output(&items), Ok(Some(vec![2, 9, 9])));
/// ```
pub fn collect<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(of: F) -> Collect<F> {
    Collect(of)
}

/// See [`collect`].
#[derive(Clone, Copy, Debug)]
pub struct Collect<F>(F);

impl<V, T: Data + Ord, F: Fn(&V) -> T + 'static> Aggregate<V> for Collect<F> {
    type Input = T;
    type State = Multiset<T>;
    type Output = Vec<T>;

    fn input(&self, value: &V) -> Result<T, AggregateError> {
        Ok(canonical((self.0)(value)))
    }

    fn add(&self, state: &mut Multiset<T>, input: T, diff: Diff) {
        multiset::add(state, input, diff);
    }

    fn merge(&self, into: &mut Multiset<T>, from: &Multiset<T>) {
        multiset::merge(into, from);
    }

    fn is_zero(&self, state: &Multiset<T>) -> bool {
        state.is_empty()
    }

    fn output(&self, state: &Multiset<T>, _: u64) -> Result<Vec<T>, AggregateError> {
        Ok(multiset::ascending(state).cloned().collect())
    }

    fn describe(&self) -> String {
        format!("collect({})", super::type_name::<T>())
    }

    fn retraction(&self) -> Retraction {
        Retraction::Complete
    }
}
