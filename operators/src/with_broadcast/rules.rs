//! Rules as they were: every version that a correction can still need.

use distributary_runtime::binding::{Binding, SourcePartition};
use distributary_runtime::key::Key;
use distributary_runtime::time::{Epoch, EventTime, Watermark};
use distributary_runtime::update::{Data, Origin};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};

/// The rules that hold for a record: a sorted map.
pub struct Rules<'a, R, T> {
    rows: &'a Rows<R, T>,
    version: Epoch,
}

impl<R: Ord, T> Rules<'_, R, T> {
    /// The rule of this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&T>
    where
        R: Borrow<Q>,
    {
        self.at(self.rows.get(key)?)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&R, &T)> {
        self.rows.iter().filter_map(|(key, row)| Some((key, self.at(row)?)))
    }

    fn at<'r>(&self, row: &'r [(Epoch, Option<T>)]) -> Option<&'r T> {
        let behind = row.partition_point(|(since, _)| *since <= self.version);
        row.get(behind.checked_sub(1)?)?.1.as_ref()
    }
}

/// What the row of each key was, from which version on.
type Rows<R, T> = BTreeMap<R, Vec<(Epoch, Option<T>)>>;

/// All versions that are remembered. A version is called by the epoch that brought it. The same changes and bindings give the same
/// log, on whatever worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Key, T: Data", deserialize = "R: Key, T: Data"))]
pub(super) struct Log<R, T> {
    rows: Rows<R, T>,
    /// For each partition of a source: the first offset that was read under a version.
    since: BTreeMap<(u16, u32), Vec<(u64, Epoch)>>,
    /// The versions that replaced one that is remembered, and the greatest event time of all records until then.
    replaced: VecDeque<(Epoch, EventTime)>,
    /// The first version that is remembered; 0 is that before the first rule.
    oldest: Epoch,
    newest: Epoch,
    /// The greatest event time that any source has brought.
    greatest: EventTime,
}

impl<R, T> Default for Log<R, T> {
    fn default() -> Self {
        let (rows, since, replaced) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { rows, since, replaced, oldest: Epoch(0), newest: Epoch(0), greatest: EventTime::MIN }
    }
}

impl<R: Key, T: Data> Log<R, T> {
    /// The open epoch changes a row. Comes before the epoch's [`Log::bind`].
    pub(super) fn change(&mut self, epoch: Epoch, key: R, row: Option<T>) {
        if self.newest != epoch {
            self.newest = epoch;
            self.replaced.push_back((epoch, self.greatest));
        }
        self.rows.entry(key).or_default().push((epoch, row));
    }

    /// What the open epoch reads, it reads under the newest version.
    pub(super) fn bind(&mut self, binding: &Binding) {
        for range in &binding.ranges {
            // Recalled records have the places that they had in their topic.
            let SourcePartition::Bus { partition, .. } = range.feed.partition else { continue };
            self.greatest = self.greatest.max(range.max_time);
            if self.newest == Epoch(0) {
                continue;
            }
            let since = self.since.entry((range.feed.source, partition)).or_default();
            if since.last().is_none_or(|(_, version)| *version != self.newest) {
                since.push((range.from.0, self.newest));
            }
        }
    }

    /// Whether [`Log::forget`] would change anything.
    pub(super) fn is_due(&self, watermark: Watermark, horizon_ms: i64) -> bool {
        self.replaced.front().is_some_and(|(_, latest)| watermark >= latest.plus_ms(horizon_ms))
    }

    /// Forgets versions whose records are all too old to be corrected.
    pub(super) fn forget(&mut self, watermark: Watermark, horizon_ms: i64) {
        if !self.is_due(watermark, horizon_ms) {
            return;
        }
        while self.is_due(watermark, horizon_ms) {
            self.oldest = self.replaced.pop_front().map_or(self.oldest, |(by, _)| by);
        }
        let oldest = self.oldest;
        for since in self.since.values_mut() {
            since.drain(..since.partition_point(|(_, version)| *version <= oldest).saturating_sub(1));
        }
        self.rows.retain(|_, row| {
            row.drain(..row.partition_point(|(since, _)| *since <= oldest).saturating_sub(1));
            row.len() > 1 || row.iter().any(|(since, row)| row.is_some() || *since > oldest)
        });
    }

    /// The rules that held in the epoch that read this record from its source: `None` when they are forgotten.
    pub(super) fn of(&self, origin: Origin) -> Option<Rules<'_, R, T>> {
        let (source, partition, offset) = origin.position()?;
        let since = self.since.get(&(source, partition)).map_or(&[][..], Vec::as_slice);
        let behind = since.partition_point(|(from, _)| *from <= offset);
        let version = behind.checked_sub(1).map_or(Epoch(0), |at| since[at].1);
        (version >= self.oldest).then_some(Rules { rows: &self.rows, version })
    }

    /// The rules that hold now.
    pub(super) fn now(&self) -> Rules<'_, R, T> {
        Rules { rows: &self.rows, version: self.newest }
    }
}
