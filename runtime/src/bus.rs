//! The shared event bus as the runtime sees it: one trait, one conformance suite (`distributary-connectors`), several
//! implementations.
//!
//! A topic has a name, an id that a re-creation changes, and partitions; a partition is a sequence of records with
//! growing offsets (which may have holes). Beside records the bus keeps three small things for pipelines: a *journal*
//! topic whose append tells its writer who was there first, *lanes* (a token and a marker that are written in one atomic step with the records
//! of a sink), and group offsets for lag tools.

mod error;
mod record;
mod topic;

pub use error::BusError;
pub use record::{Header, NewRecord, Record};
pub use topic::{Offset, PartitionOffsets, Topic, TopicForm, TopicId, TopicSpec};

use crate::time::{Epoch, EventTime, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a partition delivered in one poll.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The partition.
    pub partition: u32,
    /// The records, in offset order; empty when the partition has nothing more.
    pub records: Vec<Record>,
    /// Where the next poll resumes.
    pub position: Offset,
    /// The log's end as this very fetch saw it: `position == end` is positive evidence that the partition is drained.
    pub end: Offset,
}

/// Reads partitions of one topic from given positions. Lives on one thread.
pub trait Consumer: Send {
    /// Waits up to `wait` until a partition that is not paused has something, then returns at most one batch for each
    /// such partition. A partition that was fetched and had nothing is reported too (with no records), at least every second.
    ///
    /// # Errors
    /// [`BusError::OutOfRange`] when records under a position are gone, [`BusError::TopicChanged`] when the topic was
    /// deleted or re-created; both end the consumer.
    fn poll(&mut self, wait: Duration) -> Result<Vec<Batch>, BusError>;

    /// Adds a partition, to be read from `resume`.
    ///
    /// # Errors
    /// The partition does not exist, or `resume` is out of its range.
    fn assign(&mut self, partition: u32, resume: Offset) -> Result<(), BusError>;

    /// Partitions named here deliver nothing until they are not named any more.
    fn pause(&mut self, partitions: &[u32]);
}

/// What a lane has made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Generation of the pipeline's results.
    pub generation: u32,
    /// The newest epoch whose results are visible.
    pub epoch: Epoch,
}

/// The journal offset of an incarnation's `Start`: the newer start has the greater token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token(pub u64);

/// One atomic step of a lane: records of several topics, and the marker.
#[derive(Clone, Debug)]
pub struct LaneCommit {
    /// Name of the lane, unique on the bus.
    pub lane: String,
    /// The writer's token: must be the one that fenced the lane last.
    pub token: Token,
    /// The marker this commit builds on, as [`Bus::fence_lane`] or the last commit left it.
    pub previous: Option<Marker>,
    /// The marker after it.
    pub marker: Marker,
    /// (topic, record) in the order they are to stand in their partitions; every record names its partition.
    pub records: Vec<(TopicId, NewRecord)>,
}

/// The answer to an append to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entries stand at the expected offset, which this is, and behind it without a gap.
    At(Offset),
    /// Somebody else appended first. The entries stand all the same, because the bus knows no condition: the first of them
    /// here, and possibly with others' in between. Whether they count is for the journal to say: read it back.
    Behind {
        /// Where the first of them stands.
        at: Offset,
    },
    /// Somebody else appended first; nothing was written. The log ends here.
    Taken {
        /// The log's end.
        end: Offset,
    },
}

/// What a journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalPage {
    /// The entries, in order.
    pub entries: Vec<(Offset, Vec<u8>)>,
    /// The log's end: where the next append goes.
    pub end: Offset,
}

/// What a bus can do beyond the least; the conformance suite shows each, and a job that needs what is missing is
/// refused at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `commit_lane` is atomic over several topics and its marker.
    pub atomic_lanes: bool,
    /// `append_journal` writes nothing when the expected offset is taken. Without it the entries stand behind what was
    /// there first ([`Appended::Behind`]).
    pub conditional_append: bool,
    /// `offsets_at` finds offsets by timestamp.
    pub offsets_by_time: bool,
    /// Upsert topics are compacted.
    pub compaction: bool,
    /// `maintain` applies retention and compaction at once, as of the time it is given. Without it the bus does that by
    /// itself, by its own clock and in its own time.
    pub upkeep_on_call: bool,
    /// The largest value a record may have, in bytes.
    pub record_bytes_max: u64,
    /// The earliest time a record can carry; earlier ones are written with this.
    pub earliest: WallTime,
}

/// The shared bus. Every call may come from several threads and several processes at once.
pub trait Bus: Send + Sync {
    /// One line that names the bus, for plans and logs.
    fn describe(&self) -> String;

    /// What it can do.
    fn features(&self) -> Features;

    /// Creates a topic; `Ok(false)` and no change when one of that name exists.
    ///
    /// # Errors
    /// The name or the number of partitions is not allowed.
    fn create_topic(&self, spec: &TopicSpec) -> Result<bool, BusError>;

    /// The topic of that name, if there is one.
    ///
    /// # Errors
    /// The bus failed.
    fn topic(&self, name: &str) -> Result<Option<Topic>, BusError>;

    /// All topics, by name.
    ///
    /// # Errors
    /// The bus failed.
    fn topics(&self) -> Result<Vec<Topic>, BusError>;

    /// Deletes a topic and its records; readers see [`BusError::TopicChanged`].
    ///
    /// # Errors
    /// There is no such topic.
    fn delete_topic(&self, name: &str) -> Result<(), BusError>;

    /// Raises the number of partitions to `partitions`.
    ///
    /// # Errors
    /// There is no such topic, or it has more already.
    fn add_partitions(&self, name: &str, partitions: u32) -> Result<(), BusError>;

    /// First and next offset of every partition.
    ///
    /// # Errors
    /// [`BusError::TopicChanged`] when the topic is gone.
    fn offsets(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError>;

    /// As [`Bus::offsets`], and the first offset is the one that a consumer can be given: what retention has taken may be kept in an
    /// archive.
    ///
    /// # Errors
    /// As [`Bus::offsets`].
    fn readable(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>, BusError> {
        self.offsets(topic)
    }

    /// Of every partition the first offset whose record's timestamp is at or after `at`; its end when there is none.
    ///
    /// # Errors
    /// [`BusError::TopicChanged`] when the topic is gone.
    fn offsets_at(&self, topic: TopicId, at: WallTime) -> Result<Vec<(u32, Offset)>, BusError>;

    /// The greatest event time of the records of each partition before the given offset, of those where somebody has kept it: an archive
    /// has.
    ///
    /// # Errors
    /// The bus failed.
    fn event_times_before(&self, _topic: TopicId, _positions: &[(u32, Offset)]) -> Result<BTreeMap<u32, EventTime>, BusError> {
        Ok(BTreeMap::new())
    }

    /// Appends records, all of them or none; returns (partition, offset) of each.
    ///
    /// # Errors
    /// No such topic or partition, or a record is too large: nothing was written. The bus failed: what stands is unknown.
    fn produce(&self, topic: TopicId, records: Vec<NewRecord>) -> Result<Vec<(u32, Offset)>, BusError>;

    /// Appends records of a lane to several topics, in the order given and without a marker; every record names its partition. Returns
    /// the offset of each. Only one call of a lane may run at a time; when it has failed, nothing of it is sent any more.
    ///
    /// # Errors
    /// As [`Bus::produce`]; when the bus failed, some of the records may stand, of each partition the first ones.
    fn append_lane(&self, lane: &str, records: &[(TopicId, NewRecord)]) -> Result<Vec<Offset>, BusError>;

    /// What a reader may see of a partition from `from` to in front of `to`, which must be offsets that it has had.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    fn read(&self, topic: TopicId, partition: u32, from: Offset, to: Offset) -> Result<Vec<Record>, BusError> {
        let (mut records, mut position) = (Vec::new(), from);
        if from >= to {
            return Ok(records);
        }
        let mut consumer = self.consumer(topic, &[(partition, from)])?;
        while position < to {
            for batch in consumer.poll(Duration::from_millis(100))? {
                position = batch.position;
                records.extend(batch.records.into_iter().filter(|record| record.offset < to));
            }
        }
        Ok(records)
    }

    /// Reads the given partitions from the given positions on.
    ///
    /// # Errors
    /// As [`Consumer::assign`].
    fn consumer(&self, topic: TopicId, positions: &[(u32, Offset)]) -> Result<Box<dyn Consumer>, BusError>;

    /// Appends to partition 0 of a journal topic, on a bus with [`Features::conditional_append`] iff its end is `expected`.
    ///
    /// # Errors
    /// The bus failed; whether the entries stand is unknown: read the journal back.
    fn append_journal(&self, journal: TopicId, expected: Offset, entries: &[Vec<u8>]) -> Result<Appended, BusError>;

    /// Everything a journal holds from `from` on, and its end, as it stood at one moment.
    ///
    /// # Errors
    /// The bus failed.
    fn read_journal(&self, journal: TopicId, from: Offset) -> Result<JournalPage, BusError>;

    /// Drops what a journal holds before `before`.
    ///
    /// # Errors
    /// The bus failed.
    fn truncate_journal(&self, journal: TopicId, before: Offset) -> Result<(), BusError>;

    /// Makes `token` the only one that may commit to the lane, and returns the lane's marker.
    ///
    /// # Errors
    /// [`BusError::Fenced`] when a greater token has been here.
    fn fence_lane(&self, lane: &str, token: Token) -> Result<Option<Marker>, BusError>;

    /// Sends what the next `commit_lane` of the same lane will make visible, and makes none of it visible; if that never
    /// comes, it never was. A bus that has nothing to gain does nothing.
    ///
    /// # Errors
    /// As [`Bus::commit_lane`].
    fn prepare_lane(&self, _commit: &LaneCommit) -> Result<(), BusError> {
        Ok(())
    }

    /// Writes records and marker in one atomic step.
    ///
    /// # Errors
    /// [`BusError::Fenced`] when token or previous marker are not the lane's own; nothing was written. After any other error the
    /// commit may stand or not: fence the lane again, and its marker tells.
    fn commit_lane(&self, commit: &LaneCommit) -> Result<(), BusError>;

    /// Publishes the resume offsets of a group, for lag tools only: no pipeline starts from them.
    ///
    /// # Errors
    /// The bus failed.
    fn commit_group(&self, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<(), BusError>;

    /// The published resume offsets of a group in a topic.
    ///
    /// # Errors
    /// The bus failed.
    fn group(&self, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>, BusError>;

    /// Names of all groups that published offsets.
    ///
    /// # Errors
    /// The bus failed.
    fn groups(&self) -> Result<Vec<String>, BusError>;

    /// Applies retention and compaction as of `now`, on a bus with [`Features::upkeep_on_call`]; safe to run at any time, from
    /// any process. Returns the records dropped.
    ///
    /// # Errors
    /// The bus failed.
    fn maintain(&self, now: WallTime) -> Result<u64, BusError>;
}
