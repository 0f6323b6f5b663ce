//! Goal: whatever moment a process is killed at, every result stands exactly once, and no reader ever sees half a commit.
//!
//! Method: a producer feeds the bus while the real process of a job (this very binary: `chaos run ledger`) is
//! killed and started again, N times, part of them while a commit or a recovery is under way. Right behind each kill the
//! bus is read as any reader sees it. In the end an oracle that shares no code with the engine says from the input alone
//! what every topic must hold.

mod campaign;
mod kills;
mod producer;
mod random;

use campaign::{Campaign, Report};
use clap::{Parser, ValueEnum};
use distributary_runtime::time::{Clock, SystemClock};
use harness::findings::Findings;
use harness::outside::Ground;
use harness::{Result, ledger};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Kills a running job at random moments and compares its results with an oracle.
///
/// The last line of its output is the verdict; exit status 1 if anything was lost, came twice or was torn.
#[derive(Parser)]
#[command(name = "chaos")]
struct Args {
    /// The bus to do it on.
    #[arg(long, value_enum, default_value = "sqlite")]
    bus: BusKind,
    /// How often the process is killed.
    #[arg(long, default_value_t = 40)]
    kills: u64,
    /// How many events are published meanwhile.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Decides the events and the moments; another one each time if none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Lanes of the sinks.
    #[arg(long, default_value_t = 2)]
    lanes: u32,
    /// Where Kafka listens, `host:port`; everything these jobs have left there is deleted.
    #[arg(long, required_if_eq("bus", "kafka"))]
    brokers: Option<String>,
    /// Where the data directory is made; it goes when all is well.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BusKind {
    Sqlite,
    Kafka,
}

fn main() -> ExitCode {
    // Any word that is no flag is a command of the job's own binary.
    if std::env::args().nth(1).is_some_and(|first| !first.starts_with('-')) {
        return distributary::cli::main(&[ledger::ledger, ledger::held]);
    }
    let args = Args::parse();
    match attack(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("chaos: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn attack(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| SystemClock.now().0.unsigned_abs());
    let binary = std::env::current_exe()?;
    let build = binary.parent().and_then(|p| p.parent()).ok_or("the binary lies in no build folder")?;
    let dir = args.dir.clone().unwrap_or_else(|| build.join("chaos"));
    let dir = dir.join(format!("{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    say(&format!("chaos: {} kills, {} events, seed {seed}, in {}", args.kills, args.events, dir.display()));
    let brokers = args.brokers.clone().filter(|_| args.bus == BusKind::Kafka);
    let ground = Ground { dir: dir.clone(), brokers };
    let campaign = Campaign { binary, ground, kills: args.kills, events: args.events, seed, lanes: args.lanes };
    let outcome = campaign.run();
    let kept = |outcome: &str| say(&format!("chaos: {outcome}; everything is kept in {}", dir.display()));
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            kept("could not be carried through");
            return Err(error);
        }
    };
    let recovery_p99_ms = report.recovery_p99().as_millis();
    let Report { findings, in_commit, in_recovery, .. } = report;
    let Findings { lost, duplicated, torn, .. } = findings;
    let enough = in_commit >= args.kills / 4 && in_recovery >= args.kills / 8;
    let well = findings.is_empty() && enough;
    findings.examples.iter().for_each(|example| say(&format!("chaos: {example}")));
    if well {
        std::fs::remove_dir_all(&dir)?;
    } else {
        kept(if enough { "results are wrong" } else { "too few kills landed in a commit or in a recovery" });
    }
    let kills = args.kills;
    println!(
        "lost={lost} duplicated={duplicated} torn={torn} kills={kills} in_commit={in_commit} in_recovery={in_recovery} \
         recovery_p99_ms={recovery_p99_ms} seed={seed}"
    );
    Ok(well)
}

/// Tells people, who may have gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
