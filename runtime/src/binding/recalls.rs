//! What a pipeline has to remember of what it has bound, so that records can be recalled: as they were when they came.

use super::{Feed, Lift, PartitionPosition, Range, SourcePartition};
use crate::bus::Offset;
use crate::time::Watermark;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A part of [`super::Positions`], and a fold over bindings like it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallFacts {
    /// Where the generation began to read, if that is not offset 0.
    pub since: BTreeMap<Feed, Offset>,
    /// What a partition was lifted to, and in front of which offset.
    pub lifts: BTreeMap<Feed, Vec<(Offset, Watermark)>>,
    /// Recalls that are not complete, by the offset of the first of their requests.
    pub open: BTreeMap<u32, OpenRecall>,
}

/// The recall of the records that some requests cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecall {
    /// The requests are those in front of this offset, from the one on that it is known by.
    pub upto: Offset,
    /// Partitions whose records are not all recalled, and how far they had been bound before the requests.
    pub bound: BTreeMap<Feed, Offset>,
}

impl RecallFacts {
    /// Requests are bound: what came before them is to be recalled, what comes with them and later is suppressed.
    pub(super) fn begin(&mut self, from: Offset, upto: Offset, feeds: &BTreeMap<Feed, PartitionPosition>) {
        let is_read = |(feed, at): &(&Feed, &PartitionPosition)| {
            matches!(feed.partition, SourcePartition::Bus { .. }) && at.resume > self.since(**feed)
        };
        let bound: BTreeMap<_, _> = feeds.iter().filter(is_read).map(|(feed, at)| (*feed, at.resume)).collect();
        if !bound.is_empty() {
            self.open.insert(from.0 as u32, OpenRecall { upto, bound });
        }
    }

    pub(super) fn lifted(&mut self, lift: &Lift, before: PartitionPosition) {
        if lift.to > before.watermark {
            self.lifts.entry(lift.feed).or_default().push((before.resume, lift.to));
        }
    }

    /// What is recalled is bound: a partition that is done with is forgotten, and with the last one the recall.
    pub(super) fn bound(&mut self, range: &Range, feeds: &mut BTreeMap<Feed, PartitionPosition>) {
        let SourcePartition::Recalled { deletion, partition } = range.feed.partition else { return };
        let (true, Some(recall)) = (range.upto == SourcePartition::RECALLED, self.open.get_mut(&deletion)) else { return };
        feeds.remove(&range.feed);
        recall.bound.retain(|feed, _| (feed.source, feed.partition.number()) != (range.feed.source, partition));
        if recall.bound.is_empty() {
            self.open.remove(&deletion);
        }
    }

    /// What one source has to know.
    #[must_use]
    pub fn of_source(&self, source: u16) -> Self {
        let mut of = self.clone();
        of.since.retain(|feed, _| feed.source == source);
        of.lifts.retain(|feed, _| feed.source == source);
        of.open.values_mut().for_each(|recall| recall.bound.retain(|feed, _| feed.source == source));
        of
    }

    /// Where the generation began to read a partition.
    #[must_use]
    pub fn since(&self, feed: Feed) -> Offset {
        self.since.get(&feed).copied().unwrap_or(Offset(0))
    }

    /// What is still to be recalled.
    pub fn feeds(&self) -> impl Iterator<Item = Feed> {
        self.open.iter().flat_map(|(deletion, recall)| recall.bound.keys().map(|feed| recalled(*feed, *deletion)))
    }

    /// Whether this is of a recall that is not complete.
    #[must_use]
    pub fn is_open(&self, feed: Feed) -> bool {
        self.feeds().any(|open| open == feed)
    }
}

/// What is recalled of a partition.
#[must_use]
pub fn recalled(feed: Feed, deletion: u32) -> Feed {
    Feed { partition: SourcePartition::Recalled { deletion, partition: feed.partition.number() }, ..feed }
}
