//! Goal: clients in other languages see the state of an upsert topic as it is. They follow corrections and deletions, and drop what a
//! replaced process repeats late, before and behind compaction. Method: the programs of `examples/clients`, as their users run them,
//! on topics of both kinds of lane.

use crate::rig::{Rig, payment};
use distributary::{Flow, PerKey, Result, count, job, upsert};
use distributary_runtime::bus::{NewRecord, Record};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const USERS: u64 = 20;
const EVENTS: u64 = 300;
/// The input comes in so many parts; behind each the job is replaced.
const PARTS: u64 = 3;
/// A user with a multiple of so many payments has no row.
const HOLE: u64 = 4;

/// How many payments each user has; the row goes at every fourth, and the next brings it back.
#[job(team = "fraud")]
fn counts(flow: &Flow) -> Result<()> {
    flow.read::<crate::rig::Payment>()?
        .key_by(|p| p.user.clone())
        .aggregate("counts", count())
        .filter(|row| row.value % HOLE != 0)
        .keyed(|row: &PerKey<String, u64>| row.key.clone())
        .to(upsert("fraud.counts"))
        .to(upsert("fraud.counts-tail").tail());
    Ok(())
}

#[test]
fn clients_in_python_and_java_follow_upsert_topics() {
    let Some(rig) = Rig::on_kafka() else { return };
    rig.topic("payments", 2);
    for end in (1..=PARTS).map(|part| part * EVENTS / PARTS) {
        rig.publish("payments", (end - EVENTS / PARTS..end).map(of_user).collect());
        let running = rig.start(counts);
        rig.read_until("fraud.counts", |records| state(records) == expected(end));
        running.stop();
        if end < EVENTS {
            repeat_late(&rig);
        }
    }
    // Compaction leaves the last record of each key: here at once.
    rig.topic("fraud.compacted", 2);
    for (partition, records) in rig.by_partition("fraud.counts-tail") {
        let last: BTreeMap<_, _> = records.into_iter().map(|record| (record.key.clone(), record)).collect();
        let mut last: Vec<_> = last.into_values().collect();
        last.sort_by_key(|record| record.offset);
        rig.publish("fraud.compacted", last.into_iter().map(|record| again(partition, record)).collect());
    }
    repeat_late(&rig);
    let lines: Vec<Value> = expected(EVENTS).iter().map(|(user, n)| json!({"key": user, "value": row(user, *n)})).collect();
    for client in [python(), java()].into_iter().flatten() {
        for topic in ["fraud.counts", "fraud.counts-tail", "fraud.compacted"] {
            assert_eq!(said(&client, topic), lines, "{client:?} of {topic}");
        }
    }
}

/// The payment with this number, of one of the users.
fn of_user(id: u64) -> NewRecord {
    let user = user_of(id);
    let value = format!(r#"{{"id":{id},"user":"{user}","cents":1,"at":{}}}"#, id * 1_000);
    NewRecord { key: Some(user.into()), value: Some(value.into()), ..payment(id) }
}

fn user_of(id: u64) -> String {
    format!("u\u{fc}-{}", id * id % USERS)
}

/// What the rows are behind so many payments.
fn expected(payments: u64) -> BTreeMap<String, u64> {
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    (0..payments).for_each(|id| *rows.entry(user_of(id)).or_default() += 1);
    rows.retain(|_, count| *count % HOLE != 0);
    rows
}

fn row(user: &str, count: u64) -> Value {
    json!({"key": user, "value": count})
}

/// The state that these records leave.
fn state(records: &[Record]) -> BTreeMap<String, u64> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
        match &record.value {
            Some(value) => drop(rows.insert(key, serde_json::from_slice::<PerKey<String, u64>>(value).unwrap().value)),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

/// A process that was replaced long ago wakes up, and sends what it still has: results that stand already, in their order.
fn repeat_late(rig: &Rig) {
    for (partition, records) in rig.by_partition("fraud.counts-tail") {
        let some = records.len() / 2;
        rig.publish("fraud.counts-tail", records.into_iter().take(some).map(|record| again(partition, record)).collect());
    }
}

fn again(partition: u32, record: Record) -> NewRecord {
    let Record { timestamp, key, value, headers, .. } = record;
    NewRecord { partition: Some(partition), timestamp, key, value, headers }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Words in front of the arguments of the client in Python, if this run has what it needs.
fn python() -> Option<Vec<PathBuf>> {
    let Some(python) = std::env::var_os("DISTRIBUTARY_TEST_PYTHON") else {
        println!(
            "skipped in Python: DISTRIBUTARY_TEST_PYTHON names none that has examples/clients/requirements.txt (`./dev test`)"
        );
        return None;
    };
    Some(vec![python.into(), root().join("examples/clients/reader.py")])
}

/// The same in Java.
fn java() -> Option<Vec<PathBuf>> {
    let Some(jars) = std::env::var_os("DISTRIBUTARY_TEST_JARS") else {
        println!("skipped in Java: DISTRIBUTARY_TEST_JARS names no folder with Kafka's jars (`./dev test`)");
        return None;
    };
    let words = ["java".into(), "-Xmx256m".into(), "-cp".into(), Path::new(&jars).join("*")];
    Some(words.into_iter().chain([root().join("examples/clients/Reader.java")]).collect())
}

/// What a client says of a topic at its end.
fn said(client: &[PathBuf], topic: &str) -> Vec<Value> {
    let brokers = std::env::var("DISTRIBUTARY_TEST_KAFKA").unwrap();
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).args([&brokers, topic, "--until-end"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
