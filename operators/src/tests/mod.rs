//! Goal: whatever comes and goes, what an operator has said after each epoch is what a recomputation over all records
//! so far says. Method: random histories of a few keys with several copies of a record, retractions (also before their record, within an
//! epoch), poison and late records; each oracle recomputes from scratch. [`restart`] stops every operator somewhere, and lets it go on, on
//! one worker and on several.
//!
//! What fails shows `PROPTEST_RNG_SEED=..`: with that in the environment the same is drawn again.

mod as_of_join;
mod dedup;
mod dedup_last;
mod derived;
mod in_order;
mod interval_join;
mod join;
mod joined;
mod kept;
mod keys;
mod look_up;
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
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// A key and a value; closures panic on [`POISON`].
type Record = (u8, i64);

const POISON: i64 = 13;

fn value((_, value): &Record) -> i64 {
    assert_ne!(*value, POISON, "poison");
    *value
}

/// A configuration with a seed that is told: where a test fails, hangs or dies, what it wrote shows how to draw the same.
pub(crate) fn seeded() -> ProptestConfig {
    let config = ProptestConfig::default();
    let seed = match config.rng_seed {
        RngSeed::Random => RandomState::new().hash_one(0),
        RngSeed::Fixed(seed) => seed,
    };
    eprintln!("PROPTEST_RNG_SEED={seed}");
    ProptestConfig { rng_seed: RngSeed::Fixed(seed), ..config }
}

/// What one epoch of a history is made of: records with their times, what was seen and copies, which of those that stand come once more,
/// and which go, how far the watermark moves, and whether all comes backwards.
type Acts = (Vec<(Record, i64, i64, Diff)>, Vec<Index>, Vec<Index>, i64, bool);

/// Epochs of records with times up to a little beyond the watermark, which grows. A record has seen at least what the
/// epoch before had claimed, as in a pipeline; a retraction carries the stamp of its record, and so does one more copy of it.
fn history() -> impl Strategy<Value = Vec<Step<Record>>> {
    let value = prop_oneof![4 => -3_i64..4, 1 => Just(POISON)];
    let record = ((0_u8..3, value), -20_i64..15, 0_i64..8, prop_oneof![9 => Just(1), 1 => Just(2)]);
    let some = |most| prop::collection::vec(any::<Index>(), 0..most);
    let epoch = (prop::collection::vec(record, 0..6), some(2), some(4), 0_i64..12, any::<bool>());
    prop::collection::vec(epoch, 1..10).prop_map(|epochs| {
        let (mut offset, mut before, mut live) = (0, 0, Vec::new());
        let step = |(records, again, retracted, step, reverse): Acts| {
            let mut updates = Vec::new();
            for (record, time, ahead, copies) in records {
                let (record, stamp, one) = update(record, offset, before + time, before + ahead);
                updates.push((record, stamp, copies));
                live.extend((0..copies).map(|_| (record, stamp, one)));
                offset += 1;
            }
            for index in again {
                if !live.is_empty() {
                    let copy = live[index.index(live.len())];
                    updates.push(copy);
                    live.push(copy);
                }
            }
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
        };
        epochs.into_iter().map(step).collect()
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

/// The seed that is told is all that a run needs to be drawn again.
#[test]
fn a_seed_draws_the_same_again() {
    let drawn = |config: ProptestConfig| {
        let mut runner = TestRunner::new(config);
        (0..20).map(|_| format!("{:?}", history().new_tree(&mut runner).unwrap().current())).collect::<Vec<_>>()
    };
    let config = seeded();
    assert_eq!(drawn(config.clone()), drawn(config.clone()));
    assert_ne!(drawn(config), drawn(ProptestConfig { rng_seed: RngSeed::Fixed(7), ..seeded() }));
}
