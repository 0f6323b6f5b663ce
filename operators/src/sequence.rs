//! Records of a key that follow each other.

use crate::kept::{Entry, Look, Marked, Rule, Span, Standing, keeping};
use crate::key_by::Keyed;
use crate::pattern::{BEGIN, Pattern};
use crate::saying::Saying;
use crate::side::Id;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Origin, Stamp};
use serde::{Deserialize, Serialize};

/// A sequence that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Match<K, V> {
    /// The key.
    pub key: K,
    /// The records of its steps, in order: the evidence.
    pub records: Vec<V>,
}

/// Gives, for every record of a key that begins the pattern, the one sequence that it begins, if there is one: of each further step
/// the *first* record behind the one before that is it, unless one comes first that must not.
///
/// Behind is the order of event time, and of origins within a millisecond. A record may belong to several sequences, but is one step of
/// each. There are as many copies of a sequence as of the record that begins it. `name` names the state.
///
/// A sequence is given at the close of the epoch whose watermark reaches the time of its last record (of one that ends with `without`: the
/// end of its time), and has that event time. When a record comes or goes within the lateness after that, the old sequence goes
/// and the new one comes. A record, or its retraction, is late from its event time plus the lateness on, and leaves by [`Outputs::late`].
/// State is the records that some closure of the pattern knows, until their time plus the pattern's plus the lateness.
///
/// # Why no sequence is missed, or stands for ever
/// What a record at `t` begins depends on the records from `t` to `t + within` alone. All of them are kept until the bound (the watermark
/// minus the lateness) passes `t + within` at least. From then on the first one is forgotten, and none of the others can come or go.
///
/// A record on which a closure panics is a dead letter.
///
/// ```
/// use distributary_operators::{begin, key_by, sequence};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// // A login, and a withdrawal within a minute without a code between them.
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let steps = vec![
///     step(vec![update('l', 0, 10, 0), update('w', 1, 30, 0), update('l', 2, 40, 0), update('w', 3, 60, 0)], 60),
///     step(vec![update('c', 4, 50, 0)], 61), // the code was there
/// ];
/// let seen = run(steps, |graph, input| {
///     let is = |what: char| move |event: &char| *event == what;
///     let taken_over = begin(is('l')).without(is('c')).then(is('w')).within(60_000).lateness(20);
///     sequence(graph, &key_by(graph, &input, |_| ()), "taken over", taken_over).results
/// });
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (_, stamp, diff))| (epoch.0, stamp.time.0, *diff)).collect();
/// assert_eq!(said, [(1, 30, 1), (1, 60, 1), (2, 60, -1)]);
/// ```
pub fn sequence<'s, K: Key, V: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    pattern: Pattern<V>,
) -> Outputs<'s, Keyed<K, V>, Match<K, V>> {
    let spec = Spec::new("sequence", pattern.describe());
    keeping(graph, input, spec, name, Sequence(pattern.checked(graph, name)))
}

struct Sequence<V>(Pattern<V>);

impl<V> Sequence<V> {
    fn ends(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.0.within_ms)
    }
}

impl<K: Key, V: Data> Rule<K, V> for Sequence<V> {
    /// The closures that know it.
    type Mark = u32;
    type Base = ();
    type Out = Match<K, V>;

    fn look(&self, _: Option<&()>, record: &V, _: Stamp) -> Result<Look<u32>, String> {
        Ok(match self.0.bits(record)? {
            0 => Look::Ignore,
            bits => Look::Keep(bits),
        })
    }

    fn late_from(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.0.lateness_ms)
    }

    fn kept_until(&self, time: EventTime) -> EventTime {
        self.ends(time).plus_ms(self.0.lateness_ms)
    }

    fn say(&self, of: &Standing<'_, K, V, Self>, span: Span, saying: &mut Saying<Match<K, V>>) {
        let behind = i128::from(of.watermark.0) + 1;
        let open = behind - i128::from(self.0.within_ms);
        of.between(behind, i128::MAX).take(1).for_each(|(id, ..)| saying.due_at(id.time));
        of.between(open, i128::MAX).take(1).for_each(|(id, ..)| saying.due_at(self.ends(id.time)));
        let from = i128::from(span.first.0) - i128::from(self.0.within_ms);
        let begins = of.between(from, span.last.0.into()).filter(|(_, record, _)| record.mark & BEGIN != 0);
        for (first, record, copies) in begins {
            if let Some((time, steps)) = self.found(of, (first, record)) {
                let origins: Vec<Origin> = steps.iter().map(|(id, _)| id.origin).collect();
                let found =
                    Match { key: of.key.clone(), records: steps.into_iter().map(|(_, step)| step.value.clone()).collect() };
                saying.add(time, saying.origin_of(&origins, time.0), copies, Ok(found));
            }
        }
    }

    fn forget(&self, _: &K, entry: &mut Entry<(), u32, V>, _: Watermark, over: Watermark) {
        let kept_until = |time: EventTime| self.ends(time).plus_ms(self.0.lateness_ms);
        let gone = entry.records.iter().map(|(id, _)| *id).take_while(|id| kept_until(id.time) <= over);
        gone.collect::<Vec<_>>().iter().for_each(|id| entry.records.remove(id));
    }

    fn is_nothing(&self, (): &()) -> bool {
        true
    }
}

type Step<'a, V> = (&'a Id, &'a Marked<u32, V>);

impl<V: Data> Sequence<V> {
    /// The sequence that a record begins, and when it is complete, as far as the watermark has come.
    fn found<'a, K: Key>(&self, of: &Standing<'a, K, V, Self>, first: Step<'a, V>) -> Option<(EventTime, Vec<Step<'a, V>>)> {
        let ends = self.ends(first.0.time);
        let last = ends.min(of.watermark);
        let (mut links, mut steps) = (self.0.links.iter().peekable(), vec![first]);
        for (id, record, _) in of.between(first.0.time.0.into(), last.0.into()).skip_while(|(id, ..)| *id <= first.0) {
            let Some(link) = links.peek() else { break };
            if record.mark & link.then != 0 {
                steps.push((id, record));
                links.next();
            } else if record.mark & link.without != 0 {
                return None;
            }
        }
        match links.next() {
            None => steps.last().map(|(id, _)| id.time).map(|time| (time, steps)),
            // Only the last one is without a next step.
            Some(link) if link.then == 0 && ends <= of.watermark => Some((ends, steps)),
            Some(_) => None,
        }
    }
}
