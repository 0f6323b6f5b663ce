//! The edge between our collections and those of differential dataflow, for the operator `view`.
//!
//! Differential keeps its arrangements in memory only. What is saved is what went in: behind a restart a view gets it again,
//! as of [`RESTORED`], and what the view says of that epoch was said before the restart. So it is cut off where it leaves.

use crate::graph::{Collection, Graph};
use crate::input::Input;
use crate::plan::NodeId;
use crate::time::{Epoch, EventTime};
use crate::update::{Data, Diff, Origin, Stamp};
use differential_dataflow::collection::{AsCollection, VecCollection};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};

/// Rows as differential keeps them, by our epoch.
pub type Rows<'s, D> = VecCollection<'s, Epoch, D, Diff>;

/// The epoch of what a restart brings back: before all that are minted.
pub const RESTORED: Epoch = Epoch(0);

/// So many records an arrangement at rest merges each time it is looked at, until nothing is left to merge. A retracted row leaves
/// memory when its batches are merged; about a millisecond at a time keeps the answers of others in their milliseconds.
const IDLE_MERGE_EFFORT: isize = 1 << 16;

/// How workers are set that run views.
#[must_use]
pub fn worker_config() -> timely::WorkerConfig {
    let mut config = timely::WorkerConfig::default();
    let options = differential_dataflow::Config::default().idle_merge_effort(Some(IDLE_MERGE_EFFORT));
    differential_dataflow::configure(&mut config, &options);
    config
}

/// Gives differential the changes of a collection, and what `restored` has when the dataflow begins to run.
pub fn enter<'s, D: Data>(
    graph: &Graph<'s>,
    rows: &Collection<'s, D>,
    restored: impl FnOnce() -> Vec<(D, Diff)> + 'static,
) -> Rows<'s, D> {
    let live = rows.stream.clone().unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "enter", |_, _| {
        move |input, output| {
            input.for_each(|time, updates| {
                let epoch = *time.time();
                output.session(&time).give_iterator(updates.drain(..).map(|(row, _, diff)| (row, epoch, diff)));
            });
        }
    });
    let before = source(graph.scope(), "restored", |capability, _| {
        let mut once = Some((capability, restored));
        move |output: &mut OutputBuilderSession<'_, Epoch, CapacityContainerBuilder<Vec<_>>>| {
            if let Some((capability, restored)) = once.take() {
                output.session(&capability).give_iterator(restored().into_iter().map(|(row, copies)| (row, RESTORED, copies)));
            }
        }
    });
    live.concat(before).as_collection()
}

/// Takes changes back from differential, each in its own epoch, and none of what was said before the start. Their stamps say nothing.
#[must_use]
pub fn leave<'s, D: Data>(graph: &Graph<'s>, rows: Rows<'s, D>, inputs: Vec<NodeId>) -> Input<'s, D> {
    let start = graph.shared().worker.start();
    let stamp = Stamp { origin: Origin::group(0, 0, 0), time: EventTime::MIN, seen: EventTime::MIN };
    let stream = rows.inner.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "leave", |_, _| {
        move |input, output| {
            input.for_each(|time, changes| {
                // A message may hold changes of later epochs than its own.
                let mut of_epoch = BTreeMap::<Epoch, Vec<_>>::new();
                for (row, epoch, diff) in changes.drain(..).filter(|(_, epoch, _)| *epoch >= start) {
                    of_epoch.entry(epoch).or_default().push((row, stamp, diff));
                }
                for (epoch, mut updates) in of_epoch {
                    output.session(&time.delayed(&epoch, 0)).give_container(&mut updates);
                }
            });
        }
    });
    Input { stream, nodes: inputs }
}
