//! `payments`: data to try things with.

use super::context::Context;
use super::out::{Out, grouped, span};
use super::progress::Progress;
use crate::payments::{PaymentOptions, Payments};
use crate::{Error, Result};
use distributary_runtime::bus::{Bus, NewRecord, TopicSpec};
use distributary_runtime::time::{Clock, SystemClock, monotonic};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Records of one append: few enough to leave the bus to others in between.
const BATCH_RECORDS: usize = 500;
/// How often a live stream brings records.
const LIVE_TURN: Duration = Duration::from_millis(20);

/// Payments, made up.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    Generate(Generate),
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::Generate(args) => args.run(context),
        }
    }
}

/// Write a stream of payments to a topic, as producers would: out of order, with duplicates, late and bad ones.
///
/// The same options give the same bytes. With `--live` they arrive as they happen, beginning now.
#[derive(clap::Args)]
pub(super) struct Generate {
    /// How many.
    #[arg(long, short, default_value_t = PaymentOptions::default().count)]
    events: u64,
    /// Another seed gives another stream.
    #[arg(long, default_value_t = PaymentOptions::default().seed)]
    seed: u64,
    /// Payments in a second of event time.
    #[arg(long, default_value_t = PaymentOptions::default().rate_per_s)]
    rate: u64,
    /// How many users; those with low numbers pay most often.
    #[arg(long, default_value_t = PaymentOptions::default().users)]
    users: u32,
    /// Event time of the first payment, in milliseconds since 1970.
    #[arg(long, value_name = "MS", conflicts_with = "live")]
    start_ms: Option<i64>,
    /// Payments arrive up to this much after they happened.
    #[arg(long, value_name = "MS", default_value_t = PaymentOptions::default().out_of_order_ms)]
    out_of_order_ms: u64,
    /// Bad ones in a thousand.
    #[arg(long, value_name = "N", default_value_t = PaymentOptions::default().bad_per_mille)]
    bad_per_mille: u32,
    /// Duplicates in a thousand.
    #[arg(long, value_name = "N", default_value_t = PaymentOptions::default().duplicates_per_mille)]
    duplicates_per_mille: u32,
    /// Late ones in a thousand.
    #[arg(long, value_name = "N", default_value_t = PaymentOptions::default().late_per_mille)]
    late_per_mille: u32,
    /// How late those are.
    #[arg(long, value_name = "MS", default_value_t = PaymentOptions::default().late_by_ms)]
    late_by_ms: u64,
    /// Where to; created if it is missing.
    #[arg(long, default_value = "payments")]
    topic: String,
    /// Partitions of the topic, if it is created.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// In real time, beginning now, instead of as fast as possible.
    #[arg(long)]
    live: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    topic: String,
    events: u64,
    bad: u64,
    duplicates: u64,
    late: u64,
}

impl Generate {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let start_ms = if self.live { SystemClock.now().0 } else { self.start_ms.unwrap_or(PaymentOptions::default().start_ms) };
        let options = PaymentOptions {
            count: self.events,
            users: self.users,
            seed: self.seed,
            start_ms,
            rate_per_s: self.rate,
            out_of_order_ms: self.out_of_order_ms,
            duplicates_per_mille: self.duplicates_per_mille,
            late_per_mille: self.late_per_mille,
            late_by_ms: self.late_by_ms,
            bad_per_mille: self.bad_per_mille,
        };
        let payments = Payments::new(options)?;
        let bus = context.bus()?;
        bus.create_topic(&TopicSpec::new(&self.topic, self.partitions))?;
        let mut progress = Progress::new("payments", Some(self.events));
        let pace = if self.live { Some(self.rate) } else { None };
        write(&*bus, &self.topic, payments.map(NewRecord::from), pace, |n| progress.add(n))?;
        let (events, took) = progress.finish();
        let summary =
            Summary { topic: self.topic, events, bad: options.bad(), duplicates: options.duplicates(), late: options.late() };
        let mut out = Out::new();
        if self.json {
            out.json(&summary)?;
        } else {
            let Summary { topic, events, bad, duplicates, late } = summary;
            let [events, bad, duplicates, late] = [events, bad, duplicates, late].map(grouped);
            let took = span(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
            out.line(format_args!(
                "wrote {events} payments to {topic} in {took}: {bad} bad, {duplicates} duplicates, {late} late"
            ))?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes records to a topic, `pace` in a second (`None`: as fast as the bus takes them).
pub(super) fn write(
    bus: &dyn Bus,
    topic: &str,
    records: impl IntoIterator<Item = NewRecord>,
    pace: Option<u64>,
    mut written: impl FnMut(u64),
) -> Result<()> {
    let missing = || Error::refused(format!("topic `{topic}` is gone"), "do not delete it while it is written");
    let topic = bus.topic(topic)?.ok_or_else(missing)?.id;
    let began = monotonic();
    let (mut records, mut done) = (records.into_iter(), 0);
    loop {
        let due = match pace {
            None => BATCH_RECORDS,
            Some(pace) => {
                let due = (began.elapsed().as_secs_f64() * pace as f64) as u64;
                usize::try_from(due.saturating_sub(done)).unwrap_or(usize::MAX).min(BATCH_RECORDS)
            }
        };
        if due == 0 {
            std::thread::park_timeout(LIVE_TURN);
            continue;
        }
        let batch: Vec<NewRecord> = records.by_ref().take(due).collect();
        let n = batch.len() as u64;
        if n == 0 {
            return Ok(());
        }
        bus.produce(topic, batch)?;
        done += n;
        written(n);
    }
}
