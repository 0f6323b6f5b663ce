//! Two teams on one bus: whether one feels that the other's process is killed.
//!
//! Both run jobs of `examples/team_crate` on the same payments, which come at a fixed rate whatever becomes of them. Latency is that of
//! the team `ops`: when a reader is given a result - when its payment was due. The team `fraud` is killed, and started again, in rounds.

use crate::Result;
use crate::ledger::Attacked;
use crate::outside::{Ground, has_read_all, read};
use crate::process::Process;
use distributary_runtime::bus::{Bus, NewRecord, Offset, TopicId, TopicSpec};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::time::{Clock, SystemClock, WallTime, monotonic};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{park_timeout, scope};
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 4;
const USERS: u64 = 1_000;
/// One payment in so many is large: what `ops` passes on.
const LARGE_EVERY: u64 = 2;
/// Who comes back after a phase is watched for this part of one.
const BACK_PART: u32 = 6;
/// How long a process may take to start, or to work off what it has missed.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is done.
#[derive(Clone, Debug)]
pub struct Teams {
    /// The binary of `examples/team_crate`.
    pub binary: PathBuf,
    /// A folder of its own.
    pub dir: PathBuf,
    /// Where Kafka listens.
    pub brokers: String,
    /// Payments a second.
    pub rate: u64,
    /// What is sent in so long a time at the beginning is not measured.
    pub warm_up: Duration,
    /// How long both run, and then how long one of them is dead.
    pub phase: Duration,
    /// How often.
    pub rounds: u32,
}

/// How long the results of the one team took.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// While both run.
    pub both: Latency,
    /// While the other is dead.
    pub dead: Latency,
    /// While the other comes back, and reads what it has missed.
    pub back: Latency,
}

/// Latencies of one phase, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of them are below.
    pub p50_us: u64,
    /// All but a hundredth are below.
    pub p99_us: u64,
    /// How many.
    pub results: usize,
}

impl Teams {
    /// Runs it.
    ///
    /// # Errors
    /// A result of either team is lost, repeated or wrong; a process or the bus failed.
    pub fn run(&self) -> Result<Vec<Round>> {
        let ground = |team: &str| Ground {
            dir: self.dir.join(team),
            brokers: Some(self.brokers.clone()),
            lane: TopicLane::default(),
            attacked: Attacked::default(),
            store: None,
        };
        let bus = ground("fraud").bus()?;
        let payments = fresh(&*bus)?;
        let start = |team: &str, job: &str| -> Result<Process> {
            std::fs::create_dir_all(self.dir.join(team))?;
            ground(team).launch(&self.binary, job, team).start(Stdio::null())
        };
        let (mut fraud, _ops) = (start("fraud", "spend")?, start("ops", "large")?);
        let (spend, large) = (await_topic(&*bus, "fraud.spend")?, await_topic(&*bus, "ops.large")?);
        let (began, began_at, done) = (monotonic(), SystemClock.now(), AtomicBool::new(false));
        let end = self.round(self.rounds);
        let (sent, seen) = scope(|threads| -> Result<_> {
            let sender = threads.spawn(|| self.send(&*bus, payments, (began, began_at), end));
            let reader = threads.spawn(|| self.listen(large, began, &done));
            let mut killed = || -> Result<()> {
                for round in 0..self.rounds {
                    park_until(began + self.round(round) + self.phase);
                    fraud.kill()?;
                    park_until(began + self.round(round) + 2 * self.phase);
                    fraud = start("fraud", "spend")?;
                }
                Ok(())
            };
            let killed = killed();
            let sent = sender.join().unwrap_or_else(|_| Err("the sender panicked".into()));
            // Whatever happened, the reader ends.
            let settled = killed.and(sent).and_then(|sent| {
                await_that("both teams have read everything", || {
                    Ok(has_read_all(&*bus, "fraud.spend", payments)? && has_read_all(&*bus, "ops.large", payments)?)
                })?;
                Ok(sent)
            });
            done.store(true, Ordering::Release);
            let seen = reader.join().unwrap_or_else(|_| Err("the reader panicked".into()))?;
            Ok((settled?, seen))
        })?;
        let wanted: Vec<u64> = (0..sent).filter(|id| id.is_multiple_of(LARGE_EVERY)).collect();
        if seen.keys().copied().collect::<Vec<_>>() != wanted {
            return Err(format!("{} large payments have come, not {}", seen.len(), wanted.len()).into());
        }
        let counted = counted(&*bus, spend)?;
        if counted != i64::try_from(sent)? {
            return Err(format!("the windows of `fraud` count {counted} payments, not {sent}").into());
        }
        let round = |round| {
            let (both, dead, back) = (self.round(round), self.round(round) + self.phase, self.round(round) + 2 * self.phase);
            let [both, dead, back] =
                [both..dead, dead..back, back..self.round(round + 1)].map(|phase| self.latency(&seen, &phase));
            Round { both, dead, back }
        };
        Ok((0..self.rounds).map(round).collect())
    }

    /// When a round begins.
    fn round(&self, round: u32) -> Duration {
        self.warm_up + (2 * self.phase + self.phase / BACK_PART) * round
    }

    /// When a payment is due.
    fn due(&self, id: u64) -> Duration {
        due(id, self.rate)
    }

    /// Sends what is due, whatever has become of the rest; then payments that close all windows. Gives how many were due.
    fn send(&self, bus: &dyn Bus, payments: TopicId, (began, at): (Instant, WallTime), end: Duration) -> Result<u64> {
        let next = send_as_due(bus, payments, self.rate, (began, at), end, |id, due| payment(id, due, None))?;
        let later = SystemClock.now().0 + 60_000;
        bus.produce(payments, (0..PARTITIONS).map(|p| payment(next * LARGE_EVERY + 1, later, Some(p))).collect())?;
        Ok(next)
    }

    /// When each large payment came, since the beginning; it must come once.
    fn listen(&self, large: TopicId, began: Instant, done: &AtomicBool) -> Result<BTreeMap<u64, Duration>> {
        let ground = Ground {
            dir: self.dir.clone(),
            brokers: Some(self.brokers.clone()),
            lane: TopicLane::default(),
            attacked: Attacked::default(),
            store: None,
        };
        let bus = ground.bus()?;
        let starts: Vec<_> = bus.offsets(large)?.iter().map(|at| (at.partition, Offset(0))).collect();
        let mut consumer = bus.consumer(large, &starts)?;
        let mut seen = BTreeMap::new();
        while !done.load(Ordering::Acquire) {
            for batch in consumer.poll(Duration::from_millis(100))? {
                let now = began.elapsed();
                for record in batch.records {
                    let id = id_of(record.value.as_deref().unwrap_or_default())?;
                    if seen.insert(id, now).is_some() {
                        return Err(format!("payment {id} has come twice").into());
                    }
                }
            }
        }
        Ok(seen)
    }

    /// Of the payments that were due in a phase.
    fn latency(&self, seen: &BTreeMap<u64, Duration>, phase: &Range<Duration>) -> Latency {
        let of_phase = seen.iter().filter(|(id, _)| phase.contains(&self.due(**id)));
        Latency::of(of_phase.map(|(id, at)| at.saturating_sub(self.due(*id))))
    }
}

impl Latency {
    pub(crate) fn of(latencies: impl Iterator<Item = Duration>) -> Self {
        let mut latencies: Vec<u64> = latencies.map(|latency| latency.as_micros() as u64).collect();
        latencies.sort_unstable();
        let below = |share: usize| latencies.get((latencies.len() * share / 100).min(latencies.len().saturating_sub(1)));
        let [p50_us, p99_us] = [50, 99].map(|share| below(share).copied().unwrap_or_default());
        Self { p50_us, p99_us, results: latencies.len() }
    }
}

/// When a payment is due, of so many in a second.
pub(crate) fn due(id: u64, rate: u64) -> Duration {
    Duration::from_nanos(id * 1_000_000_000 / rate)
}

/// Sends what is due, whatever has become of the rest: `payment` makes it of its number and its event time. Gives how many were due.
pub(crate) fn send_as_due(
    bus: &dyn Bus,
    payments: TopicId,
    rate: u64,
    (began, at): (Instant, WallTime),
    end: Duration,
    payment: impl Fn(u64, i64) -> NewRecord,
) -> Result<u64> {
    let mut next = 0;
    while due(next, rate) < end {
        let from = next;
        while due(next, rate) < began.elapsed().min(end) {
            next += 1;
        }
        let time = |id| at.0 + i64::try_from(due(id, rate).as_millis()).unwrap_or(i64::MAX);
        let records: Vec<_> = (from..next).map(|id| payment(id, time(id))).collect();
        if records.is_empty() {
            park_until(began + due(next, rate));
        } else {
            bus.produce(payments, records)?;
        }
    }
    Ok(next)
}

/// Payments, without what an earlier run has left.
fn fresh(bus: &dyn Bus) -> Result<TopicId> {
    let of_ours = |name: &str| name == "payments" || name.starts_with("fraud.") || name.starts_with("ops.");
    for topic in bus.topics()?.into_iter().filter(|topic| of_ours(&topic.spec.name)) {
        bus.delete_topic(&topic.spec.name)?;
    }
    bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new("payments", PARTITIONS) })?;
    await_topic(bus, "payments")
}

fn payment(id: u64, at: i64, partition: Option<u32>) -> NewRecord {
    let (user, cents) = (format!("u{}", id % USERS), if id.is_multiple_of(LARGE_EVERY) { 50_000 } else { 1 });
    let value =
        format!(r#"{{"payment_id":"00000000-0000-0000-0000-{id:012}","user_id":"{user}","amount_cents":{cents},"at":{at}}}"#);
    NewRecord { partition, timestamp: SystemClock.now(), key: Some(user.into()), value: Some(value.into()), headers: Vec::new() }
}

fn id_of(value: &[u8]) -> Result<u64> {
    let value: Value = serde_json::from_slice(value)?;
    let id = value["payment_id"].as_str().and_then(|id| id.rsplit('-').next()).ok_or("a result has no payment id")?;
    Ok(id.parse()?)
}

/// How many payments stand in the windows of `fraud`, corrections applied.
fn counted(bus: &dyn Bus, spend: TopicId) -> Result<i64> {
    let mut counted = 0;
    read(bus, spend, &BTreeMap::new(), |_, record| {
        let row: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())?;
        let count = row["value"][0].as_i64().ok_or("a result has no count")?;
        counted += if record.header("op") == Some("-") { -count } else { count };
        Ok(())
    })?;
    Ok(counted)
}

pub(crate) fn await_topic(bus: &dyn Bus, name: &str) -> Result<TopicId> {
    let mut found = None;
    await_that(name, || {
        found = bus.topic(name)?.map(|topic| topic.id);
        Ok(found.is_some())
    })?;
    found.ok_or_else(|| format!("there is no topic `{name}`").into())
}

pub(crate) fn await_that(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = monotonic();
    while !is()? {
        if began.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn park_until(until: Instant) {
    loop {
        let rest = until.saturating_duration_since(monotonic());
        if rest.is_zero() {
            return;
        }
        park_timeout(rest);
    }
}
