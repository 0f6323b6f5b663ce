//! An aggregate that tells of nobody.

use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::Diff;

/// The same aggregate, of which the job's author says that it tells of nobody: what a window has said by when it is over stands, whoever is
/// deleted after that. The plan shows it. Without this, and without a correction horizon
/// ([`Graph::correct_for`](distributary_runtime::graph::Graph::correct_for)), a window over events with a subject is refused an aggregate
/// that keeps its values.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Retraction, frozen, max};
/// let most = max(|cents: &i64| *cents);
/// assert_eq!(Aggregate::<i64>::retraction(&frozen(most)), Retraction::Frozen);
/// ```
pub fn frozen<A>(aggregate: A) -> Frozen<A> {
    Frozen(aggregate)
}

/// See [`frozen`].
#[derive(Clone, Copy, Debug)]
pub struct Frozen<A>(A);

impl<V, A: Aggregate<V>> Aggregate<V> for Frozen<A> {
    type Input = A::Input;
    type State = A::State;
    type Output = A::Output;

    #[inline]
    fn input(&self, value: &V) -> Result<Self::Input, AggregateError> {
        self.0.input(value)
    }

    #[inline]
    fn add(&self, state: &mut Self::State, input: Self::Input, diff: Diff) {
        self.0.add(state, input, diff);
    }

    fn merge(&self, into: &mut Self::State, from: &Self::State) {
        self.0.merge(into, from);
    }

    fn is_zero(&self, state: &Self::State) -> bool {
        self.0.is_zero(state)
    }

    fn output(&self, state: &Self::State, records: u64) -> Result<Self::Output, AggregateError> {
        self.0.output(state, records)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn retraction(&self) -> Retraction {
        Retraction::Frozen
    }
}
