//! Keyed state: a hash table for each key group, with copy-on-write snapshots.
//!
//! Time is cut into *generations* by snapshots. A slot knows the generation of its last change and whether the slices written
//! so far show its key. The first change in a generation marks the slot, and, while its group still waits to be drained, saves
//! what the snapshot has to show; later changes cost nothing more. Draining a group scans its slots: there is no list of
//! changed keys to be kept up to date on the way.

mod parts;
mod slot;

use super::Snapshot;
use super::chain::{self, Chain, Counts};
use super::slice::{Collector, Slice, SliceKind};
use crate::error::Result;
use crate::key::{KEY_GROUPS, Key, key_group, stable_hash};
use crate::update::Data;
use bytes::Bytes;
use parts::Parts;
use slot::{Mark, Settle, ShortHash, Slot, Table, live};
use std::borrow::Cow;

/// A table keeps its memory until it is emptier than 1/4; it is then cut to twice its content, so that it does not grow again
/// at once.
const SHRINK_BELOW: usize = 4;

/// Tables this small are not worth shrinking.
const SHRINK_MIN: usize = 64;

/// The state of one operator on one worker: values by key, in 256 key groups of which a worker serves some.
///
/// A value may stand in a *part* `P` of the state: a window, say. A part lies together in memory, apart from the others, and a
/// key is in the same key group in all of them. A state without parts has one, `()`.
///
/// Callers hand in the [`stable_hash`] of the key, which they have at hand from the exchange.
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
pub struct KeyedState<K, V, P = ()> {
    parts: Parts<K, V, P>,
    groups: Vec<Group>,
    /// The generation that changes belong to; 0 is what was restored.
    generation: u32,
    /// The next group to drain; `KEY_GROUPS` when no snapshot is under way.
    cursor: usize,
}

#[derive(Default)]
struct Group {
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
    /// An empty state without parts.
    #[must_use]
    pub fn new() -> Self {
        Self::in_parts()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.get_in((), hash, key)
    }

    /// See [`KeyedState::touch_in`].
    #[inline]
    pub fn touch(&self, hash: u64, key: &K) {
        self.touch_in((), hash, key);
    }

    /// See [`KeyedState::update_in`].
    pub fn update<R>(&mut self, hash: u64, key: &K, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        self.update_in((), hash, key, change)
    }

    /// As [`KeyedState::update`], for a key that is not needed any more: a new one is not cloned.
    #[inline]
    pub fn update_owned<R>(&mut self, hash: u64, key: K, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        self.change((), hash, Cow::Owned(key), change)
    }

    /// Removes what `stays` does not want of a key group, as [`KeyedState::clear`] does; it is asked in arbitrary order. Returns the number
    /// of slots that had to be looked at.
    pub fn retain(&mut self, group: u8, stays: impl Fn(&V) -> bool) -> usize {
        let (number, generation) = (usize::from(group), self.generation);
        let Some((_, tables)) = self.parts.0.first_mut() else { return 0 };
        let (table, group) = (&mut tables[number], &mut self.groups[number]);
        let slots = table.len();
        table.retain(|slot| slot.value.as_ref().is_none_or(&stays) || group.clear(slot, (), generation));
        if table.is_empty() {
            *table = Table::new();
        }
        slots
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
        let tables = self.parts.0.iter().map(move |(_, tables)| &tables[usize::from(group)]);
        tables.flat_map(live).map(|(key, value)| (stable_hash(key), key, value))
    }
}

impl<K: Key, V: Data, P: Key + Copy> KeyedState<K, V, P> {
    /// An empty state in parts.
    #[must_use]
    pub fn in_parts() -> Self {
        let groups = std::iter::repeat_with(Group::default).take(KEY_GROUPS).collect();
        Self { parts: Parts(Vec::new()), groups, generation: 1, cursor: KEY_GROUPS }
    }

    /// The value of a key in a part.
    #[must_use]
    pub fn get_in(&self, part: P, hash: u64, key: &K) -> Option<&V> {
        self.slot(part, hash, key)?.value.as_ref()
    }

    /// Brings a key that is about to be used near the processor. Of several keys that are touched one after the other, the
    /// waits for memory overlap; those of keys that are used one after the other do not.
    ///
    /// Keys that own memory have two waits for each, slot and text, one behind the other. The one wait of other keys the processor
    /// overlaps by itself: looking twice would only cost (measured with 10,000 to 1,000,000 `u64` keys).
    #[inline]
    pub fn touch_in(&self, part: P, hash: u64, key: &K) {
        if !std::mem::needs_drop::<K>() {
            return;
        }
        // A slot may lie across two cache lines: value and mark are its ends.
        std::hint::black_box(self.slot(part, hash, key).map(|slot| (slot.value.is_some(), slot.mark.0)));
    }

    #[inline]
    fn slot(&self, part: P, hash: u64, key: &K) -> Option<&Slot<K, V>> {
        let (table, hash) = (&self.parts.of(part)?[usize::from(key_group(hash))], ShortHash::of(hash));
        table.find(hash.spread(), |slot| slot.hash == hash && slot.key == *key)
    }

    /// Gives `change` the value of a key in a part, `None` if there is none; what it leaves is the value.
    ///
    /// A key that was there counts as changed, whatever `change` does: look with [`KeyedState::get`] first where most calls change
    /// nothing. If `change` panics, the value is as it left it.
    #[inline]
    pub fn update_in<R>(&mut self, part: P, hash: u64, key: &K, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        self.change(part, hash, Cow::Borrowed(key), change)
    }

    #[inline]
    fn change<R>(&mut self, part: P, hash: u64, key: Cow<'_, K>, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let number = usize::from(key_group(hash));
        let (table, group, hash) = (&mut self.parts.of_new(part)[number], &mut self.groups[number], ShortHash::of(hash));
        let Ok(mut entry) = table.find_entry(hash.spread(), |slot| slot.hash == hash && slot.key == *key.as_ref()) else {
            let mut value = None;
            let result = change(&mut value);
            if value.is_some() {
                let slot = Slot { key: key.into_owned(), value, hash, mark: Mark::new(self.generation, false) };
                self.parts.of_new(part)[number].insert_unique(hash.spread(), slot, |slot| slot.hash.spread());
                group.counts.live += 1;
                group.counts.dirty += 1;
            }
            return result;
        };
        let slot = entry.get_mut();
        group.change(slot, part, self.generation);
        let was_live = slot.value.is_some();
        let mut settle = Settle { entry: Some(entry), counts: &mut group.counts, was_live };
        let Some(entry) = &mut settle.entry else { unreachable!("only its drop takes the entry") };
        change(&mut entry.get_mut().value)
    }

    /// Key and value of everything in a part, in arbitrary order: sort before anything reaches an output.
    pub fn iter_in(&self, part: P) -> impl Iterator<Item = (&K, &V)> {
        self.parts.of(part).into_iter().flatten().flat_map(live)
    }

    /// The parts that hold something, or did a while ago, in ascending order.
    pub fn parts(&self) -> impl Iterator<Item = P> {
        self.parts.0.iter().map(|(part, _)| *part)
    }

    /// Removes all values of a part. Like any key that goes, they are remembered as long as the next snapshot has to tell.
    pub fn clear(&mut self, part: P) {
        let Ok(at) = self.parts.place(part) else { return };
        for (table, group) in self.parts.0[at].1.iter_mut().zip(&mut self.groups) {
            table.retain(|slot| group.clear(slot, part, self.generation));
            if table.is_empty() {
                *table = Table::new();
            }
        }
        self.parts.release();
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

impl Group {
    /// Removes the value of a slot; whether the slot has to stay as a tombstone.
    fn clear<K: Key, V: Data, P: Key>(&mut self, slot: &mut Slot<K, V>, part: P, generation: u32) -> bool {
        self.change(slot, part, generation);
        self.counts.live -= usize::from(slot.value.take().is_some());
        self.counts.dirty -= usize::from(!slot.mark.saved());
        slot.mark.saved()
    }

    /// A slot is about to change.
    #[inline]
    fn change<K: Key, V: Data, P: Key>(&mut self, slot: &mut Slot<K, V>, part: P, generation: u32) {
        if slot.mark.generation() != generation {
            if let Some(pending) = &mut self.pending {
                pending.save(slot, part);
            }
            slot.mark = Mark::new(generation, slot.mark.saved());
            self.counts.dirty += 1;
        }
    }
}

impl<K: Key, V: Data, P: Key + Copy> Snapshot for KeyedState<K, V, P> {
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
                for (part, tables) in &mut self.parts.0 {
                    pending.sweep(&mut tables[number], *part);
                }
                let slice = pending.saved.finish(number as u8, pending.kind)?;
                group.chain.add(slice.kind, slice.bytes.len() as u64);
                return Ok(Some(slice));
            }
        }
        self.parts.release();
        Ok(None)
    }

    fn restore(&mut self, group: u8, slices: &[Bytes]) -> Result<()> {
        let (mut fresh, mut chain) = (Parts(Vec::new()), Chain::default());
        for (i, slice) in slices.iter().enumerate() {
            let kind = if i == 0 { SliceKind::Base } else { SliceKind::Delta };
            fresh.apply(group, slice)?;
            chain.add(kind, slice.len() as u64);
        }
        let number = usize::from(group);
        self.parts.0.iter_mut().for_each(|(_, tables)| tables[number] = Table::new());
        let mut counts = Counts::default();
        for (part, mut tables) in fresh.0 {
            counts.live += tables[number].len();
            self.parts.of_new(part)[number] = std::mem::take(&mut tables[number]);
        }
        self.groups[number] = Group { counts, pending: None, chain };
        Ok(())
    }
}

impl Pending {
    /// Writes what no change has saved already, and lets tombstones go.
    fn sweep<K: Key, V: Data, P: Key + Copy>(&mut self, table: &mut Table<K, V>, part: P) {
        table.retain(|slot| {
            if slot.mark.generation() > self.generation {
                return true;
            }
            self.save(slot, part);
            slot.value.is_some()
        });
        let (len, capacity) = (table.len(), table.capacity());
        if capacity > SHRINK_MIN && len < capacity / SHRINK_BELOW {
            table.shrink_to(2 * len, |slot| slot.hash.spread());
        }
    }

    /// Writes a slot, which has not changed since the snapshot, as far as the snapshot has to show it.
    fn save<K: Key, V: Data, P: Key>(&mut self, slot: &mut Slot<K, V>, part: P) {
        let live = slot.value.is_some();
        let shown = match self.kind {
            SliceKind::Base => live,
            SliceKind::Delta => slot.mark.generation() == self.generation && (live || slot.mark.saved()),
        };
        if shown {
            // The part that there is only one of takes no bytes.
            self.saved.push(&(&slot.key, part), slot.value.as_ref());
        }
        slot.mark = Mark::new(slot.mark.generation(), live);
    }
}

#[cfg(test)]
mod tests;
