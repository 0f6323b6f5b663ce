//! Values by key, in order, whether there is one or a million of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, RangeBounds};
use std::slice;

/// So many stand in a list. A node of a tree has room for eleven, which most keys of a state would leave empty, and in a list this short
/// it costs no more to move what is behind a new one.
const FEW_MAX: usize = 8;

/// As a [`BTreeMap`], also where it is written down; a few values take no more memory than they need.
#[derive(Clone, Debug)]
pub(crate) enum Ordered<K, V> {
    Few(Vec<(K, V)>),
    /// More than a few, or it was so once.
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord + Copy, V> Ordered<K, V> {
    /// Changes the value of a key; before that puts one there, if there is none.
    pub(crate) fn change(&mut self, key: K, init: impl FnOnce() -> V, change: impl FnOnce(&mut V)) {
        if let Self::Few(few) = self {
            match few.binary_search_by_key(&key, |(of, _)| *of) {
                Ok(at) => return change(&mut few[at].1),
                Err(at) if few.len() < FEW_MAX => {
                    if few.len() == few.capacity() {
                        few.reserve_exact(few.len().max(1));
                    }
                    few.insert(at, (key, init()));
                    return change(&mut few[at].1);
                }
                Err(_) => *self = Self::Many(std::mem::take(few).into_iter().collect()),
            }
        }
        if let Self::Many(many) = self {
            change(many.entry(key).or_insert_with(init));
        }
    }

    /// Changes a value, if there is one; it goes if it is not to be kept.
    pub(crate) fn retain_one(&mut self, key: &K, keep: impl FnOnce(&mut V) -> bool) {
        match self {
            Self::Few(few) => {
                if let Ok(at) = few.binary_search_by_key(key, |(of, _)| *of)
                    && !keep(&mut few[at].1)
                {
                    few.remove(at);
                }
            }
            Self::Many(many) => {
                if let btree_map::Entry::Occupied(mut entry) = many.entry(*key)
                    && !keep(entry.get_mut())
                {
                    entry.remove();
                }
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(few) => few.binary_search_by_key(key, |(of, _)| *of).ok().map(|at| &few[at].1),
            Self::Many(many) => many.get(key),
        }
    }

    /// Removes the first ones, as long as they are `over`.
    pub(crate) fn remove_while(&mut self, over: impl Fn(&K) -> bool) {
        match self {
            Self::Few(few) => drop(few.drain(..few.iter().take_while(|(key, _)| over(key)).count())),
            Self::Many(many) => {
                while let Some(first) = many.first_entry()
                    && over(first.key())
                {
                    first.remove();
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// The first key.
    pub(crate) fn first(&self) -> Option<&K> {
        self.iter().next().map(|(key, _)| key)
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        self.range(..)
    }

    /// Those whose keys are in a range, which does not end before it begins.
    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> Iter<'_, K, V> {
        match self {
            Self::Few(few) => {
                let begin = match range.start_bound() {
                    Bound::Included(first) => few.partition_point(|(key, _)| key < first),
                    Bound::Excluded(before) => few.partition_point(|(key, _)| key <= before),
                    Bound::Unbounded => 0,
                };
                let end = match range.end_bound() {
                    Bound::Included(last) => few.partition_point(|(key, _)| key <= last),
                    Bound::Excluded(behind) => few.partition_point(|(key, _)| key < behind),
                    Bound::Unbounded => few.len(),
                };
                Iter::Few(few[begin..end].iter())
            }
            Self::Many(many) => Iter::Many(many.range(range)),
        }
    }
}

/// Some of the values, in order.
pub(crate) enum Iter<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many(btree_map::Range<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next(),
        }
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next_back().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next_back(),
        }
    }
}

impl<K: Serialize + Ord + Copy, V: Serialize> Serialize for Ordered<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            // The number comes first: of this many it is known.
            Self::Few(few) => to.collect_map(few.iter().map(|(key, value)| (key, value))),
            Self::Many(many) => many.serialize(to),
        }
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Ordered<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let many = BTreeMap::deserialize(from)?;
        Ok(if many.len() <= FEW_MAX { Self::Few(many.into_iter().collect()) } else { Self::Many(many) })
    }
}

#[cfg(test)]
mod tests;
