//! What a record of a topic that a pipeline writes says of itself.

use serde::{Deserialize, Serialize};

/// Who wrote a record, and where it stands in the sequence of the results of that pipeline in its partition. The sequence is the same in
/// every replay, so two records of one place are one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The pipeline.
    pub pipeline: String,
    /// Generation, epoch and index, in this order.
    pub place: (u32, u64, u64),
}

impl Written {
    /// Whether it stands behind `other`. Places of different pipelines do not compare: the order of the topic decides.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        self.pipeline != other.pipeline || self.place > other.place
    }
}
