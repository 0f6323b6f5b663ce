//! Placeholder until the state store lands.
use crate::error::Result;
use bytes::Bytes;

/// One key group of a state, serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The key group.
    pub group: u8,
    /// Entries in it.
    pub entries: u32,
    /// The entries, sorted by encoded key.
    pub bytes: Vec<u8>,
}

/// A state that can be saved and restored.
pub trait Snapshot {
    /// Fixes the state as it is now.
    fn begin_snapshot(&mut self);
    /// Serialises one key group; `None` when done.
    fn drain_slice(&mut self) -> Option<Slice>;
    /// Restores a key group from its base and deltas, oldest first.
    ///
    /// # Errors
    /// The bytes are damaged.
    fn restore(&mut self, group: u8, slices: &[Bytes]) -> Result<()>;
}
