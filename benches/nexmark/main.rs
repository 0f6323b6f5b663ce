//! What the queries of Nexmark cost beside loops written by hand for the same answers, on the same events, in the same run.
//!
//! `./dev bench nexmark [--events 1000000] [--rounds 5] [--query q7,q12e]`; see `benches/README.md`. The jobs are those of
//! `examples/nexmark`. Every measurement is a process of its own: this one again, so that its memory is its own.

#[path = "../common/mod.rs"]
mod common;
mod engine;
#[path = "../../examples/nexmark/events.rs"]
mod events;
mod hand;
mod market;
mod measured;
#[path = "../../examples/nexmark/queries.rs"]
mod queries;
mod rows;

use clap::{Parser, Subcommand};
use common::median;
use common::pipeline::Place;
use common::process::{memory, mib, process_cpu};
use common::table::Table;
use distributary::{Job, run};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::monotonic;
use market::Market;
use measured::{Measured, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{self, Stdio};

/// What is measured, in this order: its name, and what it begins with, of which the reading comes first.
const CASES: [(&str, &[&str]); 30] = [
    ("read bids", &[]),
    ("read offers", &[]),
    ("read sellers", &[]),
    ("read all", &[]),
    ("dedup bids", &["read bids"]),
    ("dedup offers", &["read offers"]),
    ("dedup sellers", &["read sellers"]),
    ("dedup all", &["read all"]),
    ("q0", BIDS),
    ("q1", BIDS),
    ("q2", BIDS),
    ("q14", BIDS),
    ("q21", BIDS),
    ("q22", BIDS),
    ("q13", BIDS),
    ("q12e", BIDS),
    ("q7", BIDS),
    ("q5", BIDS),
    ("q11", BIDS),
    ("q3", SELLERS),
    ("q8", SELLERS),
    ("q20", OFFERS),
    ("q4", OFFERS),
    ("q9", OFFERS),
    ("q23s", ALL),
    ("q15", BIDS),
    ("q16", BIDS),
    ("q17", BIDS),
    ("q18", BIDS),
    ("q19", BIDS),
];

const BIDS: &[&str] = &["read bids", "dedup bids"];
/// Auctions and bids.
const OFFERS: &[&str] = &["read offers", "dedup offers"];
/// Persons and auctions.
const SELLERS: &[&str] = &["read sellers", "dedup sellers"];
/// Persons, auctions and bids.
const ALL: &[&str] = &["read all", "dedup all"];

const COLUMNS: [&str; 15] = [
    "query",
    "events",
    "rows",
    "said",
    "events_per_cpu_s",
    "hand_events_per_cpu_s",
    "cpu_ratio",
    "reading_share",
    "beyond_reading",
    "beyond_dedup",
    "wall_ratio",
    "peak_mib",
    "hand_peak_mib",
    "keys",
    "state_bytes_per_key",
];

/// Measures the queries of Nexmark beside loops written by hand.
#[derive(Parser)]
struct Args {
    /// How many events there are, of all kinds.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many of them happen in a second of event time.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// All measurements take turns so often; the medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these, and the reading that they are compared with.
    #[arg(long, value_delimiter = ',')]
    query: Vec<String>,
    /// How often the engine closes an epoch at least, in milliseconds.
    #[arg(long, global = true, default_value_t = 10)]
    epoch_ms: u64,
    /// How often it begins a checkpoint, beside the one at the end.
    #[arg(long, global = true, default_value_t = 3_600)]
    checkpoint_s: u64,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The process of one measurement.
    #[command(hide = true)]
    Side { side: Side, query: String, bus: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Engine,
    Hand,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::Side { side, query, bus }) => measure(&args, *side, query, bus),
        None => compare(&args),
    }
}

/// Of both sides the runs of a case, in the order of the rounds.
type Runs = BTreeMap<&'static str, [Vec<Measured>; 2]>;

fn compare(args: &Args) -> Result<()> {
    let cases = args.cases()?;
    let place = Place::new(|_| {})?;
    Market { events: args.events, rate_per_s: args.rate }.publish(&place)?;
    let mut runs = Runs::new();
    for _ in 0..args.rounds {
        for (name, _) in &cases {
            let both = [args.child(Side::Engine, name, &place)?, args.child(Side::Hand, name, &place)?];
            assert!(both[0].rows.stand_as(&both[1].rows), "{name}: engine and hand give the same rows: {both:?}");
            let sides = runs.entry(name).or_default();
            sides.iter_mut().zip(both).for_each(|(side, run)| side.push(run));
        }
    }
    let mut table = Table::new("nexmark", &COLUMNS);
    for (name, begins) in cases {
        let begins: Vec<_> = begins.iter().map(|part| &runs[part]).collect();
        table.add(row(name, records(&place, job(name)?)?, &runs[name], &begins));
    }
    table.print();
    Ok(())
}

impl Args {
    fn cases(&self) -> Result<Vec<(&'static str, &'static [&'static str])>> {
        let wanted = |name: &str| self.query.is_empty() || self.query.iter().any(|query| query == name);
        if let Some(unknown) = self.query.iter().find(|query| CASES.iter().all(|(name, _)| name != query)) {
            let names: Vec<_> = CASES.iter().map(|(name, _)| *name).collect();
            return Err(Error::refused(format!("query `{unknown}`"), format!("there are {}", names.join(", "))));
        }
        let compared: Vec<_> = CASES.iter().filter(|(name, _)| wanted(name)).collect();
        let is_needed = |case: &&(&str, &[&str])| wanted(case.0) || compared.iter().any(|(_, begins)| begins.contains(&case.0));
        Ok(CASES.iter().filter(is_needed).copied().collect())
    }

    /// Measures one case on one side, in a process of its own.
    fn child(&self, side: Side, query: &str, place: &Place) -> Result<Measured> {
        let failed = |source| Error::Io { what: format!("measuring {query}"), source };
        let mut command = process::Command::new(std::env::current_exe().map_err(failed)?);
        let (epoch_ms, checkpoint_s) = (self.epoch_ms.to_string(), self.checkpoint_s.to_string());
        let side = format!("{side:?}").to_lowercase();
        command.args(["side", &side, query, &place.settings.bus_url(), "--epoch-ms", &epoch_ms, "--checkpoint-s", &checkpoint_s]);
        let output = command.stderr(Stdio::inherit()).output().map_err(failed)?;
        let wrong = || Error::refused(format!("the process that measures {query} ended with {}", output.status), "see above");
        serde_json::from_slice(&output.stdout).map_err(|_| wrong())
    }
}

fn measure(args: &Args, side: Side, query: &str, bus: &str) -> Result<()> {
    let place = Place::new(|settings| {
        settings.bus = Some(bus.to_string());
        settings.epoch_interval_ms = args.epoch_ms;
        settings.checkpoint_interval_ms = args.checkpoint_s * 1_000;
    })?;
    let job = job(query)?;
    let measured = match side {
        Side::Engine => engine::measure(job, &place, records(&place, job)?)?,
        Side::Hand => by_hand(query, &place, &topics(job)?)?,
    };
    println!("{}", json!(measured));
    Ok(())
}

fn by_hand(query: &str, place: &Place, topics: &[String]) -> Result<Measured> {
    let (began, cpu) = (monotonic(), process_cpu());
    let mut out = rows::Writer::default();
    hand::run(query, &mut hand::Input::open(place, topics)?, &mut out)?;
    let (wall, cpu) = (began.elapsed(), process_cpu().saturating_sub(cpu));
    let (wall_s, cpu_s) = (wall.as_secs_f64(), cpu.as_secs_f64());
    Ok(Measured { wall_s, cpu_s, peak: memory().peak, rows: out.rows, epochs: 0, states: BTreeMap::new() })
}

fn job(query: &str) -> Result<Job> {
    let found = queries::ALL.iter().chain(&engine::PARTS).find(|(name, _)| *name == query);
    found.map(|(_, job)| *job).ok_or_else(|| Error::refused(format!("there is no query `{query}`"), "write one"))
}

/// What a job reads.
fn topics(job: Job) -> Result<Vec<String>> {
    let plan = distributary_runtime::engine::plan(&run::pipeline(job))?;
    Ok(plan.sources().map(|source| source.topic.clone()).collect())
}

/// How many records that are.
fn records(place: &Place, job: Job) -> Result<u64> {
    let count = |topic: &String| Ok(market::found(place, topic)?.1.iter().map(|at| at.end.0 - at.log_start.0).sum::<u64>());
    topics(job)?.iter().map(count).sum()
}

fn row(name: &str, events: u64, runs: &[Vec<Measured>; 2], begins: &[&[Vec<Measured>; 2]]) -> Value {
    let cpu = |runs: &[Vec<Measured>; 2], side: usize| median(runs[side].iter().map(|run| run.cpu_s));
    let beyond = |part: usize| begins.get(part).map(|part| [0, 1].map(|side| cpu(runs, side) - cpu(part, side)));
    let ratio = |[engine, hand]: [f64; 2]| engine / hand;
    let us_per_event = |side: usize| beyond(1).map(|cpu| cpu[side] * 1e6 / events as f64);
    let wall = |side: usize| median(runs[side].iter().map(|run| run.wall_s));
    let peak = |side: usize| mib(median(runs[side].iter().map(|run| run.peak as f64)) as u64);
    let last = runs[0].last();
    let states = last.map(|run| &run.states);
    let sum = |of: fn(&State) -> u64| states.into_iter().flat_map(BTreeMap::values).map(of).sum::<u64>();
    let (keys, bytes) = (sum(|state| state.keys), sum(|state| state.bytes));
    json!({
        "query": name,
        "events": events,
        "rows": last.map(|run| run.rows.net),
        "said": last.map(|run| run.rows.said),
        "epochs": last.map(|run| run.epochs),
        "events_per_cpu_s": events as f64 / cpu(runs, 0),
        "hand_events_per_cpu_s": events as f64 / cpu(runs, 1),
        "cpu_ratio": cpu(runs, 0) / cpu(runs, 1),
        "reading_share": begins.first().map(|reading| cpu(reading, 0) / cpu(runs, 0)),
        "beyond_reading": beyond(0).map(ratio),
        "beyond_dedup": beyond(1).map(ratio),
        "beyond_dedup_us_per_event": us_per_event(0),
        "hand_beyond_dedup_us_per_event": us_per_event(1),
        "wall_ratio": wall(0) / wall(1),
        "peak_mib": peak(0),
        "hand_peak_mib": peak(1),
        "keys": keys,
        "state_bytes_per_key": (keys > 0).then(|| bytes as f64 / keys as f64),
        "states": states,
    })
}
