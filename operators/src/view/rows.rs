//! The rows of a view.

use super::held::{Aside, Hashed, Held};
use super::keyed::KeyedRows;
use crate::answer::attempt;
use differential_dataflow::collection::{AsCollection, VecCollection};
use differential_dataflow::lattice::Lattice;
use distributary_runtime::graph::Spec;
use distributary_runtime::key::Key;
use distributary_runtime::time::Epoch;
use distributary_runtime::update::Diff;
use std::cell::RefCell;
use std::rc::Rc;
use timely::dataflow::operators::core::OkErr;
use timely::progress::Timestamp;

/// When rows of a view change: in an epoch, or in a round of an iteration.
pub trait ViewTime: Timestamp + Lattice {}
impl<T: Timestamp + Lattice> ViewTime for T {}

/// What a view is told and sets aside while it is built, in one scope.
pub(super) struct Building<'v, T: ViewTime> {
    /// The operators, for the plan.
    pub(super) told: Rc<RefCell<Vec<String>>>,
    pub(super) aside: Rc<RefCell<Vec<VecCollection<'v, T, Aside, Diff>>>>,
    /// What is known of the keys by which rows are brought together.
    pub(super) keys: Rc<RefCell<Spec>>,
}

impl<T: ViewTime> Clone for Building<'_, T> {
    fn clone(&self) -> Self {
        Self { told: self.told.clone(), aside: self.aside.clone(), keys: self.keys.clone() }
    }
}

impl<'v, T: ViewTime> Building<'v, T> {
    pub(super) fn tell(&self, what: impl Into<String>) {
        self.told.borrow_mut().push(what.into());
    }

    /// Rows are brought together by keys of this type.
    fn by_keys<K: Key>(&self) {
        let keys = self.keys.take();
        self.keys.replace(keys.with_keys::<K>());
    }

    /// What `f` makes of rows; those that it refuses are set aside.
    pub(super) fn split<R: Clone + 'static, O: Clone + 'static>(
        &self,
        rows: VecCollection<'v, T, R, Diff>,
        f: impl Fn(R) -> Result<O, Aside> + 'static,
    ) -> VecCollection<'v, T, O, Diff> {
        // Behind a pointer: so what is built is built for types, and not once more for each closure.
        let f: Box<dyn Fn(R) -> Result<O, Aside>> = Box::new(f);
        let (made, refused) = rows.inner.ok_err(move |(row, time, diff)| match f(row) {
            Ok(made) => Ok((made, time, diff)),
            Err(aside) => Err((aside, time, diff)),
        });
        self.aside.borrow_mut().push(refused.as_collection());
        made.as_collection()
    }
}

/// A collection of rows inside a [view](crate::view()), each any number of times.
///
/// Closures are pure functions of rows. A row on which one panics is a dead letter, which is taken back when the row goes.
pub struct Rows<'v, D: 'static, T: ViewTime = Epoch> {
    pub(super) rows: VecCollection<'v, T, D, Diff>,
    pub(super) building: Building<'v, T>,
}

impl<D: Clone, T: ViewTime> Clone for Rows<'_, D, T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), building: self.building.clone() }
    }
}

impl<'v, D: Key, T: ViewTime> Rows<'v, D, T> {
    pub(super) fn with<O>(&self, rows: VecCollection<'v, T, O, Diff>) -> Rows<'v, O, T> {
        Rows { rows, building: self.building.clone() }
    }

    /// One row for each.
    pub fn map<O: Key>(&self, f: impl Fn(&D) -> O + 'static) -> Rows<'v, O, T> {
        self.building.tell("map");
        let f = move |row: D| attempt::<O, _>(|| f(&row)).map_err(|cause| Aside::of(&row, cause));
        self.with(self.building.split(self.rows.clone(), f))
    }

    /// The rows for which `keep` says so.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&D) -> bool + 'static) -> Self {
        self.building.tell("filter");
        let f = move |row: D| match attempt::<bool, _>(|| keep(&row)) {
            Ok(true) => Ok(Some(row)),
            Ok(false) => Ok(None),
            Err(cause) => Err(Aside::of(&row, cause)),
        };
        self.with(self.building.split(self.rows.clone(), f).flat_map(|row| row))
    }

    /// Any number of rows for each.
    pub fn flat_map<I: IntoIterator<Item: Key>>(&self, f: impl Fn(&D) -> I + 'static) -> Rows<'v, I::Item, T> {
        self.building.tell("flat_map");
        let f = move |row: D| {
            attempt::<Vec<I::Item>, _>(|| f(&row).into_iter().collect::<Vec<_>>()).map_err(|cause| Aside::of(&row, cause))
        };
        self.with(self.building.split(self.rows.clone(), f).flat_map(|rows| rows))
    }

    /// The rows with a key, to be brought together by it.
    pub fn key_by<K: Key>(&self, key: impl Fn(&D) -> K + 'static) -> KeyedRows<'v, K, D, T> {
        self.building.tell("key_by");
        self.building.by_keys::<K>();
        let f = move |row: D| match attempt::<K, _>(|| key(&row)).and_then(Hashed::of) {
            Ok(key) => Ok((key, Held(row))),
            Err(cause) => Err(Aside::of(&row, cause)),
        };
        KeyedRows::new(self.building.split(self.rows.clone(), f), self.building.clone())
    }

    /// Each row once, however often it is there.
    #[must_use]
    pub fn distinct(&self) -> Self {
        self.building.tell("distinct");
        self.with(self.hashed().threshold_named("distinct", |_, copies| Diff::from(*copies > 0)).map(|row| row.key))
    }

    /// How often each row is there.
    #[must_use]
    pub fn count(&self) -> Rows<'v, (D, u64), T> {
        self.building.tell("count");
        let counts = self.hashed().count_core::<Diff>();
        self.with(counts.flat_map(|(row, copies)| u64::try_from(copies).ok().map(|copies| (row.key, copies))))
    }

    /// The rows of both.
    #[must_use]
    pub fn concat(&self, other: &Self) -> Self {
        self.building.tell("concat");
        self.with(self.rows.clone().concat(other.rows.clone()))
    }

    /// The rows with their hashes, to be brought together by what they are.
    pub(super) fn hashed(&self) -> VecCollection<'v, T, Hashed<D>, Diff> {
        self.building.by_keys::<D>();
        self.building.split(self.rows.clone(), |row| {
            // A row whose own `Serialize` refuses has no hash.
            Hashed::of(row).map_err(|cause| Aside { hash: 0, cause })
        })
    }
}

/// The rows that are there, and the causes of those that are not.
pub(super) fn unheld<O: Key>(row: Result<Held<O>, Aside>) -> Result<O, Aside> {
    row.map(|Held(row)| row)
}
