//! Archives: each topic whose events have a subject can be kept for longer than the bus keeps it, as a table.

mod flatten;

use crate::codec;
use crate::event::Event;
use crate::table::Rows;
use crate::{Flow, Job, Result, Timestamp};
use distributary_connectors::lake;
use distributary_runtime::binding::Binding;
use distributary_runtime::bus::Record;
use distributary_runtime::engine;
use distributary_runtime::graph::Graph;
use distributary_runtime::pipeline::Pipeline;
use distributary_runtime::plan::{Plan, SinkTarget, Tier};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Stamp;
use flatten::Flatten;
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The team of the jobs that archive a topic each: `archive.payments`.
pub(crate) const TEAM: &str = "archive";
const DOC: &str = "Keeps every record of its topic in a table, for as long as nobody deletes it.";

/// The job that archives the topic of an event type.
pub(crate) const fn job<E: Event>() -> Job {
    Job::new(E::TOPIC, TEAM, DOC, archive::<E>)
}

fn archive<E: Event>(flow: &Flow<'_>) -> Result<()> {
    flow.archive::<E>()
}

/// The jobs that archive what these jobs read: one for each topic whose events have a subject.
pub(crate) fn jobs(of: &[Job]) -> Result<Vec<Job>> {
    let found: Arc<Mutex<BTreeMap<&'static str, Job>>> = Arc::default();
    for (job, tier) in of.iter().flat_map(|job| Tier::ALL.map(|tier| (*job, tier))) {
        let to = found.clone();
        let build = move |graph: &Graph<'_>| {
            let flow = Flow::new(graph, job.to_string(), tier);
            job.build(&flow)?;
            let read = flow.archives().into_iter().map(|job| (job.name(), job));
            to.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
            flow.finish();
            Ok(())
        };
        engine::outline(&Pipeline { name: job.to_string(), build: Arc::new(build) })?;
    }
    let found = found.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(found.values().copied().collect())
}

/// The topic that a plan archives, if it does: what the table holds, nobody could write again.
pub(crate) fn archived_topic(plan: &Plan) -> Option<&str> {
    plan.sinks().find_map(|sink| match &sink.target {
        SinkTarget::Table { name, .. } => lake::archived_by(name),
        _ => None,
    })
}

/// A record of the bus, and the event in it, if it is one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "E: Event")]
pub(crate) struct Archived<E> {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    event: Option<E>,
}

impl<E: Event> Archived<E> {
    /// Never fails: what a job sets aside is kept as it is. Like there, it does not move event time.
    pub(crate) fn of(record: &Record) -> (Self, EventTime) {
        let (event, time) = codec::decode::<E>(record).map_or((None, EventTime::MIN), |(event, time)| (Some(event), time));
        let headers = record.headers.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect();
        let bytes = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|bytes| bytes.to_vec());
        let (key, value) = (bytes(&record.key), bytes(&record.value));
        (Self { timestamp_ms: record.timestamp.0, key, value, headers, event }, time)
    }

    /// Its row. An event that has a value no column takes is kept as the record only.
    pub(crate) fn encode(&self, rows: &Rows, stamp: &Stamp, binding: &Binding) -> Result<Vec<u8>, String> {
        let Some((_, partition, offset)) = stamp.origin.position() else {
            return Err("only what stands on the bus is archived".to_string());
        };
        let record = RecordRow {
            partition: partition.cast_signed(),
            offset: offset.cast_signed(),
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref().map(Binary),
            value: self.value.as_deref().map(Binary),
            headers: self.headers.iter().map(|(name, value)| HeaderRow { name, value: Binary(value) }).collect(),
            watermark_ms: Some(stamp.seen.0).filter(|_| stamp.seen != EventTime::MIN),
            archived_at: Timestamp::from_millis(binding.closed_at.0),
        };
        let row = Row { record, event: self.event.as_ref() };
        rows.encode(&row).or_else(|_| rows.encode(&Row::<E> { event: None, ..row }))
    }
}

/// A row of an archive: as [`lake::record_column`] says, and the fields of the event beside it.
struct Row<'a, E> {
    record: RecordRow<'a>,
    event: Option<&'a E>,
}

impl<E: Serialize> Serialize for Row<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Row", 1)?;
        row.serialize_field(lake::RECORD, &self.record)?;
        if let Some(event) = self.event {
            event.serialize(Flatten(&mut row))?;
        }
        row.end()
    }
}

#[derive(Serialize)]
struct RecordRow<'a> {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Binary<'a>>,
    value: Option<Binary<'a>>,
    headers: Vec<HeaderRow<'a>>,
    watermark_ms: Option<i64>,
    archived_at: Timestamp,
}

#[derive(Serialize)]
struct HeaderRow<'a> {
    name: &'a str,
    value: Binary<'a>,
}

struct Binary<'a>(&'a [u8]);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
