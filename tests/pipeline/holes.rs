//! Logs of Kafka have holes: control records, aborted transactions, what compaction took. An epoch binds what is to be seen
//! between two offsets, live and in a replay.

use crate::archive::{KEEPS, wait_until};
use crate::rig::{Rig, brokers, copies, ids, payment};
use distributary_connectors::lake::Archive;
use distributary_runtime::binding::Range;
use distributary_runtime::bus::Offset;
use distributary_runtime::journal::Fact;
use distributary_runtime::time::monotonic;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::ops::Range as Ids;

/// Payments in a transaction of the foreign producer; every other transaction is aborted.
const TRANSACTION: u64 = 10;

#[test]
fn an_epoch_binds_what_is_seen_between_holes_and_a_replay_sees_the_same() {
    let Some(brokers) = brokers() else { return };
    let mut rig = Rig::on_kafka().expect("there is a broker");
    (rig.settings.checkpoint_interval_ms, rig.settings.epoch_records_max) = (3_600_000, 7);
    let cluster = Cluster::of(&brokers);
    cluster.create_compacted("payments");
    let committed = cluster.publish(0..600);
    let began = monotonic();
    while rig.all("payments").len() == committed.len() {
        assert!(began.elapsed() < crate::rig::PATIENCE, "nothing is compacted");
        std::thread::yield_now();
    }
    cluster.stop_compaction("payments");
    let mut seen = ids(&rig.all("payments"));
    assert!(seen.len() < committed.len() && seen.iter().all(|id| committed.contains(id)), "{seen:?}");

    let (running, keeping) = (rig.start(copies), rig.start(KEEPS));
    rig.read("fraud.copies", seen.len());
    running.crash();
    let bound = ranges(&rig);
    assert_eq!(bound.iter().map(|range| range.records).sum::<u64>(), seen.len() as u64);
    assert!(bound.iter().any(|range| range.upto.0 - range.from.0 > range.records), "no range has a hole");

    seen.extend(cluster.publish(600..700));
    let running = rig.start(copies);
    rig.read("fraud.copies", seen.len());
    running.stop();
    assert_eq!(ids(&rig.all("fraud.copies")), seen, "each once");
    assert_eq!(ranges(&rig)[..bound.len()], bound);

    // An archive has all of it, and knows that a hole is no gap.
    let (store, lake) = distributary::run::open_lake(&rig.settings).unwrap();
    let topic = rig.calm.topic("payments").unwrap().unwrap();
    let archive = || Archive::open(&store, &lake, &topic).unwrap();
    let all = rig.all("payments");
    let upto = all.last().map(|record| record.offset.next()).unwrap();
    wait_until("all is archived", || archive().is_some_and(|archive| archive.held()[&0].1 == upto));
    keeping.stop();
    let archive = archive().unwrap();
    assert_eq!(archive.held()[&0], (Offset(0), upto));
    let mut reader = archive.read([(0, Offset(0))].into());
    let mut archived = Vec::new();
    while let Some(mut records) = reader.read().unwrap() {
        archived.extend(records.remove(&0).unwrap_or_default());
    }
    assert_eq!(archived, all);
}

/// What the bindings in the journal take of the input.
fn ranges(rig: &Rig) -> Vec<Range> {
    let ranges = rig.journal(copies).into_iter().filter_map(|fact| match fact {
        Fact::Binding(binding) => Some(binding.ranges),
        _ => None,
    });
    ranges.flatten().collect()
}

/// A cluster as other programs use it.
struct Cluster {
    config: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
}

impl Cluster {
    fn of(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let admin = config.create().unwrap();
        Self { config, admin }
    }

    /// A topic of one partition whose segments close and are compacted at once.
    fn create_compacted(&self, name: &str) {
        let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1))
            .set("cleanup.policy", "compact")
            .set("segment.ms", "100")
            .set("min.cleanable.dirty.ratio", "0.01")
            .set("delete.retention.ms", "0");
        let created = wait(self.admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|result| drop(result.unwrap()));
    }

    /// From here on what stands stays: a compaction between a crash and the replay would, rightly, stop the pipeline.
    fn stop_compaction(&self, name: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set("cleanup.policy", "delete").set("retention.ms", "-1");
        let changed = wait(self.admin.alter_configs([&change], &AdminOptions::new())).unwrap();
        changed.into_iter().for_each(|result| drop(result.unwrap()));
    }

    /// Publishes payments in transactions; returns the numbers of those that count.
    fn publish(&self, numbers: Ids<u64>) -> Vec<u64> {
        let patience = crate::rig::PATIENCE;
        let foreign: BaseProducer = self.config.clone().set("transactional.id", "foreign-payments").create().unwrap();
        foreign.init_transactions(patience).unwrap();
        let (mut counted, numbers): (Vec<u64>, Vec<u64>) = (Vec::new(), numbers.collect());
        for (n, transaction) in numbers.chunks(TRANSACTION as usize).enumerate() {
            foreign.begin_transaction().unwrap();
            for id in transaction {
                let new = payment(*id);
                let (key, value) = (new.key.unwrap(), new.value.unwrap());
                let record = BaseRecord::to("payments").partition(0).timestamp(new.timestamp.0);
                foreign.send(record.key(&key[..]).payload(&value[..])).unwrap();
            }
            // Without this the broker may not know of a transaction that is to be aborted.
            foreign.flush(patience).unwrap();
            if n % 2 == 0 {
                foreign.commit_transaction(patience).unwrap();
                counted.extend(transaction);
            } else {
                foreign.abort_transaction(patience).unwrap();
            }
        }
        counted
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
