//! Nexmark: the queries as jobs, run on a file of events, and their answers in a canonical form.
//!
//! ```text
//! cargo run --release --example nexmark -- --query q5 --input events.jsonl.gz --output answer.csv [--workers 2] [--shuffle SEED]
//!     [--duplicate PERCENT] [--before MS] [--kill] [--delete FILE [--delete-at end|middle|before]]
//! ```
//!
//! An answer is a text: a line for each row, fields joined by commas, sorted bytewise. The events are those of a marketplace: persons,
//! auctions, bids, a JSON object on each line, with a `type`. They may be out of order by up to 200 s.
//!
//! The file of `--delete` names a person on each line: who registers, sells or bids. What the answer was in front of a request at the `end` stands
//! beside it, in `answer.csv.before`.

#![allow(clippy::print_stderr, reason = "it is a program for people")]

mod events;
mod queries;

use clap::{Parser, ValueEnum};
use distributary::{Error, Event, Result, TestJob, Timestamp, hours};
use distributary_runtime::bus::NewRecord;
use distributary_runtime::deletion::{Cut, Request};
use distributary_runtime::settings::Settings;
use distributary_runtime::time::WallTime;
use events::{Auction, Bid, Person, Side};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Shuffled events are no more out of order than a watermark's delay allows: with what they were out of order before.
const SHUFFLED_MS: u64 = 40_000;
/// Of the table beside auctions, this is every key.
const SIDE_KEYS: std::ops::Range<u64> = 0..10_000;
const SIDE_STEP: usize = 3;
/// So long behind the last event, in event time, everything is said that is to be said.
const AFTER_LAST: Duration = hours(24);
/// So many times an epoch closes on the way.
const EPOCHS: usize = 50;

/// Runs a query on a file of events.
#[derive(Parser)]
struct Args {
    /// The query: q0, q1, ..
    #[arg(long)]
    query: String,
    /// Events as JSON lines; `.gz`: compressed.
    #[arg(long)]
    input: PathBuf,
    /// Where the answer goes.
    #[arg(long)]
    output: PathBuf,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// In another order.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// So many of a hundred events come twice.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    duplicate: u64,
    /// Only events before this time.
    #[arg(long, value_name = "MS")]
    before: Option<i64>,
    /// After a third the job stops and starts; in the middle it dies, and goes on where its last checkpoint was.
    #[arg(long)]
    kill: bool,
    /// Persons to be forgotten, a number on each line.
    #[arg(long, value_name = "FILE")]
    delete: Option<PathBuf>,
    /// When it is asked for.
    #[arg(long, value_enum, default_value_t = When::End, requires = "delete")]
    delete_at: When,
}

/// When a request comes. Unless it comes last, it holds for what is still to come as well.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// Ahead of all events.
    Before,
    /// When half of them are there.
    Middle,
    /// When everything is said.
    End,
}

/// What all kinds have.
#[derive(Deserialize)]
struct Kind {
    event_id: u64,
    date_time: i64,
    r#type: String,
}

/// A line, and where it goes.
struct Line {
    place: u64,
    kind: Kind,
    text: String,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let Some((_, job)) = queries::ALL.iter().find(|(name, _)| *name == args.query) else {
        let names: Vec<&str> = queries::ALL.iter().map(|(name, _)| *name).collect();
        return Err(Error::refused(format!("there is no query `{}`", args.query), format!("there are {}", names.join(", "))));
    };
    let lines = lines(args)?;
    let mut test = TestJob::with(*job, Settings { workers: args.workers, ..Settings::default() });
    let reads: Vec<String> = test.plans().iter().flat_map(|plan| plan.sources()).map(|source| source.topic.clone()).collect();
    if reads.iter().any(|topic| topic == Side::TOPIC) {
        for key in SIDE_KEYS.step_by(SIDE_STEP) {
            test.push(Side { key, since: Timestamp::EPOCH, value: format!("side-{key}") });
        }
    }
    let request = args.delete.as_deref().map(request).transpose()?;
    let epoch = lines.len().div_ceil(EPOCHS).max(1);
    for (at, Line { kind, text, .. }) in lines.iter().enumerate() {
        let is_time = |when, place: usize| args.delete_at == when && at == place;
        if is_time(When::Before, 0) || is_time(When::Middle, lines.len() / 2) {
            request.iter().for_each(|request| delete(&mut test, request));
        }
        if reads.contains(&kind.r#type) {
            publish(&mut test, kind, text)?;
        }
        if at % epoch == epoch - 1 {
            test.settle();
        }
        if args.kill && at == lines.len() / 3 {
            // In order, with a checkpoint: what is killed later goes on from there.
            test.stop().restart();
        }
        if args.kill && at == lines.len() / 2 + epoch {
            test.restart();
        }
    }
    let last = lines.iter().map(|line| line.kind.date_time).max().unwrap_or_default();
    test.advance_to(Timestamp::from_millis(last) + AFTER_LAST);
    if let (Some(request), When::End) = (&request, args.delete_at) {
        let mut path = args.output.clone().into_os_string();
        path.push(".before");
        write_answer(&mut test, Path::new(&path))?;
        delete(&mut test, request);
    }
    write_answer(&mut test, &args.output)
}

fn write_answer(test: &mut TestJob, path: &Path) -> Result<()> {
    let mut answer: Vec<String> = test.rows(queries::ANSWER).read();
    answer.sort_unstable();
    let written = std::fs::write(path, answer.into_iter().map(|line| line + "\n").collect::<String>());
    written.map_err(|source| Error::Io { what: format!("writing {}", path.display()), source })
}

/// Who is to be forgotten.
fn request(path: &Path) -> Result<Request> {
    let subjects = read(path)?.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
    Ok(Request { subjects, cut: Cut::Standing })
}

/// Asks for it, and says how much was taken back of what had been said.
fn delete(test: &mut TestJob, request: &Request) {
    let retractions = |test: &mut TestJob| {
        test.settle();
        let records = test.records(queries::ANSWER).into_iter().flat_map(|(_, records)| records);
        records.filter(distributary_runtime::bus::Record::is_retraction).count()
    };
    let before = retractions(test);
    test.request(request);
    eprintln!("retractions: {}", retractions(test) - before);
}

/// As a producer does it: with the key that the type of the event names.
fn publish(test: &mut TestJob, kind: &Kind, text: &str) -> Result<()> {
    let key = match kind.r#type.as_str() {
        Person::TOPIC => of::<Person>(text)?.key(),
        Auction::TOPIC => of::<Auction>(text)?.key(),
        _ => of::<Bid>(text)?.key(),
    };
    let timestamp = WallTime(kind.date_time);
    let record =
        NewRecord { partition: None, timestamp, key: key.map(Into::into), value: Some(text.to_string().into()), headers: vec![] };
    test.push_raw(&kind.r#type, record);
    Ok(())
}

fn of<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    // What the line holds is nobody's business.
    serde_json::from_str(text).map_err(|e| {
        let what = format!("an event cannot be read: {:?} at column {}", e.classify(), e.column());
        Error::refused(what, "give events as the benchmark defines them, a JSON object on each line")
    })
}

/// The events in the order in which they are published.
fn lines(args: &Args) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (number, text) in read(&args.input)?.lines().enumerate() {
        let kind: Kind = of(text)?;
        if args.before.is_some_and(|before| kind.date_time >= before) {
            continue;
        }
        let drawn = |seed: u64| xxh3_64_with_seed(&kind.event_id.to_le_bytes(), seed);
        let place = match args.shuffle {
            None => number as u64,
            Some(seed) => kind.date_time.unsigned_abs() + drawn(seed) % SHUFFLED_MS,
        };
        let copies = if drawn(u64::MAX) % 100 < args.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let kind = Kind { r#type: kind.r#type.clone(), ..kind };
            lines.push(Line { place, kind, text: text.to_string() });
        }
    }
    lines.sort_by_key(|line| line.place);
    Ok(lines)
}

fn read(path: &Path) -> Result<String> {
    let failed = |source| Error::Io { what: format!("reading {}", path.display()), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let is_compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let mut text = String::new();
    let read = if is_compressed { MultiGzDecoder::new(file).read_to_string(&mut text) } else { file.read_to_string(&mut text) };
    read.map(|_| text).map_err(failed)
}
