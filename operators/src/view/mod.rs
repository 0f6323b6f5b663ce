//! Differential dataflow behind one operator.

mod edge;
mod held;
mod iterate;
mod keyed;
mod rows;

pub use iterate::{InRound, Rounds};
pub use keyed::KeyedRows;
pub use rows::{Rows, ViewTime};

use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::plan::NodeId;
use distributary_runtime::plan::{Horizon, Retraction};
use distributary_runtime::time::{Epoch, EventTime};
use edge::Leaving;
use rows::Building;
use std::cell::RefCell;
use std::rc::Rc;

/// A view while it is built.
pub struct View<'s> {
    graph: Graph<'s>,
    name: String,
    building: Building<'s, Epoch>,
    inputs: RefCell<Vec<NodeId>>,
}

impl<'s> View<'s> {
    /// The rows of a collection, as they come and go. `name` names them within the view: `view.name` is their state.
    pub fn of<D: Key>(&self, name: &str, collection: &Collection<'s, D>) -> Rows<'s, D> {
        self.building.tell(format!("of {name}"));
        let (rows, node) = edge::enter(&self.graph, collection, &format!("{}.{name}", self.name));
        self.inputs.borrow_mut().push(node);
        Rows { rows, building: self.building.clone() }
    }
}

/// Gives what `build` makes of collections by rules of a database: [joins](KeyedRows::join) of any number of them, [the best of
/// each key](KeyedRows::top), what [follows from what follows](Rows::iterate). At the close of each epoch it gives what changed.
///
/// Differential dataflow works it out: a change costs about what it changes. A view keeps what came in, as its state under `name`, and in memory
/// once more by each key that something is brought together by; nothing expires. So it is for tables, and for streams that
/// something before it makes small. A row that was taken back leaves state and memory. Behind a restart the state goes in
/// again, and what comes of it is not said again.
///
/// A result has the event time that `time` reads off it; what it is derived from does not say. A row has no place among events if that is
/// [`EventTime::MIN`]: a window refuses it. Several copies of a row are one update.
///
/// All closures are pure. What one panics on is a dead letter, and that is taken back when the row goes. The order and the copy of a row
/// are those it derives: they must not panic.
///
/// ```
/// use distributary_operators::view;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// // Accounts that use the same device belong together, and so on.
/// let login = |account: u32, device: char, offset| update((account, device), offset, 0, 0);
/// let mut back = login(2, 'y', 2);
/// back.2 = -1;
/// let step = |updates| Step { updates, watermark: EventTime(0) };
/// let steps = vec![step(vec![login(1, 'x', 0), login(2, 'x', 1), login(2, 'y', 2), login(3, 'y', 3)]), step(vec![back])];
/// let seen = run(steps, |graph, logins| {
///     view(graph, "rings", |_| EventTime::MIN, |v| {
///         let uses = v.of("logins", &logins).distinct();
///         // Of each account the least account that it is known to belong to: at first, itself.
///         let alone = uses.map(|(account, _)| (*account, *account)).distinct();
///         alone.iterate(|rounds, ring| {
///             let uses = uses.within(rounds);
///             let devices = ring.key_by(|r| r.0).join(&uses.key_by(|u| u.0), |_, r, u| (u.1, r.1));
///             let rings = devices.key_by(|d| d.0).bottom(1).key_by(|d| d.0).join(&uses.key_by(|u| u.1), |_, d, u| (u.0, d.1));
///             rings.key_by(|r| r.0).bottom(1)
///         })
///     })
/// });
/// let mut said: Vec<_> = seen.results.iter().map(|(epoch, (ring, _, diff))| (epoch.0, *ring, *diff)).collect();
/// said.sort();
/// assert_eq!(said, [(1, (1, 1), 1), (1, (2, 1), 1), (1, (3, 1), 1), (2, (3, 1), -1), (2, (3, 3), 1)]);
/// ```
pub fn view<'s, D: Key>(
    graph: &Graph<'s>,
    name: &str,
    time: impl Fn(&D) -> EventTime + 'static,
    build: impl FnOnce(&View<'s>) -> Rows<'s, D>,
) -> Collection<'s, D> {
    let building = Building { told: Rc::default(), aside: Rc::default(), keys: Rc::default() };
    let view = View { graph: graph.clone(), name: name.to_string(), building, inputs: RefCell::default() };
    let rows = build(&view);
    let View { building, inputs, .. } = view;
    let rows = rows.hashed().map(Leaving::Row);
    let aside = building.aside.take().into_iter().map(|aside| aside.map(Leaving::Aside));
    let spec = Spec { kind: "view", detail: building.told.take().join(", "), ..building.keys.take() }
        .corrected(Retraction::Complete, Horizon::Always);
    edge::leave(graph, rows.concatenate(aside), inputs.into_inner(), spec, time)
}
