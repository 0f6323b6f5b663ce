//! Somebody else's transaction stays open: the job says which, since when and what to do, waits, and goes on.

use crate::world::{EVENTS, PARTS, PATIENCE, World, brokers, input, stop, wait_until};
use distributary_runtime::bus::{NewRecord, Offset};
use distributary_runtime::journal::Fact;
use distributary_runtime::key::java_partition;
use distributary_runtime::plan::TopicLane;
use distributary_runtime::time::Watermark;
use harness::ledger::{PAYMENTS, PIPELINE};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

#[test]
fn a_partition_that_a_foreign_transaction_blocks_is_named_and_waited_for() {
    let Some(brokers) = brokers() else { return };
    let world = World::on_kafka(&brokers, TopicLane::Transactional);
    world.produce(0);
    let launch = world.launch("blocked").set("idle_after_ms", 50).set("metrics_listen", "127.0.0.1:0");
    let mut process = launch.start(Stdio::null()).unwrap();
    world.catch_up(&mut process);
    wait_until("`why` says that all is well", || world.why().starts_with("chaos.ledger: nothing does"));

    let begins = world.bus.offsets(world.payments.id).unwrap()[0].end;
    let foreign = open_transaction(&brokers);
    let held = world.bus.offsets(world.payments.id).unwrap()[0].end;
    assert_eq!(held, begins, "the last stable offset");
    let says = format!("an open transaction blocks {PAYMENTS}[0] at offset {begins} since 20");
    let mut said = String::new();
    wait_until("`why` names the partition", || {
        said = world.why();
        said.contains(&says)
    });
    let remedy = format!("--bootstrap-server {brokers} describe-producers --topic {PAYMENTS} --partition 0");
    assert!(said.contains(&remedy), "{said}");
    let [blocked, free] = [0, 1].map(|partition| metric(&world, "partition_blocked_seconds", partition));
    assert!(blocked > 1.0 && free == 0.0, "blocked for {blocked} s and {free} s");

    // The other partition goes on, and yet event time does not: blocked is not idle.
    world.produce(1);
    wait_until("the other partition is read", || has_read(&world, 1));
    let before = input().take((EVENTS / PARTS) as usize).map(|payment| payment.timestamp.0).max().unwrap();
    assert!(watermark(&world).0 < before, "{} has passed {before}", watermark(&world));

    // Before anything is idle: of two idle partitions, the first that gets something new may leave the other behind. The control
    // record of the commit is then the last of its partition, and yet nothing is left to be read.
    world.produce(2);
    foreign.commit_transaction(PATIENCE).unwrap();
    world.catch_up(&mut process);
    wait_until("`why` says that it goes on", || world.why().starts_with("chaos.ledger: nothing does"));
    assert!(watermark(&world).0 > before, "{} has not passed {before}", watermark(&world));
    wait_until("no partition lags by its metric", || (0..2).all(|partition| metric(&world, "lag_records", partition) == 0.0));
    let lags: serde_json::Value = serde_json::from_str(&world.told(&["lag", "ledger", "--json"])).unwrap();
    assert!(lags.as_array().unwrap().iter().all(|lag| lag["records"] == 0), "{lags:#}");
    assert_ne!(lags[0]["bound"], lags[0]["end"], "a control record is the last: {lags:#}");
    stop(&mut process);
    world.assert_exact("a foreign transaction");
}

/// A transaction of another program with one payment in partition 0.
fn open_transaction(brokers: &str) -> BaseProducer {
    let payment =
        input().map(NewRecord::from).find(|r| r.value.is_some() && java_partition(r.key.as_ref().unwrap(), 2) == 0).unwrap();
    let mut config = ClientConfig::new();
    let id = format!("foreign-{}", std::process::id());
    let foreign: BaseProducer = config.set("bootstrap.servers", brokers).set("transactional.id", id).create().unwrap();
    foreign.init_transactions(PATIENCE).unwrap();
    foreign.begin_transaction().unwrap();
    let (key, value) = (payment.key.unwrap(), payment.value.unwrap());
    let record = BaseRecord::to(PAYMENTS).partition(0).timestamp(payment.timestamp.0).key(&key[..]).payload(&value[..]);
    foreign.send(record).unwrap();
    foreign.flush(PATIENCE).unwrap();
    foreign
}

/// Whether a checkpoint says so of everything that may be read of a partition.
fn has_read(world: &World, partition: u32) -> bool {
    let read = world.bus.group(PIPELINE, world.payments.id).unwrap();
    let end: Offset = world.bus.offsets(world.payments.id).unwrap()[partition as usize].end;
    read.contains(&(partition, end))
}

/// The watermark of the newest epoch.
fn watermark(world: &World) -> Watermark {
    let mut watermarks = world.journal().into_iter().filter_map(|(_, entry)| match entry.fact {
        Fact::Binding(binding) => Some(binding.watermark),
        _ => None,
    });
    watermarks.next_back().unwrap()
}

/// A number that the running process tells about a partition.
fn metric(world: &World, name: &str, partition: u32) -> f64 {
    let name = format!("distributary_{name}{{pipeline=\"{PIPELINE}\",source=\"{PAYMENTS}\",partition=\"{partition}\"}} ");
    let told = std::fs::read(world.dir.path().join(format!("run/{PIPELINE}.json"))).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let mut stream = TcpStream::connect(told["metrics"].as_str().unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}
