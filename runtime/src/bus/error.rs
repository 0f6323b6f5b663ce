//! What a bus answers when it cannot do what it is asked.

use super::{Offset, TopicId};
use crate::response::Response;

/// What a bus answers when it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no such topic.
    #[error("topic `{0}` does not exist; create it: `topic create {0}`")]
    NoTopic(String),
    /// The topic has another id than at the start, or is gone.
    #[error(
        "topic {topic} was deleted or re-created under its reader; its offsets mean nothing any more: start a new generation \
         (`run --from-zero`)"
    )]
    TopicChanged {
        /// The id that is gone.
        topic: TopicId,
    },
    /// There is no such partition.
    #[error("topic {topic} has no partition {partition}")]
    NoPartition {
        /// Name or id of the topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// Records that were to be read are gone.
    #[error(
        "{topic}[{partition}]: offset {resume} is out of range, the log holds {log_start}..{end}; records were lost to \
         retention: raise it, or accept the gap with `--accept-gap`"
    )]
    OutOfRange {
        /// Name or id of the topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Where reading was to go on.
        resume: Offset,
        /// The oldest offset there is.
        log_start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// A record is larger than the bus takes.
    #[error("a record of {bytes} bytes for `{topic}` is larger than the bus takes ({max} bytes)")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Size of the record.
        bytes: u64,
        /// The most the bus takes.
        max: u64,
    },
    /// Another incarnation owns the lane.
    #[error("lane `{lane}` belongs to another incarnation")]
    Fenced {
        /// The lane.
        lane: String,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The bus could not be reached or failed; the same call may succeed later.
    #[error("bus: {what}: {reason}")]
    Unavailable {
        /// What was being done.
        what: String,
        /// The bus's own words.
        reason: String,
    },
}

impl BusError {
    /// What the caller does about it.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::Unavailable { .. } => Response::Retry,
            Self::Fenced { .. } => Response::StopProcess,
            Self::TooLarge { .. } => Response::DeadLetter,
            _ => Response::StopPipeline,
        }
    }
}
