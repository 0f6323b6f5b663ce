//! Goal: Kafka behaves as every bus must, and what is its own (transactions, ids, keys of Java clients) holds. Method: the
//! conformance suite against a real broker, then scenarios. They run when `DISTRIBUTARY_TEST_KAFKA` names one (`./dev test`
//! starts it, `./dev kafka start` another), and say so when they do not.

use distributary_connectors::conformance;
use distributary_connectors::kafka::{KafkaBus, KafkaSettings};
use distributary_runtime::bus::{Bus, BusError, Consumer, LaneCommit, Marker, NewRecord, Offset, Token, TopicId, TopicSpec};
use distributary_runtime::key::java_partition;
use distributary_runtime::settings::Compression;
use distributary_runtime::time::{Clock, Epoch, SystemClock, WallTime, monotonic};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The broker of this run, if there is one.
fn brokers() -> Option<String> {
    let brokers = std::env::var("DISTRIBUTARY_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: DISTRIBUTARY_TEST_KAFKA names no broker (`./dev kafka start`)");
    }
    brokers
}

fn connect(brokers: &str) -> KafkaBus {
    KafkaBus::connect(KafkaSettings::new(brokers), Arc::new(SystemClock)).unwrap()
}

/// What names begin with: a broker may have seen earlier runs.
fn prefix(of: &str) -> String {
    format!("{of}-{}-{}", SystemClock.now().0, std::process::id())
}

#[test]
fn a_broker_conforms() {
    let Some(brokers) = brokers() else { return };
    let report = conformance::run(&|| Arc::new(connect(&brokers)) as Arc<dyn Bus>, &prefix("suite"));
    assert_eq!(report.missing, ["conditional_append", "upkeep_on_call"], "what Kafka lacks");
    println!("{} of {} cases shown; lacking: {:?}", report.shown.len(), conformance::cases().len(), report.missing);
}

fn topic(bus: &KafkaBus, name: &str, partitions: u32) -> TopicId {
    bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(name, partitions) }).unwrap();
    bus.topic(name).unwrap().unwrap().id
}

fn record(value: &str) -> NewRecord {
    NewRecord { partition: Some(0), timestamp: WallTime(1), key: None, value: Some(value.to_string().into()), headers: vec![] }
}

/// Polls until `enough` says so of the values and the position so far.
fn read(consumer: &mut dyn Consumer, enough: impl Fn(&[String], Offset) -> bool) -> (Vec<String>, Offset) {
    let (start, mut values, mut position) = (monotonic(), Vec::new(), Offset(0));
    while !enough(&values, position) {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing more behind {values:?}, {position}");
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            values.extend(batch.records.iter().map(|r| String::from_utf8(r.value.clone().unwrap().to_vec()).unwrap()));
            position = batch.position;
        }
    }
    (values, position)
}

#[test]
fn copies_that_the_cluster_cannot_make_are_refused() {
    let Some(brokers) = brokers() else { return };
    let create = |replication_factor, of| {
        let settings = KafkaSettings { replication_factor, min_insync_replicas: Some(1), ..KafkaSettings::new(&brokers) };
        let bus = KafkaBus::connect(settings, Arc::new(SystemClock)).unwrap();
        bus.create_topic(&TopicSpec::new(prefix(of), 1))
    };
    assert!(create(Some(1), "one-copy").unwrap());
    let refused = create(Some(99), "copies");
    assert!(matches!(refused, Err(BusError::Invalid(_))), "{refused:?}");
}

#[test]
fn every_compression_is_written_and_read() {
    let Some(brokers) = brokers() else { return };
    let name = prefix("compression");
    let value = "the same again and again, ".repeat(1_000);
    for (n, compression) in [Compression::None, Compression::Lz4, Compression::Zstd].into_iter().enumerate() {
        let settings = KafkaSettings { compression, ..KafkaSettings::new(&brokers) };
        let bus = KafkaBus::connect(settings, Arc::new(SystemClock)).unwrap();
        let id = topic(&bus, &name, 1);
        assert_eq!(bus.produce(id, vec![record(&value)]).unwrap(), [(0, Offset(n as u64))]);
    }
    let bus = connect(&brokers);
    let mut consumer = bus.consumer(topic(&bus, &name, 1), &[(0, Offset(0))]).unwrap();
    assert_eq!(read(&mut *consumer, |values, _| values.len() == 3).0, [value.clone(), value.clone(), value]);
}

/// Control records take offsets; a reader's position passes them, so that it can be known to be drained.
#[test]
fn a_position_passes_what_no_reader_sees() {
    let Some(brokers) = brokers() else { return };
    let (bus, name) = (connect(&brokers), prefix("holes"));
    let id = topic(&bus, &name, 1);
    bus.fence_lane(&name, Token(1)).unwrap();
    let mut previous = None;
    for epoch in 1..=3 {
        let marker = Marker { generation: 1, epoch: Epoch(epoch) };
        let records = vec![(id, record(&epoch.to_string()))];
        bus.commit_lane(&LaneCommit { lane: name.clone(), token: Token(1), previous, marker, records }).unwrap();
        previous = Some(marker);
    }
    let (end, began) = (Offset(6), monotonic());
    // The broker answers a commit before its control records stand.
    while bus.offsets(id).unwrap()[0].end != end {
        assert!(began.elapsed() < Duration::from_secs(30), "a record and a control record for each commit");
    }
    let mut consumer = bus.consumer(id, &[(0, Offset(0))]).unwrap();
    let (values, position) = read(&mut *consumer, |_, position| position == end);
    assert_eq!((values, position), (vec!["1".into(), "2".into(), "3".into()], end));
    assert_eq!(bus.group("nobody", id).unwrap(), []);
}

/// Somebody else's transaction is open: what stands behind it cannot be read yet, and the partition is not drained.
#[test]
fn a_partition_that_an_open_transaction_blocks_is_not_drained() {
    let Some(brokers) = brokers() else { return };
    let (bus, name) = (connect(&brokers), prefix("blocked"));
    let id = topic(&bus, &name, 1);
    bus.produce(id, vec![record("before")]).unwrap();
    let foreign: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("transactional.id", &name).create().unwrap();
    let patience = Duration::from_secs(30);
    foreign.init_transactions(patience).unwrap();
    foreign.begin_transaction().unwrap();
    foreign.send(BaseRecord::<(), str>::to(&name).partition(0).payload("open")).unwrap();
    foreign.flush(patience).unwrap();
    bus.produce(id, vec![record("behind")]).unwrap();

    assert_eq!(bus.offsets(id).unwrap()[0].end, Offset(1), "the last stable offset");
    let mut consumer = bus.consumer(id, &[(0, Offset(0))]).unwrap();
    let (start, mut reports) = (monotonic(), 0);
    while reports < 3 {
        assert!(start.elapsed() < patience, "a blocked partition says so again and again");
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            assert!(batch.position <= Offset(1) && batch.end > batch.position, "{batch:?}");
            reports += usize::from(batch.records.is_empty());
        }
    }
    foreign.commit_transaction(patience).unwrap();
    let end = Offset(4);
    let (values, position) = read(&mut *consumer, |_, position| position == end);
    assert_eq!((values, position), (vec!["open".into(), "behind".into()], end), "and a control record");
}

/// A paused partition keeps what was fetched of it: nothing is lost, repeated or out of order, and the others go on.
#[test]
fn a_pause_keeps_what_was_fetched() {
    let Some(brokers) = brokers() else { return };
    const COUNT: u64 = 3_000;
    let (bus, name) = (connect(&brokers), prefix("pauses"));
    let id = topic(&bus, &name, 2);
    for partition in 0..2 {
        let value = |n: u64| format!("{n:04}{}", "x".repeat(2_000));
        let records = (0..COUNT).map(|n| NewRecord { partition: Some(partition), ..record(&value(n)) });
        bus.produce(id, records.collect()).unwrap();
    }
    let mut consumer = bus.consumer(id, &[(0, Offset(0)), (1, Offset(0))]).unwrap();
    let (start, mut next, mut turn) = (monotonic(), [0, 0], 0);
    while next != [COUNT, COUNT] {
        assert!(start.elapsed() < Duration::from_secs(60), "it stands at {next:?}");
        // One of them, the other, both, none; but none as soon as one is done.
        let paused: &[u32] = [&[0][..], &[1], &[0, 1], &[]][if next.contains(&COUNT) { 3 } else { turn % 4 }];
        turn += 1;
        consumer.pause(paused);
        for batch in consumer.poll(Duration::from_millis(20)).unwrap() {
            assert!(batch.records.is_empty() || !paused.contains(&batch.partition), "{paused:?}");
            let next = &mut next[batch.partition as usize];
            for record in batch.records {
                assert_eq!(record.offset, Offset(*next));
                *next += 1;
            }
        }
    }
    // A position that is moved begins there, whatever was held.
    consumer.pause(&[0]);
    consumer.assign(0, Offset(COUNT - 2)).unwrap();
    consumer.pause(&[]);
    let mut again = Vec::new();
    while again.len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "a moved partition is mute");
        consumer.pause(&[]);
        let batches = consumer.poll(Duration::from_millis(20)).unwrap();
        again.extend(batches.into_iter().filter(|b| b.partition == 0).flat_map(|b| b.records).map(|r| r.offset));
    }
    assert_eq!(again, [Offset(COUNT - 2), Offset(COUNT - 1)]);
}

/// A lane's producer that was shut out is replaced by another, as long as the lane is ours.
#[test]
fn a_lane_goes_on_after_another_handle_of_its_owner() {
    let Some(brokers) = brokers() else { return };
    let (one, two, name) = (connect(&brokers), connect(&brokers), prefix("lane"));
    let id = topic(&one, &name, 1);
    let [first, second, third] = [1, 2, 3].map(|epoch| Marker { generation: 1, epoch: Epoch(epoch) });
    let commit = |previous, marker: Marker| LaneCommit {
        lane: name.clone(),
        token: Token(7),
        previous,
        marker,
        records: vec![(id, record(&marker.epoch.to_string()))],
    };
    one.fence_lane(&name, Token(7)).unwrap();
    one.commit_lane(&commit(None, first)).unwrap();
    two.commit_lane(&commit(Some(first), second)).unwrap();
    one.commit_lane(&commit(Some(first), second)).expect("it stands already, and is not written again");
    let stale = one.commit_lane(&commit(Some(first), third));
    assert!(matches!(stale, Err(BusError::Fenced { .. })), "{stale:?}");
    assert_eq!(one.fence_lane(&name, Token(7)).unwrap(), Some(second));
    let mut consumer = one.consumer(id, &[(0, Offset(0))]).unwrap();
    let end = one.offsets(id).unwrap()[0].end;
    assert_eq!(read(&mut *consumer, |_, position| position == end).0, ["1", "2"], "each once");
}

/// What Kafka's own commands need, if this broker was started here.
fn java(class: &str, brokers: &str) -> Option<Command> {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/jars");
    if !jars.join("pom.xml").exists() {
        println!("skipped: {} holds no jars (`./dev kafka start`)", jars.display());
        return None;
    }
    let log4j = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/log4j2.properties");
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*")).arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
    command.args(["-Xmx256m", class, "--bootstrap-server", brokers]);
    Some(command)
}

#[test]
fn keys_of_a_java_producer_lie_where_ours_do() {
    let Some(brokers) = brokers() else { return };
    let Some(mut command) = java("org.apache.kafka.tools.ConsoleProducer", &brokers) else { return };
    const PARTITIONS: u32 = 7;
    let (bus, name) = (connect(&brokers), prefix("java"));
    let id = topic(&bus, &name, PARTITIONS);
    command.args(["--topic", &name, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let keys: Vec<String> = (0..500).map(|n| format!("u{}-{}", n * 7_919, "\u{fc}".repeat(n % 5))).collect();
    let mut stdin = child.stdin.take().unwrap();
    keys.iter().for_each(|key| writeln!(stdin, "{key}:v").unwrap());
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let offsets = bus.offsets(id).unwrap();
    let positions: Vec<_> = offsets.iter().map(|o| (o.partition, Offset(0))).collect();
    let mut consumer = bus.consumer(id, &positions).unwrap();
    let (start, mut seen) = (monotonic(), 0);
    while seen < keys.len() {
        assert!(start.elapsed() < Duration::from_secs(30), "{seen} records came");
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            for record in &batch.records {
                let key = record.key.as_ref().unwrap();
                assert_eq!(batch.partition, java_partition(key, PARTITIONS), "{key:?}");
            }
            seen += batch.records.len();
        }
    }
}

#[test]
fn kafkas_own_command_shows_our_lag() {
    let Some(brokers) = brokers() else { return };
    let Some(mut command) = java("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &brokers) else { return };
    let (bus, name) = (connect(&brokers), prefix("lag"));
    let id = topic(&bus, &name, 1);
    bus.produce(id, (0..9).map(|n| record(&n.to_string())).collect()).unwrap();
    bus.commit_group(&name, id, &[(0, Offset(4))]).unwrap();
    let output = command.args(["--describe", "--group", &name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row.first() == Some(&name.as_str()));
    // Group, topic, partition, current offset, log end offset, lag.
    assert_eq!(row.expect(&text)[..6], [&name, &name, "0", "4", "9", "5"], "{text}");
}
