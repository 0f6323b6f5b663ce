//! What a graph asks of the worker that runs it: its sources, its share of the saved state, its lanes.

use super::Shared;
use crate::asking::Asking;
use crate::binding::{Feed, PartitionPosition, Positions};
use crate::error::{Error, Result};
use crate::graph::{Graph, Worker};
use crate::lanes::{self, OpenLane};
use crate::plan::StateNode;
use crate::source::running::RunningSource;
use crate::state::{Saved, Snapshot};
use crate::time::{Epoch, Watermark};
use crate::upkeep::Job;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use timely::dataflow::operators::{Concatenate, Probe, probe};

/// A worker's place in the pipeline.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
    pub(super) peers: usize,
}

impl Place {
    /// Ends every group of sinks in its lanes; the probe tells which epochs this worker has done with.
    pub(super) fn open_lanes(&self, graph: &Graph<'_>) -> probe::Handle<Epoch> {
        let probe = probe::Handle::new();
        let outputs = std::mem::take(&mut *graph.shared().outputs.borrow_mut());
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, streams) in outputs {
            let mine = |(of, lane, _): &mut (String, u32, OpenLane)| *of == group && *lane as usize % self.peers == self.index;
            let owned = lanes.extract_if(.., mine).map(|(_, lane, open)| (lane, open)).collect();
            let records = graph.scope().concatenate(streams);
            let settings = &self.shared.settings;
            let waiting = settings.epochs_in_flight_max as usize + 1;
            let (durable, reports) = (&self.shared.durable, &self.shared.reports);
            lanes::gather(graph, records, settings.lanes, owned, waiting, durable, reports).probe_with(&probe);
        }
        probe
    }
}

impl Worker for Place {
    fn start(&self) -> Epoch {
        self.shared.start
    }

    fn watermark(&self) -> Watermark {
        self.shared.positions.watermark()
    }

    fn restore(&self, state: &StateNode, into: &mut dyn Snapshot) -> Result<()> {
        let Some(manifest) = &self.shared.manifest else { return Ok(()) };
        let Some(saved) = manifest.state(&state.name) else { return Ok(()) };
        if saved.type_fingerprint != state.type_fingerprint() {
            let what = format!("{}: state `{}` was written with other types", self.shared.pipeline.name, state.name);
            return Err(Error::refused(what, "run the old binary, or begin a new generation with `run --from-zero`"));
        }
        let mine = |group: u8| usize::from(group) % self.peers == self.index;
        self.shared.store.read_state(saved, mine, |group, slices| into.restore(group, slices))
    }

    fn source(&self, source: u16) -> Option<RunningSource> {
        let node = self.shared.plan.sources().nth(usize::from(source))?;
        let of = |positions: &Positions| -> BTreeMap<u32, PartitionPosition> {
            let feeds = positions.feeds.iter().filter(|(f, _)| f.source == source && f.partition.has_event_time());
            feeds.map(|(f, at)| (f.partition.number(), *at)).collect()
        };
        Some(RunningSource {
            bus: self.shared.bus.clone(),
            topic: self.shared.topics.get(&node.topic)?.clone(),
            resume: of(&self.shared.positions).into_iter().map(|(p, at)| (p, (at.resume, at.watermark))).collect(),
            live_from: of(&self.shared.live).into_iter().map(|(p, at)| (p, at.resume)).collect(),
            until: self
                .shared
                .until
                .iter()
                .filter(|(f, _)| f.source == source)
                .map(|(f, at)| (f.partition.number(), *at))
                .collect(),
            requests: self.shared.requests.clone(),
            requests_upto: self.shared.positions.of(Feed::REQUESTS).resume,
            recalls: self.shared.positions.recalls.of_source(source),
            recalled: self.shared.live.feeds.iter().filter(|(f, _)| f.source == source).map(|(f, at)| (*f, at.resume)).collect(),
            worker: (self.index, self.peers),
            settings: self.shared.settings.clone(),
            reports: self.shared.reports.clone(),
        })
    }

    fn asking(&self, source: u16) -> Option<Asking> {
        let node = self.shared.plan.sources().nth(usize::from(source))?;
        Some(Asking {
            bus: self.shared.bus.clone(),
            topic: self.shared.topics.get(&node.topic)?.clone(),
            clock: self.shared.clock.clone(),
            bound: self.shared.live.epoch,
            peers: self.peers,
            reports: self.shared.reports.clone(),
        })
    }

    fn partitions(&self, topic: &str) -> u32 {
        self.shared.topics.get(topic).map_or(1, |t| t.spec.partitions)
    }

    fn record_bytes_max(&self) -> u64 {
        self.shared.bus.features().record_bytes_max
    }

    fn fail(&self, error: Error) {
        self.shared.reports.fail(error);
    }

    fn save(&self, saved: Saved) {
        // The receiver is gone only when the pipeline ends.
        let _ = self.shared.saves.send(Job::Save(saved));
    }
}
