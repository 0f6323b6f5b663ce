//! Topics of the bus: all topic sinks of a pipeline share their lanes, so that a run of epochs becomes visible in all
//! output topics, together with the lane's marker, in one step of the bus.
//!
//! - *Twice*: a commit whose `previous` is not the lane's marker is refused as fenced; nothing is written twice.
//! - *Out of order*: refused for the same reason.
//! - *After a crash*: the marker that [`LaneSink::fence`] returns says exactly what stands; what is behind it does not.
//! - *Two incarnations*: the one with the smaller token is refused from the other's fence on.

use super::frame::{Frames, TopicSink};
use super::tail::TailSinks;
use distributary_runtime::bus::{Bus, BusError, LaneCommit, Marker, Token};
use distributary_runtime::error::Result;
use distributary_runtime::pipeline::Topics;
use distributary_runtime::plan::{SinkNode, SinkTarget, TopicLane as Kind};
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use std::sync::Arc;

/// The topic sinks of a group of a plan, by the kind of lane that they share.
#[must_use]
pub fn topic_sinks(bus: Arc<dyn Bus>, sinks: &[&SinkNode], topics: &Topics) -> Arc<dyn LaneGroup> {
    let open = sinks.iter().filter_map(|sink| match &sink.target {
        SinkTarget::Topic { name, form, .. } => {
            topics.get(name).map(|topic| TopicSink { sink: sink.sink, topic: topic.id, form: *form })
        }
        _ => None,
    });
    let open = open.collect();
    match sinks.first().map(|sink| &sink.target) {
        Some(SinkTarget::Topic { lane: Kind::Tail, .. }) => Arc::new(TailSinks::new(bus, open)),
        _ => Arc::new(TopicSinks::new(bus, open)),
    }
}

/// All topic sinks of a pipeline. See the module for what they promise.
///
/// In the append form an update of n copies is n records. In the upsert form an epoch leaves one record per key that
/// changed: the last value that is there at its end, or a tombstone; a value that came and went within the epoch leaves
/// nothing.
pub struct TopicSinks {
    bus: Arc<dyn Bus>,
    sinks: Arc<[TopicSink]>,
}

impl TopicSinks {
    /// The group of these sinks.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, sinks: Vec<TopicSink>) -> Self {
        Self { bus, sinks: sinks.into() }
    }
}

impl LaneGroup for TopicSinks {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(TopicLane {
            bus: self.bus.clone(),
            name: format!("{}/topics/{}", context.pipeline, context.lane),
            frames: Frames::new(&context.pipeline, &self.sinks),
            token: None,
            prepared: None,
        }))
    }
}

struct TopicLane {
    bus: Arc<dyn Bus>,
    name: String,
    frames: Frames,
    token: Option<Token>,
    /// What was sent ahead.
    prepared: Option<LaneCommit>,
}

impl LaneSink for TopicLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        let marker = self.bus.fence_lane(&self.name, token)?;
        self.token = Some(token);
        Ok(marker)
    }

    fn prepare(&mut self, run: &Run) -> Result<()> {
        let commit = self.frame(run)?;
        self.bus.prepare_lane(&commit)?;
        self.prepared = Some(commit);
        Ok(())
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let commit = match self.prepared.take().filter(|prepared| prepared.marker == run.marker) {
            Some(prepared) => prepared,
            None => self.frame(run)?,
        };
        self.bus.commit_lane(&commit)?;
        Ok(())
    }
}

impl TopicLane {
    fn frame(&self, run: &Run) -> Result<LaneCommit> {
        let Some(token) = self.token else { return Err(BusError::Fenced { lane: self.name.clone() }.into()) };
        let mut records = Vec::with_capacity(run.epochs.iter().map(|e| e.records.len()).sum());
        for epoch in &run.epochs {
            self.frames.of(run.marker.generation, epoch, |frame| records.push((frame.topic, frame.record)))?;
        }
        Ok(LaneCommit { lane: self.name.clone(), token, previous: run.previous, marker: run.marker, records })
    }
}

#[cfg(test)]
mod tests;
