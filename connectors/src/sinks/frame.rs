//! From the results of an epoch to records of topics: in canonical order, with the headers that say what each of them is. Both
//! kinds of lane write them, so that readers need not know which.

use bytes::{Bytes, BytesMut};
use distributary_runtime::bus::{Header, NewRecord, Record, TopicForm, TopicId};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{LaneEpoch, OutRecord};
use distributary_runtime::time::{Epoch, WallTime};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Headers that every output record carries, before its own: who wrote it and when, its number among those of the epoch in its
/// partition, what it is, and whether it comes (`+`) or goes (`-`).
pub const STANDARD_HEADERS: [&str; 6] = ["pipeline", "generation", "epoch", "index", "id", "op"];

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

/// Where a record stands in the sequence of a pipeline's results in a partition. The sequence is the same in every replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) generation: u32,
    pub(super) epoch: Epoch,
    pub(super) index: u64,
}

impl Place {
    /// Of a record that this pipeline wrote; `None` when somebody else did.
    pub(super) fn of(record: &Record, pipeline: &str) -> Option<Self> {
        if record.header("pipeline") != Some(pipeline) {
            return None;
        }
        Some(Self {
            generation: record.header("generation")?.parse().ok()?,
            epoch: Epoch(record.header("epoch")?.parse().ok()?),
            // An older release wrote no index, and each epoch at once.
            index: record.header("index").map_or(Some(u64::MAX), |index| index.parse().ok())?,
        })
    }
}

/// A record, and where it goes.
pub(super) struct Frame {
    pub(super) topic: TopicId,
    pub(super) partition: u32,
    pub(super) place: Place,
    pub(super) record: NewRecord,
}

/// Frames the results of one pipeline.
pub(super) struct Frames {
    pipeline: Bytes,
    sinks: BTreeMap<u16, TopicSink>,
}

impl Frames {
    pub(super) fn new(pipeline: &str, sinks: &[TopicSink]) -> Self {
        Self {
            pipeline: Bytes::copy_from_slice(pipeline.as_bytes()),
            sinks: sinks.iter().map(|sink| (sink.sink, *sink)).collect(),
        }
    }

    /// Hands over what an epoch writes, in canonical order.
    pub(super) fn of(&self, generation: u32, epoch: &LaneEpoch, mut out: impl FnMut(Frame)) -> Result<()> {
        let mut sorted: Vec<&OutRecord> = epoch.records.iter().collect();
        if !sorted.is_sorted_by(|a, b| a.canonical(b) != Ordering::Greater) {
            sorted.sort_by(|a, b| a.canonical(b));
        }
        let mut stamp = Stamp {
            pipeline: self.pipeline.clone(),
            generation: generation.to_string().into(),
            epoch: epoch.epoch.to_string().into(),
            at: epoch.closed_at,
            text: BytesMut::with_capacity(sorted.iter().map(|record| text_of(record)).sum()),
        };
        // Two sinks may write to one topic.
        let mut next: BTreeMap<(TopicId, u32), u64> = BTreeMap::new();
        for records in sorted.chunk_by(|a, b| (a.sink, a.partition) == (b.sink, b.partition)) {
            let OutRecord { sink, partition, .. } = *records[0];
            let Some(TopicSink { topic, form, .. }) = self.sinks.get(&sink).copied() else {
                let what = format!("{}: sink {sink} writes to no topic", String::from_utf8_lossy(&self.pipeline));
                return Err(Error::refused(what, "this is a bug of the plan"));
            };
            let index = next.entry((topic, partition)).or_default();
            let mut write = |record: &OutRecord, value: Option<&[u8]>| {
                let place = Place { generation, epoch: epoch.epoch, index: *index };
                *index += 1;
                out(Frame { topic, partition, place, record: stamp.put(record, place.index, value) });
            };
            match form {
                TopicForm::Append => append_form(records, |record| write(record, record.value.as_deref())),
                TopicForm::Upsert => upsert_form(records, write),
            }
        }
        Ok(())
    }
}

/// What all records of an epoch have in common.
struct Stamp {
    pipeline: Bytes,
    generation: Bytes,
    epoch: Bytes,
    at: WallTime,
    /// Where the text of the records is gathered: one allocation for an epoch.
    text: BytesMut,
}

impl Stamp {
    fn put(&mut self, record: &OutRecord, index: u64, value: Option<&[u8]>) -> NewRecord {
        let op = if record.diff > 0 { "+" } else { "-" };
        let (index, id) = (self.shown(index), self.shown(record.origin));
        let values =
            [self.pipeline.clone(), self.generation.clone(), self.epoch.clone(), index, id, Bytes::from_static(op.as_bytes())];
        let standard = STANDARD_HEADERS.into_iter().map(Cow::Borrowed).zip(values);
        let mut headers: Vec<Header> = Vec::with_capacity(STANDARD_HEADERS.len() + record.headers.len());
        headers.extend(standard.chain(record.headers.iter().cloned()));
        NewRecord {
            partition: Some(record.partition),
            timestamp: self.at,
            key: record.key.as_deref().map(|key| self.copy(key)),
            value: value.map(|value| self.copy(value)),
            headers,
        }
    }

    fn shown(&mut self, what: impl Display) -> Bytes {
        // It grows as needed.
        let _ = write!(self.text, "{what}");
        self.text.split().freeze()
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.text.extend_from_slice(bytes);
        self.text.split().freeze()
    }
}

/// About what [`Stamp::text`] gets of a record.
fn text_of(record: &OutRecord) -> usize {
    32 + record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len)
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
