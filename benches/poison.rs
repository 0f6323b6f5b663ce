//! What poison costs: a million payments through deduplication and a running aggregate on the embedded bus, with one
//! percent poison of nine kinds (panics and errors in closures among them) and without any. Every result is checked.
//!
//! `./dev bench poison` or `./dev bench poison EVENTS`. Aim: at most 10 % less throughput. It takes the best of three.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may fail by a panic")]

#[path = "../tests/pipeline/poisoned_stream.rs"]
mod poisoned_stream;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/pipeline/rig.rs"]
mod rig;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/pipeline/unruly_bus.rs"]
mod unruly_bus;

use distributary::payments::PaymentOptions;
use std::time::Duration;

const ROUNDS: usize = 3;

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let with = PaymentOptions { count, ..PaymentOptions::default() };
    let without = PaymentOptions { bad_per_mille: 0, ..with };
    let mut best = [Duration::MAX; 2];
    for round in 1..=ROUNDS {
        for (best, options) in best.iter_mut().zip([without, with]) {
            let (took, letters) = measure(options);
            *best = took.min(*best);
            println!("round {round}: {count} events, {letters} dead letters: {}", rate(count, took));
        }
    }
    let [without, with] = best;
    let loss = 100.0 * (1.0 - without.as_secs_f64() / with.as_secs_f64());
    println!("without poison {}, with {}: loss {loss:.1} % (aim: at most 10 %)", rate(count, without), rate(count, with));
}

fn measure(options: PaymentOptions) -> (Duration, usize) {
    let mut rig = rig::Rig::new();
    // As in production: the short intervals of the rig are for tests.
    rig.settings = distributary_runtime::settings::Settings { data_dir: rig.settings.data_dir.clone(), ..Default::default() };
    let truth = poisoned_stream::publish(&rig, options);
    (poisoned_stream::run(&rig, &truth, 0), truth.letters())
}

fn rate(count: u64, took: Duration) -> String {
    format!("{:.0} events/s", count as f64 / took.as_secs_f64())
}
