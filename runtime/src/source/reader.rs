//! The reader of a source on one worker: a thread that prefetches within a budget of bytes, decodes, and reports.

use super::Decode;
use super::running::RunningSource;
use crate::binding::{Delivered, Feed};
use crate::bus::{Batch, Consumer, Offset, Record};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::response::Response;
use crate::time::{EventTime, monotonic};
use crate::update::Data;
use crossbeam_channel::Sender;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use timely::scheduling::SyncActivator;

/// How long a poll waits for news before the reader looks after its other duties.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Pause after a bus that did not answer, and its doubling's end.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often it is told that a partition is read to where reading ends: no older may be what its idleness is known by.
const TELL_END: Duration = Duration::from_secs(1);
/// Some records of a partition without a gap, decoded.
pub(super) struct Chunk<D> {
    pub(super) partition: u32,
    pub(super) upto: Offset,
    pub(super) records: Vec<Record>,
    pub(super) decoded: Vec<Result<(D, EventTime), String>>,
}

/// Bytes of each partition that were read ahead and not yet emitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead(Arc<Mutex<BTreeMap<u32, u64>>>);

impl Ahead {
    pub(super) fn change(&self, partition: u32, change: impl FnOnce(u64) -> u64) {
        let mut ahead = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = ahead.entry(partition).or_default();
        *bytes = change(*bytes);
    }

    pub(super) fn full(&self, max: u64) -> Vec<u32> {
        let ahead = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.iter().filter(|(_, bytes)| **bytes >= max).map(|(p, _)| *p).collect()
    }
}

pub(super) struct Reader<D> {
    pub(super) running: RunningSource,
    pub(super) source: u16,
    pub(super) decode: Arc<Decode<D>>,
    pub(super) sender: Sender<Chunk<D>>,
    pub(super) activator: SyncActivator,
    pub(super) ahead: Ahead,
    /// When partitions that are read to their end were last told of.
    pub(super) told_end: Option<Instant>,
}

impl<D: Data> Reader<D> {
    pub(super) fn run(mut self) -> Result<()> {
        let mut positions: BTreeMap<u32, Offset> =
            self.running.resume.iter().filter(|(p, _)| self.running.owns(**p)).map(|(p, (at, _))| (*p, *at)).collect();
        let (mut wait, mut looked_at) = (RETRY_MIN, None);
        let mut consumer: Option<Box<dyn Consumer>> = None;
        while !self.running.reports.is_halted() {
            let turn = self.turn(&mut consumer, &mut positions, &mut looked_at);
            match turn {
                Ok(()) => wait = RETRY_MIN,
                Err(error) if error.response() == Response::Retry => {
                    tracing::warn!(topic = %self.running.topic.spec.name, %error, "bus did not answer, retrying");
                    consumer = None;
                    std::thread::park_timeout(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn turn(
        &mut self,
        consumer: &mut Option<Box<dyn Consumer>>,
        positions: &mut BTreeMap<u32, Offset>,
        looked_at: &mut Option<Instant>,
    ) -> Result<()> {
        let interval = Duration::from_millis(self.running.settings.metadata_interval_ms);
        if looked_at.is_none_or(|at: Instant| at.elapsed() >= interval) {
            self.look_for_partitions(consumer, positions)?;
            *looked_at = Some(monotonic());
        }
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => {
                let positions: Vec<_> = positions.iter().map(|(p, at)| (*p, *at)).collect();
                consumer.insert(self.running.bus.consumer(self.running.topic.id, &positions)?)
            }
        };
        if self.told_end.is_none_or(|at| at.elapsed() >= TELL_END) {
            self.told_end = Some(monotonic());
            self.tell_end(positions);
        }
        // Those that are read to their end are not paused: an archive gives the others only behind them.
        consumer.pause(&self.ahead.full(self.running.settings.read_ahead_bytes));
        let batches = consumer.poll(POLL_WAIT)?;
        // To wake a reader and a worker costs more than to carry a record: some may gather, but nobody waits who is behind.
        let gather =
            batches.iter().any(|batch| !batch.records.is_empty()) && batches.iter().all(|batch| batch.position >= batch.end);
        for batch in batches {
            let batch = self.within(batch);
            let from = positions.insert(batch.partition, batch.position).unwrap_or(batch.position);
            self.deliver(batch, from);
        }
        if gather {
            std::thread::park_timeout(self.gather());
        }
        Ok(())
    }

    /// How long records gather between two polls: a twentieth of an epoch.
    fn gather(&self) -> Duration {
        (Duration::from_millis(self.running.settings.epoch_interval_ms) / 20).min(POLL_WAIT)
    }

    /// The topic must still be the one that was there at the start; partitions that were added are read from offset 0.
    fn look_for_partitions(&self, consumer: &mut Option<Box<dyn Consumer>>, positions: &mut BTreeMap<u32, Offset>) -> Result<()> {
        let name = &self.running.topic.spec.name;
        let now = self.running.bus.topic(name)?.filter(|t| t.id == self.running.topic.id);
        let Some(now) = now else {
            return Err(Error::refused(
                format!("topic `{name}` was deleted or re-created under the running pipeline; its offsets mean nothing any more"),
                "begin a new generation: `run --from-zero`",
            ));
        };
        let is_read = |p: &u32| self.running.owns(*p) && (self.running.until.is_empty() || self.running.until.contains_key(p));
        for partition in (0..now.spec.partitions).filter(is_read) {
            if let Entry::Vacant(new) = positions.entry(partition) {
                tracing::info!(topic = %name, partition, "reading an added partition from its beginning");
                new.insert(Offset(0));
                if let Some(consumer) = consumer {
                    consumer.assign(partition, Offset(0))?;
                }
            }
        }
        Ok(())
    }

    /// Tells of the partitions that have been read to where reading ends.
    fn tell_end(&self, positions: &BTreeMap<u32, Offset>) {
        for (partition, position) in positions {
            if self.running.until.get(partition).is_some_and(|until| until <= position) {
                self.running.reports.send(Report::Drained { feed: self.feed(*partition), position: *position });
            }
        }
    }

    /// What of a batch lies in front of where reading ends.
    fn within(&self, mut batch: Batch) -> Batch {
        if let Some(until) = self.running.until.get(&batch.partition) {
            batch.records.truncate(batch.records.partition_point(|record| record.offset < *until));
            batch.position = batch.position.min(*until);
            batch.end = batch.end.min(*until);
        }
        batch
    }

    fn deliver(&self, batch: Batch, from: Offset) {
        // The end of what was bound before this incarnation is the end of a chunk: no range and no chunk straddles it.
        let border = self.running.live_from.get(&batch.partition).copied().unwrap_or(Offset(0));
        let is_empty = batch.records.is_empty();
        let mut replayed = batch.records;
        let live = replayed.split_off(replayed.partition_point(|r| r.offset < border));
        if !replayed.is_empty() {
            self.chunk(batch.partition, from, replayed, batch.end);
        }
        if !live.is_empty() {
            let piece = self.chunk(batch.partition, from.max(border), live, batch.end);
            self.running.reports.send(Report::Delivered(piece));
        }
        let (feed, position, end) = (self.feed(batch.partition), batch.position, batch.end);
        if position >= end {
            self.running.reports.send(Report::Drained { feed, position });
        } else if is_empty {
            self.running.reports.send(Report::Blocked { feed, position, end });
        }
    }

    /// Decodes records and hands them to the follower.
    fn chunk(&self, partition: u32, from: Offset, records: Vec<Record>, end: Offset) -> Delivered {
        let decoded: Vec<_> = records.iter().map(|r| (self.decode)(r)).collect();
        let bytes = records.iter().map(Record::bytes).sum();
        let upto = records.last().map_or(from, |r| r.offset.next());
        let max_time = decoded.iter().flatten().map(|(_, t)| *t).max().unwrap_or(EventTime::MIN);
        let piece = Delivered { feed: self.feed(partition), from, upto, records: records.len() as u64, bytes, max_time, end };
        self.ahead.change(partition, |ahead| ahead + bytes);
        // The follower is gone only when the pipeline ends.
        let _ = self.sender.send(Chunk { partition, upto, records, decoded });
        let _ = self.activator.activate();
        piece
    }

    fn feed(&self, partition: u32) -> Feed {
        self.running.feed(self.source, partition)
    }
}
