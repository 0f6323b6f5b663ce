//! All values that share the first or the last place of a group, in an order that the records themselves tell. Both keep all values,
//! as [`first_by`](super::first_by) does.

use super::multiset::{self, Multiset, canonical};
use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::{Data, Diff};

/// What `of` takes from each of the records with the least `order`, the least first: [`first_by`](super::first_by), where nobody who is
/// first may be left out.
///
/// A value that came twice stands twice. It keeps order and value of every record of the group.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, all_first_by};
/// let cheapest = all_first_by(|offer: &(u64, &'static str)| offer.0, |offer| offer.1.to_string());
/// let mut group = Group::default();
/// for offer in [(70, "river"), (40, "sea"), (40, "brook")] {
///     group.add(&cheapest, cheapest.input(&offer).unwrap(), 1);
/// }
/// assert_eq!(group.output(&cheapest), Ok(Some(vec!["brook".to_string(), "sea".to_string()])));
/// ```
pub fn all_first_by<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static>(
    order: B,
    of: F,
) -> AllFirstBy<B, F> {
    AllFirstBy { order, of }
}

/// What `of` takes from each of the records with the greatest `order`, the least first; as [`all_first_by`].
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, all_last_by};
/// let highest = all_last_by(|bid: &(u64, char)| bid.0, |bid| bid.1);
/// let mut group = Group::default();
/// for (bid, diff) in [((900, 'a'), 1), ((70, 'c'), 1), ((70, 'b'), 1), ((5, 'd'), 1), ((900, 'a'), -1)] {
///     group.add(&highest, highest.input(&bid).unwrap(), diff);
/// }
/// assert_eq!(group.output(&highest), Ok(Some(vec!['b', 'c'])));
/// ```
pub fn all_last_by<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static>(
    order: B,
    of: F,
) -> AllLastBy<B, F> {
    AllLastBy { order, of }
}

/// See [`all_first_by`].
#[derive(Clone, Copy, Debug)]
pub struct AllFirstBy<B, F> {
    order: B,
    of: F,
}

/// See [`all_last_by`].
#[derive(Clone, Copy, Debug)]
pub struct AllLastBy<B, F> {
    order: B,
    of: F,
}

/// The values of the first pairs, as long as their order is the same.
fn shared<'a, O: Ord + 'a, T: Data + Ord + 'a>(mut pairs: impl Iterator<Item = &'a (O, T)>) -> Vec<T> {
    let Some((order, first)) = pairs.next() else { return Vec::new() };
    let others = pairs.take_while(|(of, _)| of == order).map(|(_, value)| value);
    std::iter::once(first).chain(others).cloned().collect()
}

macro_rules! outermost {
    ($aggregate:ident, $name:literal, $pairs:ident => $values:expr) => {
        impl<V, O: Data + Ord, T: Data + Ord, B: Fn(&V) -> O + 'static, F: Fn(&V) -> T + 'static> Aggregate<V>
            for $aggregate<B, F>
        {
            type Input = (O, T);
            type State = Multiset<(O, T)>;
            type Output = Vec<T>;

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

            fn output(&self, $pairs: &Multiset<(O, T)>, _: u64) -> Result<Vec<T>, AggregateError> {
                Ok($values)
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

outermost!(AllFirstBy, "all_first_by", pairs => shared(multiset::ascending(pairs)));
outermost!(AllLastBy, "all_last_by", pairs => {
    let mut values = shared(multiset::descending(pairs));
    values.reverse();
    values
});
