//! How a running pipeline stands.

use crate::bus::Offset;
use crate::time::{Epoch, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a pipeline stands: what `why` and `lag` show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `team.job`.
    pub pipeline: String,
    /// Whether it is still replaying.
    pub recovering: bool,
    /// Newest epoch that was closed.
    pub closed: Epoch,
    /// Newest epoch every operator has done with.
    pub worked: Epoch,
    /// Newest epoch the journal holds.
    pub durable: Epoch,
    /// Newest epoch each lane has applied.
    pub applied: BTreeMap<String, Epoch>,
    /// Epochs and bytes in flight.
    pub in_flight: (usize, u64),
    /// Whether the bounds of what may be in flight are reached.
    pub full: bool,
    /// Questions of look-ups that records wait for the answers to, and how many may wait.
    #[serde(default)]
    pub questions: (u64, u64),
    /// Newest complete checkpoint.
    pub checkpoint: Option<Epoch>,
    /// The checkpoint being written.
    pub checkpoint_pending: Option<Epoch>,
    /// Offsets still to be read; `None` before every partition has told where it ends.
    #[serde(default)]
    pub lag: Option<u64>,
    /// The pipeline's watermark, if it has one yet.
    pub watermark_ms: Option<i64>,
    /// The partition that holds the watermark back: `topic[partition]`.
    pub slowest: Option<String>,
    /// Partitions that somebody's open transaction blocks.
    pub blocked: Vec<BlockedPartition>,
}

/// A source partition that an open transaction blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// Where the oldest open transaction begins.
    pub position: Offset,
    /// Where the log ends.
    pub end: Offset,
    /// Since when it is blocked.
    pub since: WallTime,
}
