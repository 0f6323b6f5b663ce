//! How fast a job's results are written anew from an archive, beside the same from the bus. See README.md.
//!
//! `./dev bench backfill [--events 1000000] [--rounds 5]`

mod common;

use common::process::process_cpu;
use common::{Flags, median, table::Table};
use distributary::job::TierOf;
use distributary::jobs::{Payment, Spend, spend};
use distributary::payments::{PaymentOptions, Payments};
use distributary::{Flow, job, run};
use distributary_runtime::bus::{Bus, NewRecord, TopicSpec};
use distributary_runtime::engine;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::pipeline::{Minting, StartOptions};
use distributary_runtime::plan::Tier;
use distributary_runtime::report::Reports;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::{WallTime, monotonic};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Payments that are handed to the bus at once.
const BATCH: usize = 5_000;
const PARTITIONS: u32 = 4;
/// Long behind all payments.
const END: WallTime = WallTime(i64::MAX / 2);

/// Archives all payments.
#[job(team = "bench")]
fn keeps(flow: &Flow) -> distributary::Result<()> {
    flow.archive::<Payment>()
}

const SPEND: TierOf = TierOf { job: spend, tier: Tier::Stream };
const KEEPS: TierOf = TierOf { job: keeps, tier: Tier::Batch };

static STARTS: AtomicU64 = AtomicU64::new(1);

/// What a run has cost.
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// The results that stand, of one generation.
type Results = BTreeMap<Spend, i64>;

fn main() -> Result<()> {
    let flags = Flags::read(&[("events", 1e6), ("rounds", 5.0)])?;
    let (events, rounds) = (flags.count("events"), flags.count("rounds"));
    let dir = tempfile::tempdir()?;
    let settings = Settings { data_dir: dir.path().to_path_buf(), ..Settings::default() };
    let bus = run::open_bus(&settings)?;
    publish(&*bus, events)?;
    let mut table = Table::new("backfill", &["what", "events_per_s", "events_per_cpu_s", "ratio_per_cpu_s"]);
    let of = |cost: &Cost| (events as f64 / cost.wall.as_secs_f64(), events as f64 / cost.cpu.as_secs_f64());
    let mut add = |what: &str, costs: &[Cost], beside: &[Cost]| {
        let ratio = median(costs.iter().zip(beside).map(|(cost, beside)| of(cost).1 / of(beside).1));
        table.add(json!({"what": what, "events_per_s": median(costs.iter().map(|cost| of(cost).0)),
            "events_per_cpu_s": median(costs.iter().map(|cost| of(cost).1)), "ratio_per_cpu_s": ratio}));
    };

    let archived = go(KEEPS, &settings, StartRequest::Resume, None)?;
    let (mut live, mut backfilled) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        live.push(go(SPEND, &settings, StartRequest::FromZero, None)?);
    }
    let expected = results(&*bus, rounds)?;
    assert!(!expected.is_empty(), "there are results");
    // Retention takes the payments, and what was compared already.
    bus.maintain(WallTime(i64::MAX / 4))?;
    for round in 1..=rounds {
        if round == 1 {
            // One is killed on the way, and goes on.
            go(SPEND, &settings, StartRequest::From(WallTime(0)), Some(live[0].wall / 2))?;
            go(SPEND, &settings, StartRequest::Resume, None)?;
            assert!(results(&*bus, rounds + round)? == expected, "the killed backfill gave other results");
        }
        backfilled.push(go(SPEND, &settings, StartRequest::From(WallTime(0)), None)?);
    }
    // The one that was killed is a generation too.
    assert!(results(&*bus, 2 * rounds + 1)? == expected, "the backfill gave other results");
    add("archive", &[archived], &live);
    add("spend, from the bus", &live, &live);
    add("spend, from the archive", &backfilled, &live);
    table.print();
    Ok(())
}

fn publish(bus: &dyn Bus, events: u64) -> Result<()> {
    let spec = TopicSpec { retention_ms: Some(1), ..TopicSpec::new("payments", PARTITIONS) };
    bus.create_topic(&spec)?;
    let topic = bus.topic("payments")?.ok_or("the topic is gone")?.id;
    let options = PaymentOptions { count: events, ..PaymentOptions::default() };
    let mut payments = Payments::new(options)?.map(NewRecord::from);
    loop {
        let batch: Vec<NewRecord> = payments.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        bus.produce(topic, batch)?;
    }
}

/// Runs a pipeline until it has read everything, or is killed after a while.
fn go(of: TierOf, settings: &Settings, request: StartRequest, killed_after: Option<Duration>) -> Result<Cost> {
    let settings = Settings { data_dir: settings.data_dir.clone(), ..Settings::of(of.tier) };
    let pipeline = run::pipeline(of);
    let components = run::components(&pipeline.name, &settings)?;
    let incarnation = u128::from(STARTS.fetch_add(1, Ordering::Relaxed));
    let options = StartOptions { incarnation, request, until: Some(END), accept_gap: false, minting: Minting::Timed };
    let (reports, inbox) = Reports::new();
    let (began, cpu) = (monotonic(), process_cpu());
    if let Some(after) = killed_after {
        let reports = reports.clone();
        std::thread::spawn(move || {
            std::thread::park_timeout(after);
            reports.halt();
        });
    }
    let ended = engine::run(&pipeline, &components, &settings, &options, (reports, inbox));
    if killed_after.is_none() {
        ended?;
    }
    Ok(Cost { wall: began.elapsed(), cpu: process_cpu().checked_sub(cpu).unwrap_or_default() })
}

/// What a generation of the results comes to, after all corrections.
fn results(bus: &dyn Bus, generation: u64) -> Result<Results> {
    let topic = bus.topic("demo.spend")?.ok_or("there are no results")?.id;
    let generation = generation.to_string();
    let mut results = Results::new();
    for at in bus.offsets(topic)? {
        let records = bus.read(topic, at.partition, at.log_start, at.end)?;
        for record in records.iter().filter(|record| record.header("generation") == Some(&generation)) {
            let row: Spend = serde_json::from_slice(record.value.as_deref().ok_or("a result has no value")?)?;
            *results.entry(row).or_default() += if record.header("op") == Some("-") { -1 } else { 1 };
        }
    }
    results.retain(|_, n| *n != 0);
    Ok(results)
}
