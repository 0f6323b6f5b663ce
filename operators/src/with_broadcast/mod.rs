//! Records of a stream, each under the rules that hold when it comes.

mod home;
mod ruled;
mod rules;

pub use ruled::TakenBack;
pub use rules::Rules;

use crate::joining::corrections;
use crate::key_by::Keyed;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::input::Input;
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::operator::{Outputs, stateful, stateless};
use distributary_runtime::plan::Retraction;
use distributary_runtime::update::{Data, Origin};
use ruled::{Heard, Ruled};

/// Gives `f(record, rules)` for each record, with the record's own stamp, at the close of its epoch. `rules` is a small collection: every
/// worker has all of it, as a sorted map. The row of a key is the newest of its records that stand (by event time, then origin), so it
/// may be the rows of a table, or events of which each replaces the one before. `name` names the states.
///
/// **Which rules.** Those that have come by the epoch in which the record was read from its source, those of this epoch included. A record
/// is said once: rules that come later do not revise it. So thresholds are changed while a job runs, and each change holds
/// from an epoch on, for all workers, in every replay.
///
/// **Taking back.** A retraction gives exactly what its record gave, whatever the rules are by then. That costs no state for each record:
/// the bindings say which offsets an epoch reads, so of every version of the rules the first offset of each partition is
/// remembered, and a record's origin alone tells its version. A version is forgotten when the watermark has passed all records that came
/// before it was replaced, by the [correction horizon](Graph::correct_for); an update whose version is forgotten is refused as late, by
/// [`Outputs::late`].
///
/// A result of another operator has no place in a source, and a table takes back its rows at any time: what these gave is
/// remembered with the result, as `taken_back` says. They come under the rules of the epoch in which they come.
///
/// A record on which `f` panics is a dead letter. The records of a key's rules are kept as long as they stand.
///
/// # Why all workers agree
/// One worker has the rules in its state, once in a checkpoint. It tells all workers what an epoch changes, within that epoch, and
/// records wait for its close. Behind a restart it tells them all it remembers, in the first epoch. What they make of it, each for
/// itself, depends on the changes and the bindings alone.
///
/// ```
/// use distributary_operators::{TakenBack, filter, key_by, with_broadcast};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let event = |kind, cents, offset| update((kind, cents), offset, 0, 0);
/// let step = |updates| Step { updates, watermark: EventTime(-1) };
/// let paid = event('p', 70, 1);
/// let back = (paid.0, paid.1, -1);
/// let steps = vec![step(vec![event('r', 50, 0), paid]), step(vec![event('r', 90, 2), event('p', 70, 3)]), step(vec![back])];
/// let seen = run(steps, |graph, input| {
///     let of = |kind| filter(graph, &input, move |(k, _): &(char, i64)| *k == kind);
///     let limits = key_by(graph, &of('r'), |_| ());
///     with_broadcast(graph, &of('p'), &limits, "limits", TakenBack::Within(0), |(_, cents), limits| {
///         limits.get(&()).is_some_and(|(_, limit)| cents > limit)
///     })
///     .results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (is_over, _, diff))| (epoch.0, *is_over, *diff)).collect();
/// assert_eq!(said, [(1, true, 1), (2, false, 1), (3, true, -1)]);
/// ```
pub fn with_broadcast<'s, D: Data, R: Key, T: Data, O: Data>(
    graph: &Graph<'s>,
    stream: &Collection<'s, D>,
    rules: &Collection<'s, Keyed<R, T>>,
    name: &str,
    taken_back: TakenBack,
    f: impl Fn(&D, &Rules<'_, R, T>) -> O + 'static,
) -> Outputs<'s, D, O> {
    let words = home::home(graph, rules, name);
    let by_origin = stateless(graph, stream, Spec::new("by_origin", ""), |(value, stamp, diff), emit| {
        let (key, hash) = (stamp.origin, stable_hash(&stamp.origin));
        emit.give((Keyed { hash, key, value }, stamp, diff));
    });
    let input = Input::both(&by_origin, &words, Heard::Record, |(to, word)| Heard::Word(to, word));
    let detail = format!("{}{}", taken_back.describe(), corrections(graph));
    let spec = Spec::new("with_broadcast", detail).with_state::<Origin, ruled::Met<O>>(name);
    let spec = spec.corrected(Retraction::Complete, graph.horizon());
    let logic = Ruled::new(taken_back, graph.correction_horizon_ms(), f);
    let Outputs { results, late } = stateful(graph, input, spec, Heard::group, logic);
    let late = stateless(graph, &late, Spec::new("refused", ""), |(heard, stamp, diff), emit| {
        if let Heard::Record(keyed) = heard {
            emit.give((keyed.value, stamp, diff));
        }
    });
    Outputs { results, late }
}
