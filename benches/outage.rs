//! Whether a topic feels that the object store of the same job's table is dead, or slow. See README.md.
//!
//! `./dev bench outage [--rate 10000] [--warm-up 60] [--seconds 60] [--dead 600] [--rounds 5] [--slow 30] [--slower-ms 95]`

mod common;

use common::{Flags, median, table::Table};
use harness::outage::Outage;
use harness::pipe::Way;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let known = [
        ("rate", 1e4),
        ("warm-up", 60.0),
        ("seconds", 60.0),
        ("dead", 600.0),
        ("rounds", 5.0),
        ("slow", 30.0),
        ("slower-ms", 95.0),
    ];
    let flags = Flags::read(&known)?;
    let (Ok(brokers), Ok(endpoint)) = (std::env::var("BENCH_KAFKA"), std::env::var("AWS_ENDPOINT")) else {
        println!("left out: BENCH_KAFKA and AWS_ENDPOINT name no servers (`./dev bench outage`)");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let of = |name: &str| Duration::from_secs(flags.count(name));
    let slow = Way::Slow(Duration::from_millis(flags.count("slower-ms")));
    // What is compared stands side by side: a machine drifts.
    let mut phases =
        vec![("there", Way::Open, of("seconds")), ("dead", Way::Cut, of("dead")), ("back", Way::Open, of("seconds"))];
    for _ in 0..flags.count("rounds") {
        phases.extend([("there", Way::Open, of("slow")), ("slow", slow, of("slow"))]);
    }
    let outage = Outage {
        binary: Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/chaos"),
        dir: dir.path().into(),
        brokers,
        store: (endpoint.trim_start_matches("http://").parse()?, format!("s3://lake/outage-{}", std::process::id())),
        rate: flags.count("rate"),
        warm_up: of("warm-up"),
        phases: phases.iter().map(|(_, way, length)| (*way, *length)).collect(),
    };
    let report = outage.run()?;
    let mut table = Table::new("outage", &["store", "seconds", "p50_ms", "p99_ms", "p99_ratio", "results", "batch_mib"]);
    let (mut there, mut ratios) = (1.0, Vec::new());
    for ((store, _, length), seen) in phases.iter().zip(&report.phases) {
        let ms = |us: u64| us as f64 / 1_000.0;
        let latency = seen.latency;
        if *store == "there" {
            there = ms(latency.p99_us);
        }
        let ratio = ms(latency.p99_us) / there;
        if *store == "slow" {
            ratios.push(ratio);
        }
        table
            .add(json!({"store": store, "seconds": length.as_secs(), "p50_ms": ms(latency.p50_us), "p99_ms": ms(latency.p99_us),
            "p99_ratio": ratio, "results": latency.results, "batch_mib": seen.batch_mib}));
    }
    table.print();
    if !ratios.is_empty() {
        println!("p99 while the store is slow, beside that of the phase before: {:.2} (median)", median(ratios));
    }
    println!("everything was in the table {:.1} s behind the last payment, each once", report.catch_up.as_secs_f64());
    Ok(())
}
