//! Of repeated events the last one.

use crate::kept::{Entry, Look, Rule, Span, Standing, keeping};
use crate::key_by::{Keyed, key_by};
use crate::saying::Saying;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Stamp};

/// Gives the last record of each event id, with its own stamp: at the close of the epoch in which it comes. When a later one comes the
/// old one goes; when the last one is retracted, the one before it comes back.
///
/// Last is the greatest event time, and of equal ones the greatest origin. A record is late from its event time plus `horizon_ms` on, and
/// leaves by [`Outputs::late`]. An id is forgotten when its last record is as old: what comes then stands beside it. Of the records
/// that are over the last one is kept as long as the id is, for the others cannot come back. `name` names the state.
///
/// A record on which `id` panics is a dead letter.
///
/// ```
/// use distributary_operators::dedup_last;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let (first, last) = (update((7, 'a'), 0, 10, 0), update((7, 'b'), 1, 20, 0));
/// let step = |updates| Step { updates, watermark: EventTime(0) };
/// let steps = vec![step(vec![last]), step(vec![first]), step(vec![(last.0, last.1, -1)])];
/// let seen = run(steps, |graph, input| dedup_last(graph, &input, "events", 60_000, |(id, _)| *id).results);
/// let said: Vec<_> = seen.results.iter().map(|(epoch, ((_, letter), _, diff))| (epoch.0, *letter, *diff)).collect();
/// assert_eq!(said, [(1, 'b', 1), (3, 'a', 1), (3, 'b', -1)]);
/// ```
pub fn dedup_last<'s, D: Data, I: Key>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    name: &str,
    horizon_ms: i64,
    id: impl Fn(&D) -> I + 'static,
) -> Outputs<'s, Keyed<I, D>, D> {
    if horizon_ms < 1 {
        let what = format!("dedup `{name}`: a horizon of {horizon_ms} ms");
        graph.refuse(Error::refused(what, "give it a horizon of at least 1 ms"));
    }
    let spec = Spec::new("dedup_last", format!("horizon {horizon_ms} ms"));
    keeping(graph, &key_by(graph, input, id), spec, name, Last { horizon_ms: horizon_ms.max(1) })
}

struct Last {
    horizon_ms: i64,
}

impl<I: Key, D: Data> Rule<I, D> for Last {
    /// What its partition had claimed before it.
    type Mark = Watermark;
    type Base = ();
    type Out = D;

    fn look(&self, _: Option<&()>, _: &D, stamp: Stamp) -> Result<Look<Watermark>, String> {
        Ok(Look::Keep(stamp.seen))
    }

    fn late_from(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.horizon_ms)
    }

    fn kept_until(&self, time: EventTime) -> EventTime {
        time.plus_ms(self.horizon_ms)
    }

    fn say(&self, of: &Standing<'_, I, D, Self>, _: Span, saying: &mut Saying<D>) {
        if let Some((id, last, _)) = of.iter().next_back() {
            let stamp = Stamp { origin: id.origin, time: id.time, seen: last.mark };
            saying.add_seen(stamp, 1, Ok(last.value.clone()));
        }
    }

    fn forget(&self, _: &I, entry: &mut Entry<(), Watermark, D>, _: Watermark, over: Watermark) {
        let is_over = |time: EventTime| time.plus_ms(self.horizon_ms) <= over;
        let mut gone: Vec<_> =
            entry.records.iter().take_while(|(id, _)| is_over(id.time)).map(|(id, r)| (*id, r.now())).collect();
        if entry.records.iter().next_back().is_some_and(|(id, _)| !is_over(id.time))
            && let Some(last) = gone.iter().rposition(|(_, copies)| *copies > 0)
        {
            gone.remove(last);
        }
        gone.iter().for_each(|(id, _)| entry.records.remove(id));
    }

    fn is_nothing(&self, (): &()) -> bool {
        true
    }
}
