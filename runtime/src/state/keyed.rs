//! Keyed state: a hash table for each key group, with copy-on-write snapshots.
//!
//! Time is cut into *generations* by snapshots. A slot knows the generation of its last change and whether the slices written
//! so far show its key. The first change in a generation marks the slot, and, while its group still waits to be drained, saves
//! what the snapshot has to show; later changes cost nothing more. Draining a group scans its slots: there is no list of
//! changed keys to be kept up to date on the way.

use super::Snapshot;
use super::chain::{self, Chain, Counts};
use super::slice::{Collector, Entries, Slice, SliceKind};
use crate::error::{Error, Result};
use crate::key::{KEY_GROUPS, Key, key_group, stable_hash};
use crate::update::Data;
use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, OccupiedEntry};
use serde::de::DeserializeOwned;
use std::any::type_name;

/// A table keeps its memory until it is emptier than 1/4; it is then cut to twice its content, so that it does not grow again
/// at once.
const SHRINK_BELOW: usize = 4;

/// Tables this small are not worth shrinking.
const SHRINK_MIN: usize = 64;

/// The state of one operator on one worker: values by key, in 256 key groups of which a worker serves some.
///
/// Callers hand in the stable hash of the key, which they have at hand from the exchange.
///
/// ```
/// use distributary_runtime::key::stable_hash;
/// use distributary_runtime::state::{KeyedState, Snapshot};
///
/// let mut spend = KeyedState::<String, i64>::new();
/// let (key, hash) = ("u1".to_string(), stable_hash(&"u1"));
/// spend.modify_or_insert_with(hash, &key, || 0, |sum| *sum += 5);
///
/// spend.begin_snapshot();
/// spend.modify_or_insert_with(hash, &key, || 0, |sum| *sum += 7);
/// let slice = spend.drain_slice()?.expect("one key, one slice");
///
/// let mut restored = KeyedState::<String, i64>::new();
/// restored.restore(slice.group, &[slice.bytes.into()])?;
/// assert_eq!((spend.get(hash, &key), restored.get(hash, &key)), (Some(&12), Some(&5)));
/// # Ok::<(), distributary_runtime::error::Error>(())
/// ```
pub struct KeyedState<K, V> {
    groups: Vec<Group<K, V>>,
    hash: fn(&K) -> u64,
    /// The generation that changes belong to; 0 is what was restored.
    generation: u32,
    /// The next group to drain; `KEY_GROUPS` when no snapshot is under way.
    cursor: usize,
}

struct Slot<K, V> {
    hash: u64,
    key: K,
    /// `None` is a tombstone that waits for the next snapshot.
    value: Option<V>,
    /// Generation of the last change.
    changed: u32,
    /// Whether the slices written so far, and the one under way if it has passed this slot, show the key.
    saved: bool,
}

struct Group<K, V> {
    table: HashTable<Slot<K, V>>,
    counts: Counts,
    pending: Option<Pending>,
    chain: Chain,
}

/// What a snapshot under way still wants from a group.
struct Pending {
    kind: SliceKind,
    /// The generation that the snapshot closed.
    generation: u32,
    /// What it shows of keys that have changed again since.
    saved: Collector,
}

impl<K: Key, V: Data> KeyedState<K, V> {
    /// An empty state whose keys are hashed by [`stable_hash`].
    #[must_use]
    pub fn new() -> Self {
        Self::hashed_by(stable_hash::<K>)
    }

    /// An empty state whose keys are hashed otherwise: a key with a part beside the one that records are exchanged by (a window,
    /// say) must fall into the key group of that one. See [`sub_hash`].
    #[must_use]
    pub fn hashed_by(hash: fn(&K) -> u64) -> Self {
        let group = || Group { table: HashTable::new(), counts: Counts::default(), pending: None, chain: Chain::default() };
        let groups = std::iter::repeat_with(group).take(KEY_GROUPS).collect();
        Self { groups, hash, generation: 1, cursor: KEY_GROUPS }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let group = &self.groups[usize::from(key_group(hash))];
        group.table.find(hash, |slot| slot.hash == hash && slot.key == *key)?.value.as_ref()
    }

    /// Brings a key that is about to be used near the processor. Of several keys that are touched one after the other, the
    /// waits for memory overlap; those of keys that are used one after the other do not.
    #[inline]
    pub fn touch(&self, hash: u64, is_it: impl Fn(&K) -> bool) {
        let group = &self.groups[usize::from(key_group(hash))];
        // A slot may lie across two cache lines: value and mark are its ends.
        let slot = group.table.find(hash, |slot| slot.hash == hash && is_it(&slot.key));
        std::hint::black_box(slot.map(|slot| (slot.value.is_some(), slot.changed)));
    }

    /// Gives `change` the value of a key, `None` if there is none; what it leaves is the value.
    ///
    /// A key that was there counts as changed, whatever `change` does: look with [`KeyedState::get`] first where most calls change
    /// nothing. If `change` panics, the value is as it left it.
    pub fn update<R>(&mut self, hash: u64, key: &K, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let Group { table, counts, pending, .. } = &mut self.groups[usize::from(key_group(hash))];
        match table.entry(hash, |slot| slot.hash == hash && slot.key == *key, |slot| slot.hash) {
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                if slot.changed != self.generation {
                    if let Some(pending) = pending {
                        pending.save(slot);
                    }
                    slot.changed = self.generation;
                    counts.dirty += 1;
                }
                let was_live = slot.value.is_some();
                let mut settle = Settle { entry: Some(entry), counts, was_live };
                let Some(entry) = &mut settle.entry else { unreachable!("only its drop takes the entry") };
                change(&mut entry.get_mut().value)
            }
            Entry::Vacant(entry) => {
                let mut value = None;
                let result = change(&mut value);
                if value.is_some() {
                    entry.insert(Slot { hash, key: key.clone(), value, changed: self.generation, saved: false });
                    counts.live += 1;
                    counts.dirty += 1;
                }
                result
            }
        }
    }

    /// Changes the value of a key in place, after putting `init()` there if there is none.
    pub fn modify_or_insert_with<R>(
        &mut self,
        hash: u64,
        key: &K,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.update(hash, key, |value| change(value.get_or_insert_with(init)))
    }

    /// Hash, key and value of everything in a key group, in arbitrary order: only to rebuild timers after a restore. What reaches
    /// an output must not depend on it.
    pub fn iter(&self, group: u8) -> impl Iterator<Item = (u64, &K, &V)> {
        self.groups[usize::from(group)].table.iter().filter_map(|slot| Some((slot.hash, &slot.key, slot.value.as_ref()?)))
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.counts.live).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Key, V: Data> Default for KeyedState<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash of a key that is a part of what another key names (a window of it, one of its orders): in the same key group, and
/// spread over its table.
///
/// ```
/// use distributary_runtime::key::{key_group, stable_hash};
/// use distributary_runtime::state::sub_hash;
/// let user = stable_hash(&"u1");
/// assert_eq!(key_group(sub_hash(user, 60_000)), key_group(user));
/// assert_ne!(sub_hash(user, 60_000), sub_hash(user, 70_000));
/// ```
#[must_use]
pub fn sub_hash(hash: u64, part: u64) -> u64 {
    const GROUP: u64 = 0xff << 32;
    let mixed = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32) & !GROUP | hash & GROUP
}

impl<K: Key, V: Data> Snapshot for KeyedState<K, V> {
    fn begin_snapshot(&mut self) {
        assert!(self.cursor == KEY_GROUPS, "a snapshot begins when the last one is drained");
        let generation = self.generation;
        self.generation += 1;
        self.cursor = 0;
        let due = chain::due(self.groups.iter().map(|group| (&group.chain, &group.counts)));
        for (group, kind) in self.groups.iter_mut().zip(due) {
            group.pending = kind.map(|kind| Pending { kind, generation, saved: Collector::default() });
            group.counts.dirty = 0;
        }
    }

    fn drain_slice(&mut self) -> Result<Option<Slice>> {
        while self.cursor < KEY_GROUPS {
            let number = self.cursor;
            self.cursor += 1;
            let group = &mut self.groups[number];
            if let Some(mut pending) = group.pending.take() {
                group.sweep(&mut pending);
                let slice = pending.saved.finish(number as u8, pending.kind)?;
                group.chain.add(slice.kind, slice.bytes.len() as u64);
                return Ok(Some(slice));
            }
        }
        Ok(None)
    }

    fn rebase(&mut self) {
        self.cursor = KEY_GROUPS;
        for group in &mut self.groups {
            let began = group.pending.take().is_some();
            group.chain.lose(began);
        }
    }

    fn restore(&mut self, group: u8, slices: &[Bytes]) -> Result<()> {
        let mut fresh = Group { table: HashTable::new(), counts: Counts::default(), pending: None, chain: Chain::default() };
        for (i, slice) in slices.iter().enumerate() {
            let kind = if i == 0 { SliceKind::Base } else { SliceKind::Delta };
            fresh.apply(group, self.hash, slice)?;
            fresh.chain.add(kind, slice.len() as u64);
        }
        self.groups[usize::from(group)] = fresh;
        Ok(())
    }
}

impl<K: Key, V: Data> Group<K, V> {
    /// Adds to `pending` what no change has saved already, and lets tombstones go.
    fn sweep(&mut self, pending: &mut Pending) {
        self.table.retain(|slot| {
            if slot.changed > pending.generation {
                return true;
            }
            pending.save(slot);
            slot.value.is_some()
        });
        let (len, capacity) = (self.table.len(), self.table.capacity());
        if capacity > SHRINK_MIN && len < capacity / SHRINK_BELOW {
            self.table.shrink_to(2 * len, |slot| slot.hash);
        }
    }

    /// Applies a slice that was written once.
    fn apply(&mut self, group: u8, hash: fn(&K) -> u64, slice: &[u8]) -> Result<()> {
        let damaged = |what: String| Error::Damaged { object: format!("slice of key group {group}"), what };
        for entry in Entries::of(slice) {
            let (key, value) = entry.map_err(|e| damaged(format!("no entry: {e}")))?;
            let key: K = decode_all(key).map_err(damaged)?;
            let hash = hash(&key);
            if key_group(hash) != group {
                return Err(damaged(format!("holds a key of group {}", key_group(hash))));
            }
            let value: Option<V> = value.map(decode_all).transpose().map_err(damaged)?;
            let found = self.table.entry(hash, |slot| slot.hash == hash && slot.key == key, |slot| slot.hash);
            match (found, value) {
                (Entry::Occupied(mut entry), value @ Some(_)) => entry.get_mut().value = value,
                (Entry::Occupied(entry), None) => drop(entry.remove()),
                (Entry::Vacant(entry), value @ Some(_)) => {
                    entry.insert(Slot { hash, key, value, changed: 0, saved: true });
                }
                (Entry::Vacant(_), None) => {}
            }
        }
        self.counts.live = self.table.len();
        Ok(())
    }
}

fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(format!("holds more than a value of type {}", type_name::<T>())),
        Err(e) => Err(format!("holds no value of type {}: {e}", type_name::<T>())),
    }
}

impl Pending {
    /// Writes a slot, which has not changed since the snapshot, as far as the snapshot has to show it.
    fn save<K: Key, V: Data>(&mut self, slot: &mut Slot<K, V>) {
        let live = slot.value.is_some();
        let shown = match self.kind {
            SliceKind::Base => live,
            SliceKind::Delta => slot.changed == self.generation && (live || slot.saved),
        };
        if shown {
            self.saved.push(&slot.key, slot.value.as_ref());
        }
        slot.saved = live;
    }
}

/// Ends an update, also one that panics: a key that was never written and has no value leaves at once.
struct Settle<'a, K, V> {
    entry: Option<OccupiedEntry<'a, Slot<K, V>>>,
    counts: &'a mut Counts,
    was_live: bool,
}

impl<K, V> Drop for Settle<'_, K, V> {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let slot = entry.get();
        let live = slot.value.is_some();
        self.counts.live = self.counts.live + usize::from(live) - usize::from(self.was_live);
        if !live && !slot.saved {
            self.counts.dirty -= 1;
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests;
