//! From the moment a payment is due until its result was read by another client of the bus, end to end.
//!
//! `./dev bench latency [--seconds 12] [--rate 5000] [--job 1]` (job 1 relays, job 2 sums); see `benches/README.md`.

mod common;

use common::meter::{Meter, quantile_ms};
use common::payments::{Payment, RELAY, SPEND, Sender, user_of};
use common::pipeline::{ENGINE_THREADS, Place};
use common::table::Table;
use common::{Flags, process};
use distributary::Job;
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::settings::Durability;
use distributary_runtime::time::monotonic;
use serde_json::json;
use std::sync::Arc;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

const USERS: u64 = 100_000;
const EPOCH_INTERVALS_MS: [u64; 5] = [2, 5, 10, 20, 50];
/// Left out at the beginning of each point: caches, files and the allocator get warm.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the last results may take.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// What a point measures.
#[derive(Clone, Copy)]
struct Point {
    /// `None`: the meter reads what the sender wrote, the floor set by the bus and its clients.
    job: Option<Job>,
    durability: Durability,
    epoch_interval_ms: u64,
    rate: u64,
    measured: Duration,
}

fn main() -> Result<()> {
    let flags = Flags::read(&[("seconds", 12.0), ("rate", 5_000.0), ("job", 1.0), ("interval-ms", 0.0)])?;
    let measured = Duration::from_secs_f64(flags.get("seconds"));
    let (rate, only) = (flags.count("rate"), flags.count("interval-ms"));
    let job = if flags.count("job") == 2 { SPEND } else { RELAY };
    let columns = [
        "bus",
        "job",
        "fsync",
        "epoch_interval_ms",
        "p50_ms",
        "p99_ms",
        "p999_ms",
        "max_ms",
        "engine_cpu_s_per_million",
        "process_cpu_s_per_million",
        "kept_up",
    ];
    let mut table = Table::new("latency", &columns);
    // What Kafka makes durable, and when, is its own affair.
    let durabilities: &[_] =
        if Place::new(|_| {})?.is_on_kafka() { &[Durability::Normal] } else { &[Durability::Normal, Durability::Full] };
    for durability in durabilities.iter().copied() {
        table.add(Point { job: None, durability, epoch_interval_ms: 0, rate, measured }.measure()?);
        for epoch_interval_ms in EPOCH_INTERVALS_MS.into_iter().filter(|ms| only == 0 || only == *ms) {
            table.add(Point { job: Some(job), durability, epoch_interval_ms, rate, measured }.measure()?);
        }
    }
    table.print();
    Ok(())
}

impl Point {
    fn measure(self) -> Result<serde_json::Value> {
        let place = Place::new(|settings| {
            settings.bus_durability = self.durability;
            settings.epoch_interval_ms = self.epoch_interval_ms.max(1);
        })?;
        let source = place.topic("in")?;
        let pipeline = match self.job {
            Some(job) => {
                let pipeline = place.start(job, StartRequest::Resume, Arc::new(|_, _| ()))?;
                pipeline.wait_live()?;
                Some(pipeline)
            }
            None => None,
        };
        let out = if pipeline.is_some() { "out" } else { "in" };
        let meter = Meter::start(&place, out)?;
        let sender = Sender::start(&place, &source, self.rate, USERS, 0)?;
        wait(monotonic() + WARM_UP);
        let (sent, engine, all) = (sender.sent(), process::threads_cpu(&ENGINE_THREADS), process::process_cpu());
        let from = common::process::unix_us();
        wait(monotonic() + self.measured);
        let events = (sender.sent() - sent) as f64;
        let engine = (process::threads_cpu(&ENGINE_THREADS) - engine).as_secs_f64();
        let all = (process::process_cpu() - all).as_secs_f64();
        let (sent, kept_up) = sender.finish()?;
        let expected = self.expected(sent);
        let until = monotonic() + DRAIN_MAX;
        if let Some(pipeline) = &pipeline {
            pipeline.wait_applied(sent)?;
        }
        while meter.read() < expected && monotonic() < until {
            park_timeout(Duration::from_millis(5));
        }
        let latencies = meter.finish()?;
        if let Some(pipeline) = pipeline {
            pipeline.crash();
        }
        // Of spend only the last state of each user and epoch is written.
        let all_read = if self.spends() { !latencies.is_empty() } else { latencies.len() as u64 == expected };
        assert!(all_read, "{} outputs of {expected}", latencies.len());
        let mut measured: Vec<u32> = latencies.iter().filter(|(due, _)| *due >= from).map(|(_, took)| *took).collect();
        measured.sort_unstable();
        let ms = |share| quantile_ms(&measured, share);
        Ok(json!({
            "bus": if place.is_on_kafka() { "kafka" } else { "sqlite" },
            "job": self.job.map_or("echo".to_string(), |job| job.name().to_string()),
            "fsync": self.durability,
            "epoch_interval_ms": self.epoch_interval_ms,
            "rate": self.rate,
            "outputs": measured.len(),
            "p50_ms": ms(0.5),
            "p99_ms": ms(0.99),
            "p999_ms": ms(0.999),
            "max_ms": ms(1.0),
            "engine_cpu_s_per_million": engine / events * 1e6,
            "process_cpu_s_per_million": all / events * 1e6,
            "kept_up": kept_up,
        }))
    }

    fn spends(self) -> bool {
        self.job.is_some_and(|job| job.name() == SPEND.name())
    }

    /// How many outputs so many payments have.
    fn expected(self, sent: u64) -> u64 {
        match self.job {
            None => sent,
            Some(_) if self.spends() => 0,
            Some(_) => (0..sent).filter(|i| Payment::new(*i, user_of(*i, USERS), 0).passes()).count() as u64,
        }
    }
}

fn wait(until: Instant) {
    while let Some(left) = until.checked_duration_since(monotonic()).filter(|left| !left.is_zero()) {
        park_timeout(left);
    }
}
