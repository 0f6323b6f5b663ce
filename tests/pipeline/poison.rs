//! One percent poison among the payments: exactly that becomes dead letters, and all the rest counts.
//!
//! `DISTRIBUTARY_POISON_EVENTS=1000000` runs it in full; `./dev bench poison` does so in release, and compares the
//! throughput with that of a stream without poison.

use crate::poisoned_stream::{PARTITIONS, publish, run};
use crate::rig::Rig;
use distributary::payments::PaymentOptions;

/// Enough that every kind of poison comes often and checkpoints fall in between.
const EVENTS: u64 = 60_000;

fn options(seed: u64) -> PaymentOptions {
    let count = std::env::var("DISTRIBUTARY_POISON_EVENTS").map_or(EVENTS, |n| n.parse().expect("a number of events"));
    PaymentOptions { count, seed, users: 5_000, ..PaymentOptions::default() }
}

#[test]
fn exactly_the_poison_becomes_dead_letters_whatever_crashes() {
    let options = options(7);
    for (workers, crashes) in [(1, 0), (2, 4)] {
        let mut rig = Rig::new();
        rig.settings.workers = workers;
        rig.settings.epoch_records_max = 1_000; // many epochs, so that a crash falls into the middle of something
        let truth = publish(&rig, options);
        assert_eq!(truth.letters() as u64, options.count / 100 + u64::from(PARTITIONS));
        let took = run(&rig, &truth, crashes);
        println!("{} events with {crashes} crashes, {workers} workers: {took:.1?} (seed {})", options.count, options.seed);
    }
}
