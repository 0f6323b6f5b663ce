//! Drops what stands a second time in a topic that a pipeline writes.

use crate::key_by::Keyed;
use crate::written::Written;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful, stateless};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::update::{Data, Update};
use std::marker::PhantomData;

/// A source partition, and a pipeline that writes to it.
type Sequence = ((u16, u32), String);

/// Gives each record that stands, in its source partition, behind all earlier ones of the same pipeline; the others repeat what
/// has come already. Records that no pipeline wrote pass.
///
/// A process that was paused, and has been replaced, may still send what it had: this is how its repeats are dropped. `name` names the
/// state, which is one place for each partition and pipeline. Records must come straight from a source.
///
/// ```
/// use distributary_operators::{Written, in_sequence};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let at = |epoch| Some(Written { pipeline: "fraud.spend".into(), place: (1, epoch, 0) });
/// let updates = vec![update((at(7), 'a'), 0, 0, 0), update((at(8), 'b'), 1, 0, 0), update((at(7), 'a'), 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| in_sequence(graph, &input, "places"));
/// let letters: Vec<char> = seen.results.iter().map(|(_, (letter, _, _))| *letter).collect();
/// assert_eq!(letters, ['a', 'b']);
/// ```
pub fn in_sequence<'s, D: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, (Option<Written>, D)>,
    name: &str,
) -> Collection<'s, D> {
    let by_partition = stateless(graph, input, Spec::new("by_partition", ""), |((written, data), stamp, diff), emit| {
        let partition = stamp.origin.position().map_or((0, 0), |(source, partition, _)| (source, partition));
        let pipeline = written.as_ref().map(|w: &Written| w.pipeline.clone()).unwrap_or_default();
        emit.give((Keyed::new((partition, pipeline), (written, data)), stamp, diff));
    });
    let spec = Spec::new("in_sequence", "").with_state::<Sequence, Written>(name);
    stateful(graph, &by_partition, spec, Keyed::group, InSequence { last: KeyedState::new(), of: PhantomData }).results
}

struct InSequence<D> {
    last: KeyedState<Sequence, Written>,
    of: PhantomData<D>,
}

impl<D: Data> Logic<Keyed<Sequence, (Option<Written>, D)>> for InSequence<D> {
    type Out = D;
    const ORDER: Order = Order::Canonical;

    fn apply(
        &mut self,
        (keyed, stamp, diff): Update<Keyed<Sequence, (Option<Written>, D)>>,
        emit: &mut Emit<Keyed<Sequence, (Option<Written>, D)>, D>,
    ) {
        let Keyed { hash, key, value: (written, data) } = keyed;
        if let Some(written) = written {
            if self.last.get(hash, &key).is_some_and(|last| !written.is_behind(last)) {
                return;
            }
            self.last.update(hash, &key, |last| *last = Some(written));
        }
        emit.give((data, stamp, diff));
    }

    fn close(&mut self, _at: &Closing<'_>, _emit: &mut Emit<Keyed<Sequence, (Option<Written>, D)>, D>) {}

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.last
    }
}
