//! What is written of a key group, and whether the next snapshot adds a delta or begins anew with a base.

use super::slice::SliceKind;
use std::cmp::Reverse;

/// A key group gets a new base after this many deltas. It bounds what a restore has to read and how long old objects live;
/// and with 1 % of the keys changing, a checkpoint writes about 1/17 of the groups anew and 1 % of the rest: 7 % of a full one
/// (with 8 it would be 12 %).
pub const DELTAS_MAX: usize = 16;

/// A key group also gets a new base when its deltas come to more than 1/2 of its base: a chain is then never longer than one and
/// a half bases, and a base is written only after at least half its size in deltas.
const DELTAS_SHARE: u64 = 2;

/// What is written of a group.
#[derive(Default)]
pub(super) struct Chain {
    /// Bytes of the base, if there is one.
    base: Option<u64>,
    deltas: usize,
    deltas_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    /// Slots with a value.
    pub(super) live: usize,
    /// Slots that changed in the current generation.
    pub(super) dirty: usize,
}

/// What a snapshot that begins writes of each group, if anything. Of the groups for which a delta would do, those with the longest
/// chains get a base all the same, 1 in 17, so that not all come due at once.
pub(super) fn due<'a>(groups: impl Iterator<Item = (&'a Chain, &'a Counts)>) -> Vec<Option<SliceKind>> {
    let groups: Vec<_> = groups.collect();
    let mut due: Vec<_> = groups.iter().map(|(chain, counts)| chain.due(counts)).collect();
    let mut deltas: Vec<usize> = (0..due.len()).filter(|g| due[*g] == Some(SliceKind::Delta)).collect();
    deltas.sort_by_key(|g| Reverse(groups[*g].0.deltas));
    for g in &deltas[..deltas.len() / (DELTAS_MAX + 1)] {
        due[*g] = Some(SliceKind::Base);
    }
    due
}

impl Chain {
    /// What the next snapshot writes of a group, if anything.
    fn due(&self, counts: &Counts) -> Option<SliceKind> {
        let deltas_too_large = |base| self.deltas_bytes * DELTAS_SHARE > base;
        match self.base {
            None if counts.live == 0 => None,
            Some(_) if counts.dirty == 0 => None,
            None => Some(SliceKind::Base),
            // A delta of half the group is no better than a base.
            Some(_) if counts.dirty * 2 >= counts.live => Some(SliceKind::Base),
            Some(base) if self.deltas >= DELTAS_MAX || deltas_too_large(base) => Some(SliceKind::Base),
            Some(_) => Some(SliceKind::Delta),
        }
    }

    pub(super) fn add(&mut self, kind: SliceKind, bytes: u64) {
        match kind {
            SliceKind::Base => *self = Self { base: Some(bytes), ..Self::default() },
            SliceKind::Delta => {
                self.deltas += 1;
                self.deltas_bytes += bytes;
            }
        }
    }
}
