//! Topics: what they are called, how they are made, how far they go.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A position of a record, or (named `resume`, `upto`, `end`) the next position to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// The position behind this one: where to resume after having read it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a topic; deleting and creating a topic of the same name gives another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// How a topic's records relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicForm {
    /// Every record stands for itself; a correction is a record with the header `op` = `-` and the full before-image.
    #[default]
    Append,
    /// The newest record of a key is its state, a null value deletes it; compacted by key.
    Upsert,
}

/// How a topic is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSpec {
    /// Name: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Append or upsert.
    pub form: TopicForm,
    /// Records older than this go, by their timestamp; `None` keeps them. Upsert topics are compacted instead.
    pub retention_ms: Option<u64>,
    /// The oldest records of a partition go when its bytes exceed this; `None` keeps them.
    pub retention_bytes: Option<u64>,
}

impl TopicSpec {
    /// Seven days: the default retention.
    pub const RETENTION_MS: u64 = 7 * 24 * 3_600_000;

    /// An append topic with the default retention.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions,
            form: TopicForm::Append,
            retention_ms: Some(Self::RETENTION_MS),
            retention_bytes: None,
        }
    }

    /// A journal: one partition that nobody but its owner truncates.
    pub fn journal(name: impl Into<String>) -> Self {
        Self { retention_ms: None, ..Self::new(name, 1) }
    }

    /// An upsert topic: compacted, nothing expires by age.
    pub fn upsert(name: impl Into<String>, partitions: u32) -> Self {
        Self { form: TopicForm::Upsert, retention_ms: None, ..Self::new(name, partitions) }
    }
}

/// A topic as it stands on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// How it was made; `partitions` as of now.
    #[serde(flatten)]
    pub spec: TopicSpec,
}

/// First and next offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: u32,
    /// The oldest offset that is still kept (or would be, in an empty log).
    pub log_start: Offset,
    /// Behind the last record that a reader may see: where the next one goes, or the oldest transaction that is still open.
    pub end: Offset,
}
