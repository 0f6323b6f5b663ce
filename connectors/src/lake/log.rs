//! The log of a table: what stands in it, and how a lane adds to it.

use delta_kernel::arrow::array::StructArray;
use distributary_runtime::binding::{Feed, Range, SourcePartition};
use distributary_runtime::bus::{Marker, Offset, Token, TopicId};
use distributary_runtime::error::Result;
use distributary_runtime::time::{EventTime, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hours of event time since 1970-01-01T00Z: a partition of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i32);

/// A data file that was written and that no reader sees yet.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Path within the table's folder.
    pub path: String,
    /// The hour all its rows lie in.
    pub hour: Hour,
    /// Its size.
    pub size_bytes: u64,
    /// When its newest epoch was closed.
    pub closed_at: WallTime,
    /// One row: the number of records, and least and greatest values of columns that may have them in the log.
    pub statistics: StructArray,
}

/// A data file that readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Path within the table's folder.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
}

/// What the log says of one lane; replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneEntry {
    /// Of the last incarnation that fenced the lane.
    pub token: Token,
    /// What the lane has made visible.
    pub marker: Option<Marker>,
    /// What happened before this is in the table, except what came late.
    #[serde(default)]
    pub complete_through: Option<EventTime>,
    /// What the generation has taken from the sources: of each partition, from its first offset to in front of the second, without a gap.
    #[serde(default)]
    pub offsets: BTreeMap<String, (Offset, Offset)>,
}

impl LaneEntry {
    /// The entry behind a commit.
    #[must_use]
    pub fn behind(&self, commit: &TableCommit<'_>) -> Self {
        let begins = self.marker.is_none_or(|marker| marker.generation != commit.marker.generation);
        let mut offsets = if begins { BTreeMap::new() } else { self.offsets.clone() };
        for range in commit.sources {
            let (from, upto) = offsets.entry(name_of(range.feed)).or_insert((range.from, range.from));
            // Behind a gap that an operator has accepted it begins anew.
            if *upto != range.from {
                *from = range.from;
            }
            *upto = range.upto;
        }
        Self { token: commit.token, marker: Some(commit.marker), complete_through: commit.complete_through, offsets }
    }

    /// What has been taken of a topic, by partition: by every source that reads it, if there are several.
    #[must_use]
    pub fn offsets_of(&self, topic: TopicId) -> BTreeMap<u32, (Offset, Offset)> {
        let of = format!("{topic}/");
        let mut taken: BTreeMap<u32, (Offset, Offset)> = BTreeMap::new();
        for (name, (from, upto)) in &self.offsets {
            let named = name.split_once('/').and_then(|(_, rest)| rest.strip_prefix(&of)?.parse().ok());
            let Some(partition) = named else { continue };
            let all = taken.entry(partition).or_insert((*from, *upto));
            *all = (all.0.max(*from), all.1.min(*upto));
        }
        taken
    }
}

/// `<source of the plan>/<id of the topic>/<partition>`
fn name_of(feed: Feed) -> String {
    match feed.partition {
        SourcePartition::Bus { topic, partition } => format!("{}/{topic}/{partition}", feed.source),
        other => format!("{}/{other}", feed.source),
    }
}

/// The table as of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSnapshot {
    /// The version.
    pub version: u64,
    /// What it says of the log's own lane; `None` when no incarnation has been here.
    pub lane: Option<LaneEntry>,
    /// The files that hold its rows, in the order of their paths.
    pub files: Vec<TableFile>,
}

/// One atomic step of a lane.
#[derive(Clone, Copy, Debug)]
pub struct TableCommit<'a> {
    /// The writer's token: must be the one that fenced the lane last.
    pub token: Token,
    /// The marker this commit builds on.
    pub previous: Option<Marker>,
    /// The marker after it.
    pub marker: Marker,
    /// What happened before this is there then, except what comes late.
    pub complete_through: Option<EventTime>,
    /// What its epochs take from the sources.
    pub sources: &'a [Range],
    /// Files that come.
    pub adds: &'a [NewFile],
    /// Paths of files that go: readers of the new version do not see them, and they stay in the store.
    pub removes: &'a [String],
}

/// The log of one table as one lane sees it. Lives on the lane's thread.
pub trait TableLog: Send {
    /// Reads the newest version. Creates the table if there is none.
    ///
    /// # Errors
    /// The store failed, or what stands there is another table.
    fn snapshot(&mut self) -> Result<TableSnapshot>;

    /// The files of the version that the next commit builds on, in the order of their paths.
    ///
    /// # Errors
    /// The store failed.
    fn files(&mut self) -> Result<Vec<TableFile>>;

    /// Makes `token` the only one that may commit to the lane, and returns the lane's marker. Creates the table if there is
    /// none.
    ///
    /// # Errors
    /// [`BusError::Fenced`](distributary_runtime::bus::BusError::Fenced) when a greater token has been here; and as
    /// [`TableLog::snapshot`].
    fn fence(&mut self, token: Token) -> Result<Option<Marker>>;

    /// Files take the place of others that hold the same rows. Whether they do: they do not when somebody else was first.
    ///
    /// # Errors
    /// [`BusError::Fenced`](distributary_runtime::bus::BusError::Fenced) when the lane's token is another. When the store failed, the files
    /// may have taken their place nevertheless.
    fn replace(&mut self, token: Token, adds: &[NewFile], removes: &[String]) -> Result<bool>;

    /// Files and marker become visible in one version, which is returned.
    ///
    /// # Errors
    /// [`BusError::Fenced`](distributary_runtime::bus::BusError::Fenced) when the lane's token or marker is another, and
    /// nothing was written. When the store failed, a new fence tells whether the commit stands.
    fn commit(&mut self, commit: &TableCommit<'_>) -> Result<u64>;
}
