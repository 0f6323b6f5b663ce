//! What a pipeline tells about itself, as Prometheus text. Nothing is global: a pipeline owns its [`Metrics`].
//!
//! Nothing here is touched for a single record: workers count in plain integers and add once a batch or an epoch. Take
//! the handles of a partition, sink or lane once, when it is opened; they are cheap to clone and to update.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The metrics of one pipeline. A clone shows and changes the same numbers.
///
/// ```
/// use distributary_runtime::metrics::Metrics;
/// let metrics = Metrics::new("fraud.spend");
/// let partition = metrics.partition("payments", 3);
/// partition.records_in.inc_by(250);
/// partition.lag_records.set(12);
/// let line = "distributary_records_in_total{pipeline=\"fraud.spend\",source=\"payments\",partition=\"3\"} 250";
/// assert!(metrics.encode_text().contains(line));
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    records_in: Family<PartitionLabels, Counter>,
    lag_records: Family<PartitionLabels, Gauge>,
    blocked_seconds: Family<PartitionLabels, Gauge<f64, AtomicU64>>,
    records_out: Family<SinkLabels, Counter>,
    epoch_committed: Family<LaneLabels, Gauge>,
    lane_commit_seconds: Family<LaneLabels, Histogram, fn() -> Histogram>,
    /// Epochs that were closed.
    pub epochs_closed: Counter,
    /// The newest epoch that was minted.
    pub epoch_minted: Gauge,
    /// The newest epoch whose binding is durable.
    pub epoch_durable: Gauge,
    /// Bytes of input that no sink has acknowledged yet.
    pub in_flight_bytes: Gauge,
    /// Questions of look-ups that records wait for the answers to.
    pub questions_waiting: Gauge,
    /// The pipeline's watermark, in milliseconds since the Unix epoch.
    pub watermark_ms: Gauge,
    /// The epoch of the newest checkpoint.
    pub checkpoint_epoch: Gauge,
    /// Bytes written for checkpoints.
    pub checkpoint_bytes: Counter,
    /// From the close of the checkpoint's epoch until it stands in the journal, in seconds.
    pub checkpoint_seconds: Histogram,
    /// From the minting of an epoch until all lanes have committed it, in seconds.
    pub epoch_latency_seconds: Histogram,
    /// How long the last start took until the pipeline was live, in seconds.
    pub recovery_seconds: Gauge<f64, AtomicU64>,
}

/// What is counted for one source partition.
#[derive(Clone, Debug)]
pub struct PartitionMetrics {
    /// Records read.
    pub records_in: Counter,
    /// Records on the bus that are still to be read.
    pub lag_records: Gauge,
    /// How long somebody's open transaction has let nothing be read, in seconds; 0 when none does.
    pub blocked_seconds: Gauge<f64, AtomicU64>,
}

/// What is counted for one lane.
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    /// The newest epoch that is visible.
    pub epoch_committed: Gauge,
    /// How long a commit took, in seconds.
    pub commit_seconds: Histogram,
}

impl Metrics {
    /// The metrics of `pipeline`, all at zero.
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        let label = (Cow::from("pipeline"), Cow::from(pipeline.to_string()));
        let mut registry = Registry::with_prefix_and_labels("distributary", std::iter::once(label));
        let mut r = Registrar(&mut registry);
        Self {
            records_in: r.add("records_in", "Records read", Family::default()),
            lag_records: r.add("lag_records", "Records still to be read", Family::default()),
            blocked_seconds: r.add_in(
                Unit::Seconds,
                "partition_blocked",
                "How long an open transaction has let nothing be read",
                Family::default(),
            ),
            records_out: r.add("records_out", "Results made visible", Family::default()),
            epoch_committed: r.add("epoch_committed", "Newest visible epoch", Family::default()),
            lane_commit_seconds: r.add_in(
                Unit::Seconds,
                "lane_commit",
                "Time of a lane's commit",
                Family::new_with_constructor(short_times as fn() -> Histogram),
            ),
            epochs_closed: r.add("epochs_closed", "Epochs closed", Counter::default()),
            epoch_minted: r.add("epoch_minted", "Newest minted epoch", Gauge::default()),
            epoch_durable: r.add("epoch_durable", "Newest epoch with a durable binding", Gauge::default()),
            in_flight_bytes: r.add_in(Unit::Bytes, "records_in_flight", "Input not yet acknowledged", Gauge::default()),
            questions_waiting: r.add("questions_waiting", "Questions of look-ups without an answer", Gauge::default()),
            watermark_ms: r.add("watermark_ms", "Watermark, milliseconds since 1970", Gauge::default()),
            checkpoint_epoch: r.add("checkpoint_epoch", "Epoch of the newest checkpoint", Gauge::default()),
            checkpoint_bytes: r.add_in(Unit::Bytes, "checkpoint", "Written for checkpoints", Counter::default()),
            checkpoint_seconds: r.add_in(Unit::Seconds, "checkpoint_duration", "Time of a checkpoint", long_times()),
            epoch_latency_seconds: r.add_in(Unit::Seconds, "epoch_latency", "From minted to committed", short_times()),
            recovery_seconds: r.add_in(Unit::Seconds, "recovery", "Time of the last start", Gauge::default()),
            registry: Arc::new(registry),
        }
    }

    /// The handles of a source partition.
    #[must_use]
    pub fn partition(&self, source: &str, partition: u32) -> PartitionMetrics {
        let labels = PartitionLabels { source: source.to_string(), partition };
        PartitionMetrics {
            records_in: self.records_in.get_or_create_owned(&labels),
            lag_records: self.lag_records.get_or_create_owned(&labels),
            blocked_seconds: self.blocked_seconds.get_or_create_owned(&labels),
        }
    }

    /// Counts what a sink has made visible: results, late records and dead letters each have a sink of their own.
    #[must_use]
    pub fn records_out(&self, sink: &str) -> Counter {
        self.records_out.get_or_create_owned(&SinkLabels { sink: sink.to_string() })
    }

    /// The handles of a lane; `lane` is its full name.
    #[must_use]
    pub fn lane(&self, lane: &str) -> LaneMetrics {
        let labels = LaneLabels { lane: lane.to_string() };
        LaneMetrics {
            epoch_committed: self.epoch_committed.get_or_create_owned(&labels),
            commit_seconds: self.lane_commit_seconds.get_or_create_owned(&labels),
        }
    }

    /// Everything as Prometheus reads it (content type [`Metrics::CONTENT_TYPE`]).
    #[must_use]
    pub fn encode_text(&self) -> String {
        let mut text = String::new();
        let Ok(()) = encode(&mut text, &self.registry) else { unreachable!("writing to a string does not fail") };
        text
    }

    /// The content type of [`Metrics::encode_text`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    source: String,
    partition: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: String,
}

/// Registers a metric and gives it back.
struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// The unit becomes the end of the name.
    fn add_in<M: Metric + Clone>(&mut self, unit: Unit, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

/// Buckets from half a millisecond to 16 s: commits and epochs.
fn short_times() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// Buckets from 1 ms to 131 s: checkpoints.
fn long_times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn every_metric_has_its_name_and_labels() {
        let metrics = Metrics::new("fraud.spend");
        let shared = metrics.clone();
        let partition = shared.partition("payments", 0);
        partition.records_in.inc_by(5);
        partition.lag_records.set(6);
        partition.blocked_seconds.set(1.5);
        shared.records_out("fraud.spend").inc_by(7);
        let lane = shared.lane("topics.0");
        lane.epoch_committed.set(8);
        lane.commit_seconds.observe(0.002);
        shared.in_flight_bytes.set(10);
        shared.questions_waiting.set(3);
        shared.checkpoint_bytes.inc_by(11);
        shared.checkpoint_seconds.observe(1.5);
        shared.recovery_seconds.set(0.25);

        let text = metrics.encode_text();
        for (name, labels, value) in [
            ("records_in_total", ",source=\"payments\",partition=\"0\"", "5"),
            ("lag_records", ",source=\"payments\",partition=\"0\"", "6"),
            ("partition_blocked_seconds", ",source=\"payments\",partition=\"0\"", "1.5"),
            ("records_out_total", ",sink=\"fraud.spend\"", "7"),
            ("epoch_committed", ",lane=\"topics.0\"", "8"),
            ("lane_commit_seconds_count", ",lane=\"topics.0\"", "1"),
            ("epochs_closed_total", "", "0"),
            ("epoch_minted", "", "0"),
            ("epoch_durable", "", "0"),
            ("records_in_flight_bytes", "", "10"),
            ("questions_waiting", "", "3"),
            ("watermark_ms", "", "0"),
            ("checkpoint_epoch", "", "0"),
            ("checkpoint_bytes_total", "", "11"),
            ("checkpoint_duration_seconds_sum", "", "1.5"),
            ("epoch_latency_seconds_count", "", "0"),
            ("recovery_seconds", "", "0.25"),
        ] {
            let line = format!("distributary_{name}{{pipeline=\"fraud.spend\"{labels}}} {value}\n");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
