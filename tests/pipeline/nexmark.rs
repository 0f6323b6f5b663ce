//! Goal: the queries of Nexmark, as a job author writes them, give what SQL gives. Method: the example program on the first two thousand events of
//! a day; DuckDB's answers stand beside them (`nexmark/golden.py`). Once as they come; once on two workers, in another order, with events that come
//! twice, and with a crash in the middle.

use md5::{Digest, Md5};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Answer {
    rows: usize,
    md5: String,
}

#[test]
fn every_query_gives_what_sql_gives() {
    check(&[]);
}

#[test]
fn disorder_repeats_workers_and_a_crash_change_no_answer() {
    let seed = std::env::var("DISTRIBUTARY_SEED").unwrap_or_else(|_| "1".to_string());
    println!("seed {seed}");
    check(&["--workers", "2", "--duplicate", "1", "--kill", "--shuffle", &seed]);
}

fn check(how: &[&str]) {
    let expected: BTreeMap<String, Answer> = serde_json::from_str(include_str!("nexmark/answers.json")).unwrap();
    for (query, expected) in expected {
        assert_eq!(answer(&query, how), expected, "{query} {how:?}");
    }
}

fn answer(query: &str, how: &[&str]) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("answer.csv");
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline/nexmark/events.jsonl.gz");
    let mut command = Command::new(program());
    command.args(["--query", query, "--input"]).arg(input).arg("--output").arg(&output).args(how);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{query}: {}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read(output).unwrap();
    let md5 = Md5::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Answer { rows: text.iter().filter(|byte| **byte == b'\n').count(), md5 }
}

/// Cargo builds examples with the tests, beside their folder.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/nexmark")
}
