//! Goal: the queries of Nexmark, as a job author writes them, give what SQL gives. Method: the example program on the first two thousand events of
//! a day; DuckDB's answers stand beside them (`nexmark/golden.py`). Once as they come; once on two workers, in another order, with events that come
//! twice, and with a crash in the middle; and with requests to delete before, amid and behind the events, against DuckDB's answers without them.

use md5::{Digest, Md5};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Answer {
    rows: usize,
    md5: String,
}

#[test]
fn every_query_gives_what_sql_gives() {
    check(FULL, &[]);
}

#[test]
fn disorder_repeats_workers_and_a_crash_change_no_answer() {
    check(FULL, &["--workers", "2", "--duplicate", "1", "--kill", "--shuffle", &seed()]);
}

#[test]
fn who_is_deleted_at_the_end_was_never_there() {
    check(ERASED, &["--delete", &path("erase.txt"), "--delete-at", "end", "--workers", "2", "--shuffle", &seed()]);
}

#[test]
fn who_is_deleted_in_the_middle_was_never_there() {
    let how = ["--delete", &path("erase.txt"), "--delete-at", "middle"];
    check(ERASED, &[&how[..], &["--workers", "2", "--duplicate", "1", "--kill", "--shuffle", &seed()]].concat());
}

#[test]
fn who_is_deleted_before_never_enters() {
    check(ERASED, &["--delete", &path("erase.txt"), "--delete-at", "before"]);
}

const FULL: &str = include_str!("nexmark/answers.json");
const ERASED: &str = include_str!("nexmark/erased.json");

fn seed() -> String {
    let seed = std::env::var("DISTRIBUTARY_SEED").unwrap_or_else(|_| "1".to_string());
    println!("seed {seed}");
    seed
}

fn path(file: &str) -> String {
    format!("{}/tests/pipeline/nexmark/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn check(expected: &str, how: &[&str]) {
    let [full, expected]: [BTreeMap<String, Answer>; 2] = [FULL, expected].map(|text| serde_json::from_str(text).unwrap());
    for (query, expected) in expected {
        let (before, is) = answers(&query, how);
        assert_eq!(is, expected, "{query} {how:?}");
        assert!(before.is_none_or(|before| before == full[&query]), "{query} {how:?}: in front of the request");
    }
}

/// What stands in front of a request at the end, and what stands last.
fn answers(query: &str, how: &[&str]) -> (Option<Answer>, Answer) {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("answer.csv");
    let mut command = Command::new(program());
    command.args(["--query", query, "--input", &path("events.jsonl.gz"), "--output"]).arg(&output).args(how);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{query}: {}", String::from_utf8_lossy(&done.stderr));
    let answer = |text: Vec<u8>| {
        let md5 = Md5::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        Answer { rows: text.iter().filter(|byte| **byte == b'\n').count(), md5 }
    };
    (std::fs::read(dir.path().join("answer.csv.before")).ok().map(answer), answer(std::fs::read(output).unwrap()))
}

/// Cargo builds examples with the tests, beside their folder.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/nexmark")
}
