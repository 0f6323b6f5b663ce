//! What a pipeline is made of, and how it is started.

use crate::bus::{Bus, Topic};
use crate::error::Result;
use crate::graph::Graph;
use crate::journal::StartRequest;
use crate::metrics::Metrics;
use crate::plan::SinkNode;
use crate::sink::LaneGroup;
use crate::state::CheckpointStore;
use crate::status::Status;
use crate::time::{Clock, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The topics a pipeline works with, by name, as found (or created) at the start.
pub type Topics = BTreeMap<String, Topic>;

/// Builds the dataflow of one worker, and with it the plan.
pub type Build = dyn for<'s> Fn(&Graph<'s>) -> Result<()> + Send + Sync;

/// A job, as the runtime sees it: a name, and a function that builds its dataflow.
#[derive(Clone)]
pub struct Pipeline {
    /// `team.job`; its topics, journal and state are named by it.
    pub name: String,
    /// What it does.
    pub build: Arc<Build>,
}

/// Opens the lanes of a group of sinks.
pub type Connect = dyn Fn(&str, &[&SinkNode], &Topics) -> Result<Arc<dyn LaneGroup>> + Send + Sync;

/// What a pipeline works with.
#[derive(Clone)]
pub struct Components {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Where checkpoints go.
    pub store: CheckpointStore,
    /// The clock of the bindings.
    pub clock: Arc<dyn Clock>,
    /// Opens sinks.
    pub connect: Arc<Connect>,
    /// What is measured.
    pub metrics: Metrics,
    /// Called about once a second, on worker 0, with how things stand.
    pub status: Arc<dyn Fn(&Status) + Send + Sync>,
}

/// How to start.
#[derive(Clone, Copy, Debug)]
pub struct StartOptions {
    /// A random number: the identity of this incarnation.
    pub incarnation: u128,
    /// Resume, or begin a new generation.
    pub request: StartRequest,
    /// Stop in order when everything before this time, by the timestamps of the records, has been read.
    pub until: Option<WallTime>,
    /// Go on behind records that retention has taken, and write that down in the journal.
    pub accept_gap: bool,
    /// Who closes epochs.
    pub minting: Minting,
}

/// Who closes epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minting {
    /// Time and data do.
    Timed,
    /// Only [`Command::Seal`](crate::report::Command::Seal) does: for tests, where nothing may depend on a clock.
    Sealed,
}
