//! Goal: each result once in the log, whoever was cut off in the middle of what; and where an old process writes late, that
//! a reader who goes by the places, or who knows only the newest record of a key, is told the truth. Method: runs written by
//! hand, the embedded bus in memory.

use super::*;
use crate::sinks::topic::TopicSinks;
use crate::sqlite::SqliteBus;
use bytes::Bytes;
use distributary_runtime::bus::{Record, TopicSpec};
use distributary_runtime::sink::{LaneEpoch, OutRecord};
use distributary_runtime::time::{SystemClock, WallTime};
use distributary_runtime::update::Origin;

const PIPELINE: &str = "fraud.spend";

struct Stage {
    bus: Arc<dyn Bus>,
    append: TopicId,
    upsert: TopicId,
}

fn stage() -> Stage {
    let bus: Arc<dyn Bus> = Arc::new(SqliteBus::in_memory(Arc::new(SystemClock)).unwrap());
    let create = |spec: TopicSpec| {
        bus.create_topic(&spec).unwrap();
        bus.topic(&spec.name).unwrap().unwrap().id
    };
    let (append, upsert) = (create(TopicSpec::new("changes", 2)), create(TopicSpec::upsert("rows", 2)));
    Stage { bus, append, upsert }
}

impl Stage {
    fn sinks(&self) -> Vec<TopicSink> {
        vec![
            TopicSink { sink: 0, topic: self.append, form: TopicForm::Append },
            TopicSink { sink: 1, topic: self.upsert, form: TopicForm::Upsert },
        ]
    }

    fn open(&self, generation: u32, last_epoch: u64) -> Box<dyn LaneSink> {
        let context = LaneContext { pipeline: PIPELINE.into(), generation, lane: 0, lanes: 1, last_epoch: Epoch(last_epoch) };
        TailSinks::new(self.bus.clone(), self.sinks()).open(&context).unwrap()
    }

    /// A lane that has read the tails.
    fn lane(&self, last_epoch: u64) -> Box<dyn LaneSink> {
        let mut lane = self.open(2, last_epoch);
        assert_eq!(lane.fence(Token(1)).unwrap(), None);
        lane
    }

    fn records(&self, topic: TopicId, partition: u32) -> Vec<Record> {
        let at = self.bus.offsets(topic).unwrap()[partition as usize];
        self.bus.read(topic, partition, at.log_start, at.end).unwrap()
    }

    /// `epoch.index value` of each record.
    fn text(&self, topic: TopicId, partition: u32) -> Vec<String> {
        self.records(topic, partition).iter().map(text).collect()
    }

    /// What a reader keeps that drops what does not come behind what it has read.
    fn kept(&self, topic: TopicId, partition: u32) -> Vec<String> {
        let mut last = None;
        let mut records = self.records(topic, partition);
        records.retain(|record| {
            let place = Place::of(record, PIPELINE);
            let new = place > last;
            last = last.max(place);
            new
        });
        records.iter().map(text).collect()
    }

    /// What stands in a row topic arrives once more.
    fn comes_late(&self, records: std::ops::Range<usize>) {
        let mut all = self.records(self.upsert, 0);
        let again = all.drain(records).map(|Record { timestamp, key, value, headers, .. }| {
            (self.upsert, NewRecord { partition: Some(0), timestamp, key, value, headers })
        });
        self.bus.append_lane("old", &again.collect::<Vec<_>>()).unwrap();
    }

    /// The newest value of each key, as a compacted log keeps it.
    fn newest(&self, partition: u32) -> BTreeMap<String, String> {
        let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        self.records(self.upsert, partition).into_iter().map(|record| (text(record.key), text(record.value))).collect()
    }
}

fn text(record: &Record) -> String {
    let value = String::from_utf8_lossy(record.value.as_ref().unwrap()).into_owned();
    match Place::of(record, PIPELINE) {
        Some(place) => format!("{}.{} {value}", place.epoch, place.index),
        None => format!("foreign {value}"),
    }
}

fn out(sink: u16, partition: u32, offset: u64, key: &str, value: &str) -> OutRecord {
    OutRecord {
        sink,
        partition,
        origin: Origin::record(0, 0, offset),
        diff: 1,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

/// Epochs with a checkpoint at the last.
fn run(epochs: Vec<(u64, Vec<OutRecord>)>) -> Run {
    let last = epochs.last().unwrap().0;
    let epochs = epochs.into_iter().map(|(epoch, records)| LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: WallTime(1_000 + epoch as i64),
        watermark: distributary_runtime::time::EventTime::MIN,
        sources: Vec::new(),
        records,
        mark: epoch == last,
    });
    Run { previous: None, marker: Marker { generation: 2, epoch: Epoch(last) }, epochs: epochs.collect() }
}

fn changes(epoch: u64) -> (u64, Vec<OutRecord>) {
    (epoch, vec![out(0, 0, 1, "a", "1"), out(0, 0, 2, "a", "2"), out(0, 1, 3, "b", "3")])
}

fn row(epoch: u64, key: &str, value: &str) -> (u64, Vec<OutRecord>) {
    (epoch, vec![out(1, 0, epoch, key, value)])
}

fn is_fenced(result: Result<impl std::fmt::Debug>) {
    assert!(matches!(result, Err(Error::Bus(BusError::Fenced { .. }))), "{result:?}");
}

#[test]
fn a_restart_goes_on_behind_the_tail_of_each_partition() {
    let stage = stage();
    stage.lane(0).commit(&run(vec![changes(1)])).unwrap();
    // Cut off in the middle of epoch 2: of one partition something stands, of the other nothing.
    let (epoch, mut cut) = changes(2);
    cut.truncate(1);
    stage.lane(1).commit(&run(vec![(epoch, cut)])).unwrap();
    stage.lane(2).commit(&run(vec![changes(1), changes(2), changes(3)])).unwrap();
    assert_eq!(stage.text(stage.append, 0), ["1.0 1", "1.1 2", "2.0 1", "2.1 2", "3.0 1", "3.1 2"]);
    assert_eq!(stage.text(stage.append, 1), ["1.0 3", "2.0 3", "3.0 3"]);
}

#[test]
fn readers_need_not_know_which_lane_wrote() {
    let (tail, transactional) = (stage(), stage());
    tail.lane(0).commit(&run(vec![changes(1), row(2, "k", "v")])).unwrap();
    let context = LaneContext { pipeline: PIPELINE.into(), generation: 2, lane: 0, lanes: 1, last_epoch: Epoch(0) };
    let mut lane = TopicSinks::new(transactional.bus.clone(), transactional.sinks()).open(&context).unwrap();
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(vec![changes(1), row(2, "k", "v")])).unwrap();
    for partition in [0, 1] {
        assert_eq!(tail.records(tail.append, partition), transactional.records(transactional.append, partition));
        assert_eq!(tail.records(tail.upsert, partition), transactional.records(transactional.upsert, partition));
    }
    // The one may go on where the other has stopped.
    transactional.lane(2).commit(&run(vec![changes(1), row(2, "k", "v"), row(3, "k", "w")])).unwrap();
    assert_eq!(transactional.text(transactional.append, 0), ["1.0 1", "1.1 2"]);
    assert_eq!(transactional.text(transactional.upsert, 0), ["2.0 v", "3.0 w"]);
}

#[test]
fn what_an_old_process_writes_late_is_dropped_by_place() {
    let stage = stage();
    let mut old = stage.lane(0);
    old.commit(&run(vec![changes(1)])).unwrap();
    let mut new = stage.lane(2);
    old.commit(&run(vec![changes(2)])).unwrap();
    new.commit(&run(vec![changes(1), changes(2), changes(3)])).unwrap();
    assert_eq!(stage.text(stage.append, 0), ["1.0 1", "1.1 2", "2.0 1", "2.1 2", "2.0 1", "2.1 2", "3.0 1", "3.1 2"]);
    new.commit(&run(vec![changes(4)])).unwrap();
    old.commit(&run(vec![changes(2), changes(3)])).unwrap();
    for (partition, values) in [(0, 2), (1, 1)] {
        let expected: Vec<_> = (1..=4).flat_map(|epoch| (0..values).map(move |index| format!("{epoch}.{index}"))).collect();
        let kept = stage.kept(stage.append, partition);
        let kept: Vec<_> = kept.iter().map(|text| text.split(' ').next().unwrap()).collect();
        assert_eq!(kept, expected);
    }
    // The next one is not misled by what came late.
    stage.lane(4).commit(&run(vec![changes(2), changes(3), changes(4)])).unwrap();
    assert_eq!(stage.text(stage.append, 0).len(), 12, "2 of each epoch, and the old one's of two");
}

#[test]
fn a_late_record_never_stays_the_newest_of_its_key() {
    let stage = stage();
    stage.lane(0).commit(&run(vec![row(1, "k", "1")])).unwrap();
    let mut new = stage.lane(3);
    new.commit(&run(vec![row(2, "k", "2"), row(3, "other", "x"), row(4, "k", "4")])).unwrap();
    stage.comes_late(1..3);
    assert_eq!(stage.newest(0)["k"], "2");
    new.commit(&run(vec![(5, vec![])])).unwrap();
    assert_eq!(stage.text(stage.upsert, 0), ["1.0 1", "2.0 2", "3.0 x", "4.0 4", "2.0 2", "3.0 x", "4.0 4"]);
    new.commit(&run(vec![row(6, "k", "6")])).unwrap();
    assert_eq!(stage.kept(stage.upsert, 0), ["1.0 1", "2.0 2", "3.0 x", "4.0 4", "6.0 6"]);
    assert_eq!(stage.newest(0), [("k", "6"), ("other", "x")].map(|(k, v)| (k.to_string(), v.to_string())).into());
}

#[test]
fn nor_does_one_of_the_new_process_when_the_old_one_was_ahead() {
    let stage = stage();
    let mut old = stage.lane(0);
    let mut new = stage.lane(3);
    old.commit(&run(vec![row(1, "k", "1"), row(2, "k", "2"), row(3, "k", "3")])).unwrap();
    new.commit(&run(vec![row(1, "k", "1")])).unwrap();
    new.commit(&run(vec![row(2, "k", "2"), row(3, "k", "3"), row(4, "other", "x")])).unwrap();
    assert_eq!(stage.kept(stage.upsert, 0), ["1.0 1", "2.0 2", "3.0 3", "4.0 x"]);
    assert_eq!(stage.newest(0)["k"], "3");
}

#[test]
fn nor_does_it_when_the_new_one_ends_before_it_has_looked() {
    let stage = stage();
    stage.lane(0).commit(&run(vec![row(1, "k", "1"), row(2, "k", "2")])).unwrap();
    stage.comes_late(0..1);
    let mut next = stage.lane(2);
    next.commit(&run(vec![row(1, "k", "1"), row(2, "k", "2")])).unwrap();
    assert_eq!(stage.text(stage.upsert, 0), ["1.0 1", "2.0 2", "1.0 1", "2.0 2"]);
    // And once is enough.
    stage.lane(2).commit(&run(vec![row(2, "k", "2"), (3, vec![])])).unwrap();
    assert_eq!(stage.text(stage.upsert, 0).len(), 4);
}

#[test]
fn what_somebody_else_puts_into_the_topic_stops_nobody() {
    let stage = stage();
    let mut lane = stage.lane(0);
    let foreign = NewRecord {
        partition: Some(0),
        timestamp: WallTime(1),
        key: None,
        value: Some(Bytes::from_static(b"x")),
        headers: vec![],
    };
    stage.bus.produce(stage.append, vec![foreign.clone()]).unwrap();
    lane.commit(&run(vec![changes(1)])).unwrap();
    stage.bus.produce(stage.append, vec![foreign; 300]).unwrap();
    stage.lane(1).commit(&run(vec![changes(1), changes(2)])).unwrap();
    let text = stage.text(stage.append, 0);
    assert_eq!(
        (&text[..3], &text[303..]),
        (&["foreign x", "1.0 1", "1.1 2"].map(String::from)[..], &["2.0 1", "2.1 2"].map(String::from)[..])
    );
}

#[test]
fn a_start_refuses_what_the_journal_knows_nothing_of() {
    let stage = stage();
    stage.lane(0).commit(&run(vec![changes(5)])).unwrap();
    let refused = stage.open(2, 4).fence(Token(1));
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    is_fenced(stage.open(1, 5).fence(Token(1)));
    // A new generation writes all again.
    let mut anew = stage.open(3, 5);
    anew.fence(Token(1)).unwrap();
    let mut again = run(vec![changes(6)]);
    again.marker.generation = 3;
    anew.commit(&again).unwrap();
    assert_eq!(stage.records(stage.append, 0).len(), 4);
    is_fenced(stage.open(2, 6).commit(&run(vec![changes(6)])));
}

#[test]
fn a_large_run_is_sent_piece_by_piece_and_in_order() {
    let stage = stage();
    let value = "x".repeat(100_000);
    let epoch = |epoch| (epoch, (0..30).map(|n| out(0, 0, n, "k", &value)).collect());
    stage.lane(0).commit(&run(vec![epoch(1), epoch(2)])).unwrap();
    // The greatest place is found however much stands behind each other.
    stage.lane(2).commit(&run(vec![epoch(1), epoch(2), changes(3)])).unwrap();
    let places: Vec<_> = stage.records(stage.append, 0).iter().map(|record| Place::of(record, PIPELINE)).collect();
    assert!(places.is_sorted());
    assert_eq!(places.len(), 62);
}
