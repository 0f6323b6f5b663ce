//! The Kafka that is measured on: fresh topics for each point, and what all clients of the load tool and the bare loops share.

use distributary::run::open_bus;
use distributary_runtime::bus::TopicSpec;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::monotonic;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Of both topics.
pub(crate) const PARTITIONS: i32 = 4;

/// How long a question to the broker may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Deletes what an earlier point left, and makes `in` and `out` as they must be there.
pub(crate) fn fresh_topics(brokers: &str) -> Result<()> {
    let bus = open_bus(&Settings { bus: Some(format!("kafka://{brokers}")), ..Settings::default() })?;
    let ours = |name: &str| ["in", "out"].contains(&name) || name.starts_with("bench.");
    for topic in bus.topics()?.into_iter().filter(|topic| ours(&topic.spec.name)) {
        bus.delete_topic(&topic.spec.name)?;
    }
    for name in ["in", "out"] {
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(name, PARTITIONS as u32) })?;
    }
    Ok(())
}

/// What every client is set to.
pub(crate) fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("socket.nagle.disable", "true").set_log_level(RDKafkaLogLevel::Error);
    config
}

/// What every producer is set to: idempotent, acknowledged by all, keys to partitions as Java's default does.
pub(crate) fn producer(brokers: &str) -> ClientConfig {
    let mut config = client(brokers);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        // Only failures are told, so there is nothing to poll for in a run that goes well.
        .set("delivery.report.only.error", "true");
    config
}

/// What every consumer is set to; none joins its group.
pub(crate) fn consumer(brokers: &str, group: &str) -> ClientConfig {
    let mut config = client(brokers);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// Reads all partitions of a topic from the beginning.
pub(crate) fn read_all(config: &ClientConfig, topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// Waits until then.
pub(crate) fn wait(until: Instant) {
    while let Some(left) = until.checked_duration_since(monotonic()).filter(|left| !left.is_zero()) {
        park_timeout(left);
    }
}
