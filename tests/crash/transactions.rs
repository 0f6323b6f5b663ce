//! A process dies with a transaction open. Readers of its topics stand in front of it until the next start ends it: that is
//! seconds, though Kafka itself would wait for the whole time-out of the transaction and its check for it.

use crate::world::{PATIENCE, World, brokers, stop};
use distributary_runtime::bus::{Offset, TopicId};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::time::monotonic;
use harness::ledger::{OUTPUTS, PIPELINE};
use harness::process::was_killed;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::process::Stdio;
use std::time::Duration;

/// From the start of the next process on.
const OPEN_MAX: Duration = Duration::from_secs(10);

#[test]
fn no_transaction_of_a_killed_process_stays_open_for_ten_seconds_after_a_restart() {
    let Some(brokers) = brokers() else { return };
    let mut found_open = 0;
    for lane in [TopicLane::Transactional, TopicLane::Tail] {
        for point in ["lane_prepare.after:3", "lane_commit.before:3", "lane_commit.after:3"] {
            let world = World::on_kafka(&brokers, lane);
            world.produce(0);
            let mut process = world.launch("killed").failpoint(format!("{point}:crash")).start(Stdio::null()).unwrap();
            let status = process.end_within(PATIENCE).unwrap();
            assert!(was_killed(status), "{point}: {status}{}", process.said());
            let ends = ends(&world, &brokers);
            found_open += u32::from(!can_be_read(&world, &ends));

            // Nothing new to do: the start alone ends it.
            let began = monotonic();
            let mut next = world.launch("next").start(Stdio::null()).unwrap();
            while !can_be_read(&world, &ends) {
                assert!(began.elapsed() < OPEN_MAX, "{point}: still open after {OPEN_MAX:?}{}", next.said());
                std::thread::park_timeout(Duration::from_millis(20));
            }
            println!("{lane:?} {point}: all can be read {} ms after the start", began.elapsed().as_millis());
            world.catch_up(&mut next);
            stop(&mut next);
        }
    }
    assert!(found_open > 0, "no transaction was open: this shows nothing");
}

/// Where each partition of the outputs and of the markers ends, with what is in open transactions.
fn ends(world: &World, brokers: &str) -> Vec<(TopicId, u32, Offset)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("isolation.level", "read_uncommitted");
    let client: BaseConsumer = config.create().unwrap();
    let mut ends = Vec::new();
    let markers = format!("{PIPELINE}.topics.markers");
    for name in OUTPUTS.into_iter().chain([markers.as_str()]) {
        let topic = world.bus.topic(name).unwrap().unwrap();
        for partition in 0..topic.spec.partitions {
            let (_, end) = client.fetch_watermarks(name, partition as i32, PATIENCE).unwrap();
            ends.push((topic.id, partition, Offset(end as u64)));
        }
    }
    ends
}

/// Whether somebody who reads what is committed gets so far everywhere: the last stable offset.
fn can_be_read(world: &World, ends: &[(TopicId, u32, Offset)]) -> bool {
    ends.iter().all(|(topic, partition, end)| {
        let stable = world.bus.offsets(*topic).unwrap();
        stable.iter().any(|at| at.partition == *partition && at.end >= *end)
    })
}
