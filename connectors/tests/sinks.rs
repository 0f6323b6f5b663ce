//! Goal: what the file, terminal and memory sinks hold after a commit that comes twice, out of order, after a crash, and
//! by two incarnations. Method: runs written by hand; a crash is what it leaves on disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use distributary_connectors::sinks::jsonl::JsonLinesSink;
use distributary_connectors::sinks::memory::{Failure, MemorySink};
use distributary_connectors::sinks::stdout::StdoutSink;
use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::Error;
use distributary_runtime::response::Response;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneEpoch, LaneGroup, LaneSink, OutRecord, Run};
use distributary_runtime::time::{Epoch, WallTime};
use distributary_runtime::update::Origin;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn open(group: &dyn LaneGroup, lane: u32) -> Box<dyn LaneSink> {
    group
        .open(&LaneContext { pipeline: "fraud.spend/streaming".to_string(), generation: 1, lane, lanes: 2, last_epoch: Epoch(0) })
        .unwrap()
}

fn marker(epoch: u64) -> Marker {
    Marker { generation: 1, epoch: Epoch(epoch) }
}

/// A run of one epoch with one record, whose value is the epoch.
fn run(previous: Option<u64>, epoch: u64) -> Run {
    let record = OutRecord {
        sink: 2,
        partition: 0,
        origin: Origin::record(0, 1, epoch),
        diff: 1,
        key: Some(b"u1".to_vec()),
        value: Some(format!("{{\"n\":{epoch}}}").into_bytes()),
        headers: vec![],
    };
    let epochs = vec![LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: WallTime(5),
        watermark: distributary_runtime::time::EventTime::MIN,
        sources: Vec::new(),
        records: vec![record],
        mark: false,
    }];
    Run { previous: previous.map(marker), marker: marker(epoch), epochs }
}

fn is_fenced(result: Result<impl std::fmt::Debug, Error>) {
    assert!(matches!(result, Err(Error::Bus(BusError::Fenced { .. }))), "{result:?}");
}

fn line(epoch: u64) -> String {
    format!(
        "{{\"sink\":2,\"key\":\"u1\",\"value\":{{\"n\":{epoch}}},\"op\":\"+\",\"epoch\":{epoch},\"id\":\"0/1@{epoch}\",\"at_ms\":5}}\n"
    )
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What every sink here does alike: commits build on each other, and belong to one incarnation.
fn one_writer_in_order(group: &dyn LaneGroup) {
    let mut lane = open(group, 0);
    is_fenced(lane.commit(&run(None, 1)));
    assert_eq!(lane.fence(Token(3)).unwrap(), None);
    lane.commit(&run(None, 1)).unwrap();
    is_fenced(lane.commit(&run(None, 1)));
    is_fenced(lane.commit(&run(Some(2), 3)));
    lane.commit(&run(Some(1), 2)).unwrap();
    let mut newer = open(group, 0);
    assert_eq!(newer.fence(Token(9)).unwrap(), Some(marker(2)));
    is_fenced(lane.commit(&run(Some(2), 3)));
    is_fenced(lane.fence(Token(3)));
    newer.commit(&run(Some(2), 3)).unwrap();
    assert_eq!(open(group, 0).fence(Token(9)).unwrap(), Some(marker(3)));
}

#[test]
fn json_lines_twice_out_of_order_and_by_two_incarnations() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/out.jsonl");
    let sink = JsonLinesSink::new(&path);
    assert_eq!(sink.guarantee(), Guarantee::AtLeastOnce);
    one_writer_in_order(&sink);
    assert_eq!(text(&path), [line(1), line(2), line(3)].concat());
    let mut second = open(&sink, 1);
    assert_eq!(second.fence(Token(9)).unwrap(), None, "another lane, another file");
    second.commit(&run(None, 7)).unwrap();
    assert_eq!(text(&directory.path().join("new/out.jsonl.1")), line(7));
}

#[test]
fn json_lines_after_a_crash_come_again_behind_the_marked_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.jsonl");
    let marker_path = directory.path().join("out.jsonl.marker");
    let sink = JsonLinesSink::new(&path);
    let mut lane = open(&sink, 0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, 1)).unwrap();
    let before = std::fs::read(&marker_path).unwrap();
    lane.commit(&run(Some(1), 2)).unwrap();
    // The crash: lines of epoch 2, cut off within epoch 3, and the marker of epoch 1.
    std::fs::File::options().append(true).open(&path).unwrap().write_all(b"{\"sink\":2,").unwrap();
    std::fs::write(&marker_path, &before).unwrap();
    let mut lane = open(&sink, 0);
    assert_eq!(lane.fence(Token(2)).unwrap(), Some(marker(1)));
    let bytes: serde_json::Value = serde_json::from_str(&text(&marker_path)).unwrap();
    assert_eq!(bytes["bytes"], line(1).len(), "what stands behind may come again");
    lane.commit(&run(Some(1), 2)).unwrap();
    assert_eq!(text(&path), [line(1), line(2), "{\"sink\":2,\n".to_string(), line(2)].concat());
}

#[test]
fn a_damaged_marker_is_an_error_and_not_a_fresh_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("out.jsonl.marker"), "{\"token\":").unwrap();
    let result = open(&JsonLinesSink::new(directory.path().join("out.jsonl")), 0).fence(Token(1));
    assert!(matches!(result, Err(Error::Damaged { .. })), "{result:?}");
}

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_terminal_shows_each_run_once_and_not_again_after_a_restart() {
    let (directory, screen) = (tempfile::tempdir().unwrap(), Screen::default());
    one_writer_in_order(&StdoutSink::to_writer(directory.path(), screen.clone()));
    let restarted = StdoutSink::to_writer(directory.path(), screen.clone());
    let mut lane = open(&restarted, 0);
    assert_eq!(lane.fence(Token(20)).unwrap(), Some(marker(3)), "nothing older is printed again");
    lane.commit(&run(Some(3), 4)).unwrap();
    assert_eq!(String::from_utf8(screen.0.lock().unwrap().clone()).unwrap(), [line(1), line(2), line(3), line(4)].concat());
}

#[test]
fn memory_twice_out_of_order_and_by_two_incarnations() {
    let sink = MemorySink::new();
    one_writer_in_order(&sink.clone());
    assert_eq!(sink.rows().iter().map(|r| r.epoch.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((sink.marker("fraud.spend/streaming", 0), sink.marker("x", 0)), (Some(marker(3)), None));
}

#[test]
fn memory_fails_on_demand_and_its_marker_decides() {
    let sink = MemorySink::new();
    let mut lane = open(&sink, 0);
    lane.fence(Token(1)).unwrap();
    sink.fail_next(Failure::Refused);
    sink.fail_next(Failure::AnswerLost);
    for (epoch, stands) in [(1, None), (1, Some(marker(1)))] {
        assert_eq!(lane.commit(&run(None, epoch)).unwrap_err().response(), Response::Retry);
        assert_eq!(lane.fence(Token(1)).unwrap(), stands);
    }
    lane.commit(&run(Some(1), 2)).unwrap();
    assert_eq!(sink.rows().len(), 2);
}

#[test]
fn memory_holds_commits_back_until_released() {
    let sink = MemorySink::new();
    let mut lane = open(&sink, 0);
    lane.fence(Token(1)).unwrap();
    sink.hold();
    std::thread::scope(|scope| {
        let commit = scope.spawn(move || lane.commit(&run(None, 1)));
        assert!(sink.wait_held(PATIENCE));
        assert_eq!(sink.rows(), []);
        sink.release();
        commit.join().unwrap().unwrap();
    });
    assert!(sink.wait_rows(PATIENCE, |rows| rows.len() == 1));
    assert!(!sink.wait_rows(Duration::from_millis(1), |rows| rows.len() == 2));
}
