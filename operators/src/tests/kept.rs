//! Goal: what an operator that keeps records by event time has said after each epoch is what all records give that it has taken so far.
//! Method: random histories with retractions, poison, late records and a correction horizon; the models look at all that was ever taken
//! and know nothing of state: they would show any record that was forgotten too early.

use super::{Multiset, Record, epochs, results_of};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::testing::{Observed, Step, bytes_kept, run};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A record that was taken, with its stamp.
pub(super) type Stamped = (Stamp, Record);

/// What stands: results with their event times.
pub(super) type Standing<O> = Multiset<(O, EventTime)>;

/// What an operator has taken: copies of records, by event time and origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(BTreeMap<(EventTime, Stamp, Record), Diff>);

impl Taken {
    pub(super) fn take(&mut self, (record, stamp, diff): Update<Record>) {
        *self.0.entry((stamp.time, stamp, record)).or_default() += diff;
    }

    /// Those of a key that stand, in order.
    pub(super) fn of(&self, key: u8) -> Vec<(Stamped, Diff)> {
        let standing = self.0.iter().filter(|((.., record), copies)| record.0 == key && **copies > 0);
        standing.map(|((_, stamp, record), copies)| ((*stamp, *record), *copies)).collect()
    }
}

/// Whether an update is refused.
pub(super) fn is_late(stamp: Stamp, before: EventTime, lateness: i64, horizon: i64) -> bool {
    stamp.seen.0 >= stamp.time.0 + lateness || before.0 >= stamp.time.0 + lateness + horizon
}

/// Adds what came out in an epoch to what stands: results with their event times. None comes and goes at once.
pub(super) fn hear<O: Data + Ord + std::fmt::Debug>(
    said: &mut Standing<O>,
    observed: &Observed<O>,
    epoch: Epoch,
) -> Result<(), TestCaseError> {
    let results = results_of(observed, epoch);
    let mut once: Vec<_> = results.iter().map(|(out, stamp, _)| (out, *stamp)).collect();
    once.sort();
    once.dedup();
    prop_assert_eq!(results.len(), once.len(), "something comes and goes in epoch {}", epoch);
    results.into_iter().for_each(|(out, stamp, diff)| said.add((out, stamp.time), diff));
    Ok(())
}

/// Checks an operator on keyed records against what `expected` says of all that was taken, at a watermark.
pub(super) fn check<O: Data + Ord + std::fmt::Debug>(
    steps: &[Step<Record>],
    (lateness, horizon): (i64, i64),
    build: impl for<'s> Fn(&Graph<'s>, Collection<'s, Record>) -> (Collection<'s, O>, Collection<'s, Record>)
    + Clone
    + Send
    + Sync
    + 'static,
    looks: impl Fn(&Record) -> bool,
    expected: impl Fn(&Taken, EventTime) -> Standing<O>,
) -> Result<(), TestCaseError> {
    let results = build.clone();
    let observed = run(steps.to_vec(), move |graph, input| {
        graph.correct_for(horizon);
        results(graph, input).0
    });
    let end = steps.last().map_or(0, |step| step.watermark.0);
    let late = build.clone();
    let late = run(steps.to_vec(), move |graph, input| {
        graph.correct_for(horizon);
        late(graph, input).1
    });
    let (mut taken, mut said) = (Taken::default(), Multiset::default());
    for (epoch, updates, before, watermark) in epochs(steps) {
        let mut refused = Vec::new();
        for update in updates {
            if is_late(update.1, before, lateness, horizon) {
                refused.push(*update);
            } else if looks(&update.0) {
                taken.take(*update);
            }
        }
        prop_assert_eq!(sorted(refused), sorted(results_of(&late, epoch)), "late in epoch {}", epoch);
        hear(&mut said, &observed, epoch)?;
        prop_assert_eq!(&said, &expected(&taken, watermark), "after epoch {}", epoch);
    }
    let mut steps = steps.to_vec();
    steps.push(Step { updates: Vec::new(), watermark: EventTime(end + 1_000) });
    let kept = bytes_kept(steps, move |graph, input| {
        graph.correct_for(horizon);
        build(graph, input).0
    });
    prop_assert_eq!(kept, 0);
    Ok(())
}

pub(super) fn sorted(mut updates: Vec<Update<Record>>) -> Vec<Update<Record>> {
    updates.sort_by_key(|(record, stamp, diff)| (*stamp, *diff, *record));
    updates
}
