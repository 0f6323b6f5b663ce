//! The rows of a view by key, and how they come together.

use super::held::{Aside, Hashed, Held};
use super::rows::{Building, Rows, ViewTime, unheld};
use crate::answer::attempt;
use differential_dataflow::collection::VecCollection;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use distributary_runtime::key::Key;
use distributary_runtime::time::Epoch;
use distributary_runtime::update::Diff;
use std::cell::OnceCell;
use std::rc::Rc;

type Spine<K, V, T> = ValSpine<Hashed<K>, Held<V>, T, Diff>;
type ByKey<'v, K, V, T> = Arranged<'v, TraceAgent<Spine<K, V, T>>>;

/// What a closure makes of two rows with the same key.
type Combine<K, V, W, O> = dyn Fn(&K, &V, &W) -> O;

/// What a closure makes of the rows of a key.
type Reduce<K, V, O> = dyn Fn(&K, &[(&V, u64)]) -> Vec<O>;

/// Rows of a view with a key. They are arranged by it once, for all joins and reductions of this value and its clones.
pub struct KeyedRows<'v, K: Key, V: Key, T: ViewTime = Epoch> {
    rows: VecCollection<'v, T, (Hashed<K>, Held<V>), Diff>,
    building: Building<'v, T>,
    arranged: Rc<OnceCell<ByKey<'v, K, V, T>>>,
}

impl<K: Key, V: Key, T: ViewTime> Clone for KeyedRows<'_, K, V, T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), building: self.building.clone(), arranged: self.arranged.clone() }
    }
}

impl<'v, K: Key, V: Key, T: ViewTime> KeyedRows<'v, K, V, T> {
    pub(super) fn new(rows: VecCollection<'v, T, (Hashed<K>, Held<V>), Diff>, building: Building<'v, T>) -> Self {
        Self { rows, building, arranged: Rc::default() }
    }

    fn arranged(&self) -> ByKey<'v, K, V, T> {
        self.arranged.get_or_init(|| self.rows.clone().arrange_by_key_named("rows by key")).clone()
    }

    fn rows<O>(&self, rows: VecCollection<'v, T, O, Diff>) -> Rows<'v, O, T> {
        Rows { rows, building: self.building.clone() }
    }

    /// The rows without their keys.
    #[must_use]
    pub fn values(&self) -> Rows<'v, V, T> {
        self.rows(self.rows.clone().map(|(_, row)| row.0))
    }

    /// What `f` makes of every pair of a row here and one there with the same key.
    pub fn join<W: Key, O: Key>(&self, other: &KeyedRows<'v, K, W, T>, f: impl Fn(&K, &V, &W) -> O + 'static) -> Rows<'v, O, T> {
        self.building.tell("join");
        // Differential takes a while to compile: so it is compiled once for all joins of the same types.
        self.joined(other, Box::new(f))
    }

    fn joined<W: Key, O: Key>(&self, other: &KeyedRows<'v, K, W, T>, f: Box<Combine<K, V, W, O>>) -> Rows<'v, O, T> {
        let pairs = self.arranged().join_core(other.arranged(), move |key, left, right| {
            let made = attempt::<O, _>(|| f(&key.key, &left.0, &right.0));
            [made.map(Held).map_err(|cause| Aside { hash: key.hash, cause })]
        });
        self.rows(self.building.split(pairs, unheld))
    }

    /// The rows whose key is among `keys`.
    #[must_use]
    pub fn semijoin(&self, keys: &Rows<'v, K, T>) -> Self {
        self.building.tell("semijoin");
        Self::new(self.among(keys), self.building.clone())
    }

    /// The rows whose key is not among `keys`.
    #[must_use]
    pub fn antijoin(&self, keys: &Rows<'v, K, T>) -> Self {
        self.building.tell("antijoin");
        Self::new(self.rows.clone().concat(self.among(keys).negate()), self.building.clone())
    }

    fn among(&self, keys: &Rows<'v, K, T>) -> VecCollection<'v, T, (Hashed<K>, Held<V>), Diff> {
        let keys = keys.hashed().threshold_named("keys", |_, copies| Diff::from(*copies > 0)).arrange_by_self_named("keys");
        self.arranged().join_core(keys, |key, row, ()| [(key.clone(), row.clone())])
    }

    /// What `f` makes of all rows of a key: each with its number of copies, in their order. A key without rows has no results.
    pub fn reduce<I: IntoIterator<Item: Key>>(&self, f: impl Fn(&K, &[(&V, u64)]) -> I + 'static) -> Rows<'v, I::Item, T> {
        self.building.tell("reduce");
        self.reduced(move |key, rows| f(key, rows).into_iter().collect())
    }

    /// The `n` greatest rows of each key; of several copies each counts.
    #[must_use]
    pub fn top(&self, n: usize) -> Rows<'v, V, T> {
        self.building.tell(format!("top {n}"));
        self.reduced(move |_, rows| copies(rows.iter().rev()).take(n).collect())
    }

    /// The `n` least rows of each key; of several copies each counts.
    #[must_use]
    pub fn bottom(&self, n: usize) -> Rows<'v, V, T> {
        self.building.tell(format!("bottom {n}"));
        self.reduced(move |_, rows| copies(rows.iter()).take(n).collect())
    }

    /// How many rows each key has.
    #[must_use]
    pub fn count(&self) -> Rows<'v, (K, u64), T> {
        self.building.tell("count of keys");
        self.reduced(|key, rows| vec![(key.clone(), rows.iter().map(|(_, copies)| copies).sum())])
    }

    fn reduced<O: Key>(&self, f: impl Fn(&K, &[(&V, u64)]) -> Vec<O> + 'static) -> Rows<'v, O, T> {
        self.reduced_by(Box::new(f))
    }

    fn reduced_by<O: Key>(&self, f: Box<Reduce<K, V, O>>) -> Rows<'v, O, T> {
        let reduced = self.arranged().reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<Hashed<K>, _, T, Diff>, _, _>(
            "reduce",
            move |key, rows, results: &mut Vec<(Result<Held<O>, Aside>, Diff)>| {
                let rows: Vec<(&V, u64)> = rows.iter().filter_map(|(row, copies)| Some((&row.0, standing(*copies)?))).collect();
                if rows.is_empty() {
                    return;
                }
                match attempt::<Vec<O>, _>(|| f(&key.key, &rows)) {
                    Ok(made) => results.extend(made.into_iter().map(|row| (Ok(Held(row)), 1))),
                    Err(cause) => results.push((Err(Aside { hash: key.hash, cause }), 1)),
                }
            },
            |changes, key, updates| {
                changes.clear();
                changes.extend(updates.drain(..).map(|(row, time, diff)| ((key.clone(), row), time, diff)));
            },
        );
        self.rows(self.building.split(reduced.as_collection(|_, row: &Result<Held<O>, Aside>| row.clone()), unheld))
    }
}

/// The copies of a row. In between, differential may know that it has gone before it knows that it came.
fn standing(copies: Diff) -> Option<u64> {
    u64::try_from(copies).ok().filter(|copies| *copies > 0)
}

/// Each row as often as it is there.
fn copies<'a, V: Clone + 'a>(rows: impl Iterator<Item = &'a (&'a V, u64)>) -> impl Iterator<Item = V> {
    rows.flat_map(|(row, copies)| std::iter::repeat_n((*row).clone(), usize::try_from(*copies).unwrap_or(usize::MAX)))
}
