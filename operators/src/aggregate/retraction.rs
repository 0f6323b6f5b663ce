//! What a retraction means to an aggregate.

/// What a difference of -1 does to an aggregate's state: how a result becomes right again when a record is corrected, or deleted
/// with its subject.
///
/// Either way the result is afterwards what the other records give, as if the retracted one had never been there. And either way
/// only as long as the group is kept: a window that is over refuses the correction as late.
///
/// ```
/// use distributary_operators::aggregate::{Aggregate, Retraction, count, max, sum};
/// let spend = (count(), sum(|cents: &i64| *cents));
/// assert_eq!(Aggregate::<i64>::retraction(&spend), Retraction::Linear);
/// assert_eq!(Aggregate::<i64>::retraction(&(spend, max(|cents: &i64| *cents))), Retraction::Complete);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retraction {
    /// What the record contributed is subtracted. The state is a sum: it does not grow with the records, and of their values it
    /// holds nothing but that.
    Linear,
    /// One copy of the record's value is taken out of the values that are kept. The state holds those of all records of a
    /// group that lives: it grows with them, and is as personal as they are.
    Complete,
}

impl Retraction {
    /// That of two aggregates over the same records: complete if one of them is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::Linear => other,
            Self::Complete => self,
        }
    }
}
