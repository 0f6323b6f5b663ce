//! The original records of open epochs: what a dead letter is made of.

use crate::bus::{Offset, Record};
use crate::time::Epoch;
use crate::update::Origin;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// The original records of epochs that are still open: what a dead letter is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRecords(Rc<RefCell<BTreeMap<(u16, u32), RawChunks>>>);

/// Of one partition of one source, in order.
type RawChunks = VecDeque<Rc<RawChunk>>;

#[derive(Debug)]
pub(super) struct RawChunk {
    pub(super) records: Vec<Record>,
    /// The newest epoch that took records of it.
    pub(super) last: Cell<Option<Epoch>>,
}

impl RawRecords {
    pub(super) fn add(&self, source: u16, partition: u32, chunk: Rc<RawChunk>) {
        self.0.borrow_mut().entry((source, partition)).or_default().push_back(chunk);
    }

    /// The record an origin names, if this worker followed it and its epoch is open.
    pub(crate) fn find(&self, origin: Origin) -> Option<Record> {
        let (source, partition, offset) = origin.position()?;
        let raw = self.0.borrow();
        let chunks = raw.get(&(source, partition))?;
        let at = chunks.partition_point(|c| c.records.last().is_some_and(|r| r.offset < Offset(offset)));
        let chunk = chunks.get(at)?;
        let index = chunk.records.binary_search_by_key(&offset, |r| r.offset.0).ok()?;
        chunk.records.get(index).cloned()
    }

    /// Forgets what only closed epochs took.
    pub(crate) fn forget_before(&self, open: Epoch) {
        for chunks in self.0.borrow_mut().values_mut() {
            while chunks.front().is_some_and(|c| c.last.get() < Some(open) && Rc::strong_count(c) == 1) {
                chunks.pop_front();
            }
        }
    }
}
