//! Whether a team feels that another one is killed: two processes of `examples/team_crate` on one Kafka. See README.md.

mod common;

use common::{Flags, median, table::Table};
use harness::teams::{Latency, Round, Teams};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// A part of a round.
type Phase = fn(&Round) -> Latency;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let flags = Flags::read(&[("seconds", 60.0), ("rate", 2_000.0), ("warm-up", 60.0), ("rounds", 5.0)])?;
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
        warm_up: Duration::from_secs(flags.count("warm-up")),
        phase: Duration::from_secs(flags.count("seconds")),
        rounds: u32::try_from(flags.count("rounds"))?,
    };
    let rounds = teams.run()?;
    let ms = |us: u64| us as f64 / 1_000.0;
    let phases: [(&str, Phase); 3] =
        [("runs", |round| round.both), ("is dead", |round| round.dead), ("comes back", |round| round.back)];
    let mut table = Table::new("teams", &["other", "p50_ms", "p99_ms", "p99_ratio", "results"]);
    for (other, of) in phases {
        let of_all = |value: fn(Latency) -> u64| rounds.iter().map(move |round| ms(value(of(round)))).collect::<Vec<_>>();
        let (p50_ms, p99_ms) = (of_all(|latency| latency.p50_us), of_all(|latency| latency.p99_us));
        let ratios = rounds.iter().map(|round| of(round).p99_us as f64 / round.both.p99_us as f64);
        let results: usize = rounds.iter().map(|round| of(round).results).sum();
        table.add(json!({"other": other, "p50_ms": median(p50_ms), "p99_ms": median(p99_ms.clone()),
            "p99_ms_of_rounds": p99_ms, "p99_ratio": median(ratios), "results": results}));
    }
    table.print();
    Ok(())
}
