//! The two sides of a join, and the records that a key has on them.

use crate::answer::attempt;
use crate::ordered::Ordered;
use distributary_runtime::key::stable_hash;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Diff, Origin, Stamp};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// A record of one of the two collections that a join takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side<L, R> {
    /// Of the first.
    Left(L),
    /// Of the second.
    Right(R),
}

/// What a record is known by: a retraction of it has the same. A result of an aggregation keeps its origin when it changes, so
/// the content belongs to it, as a hash: two contents of one origin and time that have the same one are not to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id {
    pub(crate) time: EventTime,
    pub(crate) origin: Origin,
    pub(crate) content: u64,
}

impl Id {
    /// # Errors
    /// The record's `Serialize` refuses.
    pub(crate) fn of<D: Data>(data: &D, stamp: Stamp) -> Result<Self, String> {
        let content = attempt::<u64, _>(|| stable_hash(data))?;
        Ok(Self { time: stamp.time, origin: stamp.origin, content })
    }

    /// The least that a record of this time may have.
    fn least(time: EventTime) -> Self {
        Self { time, origin: Origin::record(0, 0, 0), content: 0 }
    }
}

/// What a key has on both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry<L, R> {
    pub(crate) left: Records<L>,
    pub(crate) right: Records<R>,
}

impl<L, R> Entry<L, R> {
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }
}

impl<L, R> Default for Entry<L, R> {
    fn default() -> Self {
        Self { left: Records::default(), right: Records::default() }
    }
}

/// The records of a key on one side, by time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Records<D>(Ordered<Id, Held<D>>);

/// A record, and how many copies of it there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held<D> {
    pub(crate) data: D,
    /// Negative when a retraction came before its record.
    copies: Diff,
    /// What the open epoch added to them; 0 in a snapshot, which is between epochs.
    #[serde(skip)]
    change: Diff,
}

impl<D> Held<D> {
    /// Copies that stand now.
    pub(crate) fn now(&self) -> Diff {
        self.copies.max(0)
    }

    /// Copies that stood before the open epoch.
    pub(crate) fn was(&self) -> Diff {
        self.copies.wrapping_sub(self.change).max(0)
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.change != 0
    }
}

impl<D> Default for Records<D> {
    fn default() -> Self {
        Self(Ordered::default())
    }
}

impl<D> Records<D> {
    /// Adds copies of a record in the open epoch. What has none left stays until [`Records::settle`].
    pub(crate) fn change(&mut self, id: Id, data: D, diff: Diff) {
        self.0.change(
            id,
            || Held { data, copies: 0, change: 0 },
            |held| {
                held.copies = held.copies.wrapping_add(diff);
                held.change = held.change.wrapping_add(diff);
            },
        );
    }

    /// The open epoch closes: what it changed of a record is no longer told apart.
    pub(crate) fn settle(&mut self, id: Id) {
        self.0.retain_one(&id, |held| {
            held.change = 0;
            held.copies != 0
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, id: &Id) -> Option<&Held<D>> {
        self.0.get(id)
    }

    pub(crate) fn remove(&mut self, id: &Id) {
        self.0.retain_one(id, |_| false);
    }

    /// All of them, by time.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Id, &Held<D>)> {
        self.0.iter()
    }

    /// Those behind one of them.
    pub(crate) fn behind(&self, id: Id) -> impl Iterator<Item = (&Id, &Held<D>)> {
        self.0.range((Bound::Excluded(id), Bound::Unbounded))
    }

    /// The first one behind this time.
    pub(crate) fn first_behind(&self, time: i128) -> Option<&Id> {
        self.between(time.saturating_add(1), i128::MAX).next().map(|(id, _)| id)
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<&Id> {
        self.0.first()
    }

    /// Removes the first ones, as long as they are `over`.
    pub(crate) fn forget_while(&mut self, over: impl Fn(&Id) -> bool) {
        self.0.remove_while(over);
    }

    /// Removes all up to this time.
    pub(crate) fn forget_until(&mut self, last: i128) {
        self.forget_while(|id| i128::from(id.time.0) <= last);
    }

    /// Those with times from `first` to `last`, which may lie outside of time: so nothing is cut off, and all is symmetric.
    pub(crate) fn between(&self, first: i128, last: i128) -> impl DoubleEndedIterator<Item = (&Id, &Held<D>)> {
        let from = first.max(i64::MIN.into());
        // Behind the last is the least of the next millisecond, if there is one.
        let (low, high) = (i64::try_from(from), i64::try_from(last.saturating_add(1)));
        let range = match (low, high) {
            _ if from > last => None,
            (Err(_), _) => None,
            (Ok(low), Ok(high)) => Some(self.0.range(Id::least(EventTime(low))..Id::least(EventTime(high)))),
            (Ok(low), Err(_)) => Some(self.0.range(Id::least(EventTime(low))..)),
        };
        range.into_iter().flatten()
    }
}
