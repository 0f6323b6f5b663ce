//! An aggregate of some of the records of a group.

use super::{Aggregate, AggregateError, Group, Retraction};
use distributary_runtime::update::Diff;

/// What `aggregate` makes of those records of the group for which `is` holds; nothing if there are none: SQL's `FILTER (WHERE ..)`.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, count, max, when};
/// let cents = |(_, cents): &(&'static str, i64)| *cents;
/// let of_bars = (count(), when(|(what, _): &(&str, i64)| *what == "bar", (count(), max(cents))));
/// let mut group = Group::default();
/// for payment in [("bar", 5), ("card", 9), ("bar", 7)] {
///     group.add(&of_bars, of_bars.input(&payment).unwrap(), 1);
/// }
/// assert_eq!(group.output(&of_bars), Ok(Some((3, Some((2, 7))))));
/// ```
pub fn when<V, A: Aggregate<V>, P: Fn(&V) -> bool + 'static>(is: P, aggregate: A) -> When<P, A> {
    When { is, aggregate }
}

/// See [`when`].
#[derive(Clone, Copy, Debug)]
pub struct When<P, A> {
    is: P,
    aggregate: A,
}

/// Those records are a group of their own.
impl<V, A: Aggregate<V>, P: Fn(&V) -> bool + 'static> Aggregate<V> for When<P, A> {
    type Input = Option<A::Input>;
    type State = Group<A::State>;
    type Output = Option<A::Output>;

    #[inline]
    fn input(&self, value: &V) -> Result<Self::Input, AggregateError> {
        (self.is)(value).then(|| self.aggregate.input(value)).transpose()
    }

    #[inline]
    fn add(&self, state: &mut Self::State, input: Self::Input, diff: Diff) {
        if let Some(input) = input {
            state.add(&self.aggregate, input, diff);
        }
    }

    fn merge(&self, into: &mut Self::State, from: &Self::State) {
        into.merge(&self.aggregate, from);
    }

    fn is_zero(&self, state: &Self::State) -> bool {
        state.is_zero(&self.aggregate)
    }

    fn output(&self, state: &Self::State, _: u64) -> Result<Self::Output, AggregateError> {
        state.output(&self.aggregate)
    }

    fn describe(&self) -> String {
        format!("when({})", self.aggregate.describe())
    }

    fn retraction(&self) -> Retraction {
        self.aggregate.retraction()
    }
}
