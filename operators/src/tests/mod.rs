//! Goal: whatever comes and goes, what an operator has said after each epoch is what a recomputation over all records
//! so far says. Method: random histories of a few keys with retractions (also before their record, within an epoch),
//! poison and late records; each oracle recomputes from scratch.

mod as_of_join;
mod dedup;
mod dedup_last;
mod derived;
mod in_order;
mod interval_join;
mod join;
mod joined;
mod kept;
mod look_up;
mod keys;
mod process;
mod restart;
mod running;
mod sequence;
mod session;
mod stateless;
mod view;
mod window;
mod window_join;
mod with_broadcast;

use distributary_runtime::testing::{Observed, Step, update};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::{Data, Diff, Update};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// A key and a value; closures panic on [`POISON`].
type Record = (u8, i64);

const POISON: i64 = 13;

fn value((_, value): &Record) -> i64 {
    assert_ne!(*value, POISON, "poison");
    *value
}

/// Epochs of records with times up to a little beyond the watermark, which grows. A record has seen at least what the
/// epoch before had claimed, as in a pipeline; a retraction carries the stamp of its record.
fn history() -> impl Strategy<Value = Vec<Step<Record>>> {
    let value = prop_oneof![4 => -3_i64..4, 1 => Just(POISON)];
    let record = ((0_u8..3, value), -20_i64..15, 0_i64..8);
    let epoch = (prop::collection::vec(record, 0..6), prop::collection::vec(any::<Index>(), 0..4), 0_i64..12, any::<bool>());
    prop::collection::vec(epoch, 1..10).prop_map(|epochs| {
        let (mut offset, mut before, mut live) = (0, 0, Vec::new());
        epochs
            .into_iter()
            .map(|(records, retracted, step, reverse)| {
                let mut updates = Vec::new();
                for (record, time, ahead) in records {
                    updates.push(update(record, offset, before + time, before + ahead));
                    offset += 1;
                }
                live.extend(updates.iter().cloned());
                for index in retracted {
                    if !live.is_empty() {
                        let (record, stamp, _) = live.swap_remove(index.index(live.len()));
                        updates.push((record, stamp, -1));
                    }
                }
                if reverse {
                    updates.reverse();
                }
                before += step;
                Step { updates, watermark: EventTime(before) }
            })
            .collect()
    })
}

/// The results of one epoch, in order.
fn results_of<Out: Data>(observed: &Observed<Out>, epoch: Epoch) -> Vec<Update<Out>> {
    observed.results.iter().filter(|(e, _)| *e == epoch).map(|(_, update)| update.clone()).collect()
}

/// Epochs, what came in them, the watermark before each and at its close.
fn epochs<D>(steps: &[Step<D>]) -> impl Iterator<Item = (Epoch, &[Update<D>], EventTime, EventTime)> {
    let before = std::iter::once(EventTime::MIN).chain(steps.iter().map(|s| s.watermark));
    (1..).map(Epoch).zip(steps).zip(before).map(|((e, s), before)| (e, s.updates.as_slice(), before, s.watermark))
}

/// A collection: what has come more often than it has gone.
#[derive(Clone, Debug, PartialEq)]
struct Multiset<T: Ord>(BTreeMap<T, Diff>);

impl<T: Ord> Default for Multiset<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Multiset<T> {
    fn add(&mut self, value: T, diff: Diff) {
        *self.0.entry(value).or_default() += diff;
        self.0.retain(|_, copies| *copies != 0);
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|(value, copies)| std::iter::repeat_n(value, usize::try_from(*copies).unwrap()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
