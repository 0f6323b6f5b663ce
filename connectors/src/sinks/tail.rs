//! The tail lane: topics of the bus without transactions, exactly once because the log itself is the marker.
//!
//! What a pipeline writes to a partition is a definite sequence: every record has a place in it (generation, epoch, index), and each
//! replay gives the same. So a lane reads at its start how far the tail of each partition has come, and writes what is
//! behind that. Offsets must follow without a gap; in a gap stands what somebody else wrote.
//!
//! - *Twice*: what stands already is passed over.
//! - *Out of order*: passed over too, for it lies before what stands.
//! - *After a crash*: each partition goes on behind its own tail.
//! - *Two incarnations*: nothing shuts the old one out; the journal tells it that it is old, before it can bind anything new. What it had
//!   sent, or sends when it is woken, repeats what the new one writes, and readers drop it by its place; where it is ahead,
//!   the new one goes on behind it. In an upsert topic a late record would outlive the newer state of its key, so the lane
//!   writes that state again.
//!
//! A pipeline is the only writer of such a topic; records that others put there stay, and are passed over with a warning.

mod log;

use super::frame::{Frame, Frames, Place, TopicSink};
use distributary_runtime::bus::{Bus, BusError, Marker, NewRecord, Offset, PartitionOffsets, Token, TopicForm, TopicId};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use distributary_runtime::time::Epoch;
use log::{Log, newest_states};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most that is sent before it is acknowledged, and so the most that a process can leave behind to arrive late.
const SENT_BYTES_MAX: u64 = 1 << 20;

/// Topic sinks of a pipeline that write without transactions. See the module for what they promise.
pub struct TailSinks {
    bus: Arc<dyn Bus>,
    sinks: Arc<[TopicSink]>,
}

impl TailSinks {
    /// The group of these sinks.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, sinks: Vec<TopicSink>) -> Self {
        Self { bus, sinks: sinks.into() }
    }
}

impl LaneGroup for TailSinks {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(TailLane {
            bus: self.bus.clone(),
            forms: self.sinks.iter().map(|sink| (sink.topic, sink.form)).collect(),
            name: format!("{}/tails/{}", context.pipeline, context.lane),
            frames: Frames::new(&context.pipeline, &self.sinks),
            context: context.clone(),
            tails: BTreeMap::new(),
            fenced: false,
            gaps: Vec::new(),
            visible: None,
            prepared: None,
        }))
    }
}

struct TailLane {
    bus: Arc<dyn Bus>,
    forms: BTreeMap<TopicId, TopicForm>,
    name: String,
    frames: Frames,
    context: LaneContext,
    tails: BTreeMap<(TopicId, u32), Tail>,
    fenced: bool,
    /// Where somebody else wrote between, and nobody has looked yet.
    gaps: Vec<Gap>,
    /// Up to where this incarnation has written; what stood before does not say so of all partitions together.
    visible: Option<Marker>,
    /// What was framed ahead.
    prepared: Option<(Marker, Vec<Frame>)>,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tail {
    /// Where the next record goes.
    end: Offset,
    /// The place of the last result, if there is one.
    place: Option<Place>,
}

/// A stretch of a partition that this lane has not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    topic: TopicId,
    partition: u32,
    from: Offset,
    to: Offset,
}

impl LaneSink for TailLane {
    /// Reads the tails. There is no marker to be had: an epoch may stand in one partition, and not yet in another.
    fn fence(&mut self, _token: Token) -> Result<Option<Marker>> {
        let known = self.visible.map_or(self.context.last_epoch, |marker| marker.epoch);
        let mut tails = BTreeMap::new();
        for topic in self.forms.keys() {
            for at in self.own(*topic)? {
                let log = Log { bus: &*self.bus, topic: *topic, partition: at.partition, pipeline: &self.context.pipeline };
                let (place, late) = log.last_place(&at)?;
                if !self.fenced {
                    self.check(place, known, &log)?;
                    // An incarnation before this one may have ended before it looked.
                    self.gaps.extend(late);
                }
                tails.insert((*topic, at.partition), Tail { end: at.end, place });
            }
        }
        (self.tails, self.fenced) = (tails, true);
        Ok(self.visible)
    }

    /// Nothing can be sent before its binding is durable, for what is sent is visible.
    fn prepare(&mut self, run: &Run) -> Result<()> {
        self.prepared = Some((run.marker, self.frame(run)?));
        Ok(())
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        if !self.fenced {
            return Err(BusError::Fenced { lane: self.name.clone() }.into());
        }
        let frames = match self.prepared.take() {
            Some((marker, frames)) if marker == run.marker => frames,
            _ => self.frame(run)?,
        };
        let mut rest = frames.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let mut chunk = Vec::new();
            while let Some(frame) = rest.next_if(|frame| bytes == 0 || bytes + bytes_of(&frame.record) <= SENT_BYTES_MAX) {
                if self.tail(frame.topic, frame.partition).place < Some(frame.place) {
                    bytes += bytes_of(&frame.record);
                    chunk.push(frame);
                }
            }
            self.send(chunk)?;
        }
        if run.epochs.iter().any(|epoch| epoch.mark) {
            self.look_around()?;
        }
        self.visible = Some(run.marker);
        Ok(())
    }
}

impl TailLane {
    fn frame(&self, run: &Run) -> Result<Vec<Frame>> {
        let mut frames = Vec::with_capacity(run.epochs.iter().map(|e| e.records.len()).sum());
        for epoch in &run.epochs {
            self.frames.of(run.marker.generation, epoch, |frame| frames.push(frame))?;
        }
        Ok(frames)
    }

    /// The partitions that this lane writes.
    fn own(&self, topic: TopicId) -> Result<Vec<PartitionOffsets>> {
        let LaneContext { lane, lanes, .. } = self.context;
        Ok(self.bus.offsets(topic)?.into_iter().filter(|at| at.partition % lanes == lane).collect())
    }

    fn tail(&self, topic: TopicId, partition: u32) -> Tail {
        self.tails.get(&(topic, partition)).copied().unwrap_or_default()
    }

    /// What stands at the start must be ours, and the journal must know of it.
    fn check(&self, place: Option<Place>, known: Epoch, log: &Log<'_>) -> Result<()> {
        let Some(place) = place.filter(|place| place.generation >= self.context.generation) else { return Ok(()) };
        if place.generation > self.context.generation {
            return Err(BusError::Fenced { lane: self.name.clone() }.into());
        }
        if place.epoch > known {
            let what = format!(
                "lane {}: partition {} of topic {} shows epoch {}, but the journal ends at epoch {known}",
                self.name, log.partition, log.topic, place.epoch
            );
            let remedy = "the journal has lost entries, or was deleted: restore it, or run the job under another name";
            return Err(Error::refused(what, remedy));
        }
        Ok(())
    }

    /// Writes what is acknowledged before anything else is sent. In a replay there may be nothing to write: no need to ask the bus.
    fn send(&mut self, chunk: Vec<Frame>) -> Result<()> {
        if chunk.is_empty() {
            return self.explain_gaps();
        }
        let (mut places, mut records) = (Vec::with_capacity(chunk.len()), Vec::with_capacity(chunk.len()));
        for Frame { topic, partition, place, record } in chunk {
            places.push((topic, partition, place));
            records.push((topic, record));
        }
        let offsets = self.bus.append_lane(&self.name, &records)?;
        for ((topic, partition, place), at) in places.into_iter().zip(offsets) {
            let tail = self.tails.entry((topic, partition)).or_default();
            if at < tail.end {
                let what =
                    format!("partition {partition} of topic {topic} has lost what it had acknowledged from offset {at} on");
                return Err(Error::refused(what, "see to the topic, then write all results again: `run --from-zero`"));
            }
            if at > tail.end {
                self.gaps.push(Gap { topic, partition, from: tail.end, to: at });
            }
            *tail = Tail { end: at.next(), place: Some(place) };
        }
        self.explain_gaps()
    }

    /// A partition that this lane does not write to just now may have got late records as well.
    fn look_around(&mut self) -> Result<()> {
        for topic in self.forms.keys() {
            for at in self.own(*topic)? {
                let tail = self.tails.entry((*topic, at.partition)).or_default();
                if at.end > tail.end {
                    let (partition, from, to) = (at.partition, tail.end, at.end);
                    self.gaps.push(Gap { topic: *topic, partition, from, to });
                    tail.end = at.end;
                }
            }
        }
        self.explain_gaps()
    }

    fn explain_gaps(&mut self) -> Result<()> {
        while let Some(gap) = self.gaps.last().copied() {
            self.explain(gap)?;
            self.gaps.pop();
        }
        Ok(())
    }

    /// Says who wrote there, and sees to it that nobody takes it for the newest.
    fn explain(&mut self, gap: Gap) -> Result<()> {
        let Gap { topic, partition, from, to } = gap;
        let log = Log { bus: &*self.bus, topic, partition, pipeline: &self.context.pipeline };
        let between = self.bus.read(topic, partition, from, to)?;
        let late: Vec<_> = between.iter().filter_map(|record| Some((Place::of(record, log.pipeline)?, record))).collect();
        if late.len() < between.len() {
            let records = between.len() - late.len();
            tracing::warn!(lane = self.name, %topic, partition, records, "somebody else writes to the topic of a tail lane");
        }
        let Some(last) = late.iter().map(|(place, _)| *place).max() else { return Ok(()) };
        if last.generation > self.context.generation {
            return Err(BusError::Fenced { lane: self.name.clone() }.into());
        }
        tracing::warn!(
            lane = self.name, %topic, partition, records = late.len(),
            "another process of the pipeline has written these results as well; readers drop what is repeated by its headers"
        );
        let tail = self.tails.entry((topic, partition)).or_default();
        tail.place = tail.place.max(Some(last));
        if self.forms.get(&topic) != Some(&TopicForm::Upsert) {
            return Ok(());
        }
        let again: Vec<_> = newest_states(&log, from)?.into_iter().map(|record| (topic, record)).collect();
        if again.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.bus.append_lane(&self.name, &again)?.last() {
            // What else came between is looked for when the next record is written.
            tail.end = if last.0 == tail.end.0 + again.len() as u64 - 1 { last.next() } else { tail.end };
        }
        Ok(())
    }
}

fn bytes_of(record: &NewRecord) -> u64 {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.as_ref().map_or(0, bytes::Bytes::len) + headers) as u64
}

#[cfg(test)]
mod tests;
