//! The first and the last value of a group, in an order that the records themselves tell. Both keep all values, so that the next
//! one is known when one goes.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};

/// What `of` takes from the record with the least `order`, such as its time.
///
/// Where several have the least, it is the least of their values: which record came in first never matters. It keeps order and
/// value of every record of the group, as [`min`](super::min) does.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, first_by};
/// let first = first_by(|visit: &(i64, &'static str)| visit.0, |visit| visit.1.len());
/// let mut group = Group::default();
/// for (visit, diff) in [((12, "home"), 1), ((7, "basket"), 1), ((3, "help"), 1), ((3, "help"), -1)] {
///     group.add(&first, first.input(&visit).unwrap(), diff);
/// }
/// assert_eq!(group.output(&first), Ok(Some(6)), "the basket");
/// ```
pub fn first_by<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static>(
    order: B,
    of: F,
) -> FirstBy<B, F> {
    FirstBy { order, of }
}

/// What `of` takes from the record with the greatest `order`; where several have it, the greatest of their values. As [`first_by`].
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, last_by};
/// let balance = last_by(|account: &(u64, i64)| account.0, |account| account.1);
/// let mut group = Group::default();
/// for account in [(2, 700), (3, 50), (1, 900)] {
///     group.add(&balance, balance.input(&account).unwrap(), 1);
/// }
/// assert_eq!(group.output(&balance), Ok(Some(50)));
/// ```
pub fn last_by<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static>(
    order: B,
    of: F,
) -> LastBy<B, F> {
    LastBy { order, of }
}

/// See [`first_by`].
#[derive(Clone, Copy, Debug)]
pub struct FirstBy<B, F> {
    order: B,
    of: F,
}

/// See [`last_by`].
#[derive(Clone, Copy, Debug)]
pub struct LastBy<B, F> {
    order: B,
    of: F,
}

macro_rules! outermost {
    ($aggregate:ident, $name:literal, $direction:ident) => {
        impl<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static> Aggregate<V>
            for $aggregate<B, F>
        {
            type Input = (O, T);
            type State = Multiset<(O, T)>;
            type Output = T;

            fn input(&self, value: &V) -> Result<(O, T), AggregateError> {
                Ok((canonical((self.order)(value)), canonical((self.of)(value))))
            }

            fn add(&self, state: &mut Multiset<(O, T)>, input: (O, T), diff: Diff) {
                multiset::add(state, input, diff);
            }

            fn merge(&self, into: &mut Multiset<(O, T)>, from: &Multiset<(O, T)>) {
                multiset::merge(into, from);
            }

            fn is_zero(&self, state: &Multiset<(O, T)>) -> bool {
                state.is_empty()
            }

            fn output(&self, state: &Multiset<(O, T)>, _: u64) -> Result<T, AggregateError> {
                let Some((_, value)) = multiset::$direction(state).next() else {
                    unreachable!("a group of {} with records has a value that came more often than it went", $name)
                };
                Ok(value.clone())
            }

            fn describe(&self) -> String {
                format!(concat!($name, "({}, {})"), super::type_name::<O>(), super::type_name::<T>())
            }

            fn retraction(&self) -> Retraction {
                Retraction::Complete
            }
        }
    };
}

outermost!(FirstBy, "first_by", ascending);
outermost!(LastBy, "last_by", descending);
