//! Fixed points: what comes out when a rule has been applied until nothing changes.

use super::held::Aside;
use super::rows::{Building, Rows, ViewTime};
use differential_dataflow::collection::{AsCollection, VecCollection};
use differential_dataflow::operators::iterate::Variable;
use distributary_runtime::key::Key;
use std::rc::Rc;
use timely::dataflow::Scope;
use timely::dataflow::operators::core::OkErr;
use timely::order::Product;

/// A rule that has not come to rest by then never will, or would hold up its epoch for longer than anybody waits for it.
const ROUNDS_MAX: u64 = 10_000;

/// The time of rows in an iteration.
pub type InRound<T> = Product<T, u64>;

/// The rounds of an iteration, into which rows from outside are brought.
pub struct Rounds<'r, T: ViewTime> {
    scope: Scope<'r, InRound<T>>,
    building: Building<'r, InRound<T>>,
}

impl<'v, D: Key, T: ViewTime> Rows<'v, D, T> {
    /// Applies `rule` to the rows, to what it makes of them, and so on until nothing changes: the fixed point. Rows come out of the rule as often
    /// as it gives them, so it mostly ends with [`Rows::distinct`] or a reduction.
    ///
    /// What changes later is worked out from there, and not from the beginning. If the rule has not come to rest after 10,000 rounds, what it still
    /// changes is set aside.
    pub fn iterate<F>(&self, rule: F) -> Self
    where
        F: for<'r> FnOnce(&Rounds<'r, T>, &Rows<'r, D, InRound<T>>) -> Rows<'r, D, InRound<T>>,
    {
        self.building.tell("iterate (");
        let outer = self.rows.scope();
        let (rows, aside) = outer.scoped("iterate", |scope| {
            let building = Building { told: self.building.told.clone(), aside: Rc::default(), keys: self.building.keys.clone() };
            let rounds = Rounds { scope, building: building.clone() };
            let (variable, rows) = Variable::new_from(self.rows.clone().enter(scope), Product::new(T::Summary::default(), 1));
            let rows = Rows { rows, building };
            let next = rule(&rounds, &rows);
            let next = rows.with(next.hashed().consolidate().map(|row| row.key));
            let (going_on, endless) = next.rows.inner.ok_err(|(row, time, diff)| match time.inner < ROUNDS_MAX {
                true => Ok((row, time, diff)),
                false => Err((row, time, diff)),
            });
            let (going_on, endless) = (going_on.as_collection(), endless.as_collection());
            variable.set(VecCollection::clone(&going_on));
            // Of a change that never ends what it takes back was never set aside.
            let endless = rows.with(endless).hashed().threshold_named("endless", |_, copies| (*copies).max(0));
            let cause = format!("the iteration has not come to rest after {ROUNDS_MAX} rounds");
            rows.building.aside.borrow_mut().push(endless.map(move |row| Aside { hash: row.hash, cause: cause.clone() }));
            let aside: Vec<_> = rows.building.aside.take().into_iter().map(|aside| aside.leave(outer)).collect();
            (going_on.leave(outer), aside)
        });
        self.building.tell(")");
        self.building.aside.borrow_mut().extend(aside);
        self.with(rows)
    }

    /// The rows inside an iteration: the same in all of its rounds.
    #[must_use]
    pub fn within<'r>(&self, rounds: &Rounds<'r, T>) -> Rows<'r, D, InRound<T>> {
        Rows { rows: self.rows.clone().enter(rounds.scope), building: rounds.building.clone() }
    }
}
