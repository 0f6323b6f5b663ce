//! The greatest and the least values of a group, as many as are asked for. Both keep all values, so that the next one is known when
//! one goes.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};

/// The `n` greatest of what `of` takes from each record, the greatest first; fewer where there are fewer.
///
/// A value that came twice stands twice. Values that are to have something beside them are pairs: of `(p.cents, p.id)` those with
/// the most cents come first, by id where these are equal. It keeps every value of the group, as [`max`](super::max) does.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, top};
/// let largest = top(2, |cents: &i64| *cents);
/// let mut group = Group::default();
/// for (cents, diff) in [(5, 1), (900, 1), (70, 1), (70, 1), (900, -1)] {
///     group.add(&largest, largest.input(&cents).unwrap(), diff);
/// }
/// assert_eq!(group.output(&largest), Ok(Some(vec![70, 70])));
/// ```
pub fn top<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(n: usize, of: F) -> Top<F> {
    Top(n, of)
}

/// The `n` least of what `of` takes from each record, the least first; as [`top`].
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, bottom};
/// let shortest = bottom(2, |word: &&str| word.len());
/// let mut group = Group::default();
/// for word in ["river", "sea", "brook"] {
///     group.add(&shortest, shortest.input(&word).unwrap(), 1);
/// }
/// assert_eq!(group.output(&shortest), Ok(Some(vec![3, 5])));
/// ```
pub fn bottom<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(n: usize, of: F) -> Bottom<F> {
    Bottom(n, of)
}

/// See [`top`].
#[derive(Clone, Copy, Debug)]
pub struct Top<F>(usize, F);

/// See [`bottom`].
#[derive(Clone, Copy, Debug)]
pub struct Bottom<F>(usize, F);

macro_rules! extreme {
    ($aggregate:ident, $name:literal, $order:ident) => {
        impl<V, T: Data + Ord, F: Fn(&V) -> T + 'static> Aggregate<V> for $aggregate<F> {
            type Input = T;
            type State = Multiset<T>;
            type Output = Vec<T>;

            fn input(&self, value: &V) -> Result<T, AggregateError> {
                Ok(canonical((self.1)(value)))
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
                Ok(multiset::$order(state).take(self.0).cloned().collect())
            }

            fn describe(&self) -> String {
                format!(concat!($name, "({}, {})"), self.0, super::type_name::<T>())
            }

            fn retraction(&self) -> Retraction {
                Retraction::Complete
            }
        }
    };
}

extreme!(Top, "top", descending);
extreme!(Bottom, "bottom", ascending);
