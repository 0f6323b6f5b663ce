//! Topics of the bus: all topic sinks of a pipeline share their lanes, so that a run of epochs becomes visible in all
//! output topics, together with the lane's marker, in one step of the bus.
//!
//! - *Twice*: a commit whose `previous` is not the lane's marker is refused as fenced; nothing is written twice.
//! - *Out of order*: refused for the same reason.
//! - *After a crash*: the marker that [`LaneSink::fence`] returns says exactly what stands; what is behind it does not.
//! - *Two incarnations*: the one with the smaller token is refused from the other's fence on.

use bytes::Bytes;
use distributary_runtime::bus::{Bus, BusError, Header, LaneCommit, Marker, NewRecord, Token, TopicForm, TopicId};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{Guarantee, LaneContext, LaneEpoch, LaneGroup, LaneSink, OutRecord, Run};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Headers that every output record carries, before its own: who wrote it, when, what it is, and whether it comes (`+`)
/// or goes (`-`).
pub const STANDARD_HEADERS: [&str; 5] = ["pipeline", "generation", "epoch", "id", "op"];

/// One sink that writes to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSink {
    /// The sink's number in the plan.
    pub sink: u16,
    /// Where its records go.
    pub topic: TopicId,
    /// How: every change as a record, or the state of each key.
    pub form: TopicForm,
}

/// All topic sinks of a pipeline. See the module for what they promise.
///
/// In the append form an update of n copies is n records. In the upsert form an epoch leaves one record per key that
/// changed: the last value that is there at its end, or a tombstone; a value that came and went within the epoch leaves
/// nothing.
pub struct TopicSinks {
    bus: Arc<dyn Bus>,
    sinks: Arc<BTreeMap<u16, TopicSink>>,
}

impl TopicSinks {
    /// The group of these sinks.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, sinks: Vec<TopicSink>) -> Self {
        Self { bus, sinks: Arc::new(sinks.into_iter().map(|sink| (sink.sink, sink)).collect()) }
    }
}

impl LaneGroup for TopicSinks {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(TopicLane {
            bus: self.bus.clone(),
            sinks: self.sinks.clone(),
            name: format!("{}/topics/{}", context.pipeline, context.lane),
            pipeline: context.pipeline.clone(),
            token: None,
        }))
    }
}

struct TopicLane {
    bus: Arc<dyn Bus>,
    sinks: Arc<BTreeMap<u16, TopicSink>>,
    name: String,
    pipeline: String,
    token: Option<Token>,
}

impl LaneSink for TopicLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        let marker = self.bus.fence_lane(&self.name, token)?;
        self.token = Some(token);
        Ok(marker)
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let Some(token) = self.token else { return Err(BusError::Fenced { lane: self.name.clone() }.into()) };
        let mut records = Vec::with_capacity(run.epochs.iter().map(|e| e.records.len()).sum());
        for epoch in &run.epochs {
            self.collect(run.marker.generation, epoch, &mut records)?;
        }
        let lane = self.name.clone();
        self.bus.commit_lane(&LaneCommit { lane, token, previous: run.previous, marker: run.marker, records })?;
        Ok(())
    }
}

impl TopicLane {
    /// Appends what an epoch writes, in canonical order.
    fn collect(&self, generation: u32, epoch: &LaneEpoch, out: &mut Vec<(TopicId, NewRecord)>) -> Result<()> {
        let mut sorted: Vec<&OutRecord> = epoch.records.iter().collect();
        if !sorted.is_sorted_by(|a, b| a.canonical(b) != Ordering::Greater) {
            sorted.sort_by(|a, b| a.canonical(b));
        }
        let stamp = Stamp {
            pipeline: self.pipeline.as_bytes(),
            generation: generation.to_string(),
            epoch: epoch.epoch.to_string(),
            at: epoch.closed_at,
        };
        for records in sorted.chunk_by(|a, b| (a.sink, a.partition) == (b.sink, b.partition)) {
            let sink = self.sinks.get(&records[0].sink).ok_or_else(|| {
                Error::refused(format!("{}: sink {} writes to no topic", self.name, records[0].sink), "this is a bug of the plan")
            })?;
            match sink.form {
                TopicForm::Append => append_form(records, |record| out.push((sink.topic, stamp.put(record, record.value.as_deref())))),
                TopicForm::Upsert => upsert_form(records, |record, value| out.push((sink.topic, stamp.put(record, value)))),
            }
        }
        Ok(())
    }
}

/// What all records of an epoch have in common.
struct Stamp<'a> {
    pipeline: &'a [u8],
    generation: String,
    epoch: String,
    at: distributary_runtime::time::WallTime,
}

impl Stamp<'_> {
    fn put(&self, record: &OutRecord, value: Option<&[u8]>) -> NewRecord {
        let op: &[u8] = if record.diff > 0 { b"+" } else { b"-" };
        let id = record.origin.to_string();
        let values = [self.pipeline, self.generation.as_bytes(), self.epoch.as_bytes(), id.as_bytes(), op];
        let standard = STANDARD_HEADERS.iter().zip(values).map(|(name, value)| ((*name).to_string(), value.to_vec()));
        let headers: Vec<Header> = standard.chain(record.headers.iter().cloned()).collect();
        NewRecord {
            partition: Some(record.partition),
            timestamp: self.at,
            key: record.key.as_deref().map(Bytes::copy_from_slice),
            value: value.map(Bytes::copy_from_slice),
            headers,
        }
    }
}

/// Every copy that comes or goes is a record.
fn append_form<'a>(records: &[&'a OutRecord], mut write: impl FnMut(&'a OutRecord)) {
    for record in records {
        (0..record.diff.unsigned_abs()).for_each(|_| write(record));
    }
}

/// One record per key that changed, at the place of the change that decides: the last value whose copies grew in this
/// epoch; if there is none, and the copies of some value shrank, a tombstone at the place of the last that went.
fn upsert_form<'a>(records: &[&'a OutRecord], mut write: impl FnMut(&'a OutRecord, Option<&'a [u8]>)) {
    let mut by_key: Vec<usize> = (0..records.len()).filter(|i| records[*i].diff != 0).collect();
    by_key.sort_by_key(|i| (&records[*i].key, *i));
    let mut last: Vec<usize> = Vec::new();
    for changes in by_key.chunk_by(|a, b| records[*a].key == records[*b].key) {
        let mut net: BTreeMap<&Option<Vec<u8>>, i64> = BTreeMap::new();
        for i in changes {
            *net.entry(&records[*i].value).or_default() += records[*i].diff;
        }
        let decides = |i: &&usize| {
            let (record, net) = (records[**i], net[&records[**i].value]);
            net != 0 && (net > 0) == (record.diff > 0)
        };
        let of = |comes: bool| changes.iter().filter(decides).rfind(|i| (records[**i].diff > 0) == comes);
        last.extend(of(true).or_else(|| of(false)));
    }
    last.sort_unstable();
    for i in last {
        write(records[i], records[i].value.as_deref().filter(|_| records[i].diff > 0));
    }
}

#[cfg(test)]
mod tests;
