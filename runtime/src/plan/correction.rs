//! How an operator takes back what it has counted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a difference of -1 does to what an operator keeps: how a result becomes right again when a record is corrected, or deleted
/// with its subject.
///
/// Either way the result is afterwards what the other records give, as if the retracted one had never been there. And either way
/// only as long as the group is kept: see [`Horizon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retraction {
    /// What the record contributed is subtracted. The state is a sum: it does not grow with the records, and of their values it
    /// holds nothing but that.
    Linear,
    /// One copy of the record's value is taken out of the values that are kept. The state holds those of all records of a
    /// group that lives: it grows with them, and is as personal as they are.
    Complete,
    /// As the one or the other while the group is kept. What has been said by then stands, whoever is deleted: the job's author says
    /// that it tells of nobody.
    Frozen,
}

impl Retraction {
    /// That of two aggregates over the same records: complete if one of them is, frozen if one is that and none complete.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Complete, _) | (_, Self::Complete) => Self::Complete,
            (Self::Frozen, _) | (_, Self::Frozen) => Self::Frozen,
            (Self::Linear, Self::Linear) => Self::Linear,
        }
    }
}

/// How long an operator can take a record back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Horizon {
    /// As long as it has the record: it forgets none.
    Always,
    /// So long in event time behind the point from where it takes nothing new.
    Behind {
        /// Milliseconds.
        ms: i64,
    },
}

/// How an operator takes back what it has counted, and how long.
///
/// ```
/// use distributary_runtime::plan::{Correction, Horizon, Retraction};
/// let horizon = Horizon::Behind { ms: 7_200_000 };
/// assert_eq!(Correction { retraction: Retraction::Complete, horizon }.to_string(), "complete, for 2h");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// How.
    pub retraction: Retraction,
    /// How long.
    pub horizon: Horizon,
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.retraction {
            Retraction::Linear => "linear, ",
            Retraction::Complete => "complete, ",
            Retraction::Frozen => "frozen, ",
        })?;
        match self.horizon {
            Horizon::Always => f.write_str("always"),
            Horizon::Behind { ms } if ms % 3_600_000 == 0 && ms > 0 => write!(f, "for {}h", ms / 3_600_000),
            Horizon::Behind { ms } => write!(f, "for {ms}ms"),
        }
    }
}
