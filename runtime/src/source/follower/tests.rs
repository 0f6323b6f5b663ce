//! Goal: a follower emits exactly what the bindings assign, however the bus cuts the records into chunks and whenever they
//! come; and nothing of an epoch whose records are not those that were bound.
//! Method: random records, ranges, lifts, chunks and arrivals against a model that looks at the records alone.

use super::*;
use crate::binding::{Feed, SourcePartition};
use crate::bus::{Record, TopicId};
use crate::report::Report;
use crate::time::WallTime;
use crossbeam_channel::Sender;
use proptest::prelude::*;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

const DELAY_MS: i64 = 5;

fn feed(partition: u32) -> Feed {
    Feed { source: 0, partition: SourcePartition::Bus { topic: TopicId([1; 16]), partition } }
}

/// A record of the bus: its offset, and its event time or that it does not decode.
type Event = (u64, Option<i64>);

fn record((offset, _): &Event) -> Record {
    let value = Some(offset.to_string().into_bytes().into());
    Record { offset: Offset(*offset), timestamp: WallTime(0), key: None, value, headers: Vec::new() }
}

fn chunk(partition: u32, events: &[Event]) -> Chunk<u64> {
    let decoded = |(offset, time): &Event| time.map(|t| (*offset, EventTime(t))).ok_or_else(|| "poison".to_string());
    Chunk {
        partition,
        upto: Offset(events.last().unwrap().0 + 1),
        records: events.iter().map(record).collect(),
        decoded: events.iter().map(decoded).collect(),
    }
}

fn follower(worker: (usize, usize)) -> (Follower<u64>, Sender<Chunk<u64>>, Receiver<Report>) {
    let (sender, chunks) = bounded(CHUNKS_MAX);
    let (reports, inbox) = Reports::new();
    let follower = Follower {
        source: 0,
        node: 0,
        delay_ms: DELAY_MS,
        takes_back: true,
        topic: "t".into(),
        owned: worker,
        chunks,
        ahead: Ahead::default(),
        fetched: BTreeMap::new(),
        watermarks: BTreeMap::new(),
        work: VecDeque::new(),
        deletions: None,
        raw: RawRecords::default(),
        reports,
        broken: false,
        updates: Vec::new(),
        dead: Vec::new(),
    };
    (follower, sender, inbox)
}

/// What a follower emits: (epoch, origin, event time and what was claimed before; `None` for a dead letter).
type Emitted = (u64, Origin, Option<(i64, i64)>);

/// Runs `test` with a way to get capabilities, which only exist inside a dataflow.
fn with_capabilities(test: impl FnOnce(&dyn Fn(u64) -> [Capability<Epoch>; 2]) + Send + Sync + 'static) {
    timely::execute_directly(move |worker| {
        worker.dataflow::<Epoch, _, _>(|scope| {
            let mut builder = OperatorBuilder::new("test".into(), scope);
            let (_one, _) = builder.new_output::<Vec<u64>>();
            let (_two, _) = builder.new_output::<Vec<u64>>();
            builder.build(move |capabilities| {
                test(&|epoch| [0, 1].map(|port: usize| capabilities[port].delayed(&Epoch(epoch))));
                |_frontiers: &[_]| {}
            });
        });
    });
}

fn work(follower: &mut Follower<u64>, into: &mut Vec<Emitted>) {
    follower.work(|capability, updates, dead| {
        let epoch = capability[0].time().0;
        into.extend(updates.drain(..).map(|(_, s, _)| (epoch, s.origin, Some((s.time.0, s.seen.0)))));
        into.extend(dead.drain(..).map(|d| (epoch, d.origin, None)));
    });
}

/// How a partition's records lie on the bus, are bound, and are fetched.
#[derive(Clone, Debug)]
struct Partition {
    /// (hole before it, event time unless it is poison, last of its range, last of its chunk)
    records: Vec<(u64, Option<i64>, bool, bool)>,
    /// A lift before each range.
    lifts: Vec<Option<i64>>,
    /// Epochs that pass between two ranges.
    pauses: Vec<u64>,
}

fn partition() -> impl Strategy<Value = Partition> {
    let record = (0..3_u64, prop::option::weighted(0.9, 0..100_i64), prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    let lift = prop::option::weighted(0.3, 0..100_i64);
    let all = (prop::collection::vec(record, 1..30), prop::collection::vec(lift, 30), prop::collection::vec(0..3_u64, 30));
    all.prop_map(|(records, lifts, pauses)| Partition { records, lifts, pauses })
}

impl Partition {
    fn cut(&self, at: impl Fn(&(u64, Option<i64>, bool, bool)) -> bool) -> Vec<Vec<Event>> {
        let (mut offset, mut pieces) = (0, vec![Vec::new()]);
        for record in &self.records {
            offset += record.0;
            pieces.last_mut().unwrap().push((offset, record.1));
            offset += 1;
            if at(record) {
                pieces.push(Vec::new());
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// Adds the ranges to the bindings, and returns what is to be emitted.
    fn bind(&self, number: u32, bindings: &mut BTreeMap<u64, Binding>) -> Vec<Emitted> {
        let (mut epoch, mut seen, mut from, mut emitted) = (0, i64::MIN, 0, Vec::new());
        for (i, range) in self.cut(|r| r.2).iter().enumerate() {
            epoch += 1 + self.pauses[i];
            let binding = bindings.entry(epoch).or_insert_with(|| Binding {
                epoch: Epoch(epoch),
                closed_at: WallTime(0),
                watermark: EventTime::MIN,
                ranges: Vec::new(),
                lifts: Vec::new(),
                controls: Vec::new(),
            });
            if let Some(to) = self.lifts[i] {
                binding.lifts.push(Lift { feed: feed(number), to: EventTime(to) });
                seen = seen.max(to);
            }
            let upto = range.last().unwrap().0 + 1;
            let max_time = range.iter().filter_map(|e| e.1).max().map_or(EventTime::MIN, EventTime);
            binding.ranges.push(Range {
                feed: feed(number),
                from: Offset(from),
                upto: Offset(upto),
                records: range.len() as u64,
                max_time,
            });
            from = upto;
            for (offset, time) in range {
                emitted.push((epoch, Origin::record(0, number, *offset), time.map(|t| (t, seen))));
                seen = time.map_or(seen, |t| seen.max(t - DELAY_MS));
            }
        }
        emitted
    }
}

proptest! {
    #[test]
    fn a_follower_emits_what_is_bound(
        partitions in prop::collection::vec(partition(), 1..4),
        peers in 1..3_usize,
        arrivals in prop::collection::vec((0..6_usize, 0..3_usize), 0..80),
    ) {
        let mut bindings = BTreeMap::new();
        let expected: Vec<Vec<Emitted>> = (0..).zip(&partitions).map(|(n, p)| p.bind(n, &mut bindings)).collect();
        for worker in 0..peers {
            let mine: Vec<u32> = (0..partitions.len() as u32).filter(|p| *p as usize % peers == worker).collect();
            let mut chunks: VecDeque<(u32, VecDeque<Vec<Event>>)> =
                mine.iter().map(|p| (*p, partitions[*p as usize].cut(|r| r.3).into())).collect();
            let bindings: VecDeque<Binding> = bindings.values().cloned().collect();
            let wanted: Vec<Emitted> = mine.iter().flat_map(|p| expected[*p as usize].clone()).collect();
            let arrivals = arrivals.clone();
            with_capabilities(move |capabilities| {
                let (mut follower, sender, inbox) = follower((worker, peers));
                let (mut bindings, mut emitted) = (bindings, Vec::new());
                // Chunks come in the order of their partition, bindings in that of their epochs; otherwise anything goes.
                for (what, which) in arrivals.into_iter().chain((0..200).map(|i| (i % 6, i))) {
                    let count = chunks.len();
                    if what < 3 {
                        if let Some(binding) = bindings.pop_front() {
                            follower.assign(&binding, capabilities(binding.epoch.0));
                        }
                    } else if let Some((partition, rest)) = chunks.get_mut(which % count.max(1))
                        && let Some(events) = rest.pop_front()
                    {
                        sender.send(chunk(*partition, &events)).unwrap();
                    }
                    work(&mut follower, &mut emitted);
                }
                assert!(follower.work.is_empty() && inbox.is_empty());
                assert!(emitted.is_sorted_by_key(|(epoch, ..)| *epoch), "epochs come one after the other");
                emitted.sort_by_key(|(_, origin, _)| *origin);
                assert_eq!(emitted, wanted);
                assert!(follower.ahead.full(1).is_empty(), "what is emitted is no longer read ahead");
            });
        }
    }
}

fn one_range(epoch: u64, from: u64, upto: u64, records: u64) -> Binding {
    let range = Range { feed: feed(0), from: Offset(from), upto: Offset(upto), records, max_time: EventTime(0) };
    let (closed_at, watermark) = (WallTime(0), EventTime::MIN);
    Binding { epoch: Epoch(epoch), closed_at, watermark, ranges: vec![range], lifts: Vec::new(), controls: Vec::new() }
}

/// If the epoch could close before worker 0 has read the report, a lane would show results of records that were not bound.
#[test]
fn an_epoch_that_is_not_definite_never_closes() {
    with_capabilities(|capabilities| {
        let (mut follower, sender, inbox) = follower((0, 1));
        follower.assign(&one_range(4, 0, 3, 3), capabilities(4));
        follower.assign(&one_range(5, 3, 4, 1), capabilities(5));
        sender.send(chunk(0, &[(0, Some(1)), (2, Some(2)), (3, Some(3))])).unwrap();
        let mut emitted = Vec::new();
        work(&mut follower, &mut emitted);
        work(&mut follower, &mut emitted);
        assert_eq!(emitted, []);
        assert_eq!(follower.work.front().map(|w| w.epoch), Some(Epoch(4)));
        let failed: Vec<_> = inbox.try_iter().collect();
        let not_definite = |r: &Report| matches!(r, Report::Failed(Error::NotDefinite { expected: 3, found: 2, .. }));
        assert!(failed.len() == 1 && not_definite(&failed[0]), "{failed:?}");
    });
}

/// A slow path to the dead letters may ask for an original long after its epoch was emitted.
#[test]
fn originals_stay_until_their_epoch_is_closed_everywhere() {
    with_capabilities(|capabilities| {
        let (mut follower, sender, _inbox) = follower((0, 1));
        let find = |follower: &Follower<u64>, offset| follower.raw.find(Origin::record(0, 0, offset)).map(|r| r.offset.0);
        sender.send(chunk(0, &[(0, Some(1)), (1, None)])).unwrap();
        sender.send(chunk(0, &[(2, Some(1)), (5, None)])).unwrap();
        follower.assign(&one_range(1, 0, 3, 3), capabilities(1));
        follower.assign(&one_range(2, 3, 6, 1), capabilities(2));
        work(&mut follower, &mut Vec::new());
        follower.raw.forget_before(Epoch(1));
        assert_eq!([0, 1, 2, 3, 5].map(|at| find(&follower, at)), [Some(0), Some(1), Some(2), None, Some(5)]);
        follower.raw.forget_before(Epoch(2));
        assert_eq!([1, 2, 5].map(|at| find(&follower, at)), [None, Some(2), Some(5)]);
        follower.raw.forget_before(Epoch(3));
        assert_eq!(find(&follower, 5), None);
    });
}
