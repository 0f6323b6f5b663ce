//! Sinks: lanes, their one committer, their one marker.
//!
//! A sink encodes its results into [`OutRecord`]s. A lane collects those of all sinks of its group, and writes a
//! contiguous run of closed, durable epochs together with its marker in one step ([`LaneSink::commit`]).

use crate::binding::Range;
use crate::bus::{Header, Marker, Token};
use crate::error::Result;
use crate::time::{Epoch, EventTime, WallTime};
use crate::update::{Diff, Origin};
use serde::{Deserialize, Serialize};

/// What a sink promises about results after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Results and marker are one atomic step: each result is visible once.
    ExactlyOnce,
    /// The store keeps the newest epoch of each row: a repeated write changes nothing.
    Idempotent,
    /// After a crash the results since the last marker may come again.
    AtLeastOnce,
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ExactlyOnce => "exactly-once",
            Self::Idempotent => "idempotent",
            Self::AtLeastOnce => "at-least-once",
        })
    }
}

/// One encoded result on its way to a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutRecord {
    /// Which sink of the plan it belongs to.
    pub sink: u16,
    /// The output partition; a partition is written by exactly one lane (partition modulo lanes).
    pub partition: u32,
    /// Identity and order.
    pub origin: Origin,
    /// Copies that come or go.
    pub diff: Diff,
    /// Encoded key.
    pub key: Option<Vec<u8>>,
    /// Encoded value.
    pub value: Option<Vec<u8>>,
    /// Headers of the sink's own; the lane adds the standard ones.
    pub headers: Vec<Header>,
}

impl OutRecord {
    /// The canonical order within an epoch: total, because ties of the origin are broken by the bytes.
    #[must_use]
    pub fn canonical(&self, other: &Self) -> std::cmp::Ordering {
        let place = |r: &Self| (r.sink, r.partition, r.origin, r.diff);
        place(self)
            .cmp(&place(other))
            .then_with(|| (&self.key, &self.value, &self.headers).cmp(&(&other.key, &other.value, &other.headers)))
    }
}

/// The results of one closed epoch in one lane, in canonical order.
#[derive(Clone, Debug)]
pub struct LaneEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// When it was closed: the timestamp of its results.
    pub closed_at: WallTime,
    /// What the pipeline claims of event time at its close.
    pub watermark: EventTime,
    /// What the epoch takes from the sources. Of epochs without results it stands in the next one that is written: from run to run there is
    /// no gap.
    pub sources: Vec<Range>,
    /// The results.
    pub records: Vec<OutRecord>,
    /// Whether the marker must become durable at this epoch even if nothing was written (a checkpoint waits for it).
    pub mark: bool,
}

/// A run of closed and durable epochs, to be written in one atomic step.
#[derive(Debug)]
pub struct Run {
    /// The marker before it.
    pub previous: Option<Marker>,
    /// The marker after it.
    pub marker: Marker,
    /// The epochs, in order, without a gap.
    pub epochs: Vec<LaneEpoch>,
}

/// The writing end of one lane. Lives on the lane's own thread; opened before the replay, so that fencing comes first.
pub trait LaneSink: Send {
    /// Makes this incarnation the only writer, and returns what the lane has made visible.
    ///
    /// # Errors
    /// A newer incarnation has been here, or the store failed.
    fn fence(&mut self, token: Token) -> Result<Option<Marker>>;

    /// Sends as much of a run as can be sent while nobody sees it, beside the journal's append of its bindings. The next
    /// call is the commit of the same run, or none at all: then nothing of it may ever be seen.
    ///
    /// # Errors
    /// As [`LaneSink::commit`].
    fn prepare(&mut self, _run: &Run) -> Result<()> {
        Ok(())
    }

    /// Writes a run and its marker.
    ///
    /// # Errors
    /// The store failed; whether the run stands is decided by a new `fence`, which returns the marker.
    fn commit(&mut self, run: &Run) -> Result<()>;
}

/// What a group of sinks needs to know when its lanes are opened.
#[derive(Clone, Debug)]
pub struct LaneContext {
    /// `team.job` and tier: the pipeline's full name.
    pub pipeline: String,
    /// Generation of the results.
    pub generation: u32,
    /// Number of this lane within its group.
    pub lane: u32,
    /// How many lanes write; one with this number or a greater one is only fenced.
    pub lanes: u32,
    /// The newest epoch that the journal holds: nothing behind it can have been written.
    pub last_epoch: Epoch,
}

/// Sinks that share lanes: all topic sinks of a pipeline are one group, a file is a group of its own.
pub trait LaneGroup: Send + Sync {
    /// What its sinks promise.
    fn guarantee(&self) -> Guarantee;

    /// Opens one lane. Nothing is written before [`LaneSink::fence`].
    ///
    /// # Errors
    /// The store cannot be opened.
    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>>;
}
