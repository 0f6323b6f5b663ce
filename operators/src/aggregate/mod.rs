//! Aggregates: what a group of records is summarised to, under records that come *and go*.
//!
//! An [`Aggregate`] is a commutative group in disguise: [`add`](Aggregate::add) takes a record with a positive or a
//! negative difference, and any order of the same differences leads to the same state. That is why windows and running
//! aggregates may work eagerly, whatever worker sends first, and why a retraction needs no second look at the other
//! records (the idea is differential dataflow's `Semigroup`, `difference.rs`). States add up like records
//! ([`merge`](Aggregate::merge)): hopping windows and sessions are made of parts.
//!
//! | aggregate | gives | keeps | a retraction |
//! |---|---|---|---|
//! | [`count`] | how many records | nothing: the group counts them | is subtracted |
//! | [`sum`] | the exact sum | the sum | is subtracted |
//! | [`avg`] | the mean | the sum | is subtracted |
//! | [`percentile`] | the value below which so many lie, to 0.4 % | counts of values that are nearly equal | is subtracted |
//! | [`min`], [`max`] | the least, the greatest value | all values | takes a copy; the next one follows |
//! | [`distinct`] | how many different values | all values | takes a copy; with the last the value is gone |
//! | [`top`], [`bottom`] | the `n` greatest, least values | all values | takes a copy; the next one moves up |
//! | [`first_by`], [`last_by`] | the first, the last record's value | all values, with their order | takes a copy; the next one follows |
//! | [`all_first_by`], [`all_last_by`] | all that share the first, the last place | all values, with their order | takes a copy; the next ones follow |
//! | [`collect`] | all values, sorted | all values | takes a copy |
//! | [`frozen`] | another aggregate, of which the author says that it tells of nobody | what that keeps | as that says, until the window is over |
//! | [`when`] | another aggregate, of some of the records | what that keeps | as that says |
//!
//! What is subtracted is [`Retraction::Linear`], what takes a copy [`Retraction::Complete`]. "All values" are the different ones,
//! each with its number of copies. Those that compare equal must be encoded alike, or which of them stays depends on the order:
//! derived `Ord` is so, and a value that is a `Decimal` is brought to one form here. A decimal inside a pair or a struct is the
//! closure's to normalize.
//!
//! A tuple of up to six aggregates is an aggregate: `(count(), sum(|p: &Payment| p.cents))`.

mod all_first_last;
mod avg;
mod collect;
mod count;
mod distinct;
mod first_last;
mod frozen;
mod group;
mod min_max;
mod multiset;
mod percentile;
mod sum;
mod top;
mod tuple;
mod when;

pub use all_first_last::{AllFirstBy, AllLastBy, all_first_by, all_last_by};
pub use avg::{Avg, avg};
pub use collect::{Collect, collect};
pub use count::{Count, count};
pub use distinct::{Distinct, DistinctValues, distinct};
pub use distributary_runtime::plan::Retraction;
pub use first_last::{FirstBy, LastBy, first_by, last_by};
pub use frozen::{Frozen, frozen};
pub use group::Group;
pub use min_max::{Max, Min, max, min};
pub use percentile::{Measure, Percentile, percentile};
pub use sum::{Sum, Summand, sum};
pub use top::{Bottom, Top, bottom, top};
pub use when::{When, when};

use distributary_runtime::update::{Data, Diff};
use distributary_runtime::user_code::catch;

/// Summarises the records `V` of a group.
///
/// The group itself ([`Group`]) counts its records, so an aggregate never has to tell "nothing there" from "adds up to
/// zero": [`output`](Aggregate::output) is only asked for a group that has records.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, AggregateError, Group, Retraction, count};
/// use distributary_runtime::update::Diff;
///
/// /// The mean, rounded towards zero.
/// struct Mean;
/// impl Aggregate<i32> for Mean {
///     type Input = i32;
///     type State = i128;
///     type Output = i64;
///     fn input(&self, value: &i32) -> Result<i32, AggregateError> { Ok(*value) }
///     fn add(&self, state: &mut i128, input: i32, diff: Diff) { *state += i128::from(input) * i128::from(diff) }
///     fn merge(&self, into: &mut i128, from: &i128) { *into += *from }
///     fn is_zero(&self, state: &i128) -> bool { *state == 0 }
///     fn output(&self, state: &i128, records: u64) -> Result<i64, AggregateError> {
///         i64::try_from(*state / i128::from(records)).map_err(|_| AggregateError::overflow("mean"))
///     }
///     fn describe(&self) -> String { "mean".into() }
///     fn retraction(&self) -> Retraction { Retraction::Linear }
/// }
///
/// let both = (count(), Mean);
/// let mut group = Group::default();
/// for (value, diff) in [(4, 1), (8, 1), (100, 1), (100, -1)] {
///     group.add(&both, both.input(&value).unwrap(), diff);
/// }
/// assert_eq!(group.output(&both), Ok(Some((2, 6))));
///
/// let mut twice = group;
/// twice.merge(&both, &group);
/// assert_eq!(twice.output(&both), Ok(Some((4, 6))));
/// ```
pub trait Aggregate<V>: 'static {
    /// What the user's closure takes from a record.
    type Input;
    /// What is kept for a group; its default is that of a group without records.
    type State: Data + Default;
    /// The result. Results that are equal must be encoded alike: an equal result is not sent again.
    type Output: Data + PartialEq;

    /// Takes from a record what counts. Runs the user's closure, so it may panic: it is called where panics are
    /// caught, before any state is touched.
    ///
    /// # Errors
    /// The record cannot be used; it becomes a dead letter.
    fn input(&self, value: &V) -> Result<Self::Input, AggregateError>;

    /// Adds `diff` copies, or takes them away. Never fails; the same additions in any order lead to an equal state,
    /// even when it passes through a state that no set of records has (a retraction before its record).
    fn add(&self, state: &mut Self::State, input: Self::Input, diff: Diff);

    /// Adds all that `from` holds. A state that is merged of parts is equal to one that all of their records were added to: windows
    /// that share records keep them once, in slices, and sessions grow together and fall apart.
    fn merge(&self, into: &mut Self::State, from: &Self::State);

    /// Whether all that was added has been taken away again: such a state may be forgotten.
    fn is_zero(&self, state: &Self::State) -> bool;

    /// The result for a group of `records` records, at least one.
    ///
    /// # Errors
    /// The result does not fit its type.
    fn output(&self, state: &Self::State, records: u64) -> Result<Self::Output, AggregateError>;

    /// Short text for the plan, such as `sum(i64)`; a pipeline whose text changes does not take over the old state.
    fn describe(&self) -> String;

    /// What a difference of -1 means to it.
    fn retraction(&self) -> Retraction;
}

/// Why an aggregate has no result, or does not take a record. Holds no data of the records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// The result is not representable in the output type.
    #[error("{aggregate}: the result does not fit its type")]
    Overflow {
        /// The aggregate, as it describes itself.
        aggregate: String,
    },
    /// The aggregate refuses the record.
    #[error("{aggregate}: {cause}")]
    Refused {
        /// The aggregate, as it describes itself.
        aggregate: String,
        /// Why.
        cause: String,
    },
}

impl AggregateError {
    /// The result of `aggregate` does not fit.
    pub fn overflow(aggregate: impl Into<String>) -> Self {
        Self::Overflow { aggregate: aggregate.into() }
    }
}

/// Takes an aggregate's input from a record; a panic of the user's closure is a cause like any other.
#[inline]
pub(crate) fn take<V, A: Aggregate<V>>(aggregate: &A, value: &V) -> Result<A::Input, String> {
    catch(|| aggregate.input(value))?.map_err(|e| e.to_string())
}

/// The last part of a type's path: `String` for `alloc::string::String`, `Option<Decimal>` with its arguments.
pub(crate) fn type_name<T>() -> String {
    let mut name = String::new();
    for part in std::any::type_name::<T>().split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        name.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    name
}

#[cfg(test)]
mod tests;
