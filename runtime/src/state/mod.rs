//! Keyed state, and how it becomes durable.
//!
//! An operator keeps its state in a [`KeyedState`]: a hash table for each of the 256 key groups. A checkpoint fixes it at the
//! close of an epoch ([`Snapshot::begin_snapshot`]) and then takes it out one key group at a time, between the epochs that
//! follow ([`Snapshot::drain_slice`]); a key that changes in the meantime is saved first. A [`Slice`] is either a base (all
//! keys of the group) or a delta (the keys that changed since the last snapshot).
//!
//! Each worker packs the slices of a state into one immutable [object](ObjectWriter); the [`Manifest`] of the checkpoint names,
//! for every key group, its base and the deltas behind it; both lie in a [`CheckpointStore`].

mod chain;
mod keyed;
mod manifest;
mod name;
mod object;
mod slice;
mod store;

pub use chain::DELTAS_MAX;
pub use keyed::KeyedState;
pub use manifest::{Manifest, ManifestHead, StateManifest, garbage, orphans};
pub use name::{parse_manifest_name, parse_token, pipeline_prefix};
pub use object::{ObjectHeader, ObjectWriter, SliceRef, StateObject, Written};
pub use slice::{Entries, Slice, SliceKind};
pub use store::{CheckpointStore, Report, Stored, create_durably};

use crate::error::Result;
use crate::plan::StateNode;
use crate::time::Epoch;
use bytes::Bytes;

/// A state of whatever types, as a checkpoint sees it.
pub trait Snapshot {
    /// Fixes the state as it is now, in time independent of the number of keys.
    ///
    /// # Panics
    /// When the last snapshot is not drained yet: checkpoints follow one another.
    fn begin_snapshot(&mut self);

    /// Takes out the next key group that has something to write, as it was at `begin_snapshot`; `None` when there is no more.
    ///
    /// The slice counts as durable from here on: whoever takes it writes it, however often it takes.
    ///
    /// # Errors
    /// A key or value refuses to be encoded.
    fn drain_slice(&mut self) -> Result<Option<Slice>>;

    /// Replaces a key group by its base and the deltas behind it, oldest first.
    ///
    /// # Errors
    /// A slice is not one of this state and this key group.
    fn restore(&mut self, group: u8, slices: &[Bytes]) -> Result<()>;
}

/// The snapshot of one state of one worker, complete.
#[derive(Debug)]
pub struct Saved {
    /// Which state.
    pub state: StateNode,
    /// The worker it lived on.
    pub worker: usize,
    /// As of the close of this epoch.
    pub epoch: Epoch,
    /// Its changed key groups.
    pub slices: Vec<Slice>,
}
