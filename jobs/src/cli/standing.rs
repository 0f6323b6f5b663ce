//! Where a pipeline stands, read from its journal and its newest checkpoint: exact, whether it runs or not.

use crate::job::TierOf;
use crate::{Error, Result, run};
use distributary_runtime::binding::{Feed, PartitionPosition, Positions, SourcePartition};
use distributary_runtime::bus::{Bus, Offset, PartitionOffsets, Topic};
use distributary_runtime::engine;
use distributary_runtime::journal::History;
use distributary_runtime::plan::Plan;
use distributary_runtime::start;
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::time::{Clock, EventTime, SystemClock, WallTime, Watermark};
use serde::Serialize;
use std::time::Duration;

/// A running pipeline may retire the checkpoint that we have just read about: then there is a newer one to read.
const READS_MAX: usize = 5;
/// How long to wait for the record that shows how old a lag is.
const POLL_WAIT: Duration = Duration::from_secs(1);

/// A job with everything that tells how it stands.
pub(super) struct Standing {
    /// `team.job`.
    pub(super) pipeline: String,
    pub(super) plan: Plan,
    /// What the journal says; empty when the job was never started.
    pub(super) history: History,
    /// Up to where epochs are bound.
    pub(super) positions: Positions,
}

/// A partition of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lag {
    pub(super) pipeline: String,
    pub(super) topic: String,
    pub(super) partition: u32,
    /// Next offset to bind.
    pub(super) bound: Offset,
    /// The bus's end.
    pub(super) end: Offset,
    /// Records between them.
    pub(super) records: u64,
    /// How long the oldest of them has been waiting, by its timestamp.
    pub(super) waiting_ms: Option<i64>,
    /// What the partition's prefix claims of event time.
    pub(super) watermark_ms: Option<i64>,
}

impl Standing {
    pub(super) fn of(job: TierOf, bus: &dyn Bus, store: &CheckpointStore) -> Result<Self> {
        let pipeline = run::pipeline(job);
        let plan = engine::plan(&pipeline)?;
        let mut reads = 0;
        loop {
            reads += 1;
            let history = read_journal(bus, &pipeline.name)?.unwrap_or_default();
            match positions(store, &history, &plan) {
                Ok(positions) => return Ok(Self { pipeline: pipeline.name, plan, history, positions }),
                Err(Error::Damaged { .. }) if reads < READS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the job has ever been started.
    pub(super) fn was_started(&self) -> bool {
        was_started(&self.history)
    }

    /// How far each partition of each source is behind. Answers to the pipeline's own questions are none.
    pub(super) fn lags(&self, bus: &dyn Bus) -> Result<Vec<Lag>> {
        let mut lags = Vec::new();
        for source in self.plan.sources().filter(|source| !source.is_answers) {
            let Some(topic) = bus.topic(&source.topic)? else { continue };
            let mut offsets = bus.offsets(topic.id)?;
            let position_of = |partition| {
                let partition = SourcePartition::Bus { topic: topic.id, partition };
                self.positions.feeds.get(&Feed { source: source.source, partition })
            };
            if offsets.iter().any(|at| position_of(at.partition).is_some_and(|position| position.resume < at.log_start)) {
                offsets = bus.readable(topic.id)?;
            }
            for at in offsets {
                let position = position_of(at.partition);
                let bound = position.map_or(at.log_start, |p| p.resume);
                let records = at.end.0.saturating_sub(bound.0.max(at.log_start.0));
                let first = if records > 0 { first(bus, &topic, &at, bound.max(at.log_start))? } else { First::None };
                lags.push(Lag {
                    pipeline: self.pipeline.clone(),
                    topic: source.topic.clone(),
                    partition: at.partition,
                    bound,
                    end: at.end,
                    records: if matches!(first, First::None) { 0 } else { records },
                    waiting_ms: first.waiting_ms(),
                    watermark_ms: position.and_then(watermark_ms),
                });
            }
        }
        Ok(lags)
    }
}

/// The journal of a pipeline; `None` when it has none.
pub(super) fn read_journal(bus: &dyn Bus, pipeline: &str) -> Result<Option<History>> {
    let Some(topic) = bus.topic(&start::journal_topic(pipeline))? else { return Ok(None) };
    let page = bus.read_journal(topic.id, Offset(0))?;
    History::read(&page.entries).map(Some)
}

/// The first `Start` may be truncated by now; a generation there is from then on.
fn was_started(history: &History) -> bool {
    history.generation > 0
}

/// The journal of a pipeline that was started.
pub(super) fn journal_of(bus: &dyn Bus, job: TierOf) -> Result<History> {
    let never = || Error::refused(format!("{job} has never been started"), format!("start it: `run {}`", job.short()));
    read_journal(bus, &job.to_string())?.filter(was_started).ok_or_else(never)
}

fn positions(store: &CheckpointStore, history: &History, plan: &Plan) -> Result<Positions> {
    let mut positions = match history.checkpoints.last() {
        Some(newest) => {
            let manifest = store.manifest(&newest.manifest)?;
            let damaged = |what: String| Error::Damaged { object: newest.manifest.clone(), what };
            Positions::decode(&manifest.head.positions).map_err(|e| damaged(e.to_string()))?
        }
        None => {
            let mut positions = Positions { epoch: history.since, ..Positions::default() };
            for (feed, offset) in history.positions.iter().flatten() {
                let new = PartitionPosition { resume: *offset, ..positions.of(*feed) };
                positions.feeds.insert(*feed, new);
            }
            positions
        }
    };
    start::skip_gaps(&mut positions, &history.accepted_gaps);
    let replay = history.bindings_after(positions.epoch)?;
    positions = start::fold(&positions, &replay, plan);
    start::skip_gaps(&mut positions, &history.accepted_gaps);
    Ok(positions)
}

/// What a partition has behind a position.
enum First {
    /// Nothing that anybody may read: at most control records and aborted transactions.
    None,
    /// A record of this time.
    Record(WallTime),
    /// No answer came in time.
    Unknown,
}

impl First {
    fn waiting_ms(&self) -> Option<i64> {
        match self {
            Self::Record(at) => Some(SystemClock.now().0.saturating_sub(at.0).max(0)),
            Self::None | Self::Unknown => None,
        }
    }
}

fn first(bus: &dyn Bus, topic: &Topic, at: &PartitionOffsets, from: Offset) -> Result<First> {
    let read = bus.consumer(topic.id, &[(at.partition, from)])?.poll(POLL_WAIT)?;
    let oldest = read.iter().flat_map(|batch| &batch.records).next();
    Ok(match oldest {
        Some(record) => First::Record(record.timestamp),
        None if read.iter().any(|batch| batch.position >= at.end) => First::None,
        None => First::Unknown,
    })
}

fn watermark_ms(position: &PartitionPosition) -> Option<i64> {
    known(position.watermark)
}

/// A watermark as milliseconds, once there is one.
pub(super) fn known(watermark: Watermark) -> Option<i64> {
    (watermark != EventTime::MIN).then_some(watermark.0)
}
