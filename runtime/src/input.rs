//! What an operator takes: one collection, or several side by side.

use crate::graph::{Collection, Graph, Spec, Timely};
use crate::plan::NodeId;
use crate::update::{Data, Update};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Concatenate};

/// The input of an operator. A collection is one by itself; an operator with more than one takes them tagged with the side they
/// are on, so that epochs, state and restart are the same for all operators, and it is still one node of the plan.
///
/// ```
/// use distributary_runtime::graph::Spec;
/// use distributary_runtime::input::Input;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let seen = run(vec![Step { updates: vec![update(7, 0, 0, 0)], watermark: EventTime(0) }], |graph, input| {
///     Input::both(&input, &input, Ok::<i32, i32>, Err).collect(graph, Spec::new("both", ""))
/// });
/// let both: Vec<_> = seen.results.iter().map(|(_, (side, stamp, _))| (*side, stamp.time.0)).collect();
/// assert!(both.contains(&(Ok(7), 0)) && both.contains(&(Err(7), 0)));
/// ```
pub struct Input<'s, D> {
    pub(crate) stream: Timely<'s, Update<D>>,
    pub(crate) nodes: Vec<NodeId>,
}

impl<'s, D: Data> From<&Collection<'s, D>> for Input<'s, D> {
    fn from(collection: &Collection<'s, D>) -> Self {
        Self { stream: collection.stream.clone(), nodes: vec![collection.node] }
    }
}

impl<'s, D: Data> Input<'s, D> {
    /// All updates of several collections of one type, with their stamps.
    #[must_use]
    pub fn all(graph: &Graph<'s>, collections: &[&Collection<'s, D>]) -> Self {
        let stream = graph.scope().concatenate(collections.iter().map(|collection| collection.stream.clone()));
        Self { stream, nodes: collections.iter().map(|collection| collection.node).collect() }
    }

    /// All updates of two collections, with their stamps, told apart by what `as_left` and `as_right` make of the records.
    #[must_use]
    pub fn both<L: Data, R: Data>(
        left: &Collection<'s, L>,
        right: &Collection<'s, R>,
        as_left: impl Fn(L) -> D + 'static,
        as_right: impl Fn(R) -> D + 'static,
    ) -> Self {
        let nodes = vec![left.node, right.node];
        let left = left.stream.clone().map(move |(data, stamp, diff)| (as_left(data), stamp, diff));
        let right = right.stream.clone().map(move |(data, stamp, diff)| (as_right(data), stamp, diff));
        Self { stream: left.concat(right), nodes }
    }

    /// The input as it is, as a node of the plan.
    #[must_use]
    pub fn collect(self, graph: &Graph<'s>, spec: Spec) -> Collection<'s, D> {
        Collection { node: graph.node(spec, &self.nodes), stream: self.stream }
    }
}
