//! The original records of open epochs: what a dead letter is made of.

use crate::bus::{Offset, Record};
use crate::time::Epoch;
use crate::update::Origin;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// The original records of epochs that are still open: what a dead letter is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRecords(Rc<RefCell<BTreeMap<(u16, u32), Raw>>>);

/// Of one partition of one source.
#[derive(Debug, Default)]
struct Raw {
    chunks: RawChunks,
    /// Those that came a second time, to be taken back.
    recalled: RawChunks,
}

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
        self.0.borrow_mut().entry((source, partition)).or_default().chunks.push_back(chunk);
    }

    pub(super) fn add_recalled(&self, source: u16, partition: u32, chunk: RawChunk) {
        self.0.borrow_mut().entry((source, partition)).or_default().recalled.push_back(Rc::new(chunk));
    }

    /// The record an origin names, if this worker followed it and its epoch is open.
    pub(crate) fn find(&self, origin: Origin) -> Option<Record> {
        let (source, partition, offset) = origin.position()?;
        let raw = self.0.borrow();
        let Raw { chunks, recalled } = raw.get(&(source, partition))?;
        let at = chunks.partition_point(|c| c.records.last().is_some_and(|r| r.offset < Offset(offset)));
        // Of several recalls, each is in order.
        chunks.get(at).into_iter().chain(recalled).find_map(|chunk| {
            let index = chunk.records.binary_search_by_key(&offset, |r| r.offset.0).ok()?;
            chunk.records.get(index).cloned()
        })
    }

    /// Forgets what only closed epochs took.
    pub(crate) fn forget_before(&self, open: Epoch) {
        for chunks in self.0.borrow_mut().values_mut().flat_map(|raw| [&mut raw.chunks, &mut raw.recalled]) {
            while chunks.front().is_some_and(|c| c.last.get() < Some(open) && Rc::strong_count(c) == 1) {
                chunks.pop_front();
            }
        }
    }
}
