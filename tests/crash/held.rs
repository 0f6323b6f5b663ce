//! A sink that is held back holds the pipeline back, and loses nothing when the process is killed meanwhile.

use crate::world::{PATIENCE, World, stop};
use distributary::payments::{Kind, PaymentOptions, Payments, Poison};
use distributary_runtime::bus::NewRecord;
use distributary_runtime::journal::{Entry, Fact};
use distributary_runtime::start::journal_topic;
use distributary_runtime::time::monotonic;
use harness::outside;
use harness::process::{Launch, Process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

const PIPELINE: &str = "chaos.held";
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(30);
/// So many checkpoints would have been due while the sink stands still.
const CHECKPOINTS_DUE: u32 = 30;

#[test]
fn a_sink_held_back_for_thirty_checkpoints_and_then_killed_loses_nothing() {
    let world = World::new();
    let payments = Payments::new(OPTIONS).unwrap();
    world.bus.produce(world.payments.id, payments.clone().map(NewRecord::from).collect()).unwrap();

    // Nobody reads the pipe: when it is full, the sink stands still.
    let mut held = launch(&world, "held").start(Stdio::piped()).unwrap();
    let mut pipe = held.stdout().unwrap();
    let journal = wait_until_still(&world, &mut held);
    let bound = journal.iter().rev().find_map(|e| if let Fact::Binding(b) = &e.fact { Some(b.epoch) } else { None });
    let saved = journal.iter().rev().find_map(|e| if let Fact::Checkpoint(c) = &e.fact { Some(c.epoch) } else { None });
    assert!(bound > saved, "what the sink has not written is not saved as written");
    held.kill().unwrap();
    let mut printed = Vec::new();
    pipe.read_to_end(&mut printed).unwrap();
    let whole = printed.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    printed.truncate(whole);

    let mut again = launch(&world, "again").start(Stdio::piped()).unwrap();
    let mut pipe = again.stdout().unwrap();
    let reader = std::thread::spawn(move || {
        let mut printed = Vec::new();
        pipe.read_to_end(&mut printed).map(|_| printed)
    });
    let until = monotonic() + PATIENCE;
    while !outside::has_read_all(&*world.bus, PIPELINE, world.payments.id).unwrap() {
        assert!(again.ended().unwrap().is_none() && monotonic() < until, "it does not catch up{}", again.said());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    stop(&mut again);
    printed.extend(reader.join().unwrap().unwrap());

    let usable = payments.filter(|p| matches!(p.kind, Kind::Good | Kind::Duplicate | Kind::Bad(Poison::Oversized)));
    let expected: BTreeSet<(String, String)> =
        usable.map(|p| identity(&serde_json::from_slice(&p.value.unwrap()).unwrap())).collect();
    let lines = printed.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let found: BTreeSet<(String, String)> =
        lines.map(|line| identity(&serde_json::from_slice::<Value>(line).unwrap()["value"])).collect();
    assert_eq!(found, expected, "every payment is printed");
    let mut users: BTreeMap<String, u64> = BTreeMap::new();
    expected.into_iter().for_each(|(user, _)| *users.entry(user).or_default() += 1);
    assert_eq!(counts(&world), users, "every payment is counted once");
}

const OPTIONS: PaymentOptions = PaymentOptions {
    count: 3_000,
    users: 20,
    seed: 8,
    start_ms: 1_790_000_000_000,
    rate_per_s: 1_000,
    out_of_order_ms: 500,
    duplicates_per_mille: 20,
    late_per_mille: 0,
    late_by_ms: 0,
    bad_per_mille: 10,
};

fn launch(world: &World, name: &str) -> Launch {
    let interval = CHECKPOINT_INTERVAL.as_millis();
    Launch { job: "held".into(), ..world.launch(name).set("checkpoint_interval_ms", interval) }
}

/// Waits until the journal has stood still for as long as the checkpoints would have taken; returns it.
fn wait_until_still(world: &World, process: &mut Process) -> Vec<Entry> {
    let began = monotonic();
    let (mut since, mut last) = (began, Vec::new());
    loop {
        let now = match world.bus.topic(&journal_topic(PIPELINE)).unwrap() {
            Some(topic) => world.bus.read_journal(topic.id, Default::default()).unwrap().entries,
            None => Vec::new(),
        };
        if now != last || now.is_empty() {
            (since, last) = (monotonic(), now);
        } else if since.elapsed() >= CHECKPOINT_INTERVAL * CHECKPOINTS_DUE {
            return last.iter().map(|(at, bytes)| Entry::decode(*at, bytes).unwrap()).collect();
        }
        assert!(process.ended().unwrap().is_none() && began.elapsed() < PATIENCE, "it is not held back{}", process.said());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// (user, payment)
fn identity(payment: &Value) -> (String, String) {
    let text = |name: &str| payment[name].as_str().unwrap().to_string();
    (text("user_id"), text("payment_id"))
}

/// Payments of each user, as the upsert topic has them.
fn counts(world: &World) -> BTreeMap<String, u64> {
    let topic = world.bus.topic("held.spend").unwrap().unwrap();
    let mut counts = BTreeMap::new();
    outside::read(&*world.bus, topic.id, &BTreeMap::new(), |_, record| {
        let result: Value = serde_json::from_slice(record.value.as_deref().unwrap())?;
        counts.insert(result["key"].as_str().unwrap().to_string(), result["value"].as_u64().unwrap());
        Ok(())
    })
    .unwrap();
    counts
}
