//! Goal: the embedded bus behaves as every bus must, on a file and in memory, from one handle and from several; and what
//! is its own (files, processes, crashes) holds. Method: the conformance suite, then scenarios.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "bus/kafka.rs"]
mod kafka;
#[cfg(feature = "kafka-tls")]
#[path = "bus/tls.rs"]
mod tls;

use bytes::Bytes;
use distributary_connectors::conformance;
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::{Bus, BusError, LaneCommit, Marker, NewRecord, Offset, Record, Token, TopicId, TopicSpec};
use distributary_runtime::response::Response;
use distributary_runtime::time::{Epoch, SystemClock, WallTime};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

fn open(path: &Path) -> SqliteBus {
    SqliteBus::open(path, Arc::new(SystemClock), Durability::Normal).unwrap()
}

#[test]
fn a_file_conforms_when_every_handle_is_as_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let report = conformance::run(&|| Arc::new(open(&path)), "file");
    assert_eq!((report.missing, report.shown.len()), (vec![], conformance::cases().len()));
}

#[test]
fn a_bus_in_memory_conforms() {
    let bus: Arc<dyn Bus> = Arc::new(SqliteBus::in_memory(Arc::new(SystemClock)).unwrap());
    let report = conformance::run(&|| bus.clone(), "memory");
    assert_eq!((report.missing, report.shown.len()), (vec![], conformance::cases().len()));
}

fn topic(bus: &SqliteBus, name: &str, partitions: u32) -> TopicId {
    bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(name, partitions) }).unwrap();
    bus.topic(name).unwrap().unwrap().id
}

fn record(value: &str) -> NewRecord {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    NewRecord { partition: Some(0), timestamp: WallTime(1), key: None, value, headers: vec![] }
}

fn read_all(bus: &SqliteBus, topic: TopicId) -> Vec<Record> {
    let end = bus.offsets(topic).unwrap()[0].end;
    let mut consumer = bus.consumer(topic, &[(0, Offset(0))]).unwrap();
    let (mut records, mut position) = (Vec::new(), Offset(0));
    while position < end {
        for batch in consumer.poll(Duration::from_secs(10)).unwrap() {
            position = batch.position;
            records.extend(batch.records);
        }
    }
    records
}

#[test]
fn a_file_that_is_opened_again_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let marker = Marker { generation: 1, epoch: Epoch(9) };
    let before = {
        let bus = open(&path);
        let id = topic(&bus, "t", 2);
        bus.fence_lane("l", Token(3)).unwrap();
        let records = vec![(id, record("a")), (id, record("b"))];
        bus.commit_lane(&LaneCommit { lane: "l".into(), token: Token(3), previous: None, marker, records }).unwrap();
        bus.commit_group("g", id, &[(0, Offset(1))]).unwrap();
        (bus.topics().unwrap(), bus.offsets(id).unwrap(), read_all(&bus, id))
    };
    let bus = SqliteBus::open(&path, Arc::new(SystemClock), Durability::Full).unwrap();
    let id = before.0[0].id;
    assert_eq!((bus.topics().unwrap(), bus.offsets(id).unwrap(), read_all(&bus, id)), before);
    assert_eq!(bus.group("g", id).unwrap(), [(0, Offset(1))]);
    assert_eq!(bus.fence_lane("l", Token(3)).unwrap(), Some(marker));
}

#[test]
fn a_file_of_a_later_format_or_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteBus::open(&path, Arc::new(SystemClock), Durability::Normal).unwrap_err();
    assert!(matches!(&error, BusError::Invalid(text) if text.contains("bus format 99")), "{error}");
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "these are not records, but more than a hundred bytes of prose ".repeat(10)).unwrap();
    let error = SqliteBus::open(&text, Arc::new(SystemClock), Durability::Normal).unwrap_err();
    assert!(error.to_string().contains("notes.txt") && error.response() == Response::StopPipeline, "{error}");
    let error = SqliteBus::open(&directory.path().join("no/such/dir"), Arc::new(SystemClock), Durability::Normal).unwrap_err();
    assert_eq!(error.response(), Response::Retry);
}

/// Long-lived readers must not keep the write-ahead log from starting over.
#[test]
fn the_write_ahead_log_stays_small_under_readers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let bus = open(&path);
    let id = topic(&bus, "t", 1);
    let mut idle = bus.consumer(id, &[(0, Offset(0))]).unwrap();
    idle.poll(Duration::ZERO).unwrap();
    let mut busy = bus.consumer(id, &[(0, Offset(0))]).unwrap();
    let (value, mut seen) = ("x".repeat(10_000), 0);
    for _ in 0..1_000 {
        bus.produce(id, (0..10).map(|_| record(&value)).collect()).unwrap();
        seen += busy.poll(Duration::ZERO).unwrap().iter().map(|b| b.records.len()).sum::<usize>();
    }
    assert!(seen > 9_000, "the reader keeps up: {seen}");
    let wal = std::fs::metadata(directory.path().join("bus.sqlite-wal")).unwrap().len();
    assert!(wal < 64 << 20, "{wal} bytes of log for 100 MB of records");
}

/// What the child processes below do; an ordinary run of this test does nothing.
#[test]
fn child() {
    let Some(path) = std::env::var_os("BUS_TEST_FILE") else { return };
    let bus = open(Path::new(&path));
    let id = bus.topic("t").unwrap().unwrap().id;
    match std::env::var("BUS_TEST_ROLE").unwrap().as_str() {
        "commit for ever" => commit_for_ever(&bus, id),
        name => {
            for n in 0..100 {
                bus.produce(id, vec![record(&format!("{name}:{n}"))]).unwrap();
            }
        }
    }
}

fn spawn(path: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("BUS_TEST_FILE", path)
        .env("BUS_TEST_ROLE", role)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Each epoch writes as many records as its number says, modulo 50, each with the epoch as value.
fn commit_for_ever(bus: &SqliteBus, id: TopicId) {
    let (lane, token) = ("l".to_string(), Token(1));
    let mut previous = bus.fence_lane(&lane, token).unwrap();
    loop {
        let epoch = previous.map_or(0, |m| m.epoch.0 + 1);
        let marker = Marker { generation: 1, epoch: Epoch(epoch) };
        let records = (0..epoch % 50).map(|_| (id, record(&epoch.to_string()))).collect();
        bus.commit_lane(&LaneCommit { lane: lane.clone(), token, previous, marker, records }).unwrap();
        previous = Some(marker);
    }
}

#[test]
fn a_process_that_is_killed_while_it_commits_leaves_nothing_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let bus = open(&path);
    let id = topic(&bus, "t", 1);
    let mut reader = bus.consumer(id, &[(0, Offset(0))]).unwrap();
    let mut values: Vec<u64> = Vec::new();
    let mut read = |values: &mut Vec<u64>| {
        let batches = reader.poll(Duration::from_secs(1)).unwrap();
        let new = batches
            .iter()
            .flat_map(|b| &b.records)
            .map(|r| std::str::from_utf8(r.value.as_ref().unwrap()).unwrap().parse().unwrap());
        values.extend::<Vec<u64>>(new.collect());
        batches.iter().all(|b| b.position == b.end)
    };
    for round in 1..=5 {
        let mut child = spawn(&path, "commit for ever");
        while values.len() < 2_000 * round {
            read(&mut values);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while !read(&mut values) {}
        let marker = bus.fence_lane("l", Token(1)).unwrap().unwrap();
        let expected: Vec<u64> =
            (0..=marker.epoch.0).flat_map(|epoch| std::iter::repeat_n(epoch, (epoch % 50) as usize)).collect();
        assert_eq!(values, expected, "what stands is exactly what the marker says");
    }
}

#[test]
fn several_processes_write_at_once_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.sqlite");
    let bus = open(&path);
    let id = topic(&bus, "t", 1);
    let children: Vec<Child> = ["a", "b", "c"].iter().map(|name| spawn(&path, name)).collect();
    for n in 0..100 {
        bus.produce(id, vec![record(&format!("d:{n}"))]).unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let values: Vec<Vec<u8>> = read_all(&bus, id).into_iter().map(|r| r.value.unwrap().to_vec()).collect();
    for name in ["a", "b", "c", "d"] {
        let own: Vec<&Vec<u8>> = values.iter().filter(|v| v.starts_with(name.as_bytes())).collect();
        let expected: Vec<Vec<u8>> = (0..100).map(|n| format!("{name}:{n}").into_bytes()).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(values.len(), 400);
}
