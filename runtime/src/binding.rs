//! Bindings: the durable record that makes an epoch definite.

mod recalls;

pub use recalls::{OpenRecall, RecallFacts, recalled};

use crate::bus::{Offset, TopicId};
use crate::key;
use crate::time::{Epoch, EventTime, WallTime, Watermark};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// Where records enter. Recalled records and deletions enter like any other data. A backfill reads the partitions of the bus: what an archive
/// holds has the place that it had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SourcePartition {
    /// A partition of a topic on the bus.
    Bus {
        /// The topic.
        topic: TopicId,
        /// Its partition.
        partition: u32,
    },
    /// Has its number in the journal's format; nothing writes it.
    Archive {
        /// Number of the slice.
        slice: u32,
    },
    /// Has its number in the journal's format; nothing writes it.
    Recall {
        /// Number of the deletion in the pipeline.
        deletion: u32,
    },
    /// Requests to delete: see [`crate::deletion`].
    Control {
        /// Partition of their topic.
        partition: u32,
    },
    /// What was recalled for requests of what a partition of a topic on the bus had brought. Its offsets count the records, and behind the
    /// last one there is [an end](SourcePartition::RECALLED).
    Recalled {
        /// Offset of the first of the requests.
        deletion: u32,
        /// The partition on the bus.
        partition: u32,
    },
}

impl SourcePartition {
    /// The resume offset of recalled records that are all bound.
    pub const RECALLED: Offset = Offset(u64::MAX);

    /// Whether its records say how far event time has got: those that are recalled and requests do not.
    #[must_use]
    pub fn has_event_time(self) -> bool {
        matches!(self, Self::Bus { .. } | Self::Archive { .. })
    }

    /// The number that decides which worker follows it, and that stands in an origin.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Bus { partition, .. } | Self::Control { partition } | Self::Recalled { partition, .. } => partition,
            Self::Archive { slice } => slice,
            Self::Recall { deletion } => deletion,
        }
    }
}

impl fmt::Display for SourcePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus { partition, .. } => write!(f, "{partition}"),
            Self::Archive { slice } => write!(f, "archive-{slice}"),
            Self::Recall { deletion } => write!(f, "recall-{deletion}"),
            Self::Control { partition } => write!(f, "control-{partition}"),
            Self::Recalled { deletion, partition } => write!(f, "{partition} recalled for {deletion}"),
        }
    }
}

/// A source partition as one source of the plan reads it: two reads of a topic are two sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Feed {
    /// Index of the source in the plan.
    pub source: u16,
    /// The partition.
    pub partition: SourcePartition,
}

impl Feed {
    /// Requests to delete: no source of the plan reads them.
    pub const REQUESTS: Self = Self { source: u16::MAX, partition: SourcePartition::Control { partition: 0 } };

    /// A partition of a topic, as a source reads it.
    #[must_use]
    pub fn bus(source: u16, topic: TopicId, partition: u32) -> Self {
        Self { source, partition: SourcePartition::Bus { topic, partition } }
    }
}

/// A piece of a source partition that a reader has delivered to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where from.
    pub feed: Feed,
    /// The resume offset before it.
    pub from: Offset,
    /// The resume offset behind it.
    pub upto: Offset,
    /// Records in it.
    pub records: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// The greatest event time in it.
    pub max_time: EventTime,
    /// The end of the partition as the fetch saw it.
    pub end: Offset,
}

/// What an epoch takes from one source partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Where from.
    pub feed: Feed,
    /// The resume offset before it.
    pub from: Offset,
    /// The last delivered record + 1; never a high watermark, and offsets below may have holes.
    pub upto: Offset,
    /// Records in the range, dead letters included: what a replay is checked against.
    pub records: u64,
    /// The greatest event time among them ([`EventTime::MIN`] if all are dead letters).
    pub max_time: EventTime,
}

impl Range {
    /// Adds the range right behind it.
    pub fn extend(&mut self, next: &Self) {
        self.upto = next.upto;
        self.records += next.records;
        self.max_time = self.max_time.max(next.max_time);
    }
}

/// A partition that comes back from idle, or is new, starts at the pipeline's watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lift {
    /// Which.
    pub feed: Feed,
    /// Its watermark before the first record of the epoch.
    pub to: Watermark,
}

/// Something that the whole pipeline does at the close of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Save the state as of this epoch.
    Checkpoint,
}

/// One epoch, made definite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The epoch.
    pub epoch: Epoch,
    /// `max(now, previous + 1)`: the only clock that operators and sinks see.
    pub closed_at: WallTime,
    /// Minimum over the partitions that are not idle; never falls.
    pub watermark: Watermark,
    /// Changed source partitions only, in order.
    pub ranges: Vec<Range>,
    /// Lifted partitions, in order.
    pub lifts: Vec<Lift>,
    /// What else happens at its close.
    pub controls: Vec<Control>,
}

impl Binding {
    /// Whether the state is to be saved as of this epoch.
    #[must_use]
    pub fn is_checkpoint(&self) -> bool {
        self.controls.contains(&Control::Checkpoint)
    }

    /// Offsets of the requests to delete that hold from this epoch on.
    #[must_use]
    pub fn requests(&self) -> Option<(Offset, Offset)> {
        self.ranges.iter().find(|range| range.feed == Feed::REQUESTS).map(|range| (range.from, range.upto))
    }
}

/// Where one source partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Next offset to bind.
    pub resume: Offset,
    /// What its prefix claims: the greatest event time bound, less the source's delay.
    pub watermark: Watermark,
    /// When it last brought data, on the bindings' clock.
    pub last_data_at: WallTime,
}

/// The sum of all bindings up to an epoch: a pure fold, so a replay arrives at the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The last epoch.
    pub epoch: Epoch,
    /// When it was closed.
    pub closed_at: WallTime,
    /// The pipeline's watermark.
    pub watermark: Option<Watermark>,
    /// Every source partition ever bound or started from.
    pub feeds: BTreeMap<Feed, PartitionPosition>,
    /// What a recall has to know.
    #[serde(skip)]
    pub recalls: RecallFacts,
}

impl Positions {
    /// The pipeline's watermark; [`EventTime::MIN`] before the first.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.watermark.unwrap_or(EventTime::MIN)
    }

    /// The position of a source partition; a new one starts at offset 0.
    #[must_use]
    pub fn of(&self, feed: Feed) -> PartitionPosition {
        let new = PartitionPosition { resume: Offset(0), watermark: EventTime::MIN, last_data_at: self.closed_at };
        self.feeds.get(&feed).copied().unwrap_or(new)
    }

    /// Adds one binding. `delay_ms[source]` is the source's watermark delay.
    pub fn apply(&mut self, binding: &Binding, delay_ms: &[i64]) {
        if let Some((from, upto)) = binding.requests() {
            self.recalls.begin(from, upto, &self.feeds);
        }
        for lift in &binding.lifts {
            let mut at = self.of(lift.feed);
            self.recalls.lifted(lift, at);
            at.watermark = at.watermark.max(lift.to);
            self.feeds.insert(lift.feed, at);
        }
        for range in &binding.ranges {
            let mut at = self.of(range.feed);
            let delay = delay_ms.get(usize::from(range.feed.source)).copied().unwrap_or(0);
            at.resume = range.upto;
            at.watermark = at.watermark.max(range.max_time.minus_ms(delay));
            at.last_data_at = binding.closed_at;
            self.feeds.insert(range.feed, at);
            self.recalls.bound(range, &mut self.feeds);
        }
        self.epoch = binding.epoch;
        self.closed_at = binding.closed_at;
        self.watermark = Some(binding.watermark);
    }

    /// As it stands in checkpoints.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        key::encode(&(self, &self.recalls)).unwrap_or_else(|_| unreachable!("positions are plain data"))
    }

    /// What stands in a checkpoint. Those of before there were deletions end where they now tell of recalls.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        if let Ok((positions, recalls)) = key::decode::<(Self, RecallFacts)>(bytes) {
            return Ok(Self { recalls, ..positions });
        }
        key::decode(bytes)
    }
}

/// The bindings a worker works on: filled by the binding stream, read by operators at the close of an epoch.
#[derive(Clone, Debug, Default)]
pub struct BindingLog(Rc<RefCell<BTreeMap<Epoch, Rc<Binding>>>>);

impl BindingLog {
    /// Adds a binding.
    pub fn insert(&self, binding: Rc<Binding>) {
        self.0.borrow_mut().insert(binding.epoch, binding);
    }

    /// The binding of an epoch, if it is there already and still needed.
    #[must_use]
    pub fn get(&self, epoch: Epoch) -> Option<Rc<Binding>> {
        self.0.borrow().get(&epoch).cloned()
    }

    /// Forgets what lies before `epoch`: every operator has closed it.
    pub fn forget_before(&self, epoch: Epoch) {
        let mut log = self.0.borrow_mut();
        *log = log.split_off(&epoch);
    }
}

#[cfg(test)]
mod tests;
