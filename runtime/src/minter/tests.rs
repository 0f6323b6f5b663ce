//! Goal: an epoch binds what was delivered, within its bounds, and the watermark never claims what is not so.
//! Method: random partitions, delays, idleness, clocks and acknowledgements, against a model that keeps every record and
//! computes each claim from the records alone.

use super::*;
use crate::binding::SourcePartition;
use crate::bus::TopicId;
use proptest::prelude::*;

const IDLE_AFTER_MS: u64 = 50;
const PIECE_RECORDS_MAX: u64 = 4;
const RECORD_BYTES: u64 = 10;

fn feed(number: usize) -> Feed {
    Feed { source: (number % 2) as u16, partition: SourcePartition::Bus { topic: TopicId([1; 16]), partition: number as u32 } }
}

fn settings() -> Settings {
    Settings {
        epoch_records_max: 9,
        epoch_bytes_max: 70,
        epochs_in_flight_max: 4,
        bytes_in_flight_max: 200,
        idle_after_ms: IDLE_AFTER_MS,
        ..Settings::default()
    }
}

/// What happens to a minter.
#[derive(Clone, Debug)]
enum Op {
    /// A reader delivers records with these event times (`None`: poison); what it delivered before may come again.
    Deliver { partition: usize, hole: u64, times: Vec<Option<i64>>, again: bool },
    /// A fetch finds nothing more.
    Drained { partition: usize },
    /// Time goes on (the wall clock may go back), and an epoch closes if there is room.
    Mint { wall_ms: i64, monotonic_ms: u64, floor: Option<i64> },
    /// All but so many epochs in flight are acknowledged.
    Acknowledge { left: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let time = prop::option::weighted(0.9, 0..200_i64);
    let times = prop::collection::vec(time, 1..=PIECE_RECORDS_MAX as usize);
    let op = prop_oneof![
        4 => (0..4_usize, 0..3_u64, times, any::<bool>())
            .prop_map(|(partition, hole, times, again)| Op::Deliver { partition, hole, times, again }),
        2 => (0..4_usize).prop_map(|partition| Op::Drained { partition }),
        4 => (-20..60_i64, 0..2_000_u64, prop::option::weighted(0.1, 0..200_i64))
            .prop_map(|(wall_ms, monotonic_ms, floor)| Op::Mint { wall_ms, monotonic_ms, floor }),
        2 => (0..4_u64).prop_map(|left| Op::Acknowledge { left }),
    ];
    prop::collection::vec(op, 0..120)
}

#[derive(Clone, Default)]
struct Partition {
    known: bool,
    /// Delivered but not bound: offset and event time.
    waiting: VecDeque<(u64, Option<i64>)>,
    next: u64,
    bound: u64,
    watermark: Option<i64>,
    last_data_at: i64,
    drained_at: Option<u64>,
}

struct Model {
    minter: Minter,
    /// The fold over the bindings, as a restart would do it.
    folded: Positions,
    partitions: [Partition; 4],
    delay_ms: Vec<i64>,
    /// Whether the watermark goes on with the clock when all is idle.
    clock: bool,
    now: i64,
    monotonic_ms: u64,
    in_flight: VecDeque<(u64, u64)>,
}

impl Model {
    fn new(delay_ms: [i64; 2], old: usize, clock: bool) -> Self {
        let mut positions = Positions::default();
        let mut partitions: [Partition; 4] = Default::default();
        for (number, partition) in partitions.iter_mut().enumerate().take(old) {
            positions.feeds.insert(feed(number), positions.of(feed(number)));
            partition.known = true;
        }
        let idle_watermark = if clock { IdleWatermark::Clock } else { IdleWatermark::Hold };
        let settings = Settings { idle_watermark, ..settings() };
        let minter = Minter::new(settings, delay_ms.to_vec(), positions.clone(), Vec::new());
        let (delay_ms, in_flight) = (delay_ms.to_vec(), VecDeque::new());
        Self { minter, folded: positions, partitions, delay_ms, clock, now: 1_000, monotonic_ms: 0, in_flight }
    }

    fn know(&mut self, number: usize) -> &mut Partition {
        let closed_at = self.folded.closed_at.0;
        let partition = &mut self.partitions[number];
        if !std::mem::replace(&mut partition.known, true) {
            partition.last_data_at = closed_at;
        }
        partition
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Deliver { partition: number, hole, times, again } => {
                let partition = self.know(number);
                let from = partition.next;
                let offsets = (from + hole..).zip(&times).map(|(at, time)| (at, *time));
                partition.waiting.extend(offsets);
                partition.next = from + hole + times.len() as u64;
                partition.drained_at = None;
                let (upto, bound) = (partition.next, partition.bound);
                let piece = Delivered {
                    feed: feed(number),
                    from: Offset(from),
                    upto: Offset(upto),
                    records: times.len() as u64,
                    bytes: times.len() as u64 * RECORD_BYTES,
                    max_time: times.iter().flatten().max().map_or(EventTime::MIN, |t| EventTime(*t)),
                    end: Offset(upto),
                };
                self.minter.delivered(piece);
                if again && bound > 0 {
                    self.minter.delivered(Delivered { from: Offset(0), upto: Offset(bound), ..piece });
                }
                assert_eq!(self.minter.reached(feed(number)), Offset(upto));
            }
            Op::Drained { partition: number } => {
                let monotonic_ms = self.monotonic_ms;
                let partition = self.know(number);
                partition.drained_at = Some(monotonic_ms);
                let position = Offset(partition.next);
                // A fetch from before the last delivery is no evidence.
                if let Some(stale) = partition.next.checked_sub(1) {
                    self.minter.drained(feed(number), Offset(stale), Duration::from_millis(monotonic_ms + 1_000_000));
                }
                self.minter.drained(feed(number), position, Duration::from_millis(monotonic_ms));
            }
            Op::Mint { wall_ms, monotonic_ms, floor } => {
                self.now += wall_ms;
                self.monotonic_ms += monotonic_ms;
                if self.minter.has_room() {
                    self.mint(floor);
                }
            }
            Op::Acknowledge { left } => {
                let upto = self.folded.epoch.0.saturating_sub(left);
                self.minter.acknowledged(Epoch(upto));
                self.in_flight.retain(|(epoch, _)| *epoch > upto);
            }
        }
        let bytes = self.in_flight.iter().map(|(_, bytes)| bytes).sum::<u64>();
        assert_eq!(self.minter.in_flight(), (self.in_flight.len(), bytes));
        assert_eq!(self.minter.has_room(), self.in_flight.len() < 4 && bytes < 200);
    }

    fn mint(&mut self, floor: Option<i64>) {
        let before = self.folded.clone();
        let monotonic = Duration::from_millis(self.monotonic_ms);
        let floor = floor.map_or(EventTime::MIN, EventTime);
        let binding = self.minter.mint(WallTime(self.now), monotonic, Vec::new(), floor);
        assert_eq!(binding.epoch, before.epoch.next());
        assert_eq!(binding.closed_at.0, self.now.max(before.closed_at.0 + 1));
        assert!(binding.ranges.is_sorted_by(|a, b| a.feed < b.feed), "each partition once, in order");
        let records: u64 = binding.ranges.iter().map(|r| r.records).sum();
        assert!(records < 9 + 4 * PIECE_RECORDS_MAX, "no more than a round beyond the bound");
        assert!(records * RECORD_BYTES < 70 + 4 * PIECE_RECORDS_MAX * RECORD_BYTES);

        let mut lifts = Vec::new();
        for range in &binding.ranges {
            let partition = &mut self.partitions[range.feed.partition.number() as usize];
            if partition.watermark.is_none_or(|own| own < before.watermark().0) && before.watermark() > EventTime::MIN {
                lifts.push(Lift { feed: range.feed, to: before.watermark() });
                partition.watermark = Some(before.watermark().0);
            }
            assert_eq!(range.from, Offset(partition.bound));
            let mut found = Vec::new();
            while let Some(record) = partition.waiting.pop_front_if(|(at, _)| *at < range.upto.0) {
                found.push(record);
            }
            assert_eq!(range.records, found.len() as u64);
            assert_eq!(found.last().map(|(at, _)| at + 1), Some(range.upto.0), "the last delivered record + 1");
            assert_eq!(range.max_time.0, found.iter().filter_map(|r| r.1).max().unwrap_or(i64::MIN));
            for time in found.iter().filter_map(|r| r.1) {
                // A window takes the record iff this is before its end plus the lateness; it is purged when the
                // pipeline's watermark gets there. So what would be accepted has not been purged.
                assert!(partition.watermark.unwrap_or(i64::MIN) >= before.watermark().0);
                let claim = time - self.delay_ms[usize::from(range.feed.source)];
                partition.watermark = Some(partition.watermark.map_or(claim, |own| own.max(claim)));
            }
            partition.bound = range.upto.0;
            partition.last_data_at = binding.closed_at.0;
        }
        assert_eq!(binding.lifts, lifts);

        let idle = |p: &Partition| {
            let recently = p.drained_at.is_some_and(|at| self.monotonic_ms - at <= 3_000);
            recently && p.waiting.is_empty() && binding.closed_at.0 - p.last_data_at >= IDLE_AFTER_MS as i64
        };
        let busy = self.partitions.iter().filter(|p| p.known && !idle(p));
        let silence = |p: &Partition| Some(p.watermark? + binding.closed_at.0 - p.last_data_at - IDLE_AFTER_MS as i64);
        let by_clock = || self.partitions.iter().filter(|p| p.known).filter_map(silence).min().filter(|_| self.clock);
        let claim = busy.map(|p| p.watermark.unwrap_or(i64::MIN)).min().or_else(by_clock).unwrap_or(i64::MIN);
        assert_eq!(binding.watermark.0, before.watermark().0.max(claim).max(floor.0));

        self.folded.apply(&binding, &self.delay_ms);
        let minter = self.minter.positions();
        assert_eq!((minter.epoch, minter.closed_at), (self.folded.epoch, self.folded.closed_at));
        assert_eq!(minter.watermark, self.folded.watermark);
        for (feed, at) in &minter.feeds {
            match self.folded.feeds.get(feed) {
                Some(folded) => assert_eq!(folded, at),
                // Known, but never bound: a restart hears of it from its reader again.
                None => assert_eq!((at.resume, at.watermark), (Offset(0), EventTime::MIN)),
            }
        }
        self.in_flight.push_back((binding.epoch.0, records * RECORD_BYTES));
    }
}

proptest! {
    #[test]
    fn a_binding_claims_what_the_records_say(
        ops in ops(), delays in (0..20_i64, 0..20_i64), old in 0..=4_usize, clock in any::<bool>(),
    ) {
        let mut model = Model::new([delays.0, delays.1], old, clock);
        ops.into_iter().for_each(|op| model.act(op));
        while model.partitions.iter().any(|p| !p.waiting.is_empty()) {
            model.act(Op::Acknowledge { left: 0 });
            model.act(Op::Mint { wall_ms: 1, monotonic_ms: 1, floor: None });
        }
        for (number, partition) in model.partitions.iter().enumerate() {
            prop_assert_eq!(model.minter.positions().of(feed(number)).resume, Offset(partition.next), "everything is bound");
        }
    }
}

fn piece(records: u64) -> Delivered {
    Delivered {
        feed: feed(0),
        from: Offset(0),
        upto: Offset(records),
        records,
        bytes: records * RECORD_BYTES,
        max_time: EventTime(1),
        end: Offset(records),
    }
}

#[test]
fn an_epoch_closes_when_it_is_due_or_full_and_there_is_room() {
    let ms = Duration::from_millis;
    let mut minter = Minter::new(settings(), vec![0, 0], Positions::default(), Vec::new());
    assert_eq!(minter.turn(ms(999)), Turn::Wait(ms(1)));
    assert_eq!(minter.turn(ms(1_000)), Turn::Mint);
    minter.delivered(piece(1));
    assert_eq!(minter.turn(ms(9)), Turn::Wait(ms(1)));
    assert_eq!(minter.turn(ms(10)), Turn::Mint);
    minter.delivered(Delivered { from: Offset(1), upto: Offset(9), ..piece(8) });
    assert_eq!(minter.turn(ms(0)), Turn::Mint);
    for epoch in 1..=4 {
        assert!(minter.has_room());
        minter.replayed(Epoch(epoch));
    }
    assert_eq!(minter.turn(ms(5_000)), Turn::Wait(ms(1_000)));
    minter.acknowledged(Epoch(1));
    assert_eq!(minter.turn(ms(0)), Turn::Mint);
}

/// A reader that has read as far ahead as it may delivers no more until something is bound: to wait for it would help nobody.
#[test]
fn an_epoch_is_full_when_a_reader_is_held_up() {
    let settings = Settings { read_ahead_bytes: 2 * RECORD_BYTES, ..settings() };
    let mut minter = Minter::new(settings, vec![0, 0], Positions::default(), Vec::new());
    minter.delivered(piece(1));
    minter.delivered(Delivered { feed: feed(1), ..piece(1) });
    assert!(!minter.is_full(), "two partitions, one record each");
    minter.delivered(Delivered { from: Offset(1), upto: Offset(2), ..piece(1) });
    assert_eq!(minter.turn(Duration::ZERO), Turn::Mint);
    minter.mint(WallTime(1), Duration::ZERO, Vec::new(), EventTime::MIN);
    assert!(!minter.is_full());
}

/// One partition with a long backlog beside one that trickles: both are in every epoch.
#[test]
fn a_partition_that_runs_ahead_does_not_starve_another() {
    let mut minter = Minter::new(settings(), vec![0, 0], Positions::default(), Vec::new());
    for n in 0..20 {
        minter.delivered(Delivered { from: Offset(n * 4), upto: Offset(n * 4 + 4), ..piece(4) });
    }
    minter.delivered(Delivered { feed: feed(1), ..piece(1) });
    let binding = minter.mint(WallTime(1), Duration::ZERO, Vec::new(), EventTime::MIN);
    let records: Vec<u64> = binding.ranges.iter().map(|r| r.records).collect();
    assert_eq!(records, [8, 1]);
}

/// Behind the last record stands a control record: it is never bound, and yet nothing is left to be read.
#[test]
fn what_no_binding_takes_is_passed_when_the_partition_is_drained() {
    let mut minter = Minter::new(settings(), vec![0, 0], Positions::default(), Vec::new());
    minter.delivered(piece(3));
    minter.drained(feed(0), Offset(4), Duration::ZERO);
    assert_eq!(minter.passed(feed(0), Offset(0)), Offset(0), "three records wait");
    minter.mint(WallTime(1), Duration::ZERO, Vec::new(), EventTime::MIN);
    let resume = minter.positions().of(feed(0)).resume;
    assert_eq!((resume, minter.passed(feed(0), resume)), (Offset(3), Offset(4)));
    minter.delivered(Delivered { from: Offset(4), upto: Offset(5), ..piece(1) });
    assert_eq!(minter.passed(feed(0), resume), Offset(3), "a record has come");
    assert_eq!(minter.passed(feed(1), Offset(0)), Offset(0), "nobody knows");
}

/// Answers tell nothing of event time, and come in while nothing else may.
#[test]
fn answers_hold_no_watermark_back_and_come_when_all_else_waits() {
    let ms = Duration::from_millis;
    let answer = |from| {
        let (from, upto) = (Offset(from), Offset(from + 1));
        Delivered { feed: feed(1), from, upto, max_time: EventTime::MIN, ..piece(1) }
    };
    let mut minter = Minter::new(settings(), vec![0, 0], Positions::default(), Vec::new()).with_answers([1]);
    minter.delivered(Delivered { max_time: EventTime(50), ..piece(1) });
    minter.delivered(answer(0));
    let binding = minter.mint(WallTime(1), Duration::ZERO, Vec::new(), EventTime::MIN);
    assert_eq!((binding.ranges.len(), binding.watermark), (2, EventTime(50)));

    minter.allow(Intake::Answers);
    minter.delivered(Delivered { from: Offset(1), upto: Offset(9), ..piece(8) });
    assert_eq!(minter.turn(ms(10)), Turn::Wait(ms(990)), "what waits may not come in");
    minter.delivered(answer(1));
    assert_eq!(minter.turn(ms(10)), Turn::Mint);
    let binding = minter.mint(WallTime(2), Duration::ZERO, Vec::new(), EventTime::MIN);
    assert_eq!(binding.ranges.iter().map(|r| (r.feed, r.records)).collect::<Vec<_>>(), [(feed(1), 1)]);
    assert_eq!((binding.watermark, binding.lifts.len()), (EventTime(50), 0));
    minter.allow(Intake::All);
    assert_eq!(minter.turn(ms(10)), Turn::Mint);
}
