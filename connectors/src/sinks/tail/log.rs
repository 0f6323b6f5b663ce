//! What the log of a partition says of the results in it.

use super::{Gap, Place, SENT_BYTES_MAX};
use bytes::Bytes;
use distributary_runtime::bus::{Bus, BusError, NewRecord, Offset, PartitionOffsets, Record, TopicId};
use std::collections::BTreeMap;

/// How far back the first look goes, and by how much further each next one.
const LOOK_BACK: u64 = 256;
const LOOK_FACTOR: u64 = 8;

/// What a process leaves behind to arrive late is at most this much, with what was written again because of it.
const LATE_BYTES_MAX: u64 = 2 * SENT_BYTES_MAX;

/// One partition of a topic that a pipeline writes.
pub(super) struct Log<'a> {
    pub(super) bus: &'a dyn Bus,
    pub(super) topic: TopicId,
    pub(super) partition: u32,
    pub(super) pipeline: &'a str,
}

impl Log<'_> {
    /// The greatest place that stands in the partition, and where at its end late records stand.
    ///
    /// Places grow from record to record, except where late records of a replaced process begin. So reading back may end
    /// in a stretch that grows and is longer than any late one can be.
    pub(super) fn last_place(&self, at: &PartitionOffsets) -> Result<(Option<Place>, Vec<Gap>), BusError> {
        let (mut read, mut growing) = (Vec::new(), Growing::default());
        let (mut end, mut length) = (at.end, LOOK_BACK);
        while end > at.log_start && growing.bytes <= LATE_BYTES_MAX {
            let from = Offset(end.0.saturating_sub(length)).max(at.log_start);
            for record in self.bus.read(self.topic, self.partition, from, end)?.iter().rev() {
                let Some(place) = Place::of(record, self.pipeline) else { continue };
                growing.before(place, record.bytes());
                read.push((record.offset, place));
            }
            (end, length) = (from, length * LOOK_FACTOR);
        }
        let (mut greatest, mut late): (_, Vec<Gap>) = (None, Vec::new());
        for (offset, place) in read.into_iter().rev() {
            if Some(place) > greatest {
                greatest = Some(place);
                continue;
            }
            match late.last_mut().filter(|gap| gap.to == offset) {
                Some(gap) => gap.to = offset.next(),
                None => {
                    let Self { topic, partition, .. } = *self;
                    late.push(Gap { topic, partition, from: offset, to: offset.next() });
                }
            }
        }
        Ok((greatest, late))
    }
}

/// A stretch of records whose places grow, read from its end.
#[derive(Default)]
struct Growing {
    first: Option<Place>,
    bytes: u64,
}

impl Growing {
    fn before(&mut self, place: Place, bytes: u64) {
        if self.first.is_some_and(|first| first <= place) {
            self.bytes = 0;
        }
        self.first = Some(place);
        self.bytes += bytes;
    }
}

/// What must be written again, because the log of an upsert topic ends, from `from` on, with records of keys that have newer ones in
/// front: those newer ones as they stand, in the order of their places.
pub(super) fn newest_states(log: &Log<'_>, from: Offset) -> Result<Vec<NewRecord>, BusError> {
    let now = log.bus.offsets(log.topic)?.into_iter().find(|at| at.partition == log.partition);
    let Some(now) = now else { return Ok(Vec::new()) };
    // What a reader takes for the newest of each key.
    let mut last: BTreeMap<Bytes, Place> = BTreeMap::new();
    let mut newest: BTreeMap<Bytes, (Place, Record)> = BTreeMap::new();
    let mut take = |record: Record, place: Place, last: &BTreeMap<Bytes, Place>| {
        let Some(key) = record.key.clone().filter(|key| last.contains_key(key)) else { return };
        if newest.get(&key).is_none_or(|(found, _)| *found < place) {
            newest.insert(key, (place, record));
        }
    };
    for record in log.bus.read(log.topic, log.partition, from, now.end)? {
        let (Some(place), Some(key)) = (Place::of(&record, log.pipeline), record.key.clone()) else { continue };
        last.insert(key, place);
        take(record, place, &last);
    }
    // The sequence stands there up to what came late: in front of its own place there is nothing newer.
    let oldest = last.values().min().copied();
    let (mut end, mut length, mut reached) = (from, LOOK_BACK, oldest.is_none());
    while end > now.log_start && !reached {
        let start = Offset(end.0.saturating_sub(length)).max(now.log_start);
        for record in log.bus.read(log.topic, log.partition, start, end)? {
            let Some(place) = Place::of(&record, log.pipeline) else { continue };
            reached |= Some(place) < oldest;
            take(record, place, &last);
        }
        (end, length) = (start, length * LOOK_FACTOR);
    }
    let mut again: Vec<(Place, Record)> = newest.into_iter().filter(|(key, (at, _))| last[key] < *at).map(|(_, of)| of).collect();
    again.sort_by_key(|(place, _)| *place);
    Ok(again.into_iter().map(|(_, record)| as_it_stands(log.partition, record)).collect())
}

fn as_it_stands(partition: u32, record: Record) -> NewRecord {
    let Record { timestamp, key, value, headers, .. } = record;
    NewRecord { partition: Some(partition), timestamp, key, value, headers }
}
