//! Goal: whatever moment a process is killed at, every result stands exactly once, and no reader ever sees half a commit.
//!
//! Method: a producer feeds the bus while the real process of a job (this very binary: `chaos run ledger`) is
//! killed and started again, N times, part of them while a commit or a recovery is under way. Right behind each kill the
//! bus is read as any reader sees it. In the end an oracle that shares no code with the engine says from the input alone
//! what every topic must hold. On Kafka there are two other kinds of attack: on single requests, and on the brokers.
//!
//! With `--lane tail` the job writes its topics without transactions. Then clients drop a record whose place (generation, epoch,
//! index) does not come behind what they have read of the partition; so does this, and the last line counts such records:
//! `repeated`. Only what a process sent that was replaced can be among them: one that was woken (`woken` says how many were), or
//! one that was killed and whose last request reached the broker when the next had read the tail already (`late_of_killed`). Everything else is judged behind the
//! drop, but for one thing: what compaction would keep of an upsert topic, which knows nothing of places.

mod brokers;
mod campaign;
mod kills;
mod producer;
mod requests;

use brokers::Brokers;
use campaign::{Campaign, Report};
use clap::{Parser, ValueEnum};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::time::{Clock, SystemClock};
use harness::findings::Findings;
use harness::ledger::Attacked;
use harness::outside::Ground;
use harness::proxy::Route;
use harness::{Result, ledger};
use requests::Requests;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// How the job writes its topics.
    #[arg(long, value_enum, default_value = "transactional", conflicts_with_all = ["disturb", "broker_rounds"])]
    lane: Lane,
    /// What the job writes.
    #[arg(long, value_enum, default_value = "topic", conflicts_with_all = ["disturb", "broker_rounds", "lane"])]
    sink: Sink,
    /// A folder of an object store (`s3://bucket/folder`) for tables and checkpoints. Without it they lie in the data directory.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where Kafka listens, `host:port`; everything these jobs have left there is deleted.
    #[arg(long, required_if_eq("bus", "kafka"))]
    brokers: Option<String>,
    /// Kills nothing but disturbs so many single requests, on their way through a proxy.
    #[arg(long, requires = "route", conflicts_with_all = ["kills", "broker_rounds"])]
    disturb: Option<u64>,
    /// Where the proxy listens and the listener of the broker that advertises this address: `proxy=broker`.
    #[arg(long)]
    route: Option<Route>,
    /// Kills the brokers of a cluster, in so many rounds, and never the process.
    #[arg(long, requires = "nodes", conflicts_with = "kills")]
    broker_rounds: Option<u64>,
    /// The folder in which the brokers of the cluster lie.
    #[arg(long)]
    nodes: Option<PathBuf>,
    /// With one of the two above: in the end the bus is out of reach for so many seconds.
    #[arg(long)]
    away: Option<u64>,
    /// Where the data directory is made; it goes when all is well.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BusKind {
    Sqlite,
    Kafka,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lane {
    /// In one step with a marker.
    Transactional,
    /// Without transactions; on Kafka, processes are also paused, replaced and woken.
    Tail,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sink {
    /// Topics.
    Topic,
    /// Tables, which delta-rs reads in the end (`DISTRIBUTARY_TEST_PYTHON`).
    Table,
}

fn main() -> ExitCode {
    // Any word that is no flag is a command of the job's own binary.
    if std::env::args().nth(1).is_some_and(|first| !first.starts_with('-')) {
        return distributary::cli::main(&[ledger::ledger, ledger::lake, ledger::both, ledger::held]);
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
    let brokers = args.brokers.clone().filter(|_| args.bus == BusKind::Kafka);
    let lane = match args.lane {
        Lane::Transactional => TopicLane::Transactional,
        Lane::Tail => TopicLane::Tail,
    };
    let attacked = if args.sink == Sink::Table { Attacked::Lake } else { Attacked::Ledger };
    let store = args.store.as_ref().map(|url| format!("{url}/{seed}-{}", std::process::id()));
    let ground = Ground { dir: dir.clone(), brokers, lane, attacked, store };
    let kept = |outcome: &str| say(&format!("chaos: {outcome}; everything is kept in {}", dir.display()));
    let verdict = match run(args, binary, ground, seed) {
        Ok(verdict) => verdict,
        Err(error) => {
            kept("could not be carried through");
            return Err(error);
        }
    };
    let Findings { lost, duplicated, torn, examples, .. } = &verdict.findings;
    examples.iter().for_each(|example| say(&format!("chaos: {example}")));
    match &verdict.wrong {
        None => std::fs::remove_dir_all(&dir)?,
        Some(wrong) => kept(wrong),
    }
    println!("lost={lost} duplicated={duplicated} torn={torn} {} seed={seed}", verdict.figures);
    Ok(verdict.wrong.is_none())
}

/// What a campaign has shown.
struct Verdict {
    findings: Findings,
    /// What is not as it should be.
    wrong: Option<&'static str>,
    /// For the last line.
    figures: String,
}

impl Verdict {
    fn of(findings: Findings, figures: String) -> Self {
        let wrong = (!findings.is_empty()).then_some("results are wrong");
        Self { findings, wrong, figures }
    }
}

fn run(args: &Args, binary: PathBuf, ground: Ground, seed: u64) -> Result<Verdict> {
    let begin = |what: &str| say(&format!("chaos: {what}, seed {seed}, in {}", ground.dir.display()));
    let (lanes, away) = (args.lanes, args.away.map(Duration::from_secs));
    if let Some((cases, route)) = args.disturb.zip(args.route) {
        begin(&format!("{cases} requests"));
        let report = Requests { binary, ground, route, cases, away, seed, lanes }.run()?;
        let (kills, blocked) = (report.kills, report.blocked_max.as_millis());
        return Ok(Verdict::of(report.findings, format!("requests={cases} kills={kills} blocked_max_ms={blocked}")));
    }
    if let Some((rounds, nodes)) = args.broker_rounds.zip(args.nodes.clone()) {
        begin(&format!("{rounds} rounds"));
        let report = Brokers { binary, ground, nodes, rounds, away, seed, lanes }.run()?;
        let (silence, blocked) = (report.silence_max.as_millis(), report.blocked_max.as_millis());
        let figures =
            format!("rounds={rounds} silence_max_ms={silence} blocked_max_ms={blocked} memory_max_mib={}", report.memory_max_mib);
        return Ok(Verdict::of(report.findings, figures));
    }
    let (kills, events) = (args.kills, args.events);
    begin(&format!("{kills} kills, {events} events"));
    let tail = ground.lane == TopicLane::Tail;
    // A process that is paused on the embedded bus may hold its one write lock.
    let zombies = if tail && ground.brokers.is_some() { kills.div_ceil(8) } else { 0 };
    let report = Campaign { binary, ground, kills, events, seed, lanes, zombies }.run()?;
    let recovery_p99_ms = report.recovery_p99().as_millis();
    let Report { findings, in_commit, in_recovery, woken, .. } = report;
    let (repeated, late) = (findings.repeated, findings.late_of_killed);
    let mut figures = format!("kills={kills} in_commit={in_commit} in_recovery={in_recovery} recovery_p99_ms={recovery_p99_ms}");
    if tail {
        figures.push_str(&format!(" woken={woken} repeated={repeated} late_of_killed={late}"));
    }
    let mut verdict = Verdict::of(findings, figures);
    if repeated > 0 && args.bus == BusKind::Sqlite {
        verdict.wrong.get_or_insert("records stand twice that nobody can have sent late");
    }
    if in_commit < kills / 4 || in_recovery < kills / 8 {
        verdict.wrong.get_or_insert("too few kills landed in a commit or in a recovery");
    }
    Ok(verdict)
}

/// Tells people, who may have gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
