//! Readers of tables while a job writes them, and SQL over what stands in the end.

use crate::world::{EVENTS, PARTS, PATIENCE, World, payments, stop, wait_until};
use distributary_connectors::lake::{TableStore, TableView, history, vacuum};
use distributary_runtime::bus::NewRecord;
use distributary_runtime::time::{WallTime, monotonic};
use harness::ledger::{LAKE_RELAY, LAKE_WINDOWS};
use harness::tables;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use url::Url;

const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tables/sql.py");

/// Reads with pyarrow, Polars and delta-rs until it is told to stop.
const READ_ON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/read_on.py");
/// Payments between two looks at the readers.
const CHUNK: usize = 50;
/// Rounds of the readers, at least.
const ROUNDS: usize = 20;
/// What is deleted is older than the oldest version that is held by this much more: between what a writer has written ahead and its commit there
/// may be so much, and the times of files are coarse.
const MARGIN_MS: i64 = 3_000;

/// A row for each line that the example prints.
fn sql(world: &World, query: &str) -> Vec<Value> {
    let mut command = Command::new(std::env::var_os(tables::PYTHON).unwrap());
    let output = command.arg(SQL).arg(world.dir.path().join("lake")).arg(query).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whatever epoch a reader comes in, it sees whole ones: of each partition a beginning without a hole, and one row for each window.
#[test]
fn sql_sees_whole_epochs_while_a_job_writes() {
    if !tables::has_reader() {
        return;
    }
    let world = World::of_tables();
    world.produce(0);
    let before = world.owner();
    let mut process = world.launch("writer").start(Stdio::null()).unwrap();
    wait_until("the writer is live", || world.owner() != before && !process.phase().recovering);
    let relay = format!("SELECT CAST(COUNT(*) AS BIGINT) AS rows, MAX(_origin.epoch) AS epoch FROM {LAKE_RELAY}");
    let windows = format!(
        "SELECT key, window.start AS at, COUNT(*) AS n FROM {LAKE_WINDOWS} GROUP BY key, window.start HAVING COUNT(*) > 1"
    );
    let mut seen = Vec::new();
    for part in 1..PARTS {
        seen.push(sql(&world, &relay).remove(0));
        world.produce(part);
        assert_eq!(sql(&world, &windows), Vec::<Value>::new());
    }
    world.catch_up(&mut process);
    stop(&mut process);
    seen.push(sql(&world, &relay).remove(0));
    for answer in &seen {
        let (rows, epoch) = (answer["rows"].as_u64().unwrap(), answer["epoch"].as_u64().unwrap_or(0));
        let whole = format!("SELECT COUNT(*) AS rows FROM {LAKE_RELAY} WHERE _origin.epoch <= {epoch}");
        assert_eq!(sql(&world, &whole)[0]["rows"], rows, "{answer}");
    }
    let last = seen[seen.len() - 1]["rows"].as_u64().unwrap();
    assert!(last > EVENTS * 9 / 10, "{seen:?}");
    world.assert_exact("read while it was written");
}

/// What a reader says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    /// What was needed at this time is needed still, in milliseconds since 1970.
    Since { since: i64 },
    /// What it has read.
    Reading(Reading),
}

#[derive(Debug, Deserialize)]
struct Reading {
    version: u64,
    reader: String,
    rows: u64,
    epoch: Option<u64>,
}

/// Readers that hold a version for two rounds.
struct Readers {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    since: WallTime,
    readings: Vec<Reading>,
}

impl Readers {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::var_os(tables::PYTHON).unwrap());
        let mut process = command.arg(READ_ON).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, since: WallTime(0), readings: Vec::new() }
    }

    /// Follows them until the next round begins; whether one does.
    fn round(&mut self) -> bool {
        for line in self.lines.by_ref() {
            match serde_json::from_str(&line.unwrap()).unwrap() {
                Said::Since { since } => {
                    self.since = WallTime(since);
                    return true;
                }
                Said::Reading(reading) => self.readings.push(reading),
            }
        }
        false
    }

    /// Everything they have read.
    fn end(mut self) -> Vec<Reading> {
        drop(self.process.stdin.take());
        while self.round() {}
        let status = self.process.wait().unwrap();
        assert!(status.success(), "a reader found less than it was promised: {status}");
        self.readings
    }
}

/// Files are joined and deleted while readers open versions and read them, now and a round later: as long as one is held, all its files are there,
/// and they are those of whole epochs, alike for every engine.
#[test]
fn readers_miss_no_file_and_see_whole_epochs_while_a_table_is_compacted_and_vacuumed() {
    if !tables::has_reader() {
        return;
    }
    let world = World::of_tables();
    let folder = world.dir.path().join("lake").join(LAKE_RELAY);
    let url = Url::from_directory_path(&folder).unwrap();
    let store = TableStore::open(&url, &[]).unwrap();
    world.produce(0);
    let mut process = world.launch("writer").start(Stdio::null()).unwrap();
    let is_there = || TableView::open(&store, &url).unwrap().is_some_and(|view| view.rows() > 0);
    wait_until("the table has rows", is_there);

    let mut readers = Readers::start(&folder);
    let mut input = payments(1_000_000, 8).map(NewRecord::from);
    let (until, mut rounds, mut deleted, mut joined) = (monotonic() + PATIENCE, 0, 0, false);
    while rounds < ROUNDS || deleted == 0 || !joined {
        assert!(readers.round(), "a reader has ended: {:?}{}", readers.process.wait(), process.said());
        world.bus.produce(world.payments.id, input.by_ref().take(CHUNK).collect()).unwrap();
        deleted += vacuum(&store, &url, WallTime(readers.since.0 - MARGIN_MS), false).unwrap().files;
        joined |= history(&store, &url, CHUNK).unwrap().iter().any(|version| version.operation == "OPTIMIZE");
        rounds += 1;
        assert!(monotonic() < until, "{rounds} rounds, {deleted} files deleted, joined: {joined}{}", process.said());
    }
    let readings = readers.end();
    world.catch_up(&mut process);
    stop(&mut process);

    let mut rows = Vec::new();
    TableView::open(&store, &url).unwrap().unwrap().write_rows(&mut rows).unwrap();
    let rows = rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    let rows = rows.map(|row| serde_json::from_slice::<Value>(row).unwrap());
    let mut epochs: Vec<_> = rows.map(|row| row["_origin"]["epoch"].as_u64().unwrap()).collect();
    epochs.sort_unstable();
    let mut versions: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for reading in &readings {
        let whole = epochs.partition_point(|epoch| Some(*epoch) <= reading.epoch) as u64;
        assert_eq!(reading.rows, whole, "{reading:?}");
        assert_eq!(*versions.entry(reading.version).or_insert(reading.epoch), reading.epoch, "{reading:?}");
    }
    for reader in ["pyarrow", "DuckDB", "polars", "delta-rs"] {
        assert!(readings.iter().filter(|reading| reading.reader == reader).count() >= ROUNDS, "{reader} has hardly read");
    }
    assert!(versions.len() > ROUNDS / 2, "{versions:?}");
}
