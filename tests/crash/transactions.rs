//! A process dies with a transaction open. Readers of its topics stand in front of it until the next start ends it: that is
//! seconds, though Kafka itself would wait for the whole time-out of the transaction and its check for it.

use crate::world::{PATIENCE, World, brokers, input, stop, wait_until};
use distributary_runtime::bus::{NewRecord, Offset, TopicId};
use distributary_runtime::failpoint::Step;
use distributary_runtime::plan::TopicLane;
use distributary_runtime::time::monotonic;
use harness::ledger::{OUTPUTS, PIPELINE};
use harness::process::{Process, Signal, was_killed};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::process::Stdio;
use std::time::Duration;

/// From the start of the next process on.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// How long the step that is aimed at may take to come; the kill comes in any case.
const MOMENT_MAX: Duration = Duration::from_secs(1);

const KILLS: usize = 4;

/// Of each partition.
type Ends = Vec<(TopicId, u32, Offset)>;

#[test]
fn no_transaction_of_a_killed_process_stays_open_for_ten_seconds_after_a_restart() {
    let Some(brokers) = brokers() else { return };
    let world = World::on_kafka(&brokers, TopicLane::Transactional);
    let input: Vec<NewRecord> = input().map(NewRecord::from).collect();
    let (mut before, mut found_open) = (world.owner(), 0);
    let mut process = world.launch("first").start(Stdio::null()).unwrap();
    for (round, part) in input.chunks(input.len().div_ceil(KILLS)).enumerate() {
        wait_until("the process is live", || world.owner() != before && !process.phase().recovering);
        let open_until = until_open(&world, &brokers, &mut process, part);
        assert!(was_killed(process.kill().unwrap()), "{}", process.said());
        found_open += u32::from(open_until.is_some());
        let ends = open_until.unwrap_or_else(|| ends(&world, &brokers));

        // Nothing new to do: the start alone ends it.
        before = world.owner();
        let began = monotonic();
        process = world.launch(&round.to_string()).start(Stdio::null()).unwrap();
        while !can_be_read(&world, &ends) {
            assert!(began.elapsed() < OPEN_MAX, "still open after {OPEN_MAX:?}{}", process.said());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        println!("kill {round}: readers get on after {} ms", began.elapsed().as_millis());
    }
    assert!(found_open > 0, "no transaction was open: this shows nothing");
    world.catch_up(&mut process);
    stop(&mut process);
    world.assert_exact("kills within transactions");
}

/// Publishes payment by payment and pauses the process in its commits, until a transaction is open: where everything then ends.
fn until_open(world: &World, brokers: &str, process: &mut Process, part: &[NewRecord]) -> Option<Ends> {
    part.iter().find_map(|record| {
        world.bus.produce(world.payments.id, vec![record.clone()]).unwrap();
        process.wait_until(MOMENT_MAX, |p| p.phase().step == Some(Step::LaneCommit)).unwrap();
        process.signal(Signal::Pause);
        assert!(process.wait_until(PATIENCE, Process::is_paused).unwrap(), "{}", process.said());
        let ends = ends(world, brokers);
        if !can_be_read(world, &ends) {
            return Some(ends);
        }
        process.signal(Signal::Continue);
        None
    })
}

/// Where each partition of the outputs and of the markers ends, with what is in open transactions.
fn ends(world: &World, brokers: &str) -> Ends {
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
fn can_be_read(world: &World, ends: &Ends) -> bool {
    ends.iter().all(|(topic, partition, end)| {
        let stable = world.bus.offsets(*topic).unwrap();
        stable.iter().any(|at| at.partition == *partition && at.end >= *end)
    })
}
