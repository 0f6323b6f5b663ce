//! What holds a pipeline back: decided from what can be seen, by a pure function.

use super::out::{grouped, span, time};
use crate::cli::standing::Lag;
use crate::cli::status::Told;
use distributary_runtime::status::{BlockedPartition, Status};
use distributary_runtime::time::{Epoch, WallTime};
use serde::Serialize;
use std::fmt;

/// A running pipeline says how it stands every second; after so long without a word something is wrong with the process.
const SILENT_MS: i64 = 5_000;
/// Epochs that a stage may be behind the one before it without being the culprit: some are always on their way.
const EPOCHS_ON_THE_WAY: u64 = 8;
/// Records that may wait although nothing is wrong: they arrived a moment ago.
const WAITING_MS: i64 = 2_000;
/// A partition that is so far behind the others in event time holds the windows back.
const WATERMARK_BEHIND_MS: i64 = 10_000;

/// What can be seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) job: String,
    pub(super) started: bool,
    pub(super) running: bool,
    pub(super) told: Option<Told>,
    pub(super) now: WallTime,
    pub(super) watermark_ms: Option<i64>,
    pub(super) lags: Vec<Lag>,
    /// Brokers to ask about transactions, if the bus has any.
    pub(super) brokers: Option<String>,
}

/// What holds it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Verdict {
    /// No process of this machine runs it, and records wait.
    NotRunning { job: String, started: bool, records: u64 },
    /// It runs, but has not said anything for long.
    Silent { pid: u32, ms: i64 },
    /// It has just started.
    Starting,
    /// It replays what was bound before its start.
    Recovering { worked: Epoch, upto: Epoch },
    /// Operators are behind the minter.
    Operators { epochs: u64 },
    /// Journal appends are behind the operators.
    Journal { epochs: u64 },
    /// A lane of a sink is behind the journal.
    Sink { lane: String, epochs: u64 },
    /// As many questions of look-ups wait for an answer as may.
    Answers { questions: u64 },
    /// Somebody's open transaction lets nothing be read.
    Blocked { topic: String, partition: u32, position: u64, offsets: u64, since: WallTime, ms: i64, brokers: String },
    /// Records wait on the bus longer than they should.
    Reading { partition: String, records: u64, waiting_ms: i64 },
    /// Everything is read, but a partition holds event time back.
    Watermark { partition: String, behind_ms: i64 },
    /// Nothing has ever come.
    NoData { topics: Vec<String> },
    /// Nothing does.
    CaughtUp { epoch: Epoch },
}

/// Decides; the first thing that is wrong along the way of a record is the answer.
pub(super) fn decide(seen: &Seen) -> Verdict {
    let records = seen.lags.iter().map(|lag| lag.records).sum();
    if !seen.running {
        return Verdict::NotRunning { job: seen.job.clone(), started: seen.started, records };
    }
    let Some(told) = &seen.told else { return Verdict::Starting };
    let ms = seen.now.0.saturating_sub(told.at.0);
    if ms > SILENT_MS {
        return Verdict::Silent { pid: told.pid, ms };
    }
    let status = &told.status;
    if status.recovering {
        return Verdict::Recovering { worked: status.worked, upto: status.closed };
    }
    let behind = |of: Epoch, at: Epoch| of.0.saturating_sub(at.0);
    let ready = status.worked.min(status.durable);
    let slowest = status.applied.iter().min_by_key(|(_, epoch)| **epoch);
    let stages = [
        slowest.map(|(lane, at)| (behind(ready, *at), Verdict::Sink { lane: lane.clone(), epochs: behind(ready, *at) })),
        Some((behind(status.closed, status.worked), Verdict::Operators { epochs: behind(status.closed, status.worked) })),
        Some((behind(status.closed, status.durable), Verdict::Journal { epochs: behind(status.closed, status.durable) })),
    ];
    if let Some((epochs, verdict)) = stages.into_iter().flatten().max_by_key(|(epochs, _)| *epochs)
        && (epochs > EPOCHS_ON_THE_WAY || status.full && epochs > 0)
    {
        return verdict;
    }
    if let (questions @ 1.., max) = status.questions
        && questions >= max
    {
        return Verdict::Answers { questions };
    }
    if let Some(verdict) = blocked(seen, status) {
        return verdict;
    }
    if let Some(lag) = seen.lags.iter().filter(|lag| lag.waiting_ms > Some(WAITING_MS)).max_by_key(|lag| lag.waiting_ms) {
        let waiting_ms = lag.waiting_ms.unwrap_or(0);
        return Verdict::Reading { partition: partition(lag), records, waiting_ms };
    }
    if seen.lags.iter().all(|lag| lag.end.0 == 0) {
        return Verdict::NoData { topics: topics(&seen.lags) };
    }
    watermark(seen).unwrap_or(Verdict::CaughtUp { epoch: status.closed })
}

/// The partition that has been blocked longest, unless the bus shows by now more of it than was read.
fn blocked(seen: &Seen, status: &Status) -> Option<Verdict> {
    let of = |lag: &Lag, at: &BlockedPartition| (lag.topic.as_str(), lag.partition) == (at.topic.as_str(), at.partition);
    let holds = |at: &&BlockedPartition| seen.lags.iter().any(|lag| of(lag, at) && lag.end <= at.position);
    let at = status.blocked.iter().filter(holds).min_by_key(|at| at.since)?;
    let ms = seen.now.0.saturating_sub(at.since.0);
    (ms > WAITING_MS).then(|| Verdict::Blocked {
        topic: at.topic.clone(),
        partition: at.partition,
        position: at.position.0,
        offsets: at.end.0.saturating_sub(at.position.0),
        since: at.since,
        ms,
        brokers: seen.brokers.clone().unwrap_or_else(|| "BROKERS".to_string()),
    })
}

/// The partition whose claim is the pipeline's, if the others have long claimed more. One that is idle does not count: then
/// the pipeline's watermark is beyond its.
fn watermark(seen: &Seen) -> Option<Verdict> {
    let newest = seen.lags.iter().filter_map(|lag| lag.watermark_ms).max()?;
    let held = |lag: &&Lag| lag.watermark_ms.is_none_or(|at| Some(at) >= seen.watermark_ms);
    let slowest = seen.lags.iter().filter(held).min_by_key(|lag| lag.watermark_ms)?;
    let behind_ms = newest.saturating_sub(seen.watermark_ms.unwrap_or(i64::MIN));
    let holds = behind_ms > WATERMARK_BEHIND_MS && slowest.watermark_ms.is_none_or(|at| Some(at) == seen.watermark_ms);
    holds.then(|| Verdict::Watermark { partition: partition(slowest), behind_ms })
}

fn partition(lag: &Lag) -> String {
    format!("{}[{}]", lag.topic, lag.partition)
}

fn topics(lags: &[Lag]) -> Vec<String> {
    let mut topics: Vec<String> = lags.iter().map(|lag| lag.topic.clone()).collect();
    topics.dedup();
    topics
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { job, started: false, .. } => write!(f, "it was never started: `run {job}`"),
            Self::NotRunning { records: 0, .. } => f.write_str("it is not running, and nothing waits"),
            Self::NotRunning { job, records, .. } => {
                write!(f, "it is not running, and {} records wait: `run {job}`", grouped(*records))
            }
            Self::Silent { pid, ms } => {
                write!(f, "process {pid} has not said anything for {}: it is stopped, or starved of CPU or disk", span(*ms))
            }
            Self::Starting => f.write_str("it is starting"),
            Self::Recovering { worked, upto } => write!(f, "it is recovering: epoch {worked} of {upto}"),
            Self::Operators { epochs } => {
                write!(f, "the operators hold it back: {epochs} epochs behind; more `workers` may help")
            }
            Self::Journal { epochs } => write!(f, "the journal holds it back: {epochs} epochs behind; the bus answers slowly"),
            Self::Sink { lane, epochs } => {
                write!(f, "sink {lane} holds it back: {epochs} epochs behind; the sink answers slowly")
            }
            Self::Answers { questions } => {
                let questions = grouped(*questions);
                write!(
                    f,
                    "a look-up holds it back: {questions} questions wait for an answer; the service answers slowly, or not at all"
                )
            }
            Self::Blocked { topic, partition, position, offsets, since, ms, brokers } => {
                let (since, lasts, offsets) = (time(*since), span(*ms), grouped(*offsets));
                let ask = format!("kafka-transactions.sh --bootstrap-server {brokers}");
                let which = format!("--topic {topic} --partition {partition}");
                write!(
                    f,
                    "an open transaction blocks {topic}[{partition}] at offset {position} since {since} ({lasts}): {offsets} offsets \
                     wait behind it; its producer must end it: `{ask} describe-producers {which}` shows who that is, \
                     `{ask} find-hanging {which}` whether nobody will"
                )
            }
            Self::Reading { partition, records, waiting_ms } => {
                let (records, waiting) = (grouped(*records), span(*waiting_ms));
                write!(
                    f,
                    "it is behind: {records} records wait, the oldest for {waiting} in {partition}; it catches up if `lag` falls"
                )
            }
            Self::Watermark { partition, behind_ms } if *behind_ms > 365 * 86_400_000 => {
                write!(f, "partition {partition} holds the watermark back: it has brought nothing yet")
            }
            Self::Watermark { partition, behind_ms } => {
                write!(f, "partition {partition} holds the watermark back: {} behind the others in event time", span(*behind_ms))
            }
            Self::NoData { topics } => write!(f, "it waits for data: {} is empty", topics.join(", ")),
            Self::CaughtUp { epoch } => write!(f, "nothing does: it has caught up, at epoch {epoch}"),
        }
    }
}
