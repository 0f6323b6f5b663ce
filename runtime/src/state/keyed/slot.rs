//! A slot of the table of a key group.

use super::super::chain::Counts;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

pub(super) type Table<K, V> = HashTable<Slot<K, V>>;

pub(super) struct Slot<K, V> {
    pub(super) key: K,
    /// `None` is a tombstone that waits for the next snapshot.
    pub(super) value: Option<V>,
    pub(super) hash: ShortHash,
    pub(super) mark: Mark,
}

/// The half of a key's hash that has no say in its key group: enough to place it among those of its group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortHash(u32);

/// The generation of a slot's last change, and in the lowest bit whether the slices written so far, and the one under way if it
/// has passed this slot, show its key.
#[derive(Clone, Copy)]
pub(super) struct Mark(pub(super) u32);

/// Those of a table that have a value.
pub(super) fn live<K, V>(table: &Table<K, V>) -> impl Iterator<Item = (&K, &V)> {
    table.iter().filter_map(|slot| Some((&slot.key, slot.value.as_ref()?)))
}

impl ShortHash {
    #[inline]
    pub(super) fn of(hash: u64) -> Self {
        Self(hash as u32)
    }

    /// As hash tables like it: the low bits are the bucket, the highest are the tag.
    #[inline]
    pub(super) fn spread(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

impl Mark {
    #[inline]
    pub(super) fn new(generation: u32, saved: bool) -> Self {
        Self(generation << 1 | u32::from(saved))
    }

    #[inline]
    pub(super) fn generation(self) -> u32 {
        self.0 >> 1
    }

    pub(super) fn saved(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Ends an update, also one that panics: a key that was never written and has no value leaves at once.
pub(super) struct Settle<'a, K, V> {
    pub(super) entry: Option<OccupiedEntry<'a, Slot<K, V>>>,
    pub(super) counts: &'a mut Counts,
    pub(super) was_live: bool,
}

impl<K, V> Drop for Settle<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let slot = entry.get();
        let live = slot.value.is_some();
        if live && self.was_live {
            return;
        }
        self.counts.live = self.counts.live + usize::from(live) - usize::from(self.was_live);
        if !live && !slot.mark.saved() {
            self.counts.dirty -= 1;
            entry.remove();
        }
    }
}
