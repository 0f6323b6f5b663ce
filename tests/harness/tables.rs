//! The verdict on tables: what delta-rs reads of them, compared with what must be there; and every version that a reader can have seen.

use crate::Result;
use crate::findings::Findings;
use crate::ledger::{self, LAKE_RELAY, LAKE_WINDOWS, LAKE_WINDOWS_LATE};
use crate::oracle::{Expected, Total, id_of, relayed};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Names a Python that has `examples/clients/requirements.txt`.
pub const PYTHON: &str = "DISTRIBUTARY_TEST_PYTHON";
/// Names a bucket; how to get in stands in the environment as well.
const S3: &str = "DISTRIBUTARY_TEST_S3";
const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/read_tables.py");

/// Whether there is a Python that reads tables; says so when there is none.
#[must_use]
pub fn has_reader() -> bool {
    let is_there = std::env::var_os(PYTHON).is_some();
    if !is_there {
        println!("skipped: {PYTHON} names no Python that has examples/clients/requirements.txt (`./dev test`)");
    }
    is_there
}

/// A folder of this name on the S3 server of this run; says so when there is none.
#[must_use]
pub fn s3(name: &str) -> Option<String> {
    let bucket = std::env::var(S3).ok();
    if bucket.is_none() {
        println!("skipped: {S3} names no bucket (`./dev test`)");
    }
    bucket.map(|bucket| format!("{bucket}/{name}"))
}

/// A line of the reader.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row { table: String, row: serde_json::Value },
    Version { table: String, version: u64, marker: Option<u64>, rows: u64 },
}

#[derive(Deserialize)]
struct Payment {
    payment_id: String,
    user_id: String,
    amount_cents: i64,
    at: i64,
    _origin: Origin,
}

#[derive(Deserialize)]
struct Origin {
    partition: u32,
    offset: u64,
    epoch: u64,
}

#[derive(Deserialize)]
struct PerWindow {
    key: String,
    window: Window,
    value: Value,
}

#[derive(Deserialize)]
struct Window {
    start: i64,
}

#[derive(Deserialize)]
struct Value {
    f0: u64,
    f1: i64,
}

/// Compares the tables in this lake with what the oracle says.
///
/// # Errors
/// There is no Python to read them, or it failed.
pub(crate) fn judge(lake: &str, expected: &Expected, findings: &mut Findings) -> Result<()> {
    let mut relay: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    let mut epochs: Vec<u64> = Vec::new();
    let mut versions: Vec<(u64, Option<u64>, u64)> = Vec::new();
    let mut windows: HashMap<(String, i64), Vec<Total>> = HashMap::new();
    let mut late: HashMap<u128, i64> = HashMap::new();
    read(lake, |line| {
        match line {
            Line::Row { table, row } if table == LAKE_WINDOWS => {
                let row: PerWindow = serde_json::from_value(row)?;
                windows.entry((row.key, row.window.start)).or_default().push((row.value.f0, row.value.f1));
            }
            Line::Row { table, row } => {
                let row: Payment = serde_json::from_value(row)?;
                let id = id_of(&row.payment_id)?;
                if table == LAKE_WINDOWS_LATE {
                    *late.entry(id).or_default() += 1;
                } else {
                    let digest = relayed(id, &row.user_id, row.amount_cents, row.at);
                    relay.entry(row._origin.partition).or_default().push((row._origin.offset, digest));
                    epochs.push(row._origin.epoch);
                }
            }
            Line::Version { table, version, marker, rows } if table == LAKE_RELAY => versions.push((version, marker, rows)),
            Line::Version { .. } => {}
        }
        Ok(())
    })?;

    for (partition, payments) in &expected.relay {
        let mut found = relay.remove(partition).unwrap_or_default();
        found.sort_unstable();
        let mut net: HashMap<u64, i64> = HashMap::new();
        payments.iter().for_each(|digest| *net.entry(*digest).or_default() += 1);
        found.iter().for_each(|(_, digest)| *net.entry(*digest).or_default() -= 1);
        let place = || format!("table {LAKE_RELAY}: rows of partition {partition}");
        findings.lost(net.values().filter(|n| **n > 0).sum::<i64>().unsigned_abs(), place);
        findings.duplicated(net.values().filter(|n| **n < 0).sum::<i64>().unsigned_abs(), place);
        let order = || format!("table {LAKE_RELAY}: origins of partition {partition} are others");
        findings.lost(u64::from(!found.iter().map(|(_, digest)| digest).eq(payments)), order);
    }
    findings.duplicated(relay.values().map(Vec::len).sum::<usize>() as u64, || format!("table {LAKE_RELAY}: other partitions"));

    // A reader sees all rows of the epochs up to the marker, and none of a later one.
    epochs.sort_unstable();
    for (version, marker, rows) in versions {
        let complete = epochs.partition_point(|epoch| *epoch <= marker.unwrap_or(0)) as u64;
        if rows != complete {
            findings.torn(|| format!("table {LAKE_RELAY}: version {version} has {rows} rows of {complete} at marker {marker:?}"));
        }
    }

    for (place, total) in &expected.windows {
        let found = windows.remove(place).unwrap_or_default();
        let says = || format!("table {LAKE_WINDOWS}: {place:?} is {found:?} and not {total:?}");
        findings.lost(u64::from(!found.contains(total)), says);
        findings.duplicated((found.len() as u64).saturating_sub(1), says);
    }
    for (place, found) in windows {
        findings.duplicated(found.len() as u64, || format!("table {LAKE_WINDOWS}: {place:?} should have no row"));
    }
    for (id, copies) in &expected.windows_late {
        *late.entry(*id).or_default() -= i64::from(*copies);
    }
    for (id, n) in late {
        let place = || format!("table {LAKE_WINDOWS_LATE}: payment {id:032x}");
        if n < 0 { findings.lost(n.unsigned_abs(), place) } else { findings.duplicated(n.unsigned_abs(), place) }
    }
    Ok(())
}

fn read(lake: &str, mut each: impl FnMut(Line) -> Result<()>) -> Result<()> {
    let python = std::env::var_os(PYTHON).ok_or_else(|| format!("{PYTHON} names no Python to read tables with"))?;
    let mut command = Command::new(python);
    command.arg(READER).arg(format!("{}/{{}}/0", ledger::LAKE_PIPELINE));
    command.args([LAKE_RELAY, LAKE_WINDOWS, LAKE_WINDOWS_LATE].map(|table| format!("{lake}/{table}")));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("the reader has no output")?;
    for line in BufReader::new(out).lines() {
        each(serde_json::from_str(&line?)?)?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("reading the tables failed ({status})").into()) }
}
