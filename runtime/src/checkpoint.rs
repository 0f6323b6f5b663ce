//! When a checkpoint is complete, and when an old one may go. Pure bookkeeping on worker 0.
//!
//! A checkpoint of epoch C counts only when every key group of every state is durable at C **and** every lane's marker is at
//! or past C. Two unretired checkpoints stay; what is retired is never restored, so its objects may go.

use crate::binding::Positions;
use crate::error::Result;
use crate::journal::{Checkpoint, Fact};
use crate::layout::Layout;
use crate::report::Done;
use crate::state::{Manifest, ManifestHead, Written};
use crate::time::Epoch;
use crate::upkeep::Job;
use std::collections::VecDeque;

/// Checkpoints that are kept: the newest, and the one before in case the newest turns out to be damaged.
pub const KEPT: usize = 2;

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Have this done.
    Upkeep(Job),
    /// Write this to the journal.
    Write(Fact),
}

/// See the module.
#[derive(Debug)]
pub struct Checkpoints {
    /// Snapshots a checkpoint consists of: states times workers.
    snapshots: usize,
    /// Newest epoch at which each lane's marker is durable.
    marked: Vec<Option<Epoch>>,
    template: ManifestHead,
    layout: Layout,
    pending: Option<Pending>,
    kept: VecDeque<(Checkpoint, Manifest)>,
    /// Retired in this incarnation, their objects not yet deleted.
    retired: Vec<Manifest>,
    /// Retirements that do not stand in the journal yet.
    retiring: Vec<Epoch>,
    cleaning: bool,
}

#[derive(Debug)]
struct Pending {
    epoch: Epoch,
    positions: Positions,
    written: Vec<Written>,
    manifest: Option<Manifest>,
}

impl Checkpoints {
    /// Bookkeeping that goes on from the checkpoints found in the journal (oldest first; the last one was restored).
    ///
    /// `template` carries the pipeline, generation, fingerprint and token of new manifests.
    #[must_use]
    pub fn new(
        (template, layout): (ManifestHead, Layout),
        snapshots: usize,
        markers: Vec<Option<Epoch>>,
        kept: Vec<(Checkpoint, Manifest)>,
    ) -> Self {
        Self {
            snapshots,
            marked: markers,
            template,
            layout,
            pending: None,
            kept: kept.into(),
            retired: Vec::new(),
            retiring: Vec::new(),
            cleaning: false,
        }
    }

    /// Whether a new checkpoint may begin: one at a time, and the last one's garbage is gone.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_none() && self.retiring.is_empty() && !self.cleaning
    }

    /// The newest complete checkpoint.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        self.kept.back().map(|(c, _)| c.epoch)
    }

    /// The epoch of the checkpoint that is being written.
    #[must_use]
    pub fn pending(&self) -> Option<Epoch> {
        self.pending.as_ref().map(|p| p.epoch)
    }

    /// Checkpoints that are never to be restored. They are retired now; nothing is deleted before that stands.
    pub fn retire(&mut self, stale: Vec<Epoch>) -> Vec<Next> {
        let next = stale.iter().map(|epoch| Next::Write(Fact::Retire { epoch: *epoch })).collect();
        self.retiring.extend(stale);
        next
    }

    /// An epoch was bound at whose close the state is saved.
    ///
    /// # Errors
    /// The slices that were written do not make a whole.
    pub fn begin(&mut self, positions: Positions) -> Result<Option<Next>> {
        self.pending = Some(Pending { epoch: positions.epoch, positions, written: Vec::new(), manifest: None });
        self.manifest()
    }

    /// A lane's marker is durable.
    ///
    /// # Errors
    /// The slices that were written do not make a whole.
    pub fn marked(&mut self, lane: usize, epoch: Epoch) -> Result<Option<Next>> {
        if let Some(marked) = self.marked.get_mut(lane) {
            *marked = (*marked).max(Some(epoch));
        }
        self.manifest()
    }

    /// The upkeep thread has done something.
    ///
    /// # Errors
    /// The slices that were written do not make a whole.
    pub fn done(&mut self, done: Done) -> Result<Option<Next>> {
        match done {
            Done::Saved { epoch, written, .. } => {
                let Some(pending) = self.pending.as_mut().filter(|p| p.epoch == epoch) else { return Ok(None) };
                pending.written.push(written);
                self.manifest()
            }
            Done::Manifest { epoch, name, checksum, .. } => {
                let (generation, layout) = (self.template.generation, self.layout.clone());
                let pending = self.pending.take().filter(|p| p.epoch == epoch);
                let Some(manifest) = pending.and_then(|p| p.manifest) else { return Ok(None) };
                let checkpoint = Checkpoint { epoch, generation, layout, manifest: name, checksum };
                self.kept.push_back((checkpoint.clone(), manifest));
                // Until the entry stands, nothing is retired: `checkpointed` is what goes on.
                self.cleaning = true;
                Ok(Some(Next::Write(Fact::Checkpoint(checkpoint))))
            }
            Done::Cleaned => {
                self.cleaning = false;
                Ok(None)
            }
        }
    }

    /// The newest checkpoint stands in the journal: retire what is beyond the ones to keep.
    pub fn checkpointed(&mut self) -> Vec<Next> {
        let mut next = Vec::new();
        while self.kept.len() > KEPT {
            if let Some((old, manifest)) = self.kept.pop_front() {
                self.retiring.push(old.epoch);
                self.retired.push(manifest);
                next.push(Next::Write(Fact::Retire { epoch: old.epoch }));
            }
        }
        if self.retiring.is_empty() {
            next.extend(self.clean());
        }
        next
    }

    /// A retirement stands in the journal: its objects may go.
    pub fn retired(&mut self, epoch: Epoch) -> Option<Next> {
        self.retiring.retain(|e| *e != epoch);
        if self.retiring.is_empty() { self.clean() } else { None }
    }

    fn clean(&mut self) -> Option<Next> {
        let newest = &self.kept.back()?.1;
        let positions = Positions::decode(&newest.head.positions).unwrap_or_default();
        self.cleaning = true;
        Some(Next::Upkeep(Job::Clean {
            keep: self.kept.iter().map(|(_, m)| m.clone()).collect(),
            retired: std::mem::take(&mut self.retired),
            read: positions.feeds.into_iter().map(|(feed, at)| (feed, at.resume)).collect(),
        }))
    }

    /// The manifest, once everything it names is durable and every lane has caught up.
    fn manifest(&mut self) -> Result<Option<Next>> {
        let Some(pending) = self.pending.as_mut() else { return Ok(None) };
        let caught_up = self.marked.iter().all(|m| *m >= Some(pending.epoch));
        if pending.manifest.is_some() || pending.written.len() < self.snapshots || !caught_up {
            return Ok(None);
        }
        let positions = pending.positions.encode();
        let previous = self.kept.back().map(|(_, m)| m);
        let head = ManifestHead { epoch: pending.epoch, positions, ..self.template.clone() };
        let manifest = Manifest::merge(previous, head, std::mem::take(&mut pending.written))?;
        pending.manifest = Some(manifest.clone());
        Ok(Some(Next::Upkeep(Job::Manifest(Box::new(manifest)))))
    }
}

#[cfg(test)]
mod tests;
