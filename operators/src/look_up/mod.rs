//! Records, each with the answer to a question that is its key.

mod asked;

use crate::joining::corrections;
use crate::key_by::Keyed;
use crate::side::Side;
use crate::with_broadcast::TakenBack;
use asked::{Asked, Entry, Heard};
use distributary_runtime::asking::Questions;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::input::Input;
use distributary_runtime::key::Key;
use distributary_runtime::operator::{Outputs, stateful, stateless};
use distributary_runtime::plan::Retraction;
use distributary_runtime::source::Answered;
use distributary_runtime::update::Data;

/// What a look-up is known by, and how long it remembers.
#[derive(Clone, Copy, Debug)]
pub struct LookUp<'a> {
    /// Names the state.
    pub name: &'a str,
    /// So many milliseconds, on the bindings' clock, an answer serves whoever asks the same.
    pub fresh_for_ms: i64,
    /// How long what was said of a record that no source brought can be taken back. Of a record of a source it is the correction horizon.
    pub taken_back: TakenBack,
}

/// Gives `f(record, answer)` for each record of `input`, whose key is a question, at the close of the epoch that brings the answer; with the
/// record's own stamp. `asked` are the answers, and where it is said which questions wait: see
/// [`answers`](distributary_runtime::source::answers).
///
/// A question is asked once for all records that wait for it. Its answer is for those that have come by then, its own epoch included; who
/// comes later asks anew, unless the answer is still fresh. An answer that nobody waits for is dropped.
///
/// A retraction of a record that waits ends its waiting. One of a record that has been said gives what that gave, with the same answer: it is
/// remembered until the watermark has passed the record's time by the [correction horizon](Graph::correct_for) (of results of operators: longer,
/// as `taken_back` says). What is taken back later is refused as late. When the last record of a question goes, so does its answer.
///
/// A record without an answer (its service has failed) and one on which `f` panics are dead letters.
///
/// ```
/// use distributary_operators::{LookUp, TakenBack, filter_map, key_by, look_up};
/// use distributary_runtime::asking::Questions;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let (asks, says) = (("10.0.0.1".to_string(), None), ("10.0.0.1".to_string(), Some("AT".to_string())));
/// let step = |updates| Step { updates, watermark: EventTime(0) };
/// let steps = vec![step(vec![update(asks, 0, 0, 0)]), step(vec![]), step(vec![update(says, 1, 0, 0)])];
/// let seen = run(steps, |graph, input| {
///     let logins = filter_map(graph, &input, |(ip, country)| country.is_none().then_some(ip));
///     let answers = filter_map(graph, &input, |(ip, country)| Some((ip, Ok(country?))));
///     let look = LookUp { name: "country", fresh_for_ms: 0, taken_back: TakenBack::Within(0) };
///     let logins = key_by(graph, &logins, |ip| ip.clone());
///     look_up(graph, &logins, (answers, Questions::to_nobody()), look, |ip, country: &String| format!("{ip} in {country}")).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (said, ..))| (epoch.0, said.as_str())).collect();
/// assert_eq!(said, [(3, "10.0.0.1 in AT")]);
/// ```
pub fn look_up<'s, Q: Key, V: Data, A: Data, O: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<Q, V>>,
    (answers, questions): (Collection<'s, Answered<Q, A>>, Questions<Q>),
    look: LookUp<'_>,
    f: impl Fn(&V, &A) -> O + 'static,
) -> Outputs<'s, Keyed<Q, V>, O> {
    let LookUp { name, fresh_for_ms, taken_back } = look;
    let answers = stateless(graph, &answers, Spec::new("by_question", ""), |((question, answer), stamp, diff), emit| {
        emit.give((Keyed::new(question, answer), stamp, diff));
    });
    let input = Input::both(input, &answers, Side::Left, Side::Right);
    let fresh = if fresh_for_ms > 0 { format!("answers fresh for {fresh_for_ms} ms, ") } else { String::new() };
    let detail = format!("{fresh}{}{}", taken_back.describe(), corrections(graph));
    let spec = Spec::new("look_up", detail).with_state::<Q, Entry<V, A>>(name);
    let spec = spec.corrected(Retraction::Complete, graph.horizon());
    let route = |heard: &Heard<Q, V, A>| match heard {
        Side::Left(record) => record.group(),
        Side::Right(answer) => answer.group(),
    };
    let logic = Asked::new((taken_back, graph.correction_horizon_ms(), fresh_for_ms), questions, f);
    let Outputs { results, late } = stateful(graph, input, spec, route, logic);
    let late = stateless(graph, &late, Spec::new("refused", ""), |(side, stamp, diff), emit| {
        if let Side::Left(record) = side {
            emit.give((record, stamp, diff));
        }
    });
    Outputs { results, late }
}
