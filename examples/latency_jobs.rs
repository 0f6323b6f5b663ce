//! The two jobs that latency is measured with, on the Kafka topics `in` and `out`, which must be there.
//!
//! `cargo run --release --example latency_jobs -- BROKERS relay|spend STATE_DIR [transactional|tail] [--epoch-ms N]` runs one
//! of them until SIGTERM, which stops it in order. Everything it keeps on this machine lies in STATE_DIR.

use clap::{Parser, ValueEnum};
use distributary::uuid::Uuid;
use distributary::{AsTimestamp, Event, Flow, Result, Sink, Timestamp, job, topic, upsert};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a job on the Kafka topics `in` and `out` until SIGTERM.
#[derive(Parser)]
struct Args {
    /// `host:port` of some brokers, separated by commas.
    brokers: String,
    job: JobName,
    /// Where the job keeps its state.
    state_dir: PathBuf,
    /// How results and position become one atomic unit.
    #[arg(default_value = "transactional")]
    lane: Lane,
    /// How long an epoch gathers events [default: the engine's].
    #[arg(long, value_name = "N")]
    epoch_ms: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum JobName {
    /// Parses, drops every amount that is a multiple of ten, flags large ones.
    Relay,
    /// Counts and sums the payments of each user.
    Spend,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lane {
    /// One Kafka transaction for each run of epochs.
    Transactional,
    /// No transactions: the log itself says what stands.
    Tail,
}

fn main() -> ExitCode {
    let args = Args::parse();
    distributary::cli::main_with(&[relay, spend, relay_tail, spend_tail], args.words())
}

impl Args {
    /// The words a person would give to a binary of a team: `run JOB --data-dir .. --set ..`.
    fn words(&self) -> Vec<OsString> {
        let name = match (self.job, self.lane) {
            (JobName::Relay, Lane::Transactional) => relay.name(),
            (JobName::Relay, Lane::Tail) => relay_tail.name(),
            (JobName::Spend, Lane::Transactional) => spend.name(),
            (JobName::Spend, Lane::Tail) => spend_tail.name(),
        };
        let mut words: Vec<OsString> = ["latency_jobs", "run", name, "--data-dir"].map(Into::into).into();
        words.push(self.state_dir.clone().into());
        let epoch = self.epoch_ms.map(|ms| format!("epoch_interval_ms={ms}"));
        let alone = "keep_archives=false".to_string();
        for setting in [format!("bus=kafka://{}", self.brokers), alone].into_iter().chain(epoch) {
            words.extend(["--set".into(), setting.into()]);
        }
        words
    }
}

/// What the jobs need of a payment; it has more fields.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "in", id = "payment_id", time = "due_us", subject = "user")]
struct Payment {
    payment_id: Uuid,
    user: String,
    amount_cents: i64,
    due_us: DueUs,
}

/// Unix time in microseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct DueUs(i64);

impl AsTimestamp for DueUs {
    fn as_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.0.div_euclid(1_000))
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Flagged {
    payment_id: Uuid,
    user: String,
    amount_cents: i64,
    flag: bool,
    due_us: DueUs,
}

/// Stateless: parse, filter, flag, write.
#[job(team = "bench")]
pub fn relay(flow: &Flow) -> Result<()> {
    relay_to(flow, topic("out"))
}

/// The same without transactions.
#[job(team = "bench")]
pub fn relay_tail(flow: &Flow) -> Result<()> {
    relay_to(flow, topic("out").tail())
}

fn relay_to(flow: &Flow<'_>, out: Sink) -> Result<()> {
    flow.read::<Payment>()?
        .filter(|p| p.amount_cents % 10 != 0)
        .map(|p| Flagged {
            flag: p.amount_cents > 90_000,
            payment_id: p.payment_id,
            user: p.user,
            amount_cents: p.amount_cents,
            due_us: p.due_us,
        })
        .keyed(|f| f.user.clone())
        .to(out);
    Ok(())
}

/// Of a user. The newest due time is folded: the aggregate `max` would keep every one it has seen, to survive retractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    count: i64,
    sum: i64,
    due_us: i64,
}

impl Total {
    fn add(&mut self, payment: &Payment, diff: i64) {
        self.count += diff;
        self.sum += diff * payment.amount_cents;
        self.due_us = self.due_us.max(payment.due_us.0);
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Spend {
    user: String,
    count: i64,
    sum: i64,
    due_us: i64,
}

/// Stateful: running count and sum of each user, of each epoch the last state.
#[job(team = "bench")]
pub fn spend(flow: &Flow) -> Result<()> {
    spend_to(flow, upsert("out"))
}

/// The same without transactions.
#[job(team = "bench")]
pub fn spend_tail(flow: &Flow) -> Result<()> {
    spend_to(flow, upsert("out").tail())
}

fn spend_to(flow: &Flow<'_>, out: Sink) -> Result<()> {
    flow.read::<Payment>()?
        .key_by(|p| p.user.clone())
        .fold("spend", Total::default(), Total::add)
        .map(|s| Spend { user: s.key, count: s.value.count, sum: s.value.sum, due_us: s.value.due_us })
        .keyed(|s| s.user.clone())
        .to(out);
    Ok(())
}
