//! The content of one key group, in bytes: entries sorted by encoded key.
//!
//! An entry is the postcard encoding of `(key, Option<value>)`, both as byte strings: whoever does not know the types can
//! still walk a slice, and look for a key in it. `None` is a tombstone.

use crate::error::{Error, Result};
use crate::update::Data;
use serde::{Deserialize, Serialize};
use std::any::type_name;

/// Whether a slice stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SliceKind {
    /// Every key of the group; what was written before does not count any more.
    Base,
    /// The keys that changed since the slice before it, with tombstones for those that went.
    Delta,
}

/// One key group of a state, at one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The key group.
    pub group: u8,
    /// Base or delta.
    pub kind: SliceKind,
    /// Number of entries, tombstones among them.
    pub entries: u32,
    /// The entries; read them with [`Entries`].
    pub bytes: Vec<u8>,
}

/// Walks the entries of a slice: encoded key, and encoded value or `None` for a tombstone.
///
/// An `Err` is the last item: the bytes are not a slice.
#[derive(Clone, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// The entries of these bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], Option<&'a [u8]>), postcard::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (entry, rest) = postcard::take_from_bytes(self.0).map_or_else(|e| (Err(e), &[][..]), |(e, rest)| (Ok(e), rest));
        self.0 = rest;
        Some(entry)
    }
}

/// Collects the entries of a slice in any order: all bytes in one arena, so that saving a key before it changes costs no
/// allocation of its own.
#[derive(Debug, Default)]
pub(super) struct Collector {
    arena: Vec<u8>,
    /// (start, end of key, end of value) in the arena; no end of value for a tombstone.
    places: Vec<(usize, usize, Option<usize>)>,
    failed: Option<Error>,
}

impl Collector {
    pub(super) fn push<K: Serialize, V: Data>(&mut self, key: &K, value: Option<&V>) {
        if self.failed.is_some() {
            return;
        }
        let start = self.arena.len();
        let key_end = self.encode(key);
        let value_end = value.map(|v| self.encode(v));
        self.places.push((start, key_end, value_end));
    }

    /// Appends to the arena and returns its end. A refusal is kept for `finish`: this runs amid an update.
    fn encode<T: Serialize>(&mut self, value: &T) -> usize {
        match postcard::to_extend(value, std::mem::take(&mut self.arena)) {
            Ok(arena) => self.arena = arena,
            Err(e) => {
                let what = format!("state of type {} cannot be encoded: {e}", type_name::<T>());
                self.failed
                    .get_or_insert(Error::refused(what, "derive its `Serialize`, without `flatten` and `skip_serializing_if`"));
            }
        }
        self.arena.len()
    }

    pub(super) fn finish(mut self, group: u8, kind: SliceKind) -> Result<Slice> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        let arena = &self.arena;
        self.places.sort_unstable_by_key(|(start, key_end, _)| &arena[*start..*key_end]);
        let mut bytes = Vec::with_capacity(arena.len() + ENTRY_OVERHEAD * self.places.len());
        for (start, key_end, value_end) in &self.places {
            put_bytes(&mut bytes, &arena[*start..*key_end]);
            bytes.push(u8::from(value_end.is_some()));
            if let Some(end) = value_end {
                put_bytes(&mut bytes, &arena[*key_end..*end]);
            }
        }
        // A key group has at most 2^32 / 256 keys long before memory ends.
        let entries = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        Ok(Slice { group, kind, entries, bytes })
    }
}

/// Two short lengths and the tag of the option: what most entries need beside key and value.
const ENTRY_OVERHEAD: usize = 3;

/// A byte string as postcard writes it: its length as a varint, then the bytes (serde would go byte by byte).
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}
