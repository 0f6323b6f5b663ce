//! Latency and throughput on Kafka: from the moment an event is due until another client has read its result.
//!
//! `./dev bench latency --bus kafka`; see `benches/README.md`. What is measured runs as a process of its own; this one is the
//! load tool.

mod bare;
mod cluster;
mod engine;
mod event;
mod load;
mod meter;
mod point;
#[path = "../common/process.rs"]
#[allow(dead_code, reason = "shared by benches, and each takes what it needs")]
mod process;
#[path = "../common/table.rs"]
mod table;

use bare::Guarantee;
use clap::{Parser, Subcommand, ValueEnum};
use cluster::Result;
use point::{Point, Setup};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::Duration;
use table::Table;

/// Names the brokers; `./dev bench latency --bus kafka` starts one and sets it.
const BROKERS: &str = "BENCH_KAFKA";

/// Process id of the broker, if its CPU time is to be measured.
const BROKER_PID: &str = "BENCH_KAFKA_PID";

const COLUMNS: [&str; 13] = [
    "what",
    "job",
    "interval_ms",
    "rate",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "engine_cpu_s_per_million",
    "broker_cpu_s_per_million",
    "engine_peak_mib",
    "busy_cores",
    "others_cores",
];

/// Measures latency and throughput on Kafka.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "echo,bare,bare-flush,transactional,tail")]
    what: Vec<What>,
    /// Both, unless one is named.
    #[arg(long, value_delimiter = ',', default_value = "relay,spend")]
    job: Vec<JobName>,
    /// Events per second; several make a curve.
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    rate: Vec<u64>,
    /// How long each point is measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What is left out at the beginning of each point.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Epoch intervals of the engine; several make a curve.
    #[arg(long, value_delimiter = ',', default_value = "10")]
    epoch_ms: Vec<u64>,
    /// How often the bare loop commits a transaction.
    #[arg(long, value_delimiter = ',', default_value = "10")]
    bare_ms: Vec<u64>,
    /// How often the bare loop without transactions flushes.
    #[arg(long, value_delimiter = ',', default_value = "10")]
    flush_ms: Vec<u64>,
    /// All points take turns so often; the medians are shown.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Kills the engine in the middle of each point, starts it again, and shows the worst latency behind that.
    #[arg(long)]
    restart: bool,
    /// Starts the engine when so many seconds of events are waiting, and shows how long it takes to catch up while more come.
    #[arg(long, default_value_t = 0)]
    lag: u64,
    /// How many users there are.
    #[arg(long, default_value_t = 100_000)]
    users: u64,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The process of a bare loop.
    #[command(hide = true)]
    Bare(bare::Args),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// No engine: the meter reads what was sent.
    Echo,
    /// Librdkafka and nothing else, a transaction for each interval.
    Bare,
    /// The same without transactions.
    BareFlush,
    /// Distributary, in transactions.
    Transactional,
    /// Distributary, without.
    Tail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum JobName {
    Relay,
    Spend,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(Command::Bare(args)) = &args.command {
        return bare::run(args).map(|()| ExitCode::SUCCESS);
    }
    let Ok(brokers) = std::env::var(BROKERS) else {
        println!("latency on Kafka is measured by `./dev bench latency --bus kafka`");
        return Ok(ExitCode::SUCCESS);
    };
    let setup = Setup {
        brokers,
        broker_pid: std::env::var(BROKER_PID).ok().and_then(|pid| pid.trim().parse().ok()),
        warm_up_s: args.warm_up,
        seconds: args.seconds,
        restart: args.restart,
        lag: Duration::from_secs(args.lag),
    };
    event::set_users(args.users);
    let points = args.points();
    let mut results: Vec<Vec<Value>> = points.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for (point, results) in points.iter().zip(&mut results) {
            let result = point.measure(&setup)?;
            if args.rounds > 1 {
                println!("{}", json!({"bench": "latency", "round": round, "point": result}));
            }
            results.push(result);
        }
    }
    let mut columns = COLUMNS.to_vec();
    columns.extend(args.restart.then_some("worst_after_kill_ms"));
    columns.extend((args.lag > 0).then_some("caught_up_s"));
    columns.push("problem");
    let mut table = Table::new("latency", &columns);
    let failed = results.iter().flatten().any(|result| !result["problem"].is_null());
    for results in &results {
        table.add(median(results));
    }
    table.print();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for rate in &self.rate {
            for what in &self.what {
                let (jobs, intervals) = match what {
                    What::Echo => (vec![None], vec![0]),
                    What::Bare => (self.jobs(), self.bare_ms.clone()),
                    What::BareFlush => (self.jobs(), self.flush_ms.clone()),
                    What::Transactional | What::Tail => (self.jobs(), self.epoch_ms.clone()),
                };
                for job in jobs {
                    points.extend(intervals.iter().map(|ms| Point { what: *what, job, interval_ms: *ms, rate: *rate }));
                }
            }
        }
        points
    }

    fn jobs(&self) -> Vec<Option<JobName>> {
        self.job.iter().copied().map(Some).collect()
    }
}

impl What {
    /// The bare loop that this is, if it is one.
    fn bare(self) -> Option<Guarantee> {
        match self {
            Self::Bare => Some(Guarantee::Transaction),
            Self::BareFlush => Some(Guarantee::Flush),
            Self::Echo | Self::Transactional | Self::Tail => None,
        }
    }
}

/// The name of a value as it is written on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
}

/// Of each number the middle one; of an even number, the upper of the two. A problem of any round is a problem.
fn median(results: &[Value]) -> Value {
    let Some(Value::Object(first)) = results.first() else { unreachable!("a point has a round, and its result is an object") };
    let of = |field: &String| {
        let values = results.iter().map(|result| &result[field.as_str()]);
        let mut numbers: Vec<f64> = values.clone().filter(|value| value.is_f64()).filter_map(Value::as_f64).collect();
        numbers.sort_by(f64::total_cmp);
        match numbers.get(numbers.len() / 2) {
            Some(number) => Value::from(*number),
            None => values.clone().find(|value| !value.is_null()).cloned().unwrap_or_default(),
        }
    };
    let mut fields = Map::from_iter(first.keys().map(|field| (field.clone(), of(field))));
    fields.insert("rounds".into(), results.len().into());
    Value::Object(fields)
}
