//! The least and the greatest value of a group. Both keep all distinct values, so that the next one is known when it goes.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};

/// The least of what `of` takes from each record.
///
/// It keeps every distinct value of the group: bounded in a window, but growing for ever in a running aggregate over values that
/// never repeat (amounts do, timestamps do not). Where nothing is retracted, a `fold` that keeps the extremum alone will do.
///
/// Values that compare equal must be encoded alike (derived `Ord` is so; a plain `Decimal` is brought to that form here).
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, min};
/// let least = min(|v: &i32| *v);
/// let mut group = Group::default();
/// for (value, diff) in [(3, 1), (1, 1), (2, 1), (1, -1)] {
///     group.add(&least, least.input(&value).unwrap(), diff);
/// }
/// assert_eq!(group.output(&least), Ok(Some(2)));
/// ```
pub fn min<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(of: F) -> Min<F> {
    Min(of)
}

/// The greatest of what `of` takes from each record; as [`min`].
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, max};
/// let longest = max(|word: &&str| word.len());
/// let mut group = Group::default();
/// group.add(&longest, longest.input(&"river").unwrap(), 1);
/// assert_eq!(group.output(&longest), Ok(Some(5)));
/// ```
pub fn max<V, T: Data + Ord, F: Fn(&V) -> T + 'static>(of: F) -> Max<F> {
    Max(of)
}

/// See [`min`].
#[derive(Clone, Copy, Debug)]
pub struct Min<F>(F);

/// See [`max`].
#[derive(Clone, Copy, Debug)]
pub struct Max<F>(F);

macro_rules! extremum {
    ($aggregate:ident, $name:literal, $find:ident) => {
        impl<V, T: Data + Ord, F: Fn(&V) -> T + 'static> Aggregate<V> for $aggregate<F> {
            type Input = T;
            type State = Multiset<T>;
            type Output = T;

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

            fn output(&self, state: &Multiset<T>, _: u64) -> Result<T, AggregateError> {
                let Some((value, _)) = state.iter().$find(|(_, copies)| **copies > 0) else {
                    unreachable!("a group of {} with records has a value that came more often than it went", $name)
                };
                Ok(value.clone())
            }

            fn describe(&self) -> String {
                format!(concat!($name, "({})"), super::type_name::<T>())
            }

            fn retraction(&self) -> Retraction {
                Retraction::Complete
            }
        }
    };
}

extremum!(Min, "min", find);
extremum!(Max, "max", rfind);
