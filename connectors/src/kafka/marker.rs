//! Where a lane's marker stands, and how: the newest record of the lane's key in a compacted topic of its pipeline.

use super::Shared;
use super::fault::unavailable;
use super::offsets;
use bytes::Bytes;
use distributary_runtime::bus::{BusError, Marker, NewRecord, Offset, Token, TopicSpec};
use distributary_runtime::time::WallTime;
use serde::{Deserialize, Serialize};

/// The first look back is this long, each further one [`LOOK_FACTOR`] times as long. One commit is two offsets.
const LOOK_BACK: u64 = 64;
const LOOK_FACTOR: u64 = 16;

/// What compaction may leave alone is small, so that a partition that is written a hundred times a second stays short.
const SETTINGS: [(&str, &str); 3] =
    [("segment.bytes", "1048576"), ("segment.ms", "600000"), ("min.cleanable.dirty.ratio", "0.1")];

/// The partition of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: u32,
}

/// What a marker record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Who owns the lane.
    pub(super) token: Token,
    /// What is visible, unless nothing is yet.
    pub(super) marker: Option<Marker>,
}

/// The lanes of a group share a topic: lane `a/b/3` stands in partition 3 of `a.b.markers`.
pub(super) fn place(lane: &str) -> Place {
    let (group, partition) = match lane.rsplit_once('/') {
        Some((group, number)) if let Ok(number) = number.parse() => (group, number),
        _ => (lane, 0),
    };
    Place { topic: format!("{}.markers", group.replace('/', ".")), partition }
}

impl Place {
    /// Creates the partition unless it is there.
    pub(super) fn ensure(&self, shared: &Shared) -> Result<(), BusError> {
        let partitions = self.partition + 1;
        let spec = TopicSpec::upsert(self.topic.clone(), partitions);
        if shared.topics.find(&self.topic)?.is_none() {
            shared.topics.create_with(&spec, &SETTINGS)?;
        }
        match shared.topics.find(&self.topic)? {
            Some(found) if found.partitions >= partitions => Ok(()),
            _ => shared.topics.add_partitions(&self.topic, partitions),
        }
    }

    /// The newest marker record of a lane that stands; `None` when there is none.
    pub(super) fn read(&self, shared: &Shared, lane: &str) -> Result<Option<Held>, BusError> {
        let bounds = offsets::bounds(&shared.committed, &self.topic, self.partition..self.partition + 1)?;
        let Some(log) = bounds.first() else { return Err(unavailable("reading a marker", "no partition")) };
        let (mut end, mut length) = (log.end, LOOK_BACK);
        while end > log.log_start {
            let from = Offset(end.0.saturating_sub(length)).max(log.log_start);
            let records = shared.scanner.scan(&self.topic, self.partition, from, end)?;
            let newest = records.iter().rev().find(|r| r.key.as_deref() == Some(lane.as_bytes()));
            if let Some(value) = newest.and_then(|record| record.value.as_deref()) {
                let held = serde_json::from_slice(value);
                let damaged = |e| BusError::Invalid(format!("the marker of lane `{lane}` in `{}`: {e}", self.topic));
                return held.map(Some).map_err(damaged);
            }
            (end, length) = (from, length * LOOK_FACTOR);
        }
        Ok(None)
    }
}

/// The record that says so.
pub(super) fn record(lane: &str, held: &Held, at: WallTime) -> NewRecord {
    let value = serde_json::to_vec(held).unwrap_or_else(|_| unreachable!("a marker is plain data"));
    NewRecord {
        partition: None,
        timestamp: at,
        key: Some(Bytes::copy_from_slice(lane.as_bytes())),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Place, place, record};
    use distributary_runtime::bus::{Marker, Token};
    use distributary_runtime::time::{Epoch, WallTime};

    #[test]
    fn lanes_of_a_group_share_a_topic() {
        let at = |topic: &str, partition| Place { topic: topic.into(), partition };
        assert_eq!(place("fraud.spend/topics/3"), at("fraud.spend.topics.markers", 3));
        assert_eq!(place("l"), at("l.markers", 0));
        assert_eq!(place("a/b"), at("a.b.markers", 0));
    }

    /// The format as it stands on the bus: a change must still read it.
    #[test]
    fn the_format_is_pinned() {
        let held = Held { token: Token(7), marker: Some(Marker { generation: 1, epoch: Epoch(9) }) };
        let value = record("l", &held, WallTime(1)).value.unwrap();
        assert_eq!(value, r#"{"token":7,"marker":{"generation":1,"epoch":9}}"#);
        assert_eq!(serde_json::from_slice::<Held>(br#"{"token":7,"marker":null}"#).unwrap().marker, None);
    }
}
