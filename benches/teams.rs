//! Whether a team feels that another one is killed: two processes of `examples/team_crate` on one Kafka. See README.md.

mod common;

use common::Flags;
use harness::teams::Teams;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let flags = Flags::read(&[("seconds", 60.0), ("rate", 2_000.0)])?;
    let Ok(brokers) = std::env::var("BENCH_KAFKA") else {
        println!("left out: BENCH_KAFKA names no broker (`./dev bench teams`)");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let teams = Teams {
        binary: Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/team_crate"),
        dir: dir.path().into(),
        brokers,
        rate: flags.count("rate"),
        phase: Duration::from_secs(flags.count("seconds")),
    };
    let [before, during] = teams.run()?;
    let ms = |us: u64| us as f64 / 1_000.0;
    for (other, latency) in [("runs", before), ("is dead", during)] {
        let (p50_ms, p99_ms) = (ms(latency.p50_us), ms(latency.p99_us));
        println!("{}", json!({"bench": "teams", "other": other, "p50_ms": p50_ms, "p99_ms": p99_ms, "results": latency.results}));
    }
    println!("{}", json!({"bench": "teams", "p99_ratio": ms(during.p99_us) / ms(before.p99_us)}));
    Ok(())
}
