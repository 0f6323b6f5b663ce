//! The minter decides when an epoch closes and what it binds. It is the whole back-pressure, and it is pure: reports and
//! times come in, bindings go out.

use crate::binding::{Binding, Control, Delivered, Feed, Lift, PartitionPosition, Positions, Range, SourcePartition};
use crate::bus::Offset;
use crate::settings::{IdleWatermark, Settings};
use crate::time::{Epoch, EventTime, WallTime, Watermark};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How old the evidence that a partition is drained may be: readers repeat it at least every second.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(3);

/// When to mint next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Mint,
    /// Not before this much time has passed, or something is reported.
    Wait(Duration),
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Delivered>,
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Minter {
    settings: Settings,
    delay_ms: Vec<i64>,
    positions: Positions,
    /// What the first binding has to lift.
    claims: Vec<Lift>,
    /// Delivered but not bound, by source partition.
    waiting: BTreeMap<Feed, Waiting>,
    waiting_records: u64,
    waiting_bytes: u64,
    /// When a partition was last seen to be drained, on a monotonic scale that starts with the minter, and where.
    drained: BTreeMap<Feed, (Duration, Offset)>,
    /// Closed but not yet made visible by every lane.
    in_flight: VecDeque<(Epoch, u64)>,
    in_flight_bytes: u64,
    /// Sources that tell nothing of event time: answers to questions.
    answers: BTreeSet<u16>,
    intake: Intake,
}

/// What an epoch may take. Requests to delete may always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// All that waits.
    #[default]
    All,
    /// Only answers: as many questions wait as may.
    Answers,
}

impl Minter {
    /// A minter that goes on behind `positions`. `delay_ms[source]` is the watermark delay of each source, `claims` what partitions have
    /// claimed before what it binds first.
    #[must_use]
    pub fn new(settings: Settings, delay_ms: Vec<i64>, positions: Positions, claims: Vec<Lift>) -> Self {
        Self {
            settings,
            delay_ms,
            positions,
            claims,
            waiting: BTreeMap::new(),
            waiting_records: 0,
            waiting_bytes: 0,
            drained: BTreeMap::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            answers: BTreeSet::new(),
            intake: Intake::All,
        }
    }

    /// These sources read answers to questions.
    #[must_use]
    pub fn with_answers(self, sources: impl IntoIterator<Item = u16>) -> Self {
        Self { answers: sources.into_iter().collect(), ..self }
    }

    /// What is taken from now on.
    pub fn allow(&mut self, intake: Intake) {
        self.intake = intake;
    }

    /// The sum of everything minted.
    #[must_use]
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Epochs that are closed but not yet visible in every lane, and their bytes.
    #[must_use]
    pub fn in_flight(&self) -> (usize, u64) {
        (self.in_flight.len(), self.in_flight_bytes)
    }

    /// Whether as much waits as one epoch takes, or as a partition may be read ahead: its reader is held up until some of it is bound. Requests
    /// to delete wait for nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let held_up = |of: &Waiting| of.bytes >= self.settings.read_ahead_bytes;
        let is_full = self.waiting_records >= self.settings.epoch_records_max
            || self.waiting_bytes >= self.settings.epoch_bytes_max
            || self.waiting.values().any(held_up);
        self.has_requests() || (is_full && self.intake == Intake::All)
    }

    /// Whether something waits that may be taken.
    fn has_some(&self) -> bool {
        let is_some = |(feed, of): (&Feed, &Waiting)| !of.pieces.is_empty() && self.takes(*feed);
        self.waiting_records > 0 && (self.intake == Intake::All || self.waiting.iter().any(is_some))
    }

    fn takes(&self, feed: Feed) -> bool {
        self.intake == Intake::All || feed == Feed::REQUESTS || self.answers.contains(&feed.source)
    }

    fn has_event_time(&self, feed: Feed) -> bool {
        feed.partition.has_event_time() && !self.answers.contains(&feed.source)
    }

    fn has_requests(&self) -> bool {
        self.waiting.get(&Feed::REQUESTS).is_some_and(|of| !of.pieces.is_empty())
    }

    /// How far a partition has been read, bound or not.
    #[must_use]
    pub fn reached(&self, feed: Feed) -> Offset {
        let delivered = self.waiting.get(&feed).and_then(|of| of.pieces.back()).map(|piece| piece.upto);
        delivered.unwrap_or(self.positions.of(feed).resume)
    }

    /// How far a partition has been read whose records in front of `resume` are bound: behind the last record there may be control
    /// records and aborted transactions, which no binding takes. For what is told about lag, never for where to resume.
    #[must_use]
    pub fn passed(&self, feed: Feed, resume: Offset) -> Offset {
        let drained = self.drained.get(&feed).filter(|_| self.reached(feed) == resume);
        drained.map_or(resume, |(_, position)| resume.max(*position))
    }

    /// A reader has delivered something. What is bound already (a replay) is not taken twice.
    pub fn delivered(&mut self, piece: Delivered) {
        let is_recalled = matches!(piece.feed.partition, SourcePartition::Recalled { .. });
        if is_recalled && !self.positions.recalls.is_open(piece.feed) {
            return;
        }
        self.know(piece.feed);
        if piece.upto <= self.positions.of(piece.feed).resume {
            return;
        }
        self.drained.remove(&piece.feed);
        self.waiting_records += piece.records;
        self.waiting_bytes += piece.bytes;
        let waiting = self.waiting.entry(piece.feed).or_default();
        waiting.bytes += piece.bytes;
        waiting.pieces.push_back(piece);
    }

    /// A fetch was answered, and the partition has nothing behind `position`: the positive evidence that idleness takes.
    pub fn drained(&mut self, feed: Feed, position: Offset, now: Duration) {
        self.know(feed);
        if position >= self.reached(feed) {
            self.drained.insert(feed, (now, position));
        }
    }

    /// A fetch was answered, and the partition has more that nobody may read yet: it is not idle.
    pub fn blocked(&mut self, feed: Feed) {
        self.know(feed);
        self.drained.remove(&feed);
    }

    /// A partition nobody had heard of: it starts at offset 0 and counts for the watermark until it is seen idle.
    fn know(&mut self, feed: Feed) {
        if !self.positions.feeds.contains_key(&feed) {
            self.positions.feeds.insert(feed, self.positions.of(feed));
        }
    }

    /// Every lane has made everything up to `epoch` visible.
    pub fn acknowledged(&mut self, epoch: Epoch) {
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(e, _)| *e <= epoch) {
            self.in_flight_bytes -= bytes;
        }
    }

    /// An epoch that was bound before this incarnation is on its way again.
    pub fn replayed(&mut self, epoch: Epoch) {
        self.in_flight.push_back((epoch, 0));
    }

    /// Whether more may be in flight.
    #[must_use]
    pub fn has_room(&self) -> bool {
        (self.in_flight.len() as u64) < self.settings.epochs_in_flight_max
            && self.in_flight_bytes < self.settings.bytes_in_flight_max
    }

    /// Whether to close the open epoch, `elapsed` after the last one was closed.
    #[must_use]
    pub fn turn(&self, elapsed: Duration) -> Turn {
        let interval = Duration::from_millis(self.settings.epoch_interval_ms);
        let idle = Duration::from_millis(self.settings.idle_epoch_ms);
        if !self.has_room() {
            return Turn::Wait(idle);
        }
        let due = if self.has_some() { interval } else { idle };
        if self.is_full() || elapsed >= due { Turn::Mint } else { Turn::Wait(due - elapsed) }
    }

    /// Closes the open epoch: binds what waits, up to the bounds of an epoch.
    ///
    /// `now` is the wall clock, `monotonic` the scale of [`Minter::drained`], `floor` a watermark that somebody vouches for.
    pub fn mint(&mut self, now: WallTime, monotonic: Duration, controls: Vec<Control>, floor: Watermark) -> Binding {
        let before = self.positions.watermark();
        let (ranges, bytes) = self.take_ranges();
        let behind = |r: &&Range| self.has_event_time(r.feed) && self.positions.of(r.feed).watermark < before;
        let lifts: Vec<_> = ranges.iter().filter(behind).map(|r| Lift { feed: r.feed, to: before }).collect();
        let mut binding = Binding {
            epoch: self.positions.epoch.next(),
            closed_at: WallTime(now.0.max(self.positions.closed_at.0 + 1)),
            watermark: before,
            lifts: std::mem::take(&mut self.claims).into_iter().chain(lifts).collect(),
            ranges,
            controls,
        };
        self.positions.apply(&binding, &self.delay_ms);
        binding.watermark = before.max(self.claim(binding.closed_at, monotonic)).max(floor);
        self.positions.watermark = Some(binding.watermark);
        self.in_flight.push_back((binding.epoch, bytes));
        self.in_flight_bytes += bytes;
        binding
    }

    /// Takes pieces round robin over the partitions, so that one that runs ahead does not starve the others. Requests to delete hold before
    /// anything else is taken.
    fn take_ranges(&mut self) -> (Vec<Range>, u64) {
        let mut ranges: BTreeMap<Feed, Range> = BTreeMap::new();
        let (mut records, mut bytes) = (0, 0);
        let (only_requests, intake, answers) = (self.has_requests(), self.intake, self.answers.clone());
        let takes = |feed: &Feed| match (only_requests, intake) {
            (true, _) => *feed == Feed::REQUESTS,
            (false, Intake::All) => true,
            (false, Intake::Answers) => answers.contains(&feed.source),
        };
        while self.has_some() && records < self.settings.epoch_records_max && bytes < self.settings.epoch_bytes_max {
            for (feed, waiting) in self.waiting.iter_mut().filter(|(feed, _)| takes(feed)) {
                let Some(piece) = waiting.pieces.pop_front() else { continue };
                // What lies between them, a reader has passed over: nobody may see it.
                let from = self.positions.of(*feed).resume.min(piece.from);
                let new = Range { feed: *feed, from, upto: from, records: 0, max_time: EventTime::MIN };
                let range = ranges.entry(*feed).or_insert(new);
                assert!(range.upto <= piece.from, "a reader delivers a partition in order");
                range.upto = piece.upto;
                range.records += piece.records;
                range.max_time = range.max_time.max(piece.max_time);
                records += piece.records;
                bytes += piece.bytes;
                waiting.bytes -= piece.bytes;
                self.waiting_records -= piece.records;
                self.waiting_bytes -= piece.bytes;
            }
            if only_requests && !self.has_requests() {
                break;
            }
        }
        (ranges.into_values().collect(), bytes)
    }

    /// The minimum over the partitions that are not idle. When all are, nothing, or what the clock says.
    fn claim(&self, closed_at: WallTime, monotonic: Duration) -> Watermark {
        let quiet_ms =
            |at: &PartitionPosition| closed_at.0.saturating_sub(at.last_data_at.0) - self.settings.idle_after_ms as i64;
        let timed = self.positions.feeds.iter().filter(|(feed, _)| self.has_event_time(**feed));
        let busy = timed.filter(|(feed, at)| !(quiet_ms(at) >= 0 && self.seen_drained(feed, monotonic)));
        let least = busy.map(|(_, at)| at.watermark).min();
        // Event time went on as the clock did before the silence, and is taken to do so in it. Who has never brought any tells nothing.
        let by_clock = || {
            let told = self.positions.feeds.values().filter(|at| at.watermark > EventTime::MIN);
            told.map(|at| EventTime(at.watermark.0.saturating_add(quiet_ms(at)))).min()
        };
        let is_clock = self.settings.idle_watermark == IdleWatermark::Clock;
        least.or_else(|| is_clock.then(by_clock).flatten()).unwrap_or(EventTime::MIN)
    }

    fn seen_drained(&self, feed: &Feed, monotonic: Duration) -> bool {
        let recent = self.drained.get(feed).is_some_and(|(at, _)| monotonic.saturating_sub(*at) <= EVIDENCE_AGE_MAX);
        recent && self.waiting.get(feed).is_none_or(|of| of.pieces.is_empty())
    }
}

#[cfg(test)]
mod tests;
