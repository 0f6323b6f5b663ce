//! Clients of librdkafka: what each kind is set to, and why.

use super::fault::unavailable;
use super::security::Security;
use distributary_runtime::bus::BusError;
use distributary_runtime::settings::Compression;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, ProducerContext};
use std::time::Duration;

/// Any question to the cluster is answered within this, or counts as unanswered.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// After how long librdkafka sends a request again. The commit of a transaction that took longer may have been sent twice.
pub(super) const RETRY_BACKOFF: Duration = Duration::from_millis(250);

/// The broker gives a transaction up that its writer has left open for so long: readers wait no longer than this for it.
pub(super) const TRANSACTION: Duration = Duration::from_secs(10);

/// An append that is not acknowledged within this is in doubt.
const APPEND: Duration = Duration::from_secs(30);

/// How long the first record of a request waits for others, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Linger(&'static str);

impl Linger {
    /// Of records that come by themselves.
    pub(super) const NONE: Self = Self("0");
    /// A request for the first record, while the second is handed over, costs the broker more than this costs anybody.
    pub(super) const SHORT: Self = Self("0.2");
}

/// The largest message: value, key and headers at their bounds, and their frame.
pub(super) const MESSAGE_BYTES_MAX: u64 = 4 << 20;

/// What a reader's client holds of records that nobody has taken yet: of all its partitions that are not paused together, and
/// of each that is paused. It fetches when there is less, so that one answer comes on top.
const QUEUE_BYTES: u64 = 2 << 20;

/// One answer of a broker: of one partition, and in all; as the log holds it, that is compressed. A batch that is larger comes
/// all the same.
const PARTITION_FETCH_BYTES: u64 = 1 << 20;
const FETCH_BYTES: u64 = 8 << 20;

/// Where the cluster is, and how topics are made in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of some of the brokers, separated by commas.
    pub brokers: String,
    /// Copies of each new topic; `None`: the cluster's own default.
    pub replication_factor: Option<u16>,
    /// So many copies must hold a write before it counts; `None`: the cluster's own default.
    pub min_insync_replicas: Option<u16>,
    /// How written records are compressed.
    pub compression: Compression,
    /// How the brokers are spoken to.
    pub security: Security,
}

impl KafkaSettings {
    /// A cluster at these brokers, its own defaults for new topics, and lz4.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            replication_factor: None,
            min_insync_replicas: None,
            compression: Compression::Lz4,
            security: Security::default(),
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "distributary")
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            // A broker that comes back is found within a second; the default waits up to ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Warning);
        self.security.configure(&mut config);
        config
    }

    /// A client that only asks; what it says of ends depends on `isolation`.
    pub(super) fn asker(&self, isolation: Isolation) -> Result<Asker, BusError> {
        make(self.client().set("isolation.level", isolation.name()), Voice)
    }

    /// A client that only connects.
    pub(super) fn greeter<C: ProducerContext>(&self, context: C) -> Result<BaseProducer<C>, BusError> {
        make(&self.client(), context)
    }

    pub(super) fn admin(&self) -> Result<AdminClient<Voice>, BusError> {
        make(&self.client(), Voice)
    }

    /// A client that reads. A fetch that finds nothing is answered after `patience`; until then the client sends no other
    /// one to that broker, also not for partitions it was just given.
    pub(super) fn consumer(&self, patience: Duration) -> Result<BaseConsumer<Voice>, BusError> {
        let mut config = self.client();
        config
            // librdkafka wants a name; no group is ever joined or written under it.
            .set("group.id", "distributary")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", Isolation::Committed.name())
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", patience.as_millis().to_string())
            // The default stops fetching for a second when the queue was full for a moment.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("queued.max.messages.kbytes", (QUEUE_BYTES >> 10).to_string())
            .set("fetch.message.max.bytes", PARTITION_FETCH_BYTES.to_string())
            .set("fetch.max.bytes", FETCH_BYTES.to_string());
        make(&config, Voice)
    }

    /// A client that publishes and reads the offsets of a group without ever being its member.
    pub(super) fn group(&self, group: &str) -> Result<Asker, BusError> {
        let mut config = self.client();
        make(config.set("group.id", group).set("enable.auto.commit", "false"), Voice)
    }

    /// Appends once and in order: retries of one client never repeat or overtake.
    pub(super) fn appender<C: ProducerContext>(&self, context: C, linger: Linger) -> Result<BaseProducer<C>, BusError> {
        let mut config = self.producer(linger);
        config.set("message.timeout.ms", APPEND.as_millis().to_string());
        make(&config, context)
    }

    /// A producer of transactions. It takes its transactional id from everybody else when they are initialised.
    pub(super) fn transactional(&self, id: &str) -> Result<BaseProducer<Voice>, BusError> {
        let mut config = self.producer(Linger::SHORT);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION.as_millis().to_string())
            .set("retry.backoff.ms", RETRY_BACKOFF.as_millis().to_string())
            // See `ffi::flush`.
            .set("delivery.report.only.error", "true");
        make(&config, Voice)
    }

    fn producer(&self, linger: Linger) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", linger.0)
            .set(
                "compression.type",
                match self.compression {
                    Compression::None => "none",
                    Compression::Lz4 => "lz4",
                    Compression::Zstd => "zstd",
                },
            )
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config
    }
}

/// Makes a client know a topic now; by itself it looks for those it does not know once a second.
pub(super) fn learn<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<(), KafkaError> {
    client.fetch_metadata(Some(topic), ANSWER).map(|_| ())
}

/// Whether transactions that are still open count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Isolation {
    /// The end is the last stable offset: where the oldest open transaction begins.
    Committed,
    /// The end is where the next record goes.
    Uncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// A client that only asks.
pub(super) type Asker = BaseConsumer<Voice>;

/// Sends what librdkafka says about itself (brokers, connections; never records) to our own log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Voice;

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, message, "kafka client");
            }
            _ => tracing::debug!(facility, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Voice {}

impl ProducerContext<NoCustomPartitioner> for Voice {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

fn make<C: ClientContext, T: FromClientConfigAndContext<C>>(config: &ClientConfig, context: C) -> Result<T, BusError> {
    T::from_config_and_context(config, context).map_err(|error| match error {
        KafkaError::ClientConfig(..) => BusError::Invalid(format!("kafka client: {error}")),
        error => unavailable("making a kafka client", error),
    })
}
