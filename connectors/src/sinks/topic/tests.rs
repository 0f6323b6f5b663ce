//! Goal: what stands in the output topics after commits, repeated, out of order, and by two incarnations. Method: runs
//! written by hand, the embedded bus in memory.

use super::TopicSinks;
use crate::sinks::TopicSink;
use crate::sqlite::SqliteBus;
use distributary_runtime::bus::{Bus, BusError, Marker, Record, Token, TopicForm, TopicId, TopicSpec};
use distributary_runtime::error::Error;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneEpoch, LaneGroup, LaneSink, OutRecord, Run};
use distributary_runtime::time::{Epoch, SystemClock, WallTime};
use distributary_runtime::update::Origin;
use std::sync::Arc;
use std::time::Duration;

struct Stage {
    bus: Arc<dyn Bus>,
    append: TopicId,
    upsert: TopicId,
    sinks: TopicSinks,
}

fn stage() -> Stage {
    let bus: Arc<dyn Bus> = Arc::new(SqliteBus::in_memory(Arc::new(SystemClock)).unwrap());
    let create = |spec: TopicSpec| {
        bus.create_topic(&spec).unwrap();
        bus.topic(&spec.name).unwrap().unwrap().id
    };
    let (append, upsert) = (create(TopicSpec::new("changes", 2)), create(TopicSpec::upsert("rows", 2)));
    let sinks = TopicSinks::new(
        bus.clone(),
        vec![
            TopicSink { sink: 0, topic: append, form: TopicForm::Append },
            TopicSink { sink: 3, topic: upsert, form: TopicForm::Upsert },
        ],
    );
    Stage { bus, append, upsert, sinks }
}

impl Stage {
    fn lane(&self, lane: u32) -> Box<dyn LaneSink> {
        self.sinks
            .open(&LaneContext {
                pipeline: "fraud.spend/streaming".to_string(),
                generation: 2,
                lane,
                lanes: 2,
                last_epoch: Epoch(0),
            })
            .unwrap()
    }

    fn records(&self, topic: TopicId, partition: u32) -> Vec<Record> {
        let end = self.bus.offsets(topic).unwrap()[partition as usize];
        let mut consumer = self.bus.consumer(topic, &[(partition, end.log_start)]).unwrap();
        consumer.poll(Duration::ZERO).unwrap().into_iter().flat_map(|b| b.records).collect()
    }

    /// `op key value` of each record.
    fn text(&self, topic: TopicId, partition: u32) -> Vec<String> {
        let show =
            |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or("null".into(), |b| String::from_utf8_lossy(b).into_owned());
        self.records(topic, partition)
            .iter()
            .map(|r| format!("{} {} {}", r.header("op").unwrap(), show(&r.key), show(&r.value)))
            .collect()
    }
}

fn out(sink: u16, offset: u64, diff: i64, key: &str, value: &str) -> OutRecord {
    OutRecord {
        sink,
        partition: 1,
        origin: Origin::record(0, 0, offset),
        diff,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

fn marker(epoch: u64) -> Marker {
    Marker { generation: 2, epoch: Epoch(epoch) }
}

fn run(previous: Option<u64>, epochs: Vec<(u64, Vec<OutRecord>)>) -> Run {
    let last = epochs.last().unwrap().0;
    let epochs = epochs.into_iter().map(|(epoch, records)| LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: WallTime(1_000 + epoch as i64),
        watermark: distributary_runtime::time::EventTime::MIN,
        sources: Vec::new(),
        records,
        mark: false,
    });
    Run { previous: previous.map(marker), marker: marker(last), epochs: epochs.collect() }
}

fn is_fenced(result: Result<impl std::fmt::Debug, Error>) {
    assert!(matches!(result, Err(Error::Bus(BusError::Fenced { .. }))), "{result:?}");
}

#[test]
fn a_record_says_who_wrote_it_when_and_what_it_is() {
    let stage = stage();
    let mut lane = stage.lane(0);
    assert_eq!((lane.fence(Token(4)).unwrap(), stage.sinks.guarantee()), (None, Guarantee::ExactlyOnce));
    let record = OutRecord { headers: vec![("mine".into(), "x".into())], ..out(0, 41, -1, "u1", "{}") };
    lane.commit(&run(None, vec![(7, vec![record])])).unwrap();
    let [record] = &stage.records(stage.append, 1)[..] else { panic!("one record") };
    let headers: Vec<(&str, &str)> = record.headers.iter().map(|(n, v)| (&**n, std::str::from_utf8(v).unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("pipeline", "fraud.spend/streaming"),
            ("generation", "2"),
            ("epoch", "7"),
            ("index", "0"),
            ("id", "0/0@41"),
            ("op", "-"),
            ("mine", "x")
        ]
    );
    assert_eq!((record.timestamp, record.key.as_deref()), (WallTime(1_007), Some(&b"u1"[..])));
}

#[test]
fn an_append_topic_gets_every_copy_in_canonical_order() {
    let stage = stage();
    let mut lane = stage.lane(0);
    lane.fence(Token(0)).unwrap();
    let unsorted = vec![out(0, 9, 1, "b", "2"), out(0, 5, 2, "a", "1"), out(0, 5, -1, "a", "0"), out(0, 5, 0, "a", "x")];
    lane.commit(&run(None, vec![(1, unsorted), (2, vec![out(0, 1, 1, "c", "3")])])).unwrap();
    assert_eq!(stage.text(stage.append, 1), ["- a 0", "+ a 1", "+ a 1", "+ b 2", "+ c 3"]);
}

#[test]
fn an_upsert_topic_gets_the_state_of_each_key_at_the_end_of_the_epoch() {
    let stage = stage();
    let mut lane = stage.lane(0);
    lane.fence(Token(0)).unwrap();
    let epoch = vec![
        // Replaced twice.
        out(3, 1, -1, "a", "1"),
        out(3, 2, 1, "a", "2"),
        out(3, 3, -1, "a", "2"),
        out(3, 4, 1, "a", "3"),
        // Gone.
        out(3, 5, -1, "b", "1"),
        // Came and went.
        out(3, 6, 1, "c", "1"),
        out(3, 7, -1, "c", "1"),
        // Replaced, and the new value taken back.
        out(3, 8, -1, "d", "1"),
        out(3, 8, 1, "d", "2"),
        out(3, 9, -1, "d", "2"),
        // Taken away and put back.
        out(3, 10, -1, "e", "1"),
        out(3, 11, 1, "e", "1"),
        // Written without knowing what was there.
        out(3, 12, 1, "f", "1"),
        out(3, 13, 1, "f", "2"),
    ];
    lane.commit(&run(None, vec![(1, epoch), (2, vec![out(3, 14, -1, "a", "3")])])).unwrap();
    assert_eq!(stage.text(stage.upsert, 1), ["+ a 3", "- b null", "- d null", "+ f 2", "- a null"]);
}

#[test]
fn a_commit_that_comes_twice_or_out_of_order_is_refused() {
    let stage = stage();
    let mut lane = stage.lane(0);
    is_fenced(lane.commit(&run(None, vec![(1, vec![])])));
    lane.fence(Token(0)).unwrap();
    let first = run(None, vec![(1, vec![out(0, 1, 1, "a", "1"), out(3, 1, 1, "a", "1")])]);
    lane.commit(&first).unwrap();
    is_fenced(lane.commit(&first));
    is_fenced(lane.commit(&run(Some(2), vec![(3, vec![out(0, 2, 1, "a", "2")])])));
    assert_eq!((stage.text(stage.append, 1).len(), stage.text(stage.upsert, 1).len()), (1, 1));
    assert_eq!(lane.fence(Token(0)).unwrap(), Some(marker(1)), "and goes on from its marker");
    lane.commit(&run(Some(1), vec![(2, vec![])])).unwrap();
}

#[test]
fn after_a_restart_the_old_incarnation_writes_nothing() {
    let stage = stage();
    let (mut old, mut other_lane) = (stage.lane(0), stage.lane(1));
    old.fence(Token(3)).unwrap();
    other_lane.fence(Token(3)).unwrap();
    old.commit(&run(None, vec![(1, vec![out(0, 1, 1, "a", "1")])])).unwrap();
    let mut new = stage.lane(0);
    assert_eq!(new.fence(Token(8)).unwrap(), Some(marker(1)));
    is_fenced(old.commit(&run(Some(1), vec![(2, vec![out(0, 2, 1, "a", "2")])])));
    is_fenced(old.fence(Token(3)));
    new.commit(&run(Some(1), vec![(2, vec![out(0, 2, 1, "a", "2")])])).unwrap();
    other_lane.commit(&run(None, vec![(1, vec![])])).unwrap();
    assert_eq!(stage.text(stage.append, 1), ["+ a 1", "+ a 2"]);
}

#[test]
fn a_result_of_an_unknown_sink_stops_the_lane() {
    let stage = stage();
    let mut lane = stage.lane(0);
    lane.fence(Token(0)).unwrap();
    assert!(matches!(lane.commit(&run(None, vec![(1, vec![out(9, 1, 1, "a", "1")])])), Err(Error::Refused { .. })));
    assert_eq!(lane.fence(Token(0)).unwrap(), None);
}
