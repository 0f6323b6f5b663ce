//! The records of one key (and window), summarised.

use super::{Aggregate, AggregateError};
use distributary_runtime::update::Diff;
use serde::{Deserialize, Serialize};

/// How many records a group has, and what an aggregate made of them.
///
/// Within an epoch a retraction may be added before its record: the count is negative then, and the group simply has
/// no result. Only [`Group::is_zero`] says that it may be forgotten.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Group, max};
/// let largest = max(|v: &u8| *v);
/// let mut group = Group::default();
/// group.add(&largest, 9, -1);
/// assert_eq!(group.output(&largest), Ok(None));
/// group.add(&largest, 9, 1);
/// assert!(group.is_zero(&largest));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group<S> {
    records: Diff,
    state: S,
}

impl<S> Group<S> {
    /// Adds `diff` copies of a record, given as the aggregate's input.
    #[inline]
    pub fn add<V, A: Aggregate<V, State = S>>(&mut self, aggregate: &A, input: A::Input, diff: Diff) {
        // Wrapping addition stays commutative and takes back what it added; no bus holds 2^63 records.
        self.records = self.records.wrapping_add(diff);
        aggregate.add(&mut self.state, input, diff);
    }

    /// Adds all that another group holds.
    pub fn merge<V, A: Aggregate<V, State = S>>(&mut self, aggregate: &A, from: &Self) {
        self.records = self.records.wrapping_add(from.records);
        aggregate.merge(&mut self.state, &from.state);
    }

    /// The result; `None` when the group has no records.
    ///
    /// # Errors
    /// The result does not fit its type.
    pub fn output<V, A: Aggregate<V, State = S>>(&self, aggregate: &A) -> Result<Option<A::Output>, AggregateError> {
        match u64::try_from(self.records) {
            Ok(records) if records > 0 => aggregate.output(&self.state, records).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether it has records: more came than went.
    pub(crate) fn has_records(&self) -> bool {
        self.records > 0
    }

    /// Whether nothing is left of what was added.
    pub fn is_zero<V, A: Aggregate<V, State = S>>(&self, aggregate: &A) -> bool {
        self.records == 0 && aggregate.is_zero(&self.state)
    }
}
