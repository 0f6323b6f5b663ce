//! The tables of a state: one for each key group of each part.

use super::super::slice::Entries;
use super::slot::{Mark, ShortHash, Slot, Table};
use crate::error::{Error, Result};
use crate::key::{KEY_GROUPS, Key, key_group, stable_hash};
use crate::update::Data;
use hashbrown::hash_table::Entry;
use serde::de::DeserializeOwned;
use std::any::type_name;

/// A table for each key group of each part, the parts in ascending order. They lie apart from the rest of a group, because they are
/// looked at for every record.
pub(super) struct Parts<K, V, P>(pub(super) Vec<(P, Vec<Table<K, V>>)>);

impl<K, V, P: Ord + Copy> Parts<K, V, P> {
    #[inline]
    pub(super) fn place(&self, part: P) -> Result<usize, usize> {
        // Mostly it is the newest.
        match self.0.last() {
            Some((newest, _)) if *newest == part => Ok(self.0.len() - 1),
            _ => self.0.binary_search_by_key(&part, |(part, _)| *part),
        }
    }

    #[inline]
    pub(super) fn of(&self, part: P) -> Option<&Vec<Table<K, V>>> {
        self.place(part).ok().map(|at| &self.0[at].1)
    }

    #[inline]
    pub(super) fn of_new(&mut self, part: P) -> &mut Vec<Table<K, V>> {
        let at = self.place(part).unwrap_or_else(|at| self.begin(at, part));
        &mut self.0[at].1
    }

    #[cold]
    fn begin(&mut self, at: usize, part: P) -> usize {
        self.0.insert(at, (part, std::iter::repeat_with(Table::new).take(KEY_GROUPS).collect()));
        at
    }

    /// Lets parts go in which there is nothing any more.
    pub(super) fn release(&mut self) {
        self.0.retain(|(_, tables)| tables.iter().any(|table| !table.is_empty()));
    }
}

impl<K: Key, V: Data, P: Key + Copy> Parts<K, V, P> {
    /// Applies a slice that was written once.
    pub(super) fn apply(&mut self, group: u8, slice: &[u8]) -> Result<()> {
        let damaged = |what: String| Error::Damaged { object: format!("slice of key group {group}"), what };
        for entry in Entries::of(slice) {
            let (key, value) = entry.map_err(|e| damaged(format!("no entry: {e}")))?;
            let (key, part): (K, P) = decode_all(key).map_err(damaged)?;
            let hash = stable_hash(&key);
            if key_group(hash) != group {
                return Err(damaged(format!("holds a key of group {}", key_group(hash))));
            }
            let hash = ShortHash::of(hash);
            let value: Option<V> = value.map(decode_all).transpose().map_err(damaged)?;
            let table = &mut self.of_new(part)[usize::from(group)];
            let found = table.entry(hash.spread(), |slot| slot.hash == hash && slot.key == key, |slot| slot.hash.spread());
            match (found, value) {
                (Entry::Occupied(mut entry), value @ Some(_)) => entry.get_mut().value = value,
                (Entry::Occupied(entry), None) => drop(entry.remove()),
                (Entry::Vacant(entry), value @ Some(_)) => {
                    entry.insert(Slot { key, value, hash, mark: Mark::new(0, true) });
                }
                (Entry::Vacant(_), None) => {}
            }
        }
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
