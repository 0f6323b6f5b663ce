//! Settings: data, and nothing but data. Components (clock, bus, store) are arguments, and nothing is global.
//!
//! Four layers, each over the one before: defaults, the file `distributary.toml`, the environment
//! (`DISTRIBUTARY_EPOCH_INTERVAL_MS=5`), flags (`--set epoch_interval_ms=5`). A name nobody knows is refused with the
//! nearest one that exists; a value that cannot be is refused with what is expected and where it stood.
//!
//! The batch tier of a job has settings of its own in the file's table `[batch]` (`DISTRIBUTARY_BATCH_EPOCH_INTERVAL_MS=60000`,
//! `--set batch.epoch_interval_ms=60000`). What has the same default in both tiers is also taken from outside that table; what has
//! not (epochs, bytes, checkpoints, and the address of the metrics) is not.

mod layers;
mod secret;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::key::KEY_GROUPS;
use crate::plan::Tier;
use layers::Layers;
pub use secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The settings of a pipeline's process. The defaults serve most; each says when to change it.
///
/// ```
/// use distributary_runtime::settings::Settings;
/// let file = Some(("distributary.toml", "epoch_interval_ms = 5"));
/// let env = [("DISTRIBUTARY_WORKERS".to_string(), "2".to_string())];
/// let flags = [("epoch_interval_ms".to_string(), "20".to_string())];
/// let settings = Settings::load(file, env, &flags)?;
/// assert_eq!((settings.epoch_interval_ms, settings.workers, settings.lanes), (20, 2, 1));
/// # Ok::<(), distributary_runtime::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long an epoch gathers records before it closes. Shorter: lower latency, more commits.
    pub epoch_interval_ms: u64,
    /// How often an epoch closes when nothing arrives, so that time goes on. Hardly ever a reason to change it.
    pub idle_epoch_ms: u64,
    /// An epoch closes early at so many records. Lower it when one epoch's results are too much for one commit.
    pub epoch_records_max: u64,
    /// An epoch closes early at so many bytes of input. Lower it like `epoch_records_max`.
    pub epoch_bytes_max: u64,
    /// So many epochs may be on their way to the sinks; then reading waits. Raise it for slow sinks with short epochs.
    pub epochs_in_flight_max: u64,
    /// So many bytes of input may be on their way to the sinks; then reading waits. Bounds memory together with state.
    pub bytes_in_flight_max: u64,
    /// So many questions of look-ups may wait for an answer; then reading waits. Raise it for a service that takes long.
    pub questions_max: u64,
    /// How often state is saved. Shorter: faster restart, more writes.
    pub checkpoint_interval_ms: u64,
    /// A partition that is known to be drained for so long no longer holds the watermark back. Raise it when a quiet
    /// partition may still deliver old events.
    pub idle_after_ms: u64,
    /// What the watermark does while every partition is drained: holds, or goes on with the clock, so that the last windows of a topic that
    /// falls silent close. With the clock, what comes behind a silence with event times from before its end may be late.
    pub idle_watermark: IdleWatermark,
    /// How far reading runs ahead of the epochs, in bytes of each partition. Raise it for a bus that is far away. On Kafka the client
    /// holds some of each partition on top (see `ARCHITECTURE.md`).
    pub read_ahead_bytes: u64,
    /// Worker threads. Raise it when `why` names an operator and cores are free; may change with every start.
    pub workers: u32,
    /// Committers of each group of sinks. Raise it when `why` names a sink; a change needs a new generation (`run --from-zero`).
    pub lanes: u32,
    /// Where a process keeps what it has to keep on this machine. Change it to have several apart.
    pub data_dir: PathBuf,
    /// The bus: `sqlite://` and a path, or `kafka://` and `host:port` of some brokers, separated by commas. Without one it
    /// is a SQLite file in `data_dir`.
    pub bus: Option<String>,
    /// What survives a loss of power on the embedded bus. A killed process loses nothing in either case.
    pub bus_durability: Durability,
    /// Copies of each topic that is created on Kafka; 0: the cluster's own default. Set it where that is 1.
    pub kafka_replication_factor: u64,
    /// So many copies must hold a write to a topic created on Kafka before it counts; 0: the cluster's own default. Set it to
    /// 2 with three copies, so that the loss of one broker loses nothing and stops nobody.
    pub kafka_min_insync_replicas: u64,
    /// How records written to Kafka are compressed. Zstd for a network that is the bottleneck, none for free cores.
    pub kafka_compression: Compression,
    /// Whether Kafka is spoken to by TLS, with the names of the brokers checked. Needs a binary that was built with the cargo
    /// feature `kafka-tls`, as everything below that begins with `kafka_`.
    pub kafka_tls: bool,
    /// Certificates (PEM) of the authorities that vouch for the brokers. Without it: those that the system trusts.
    pub kafka_ca_file: Option<PathBuf>,
    /// How a user is made known to Kafka: `scram-sha-256` or `scram-sha-512`. Without it: not at all.
    pub kafka_sasl_mechanism: Option<SaslMechanism>,
    /// The user.
    pub kafka_sasl_username: Option<String>,
    /// A file that holds the user's password, and nothing else but an end of line.
    pub kafka_sasl_password_file: Option<PathBuf>,
    /// The password itself; only from the environment: `DISTRIBUTARY_KAFKA_SASL_PASSWORD`.
    pub kafka_sasl_password: Option<Secret>,
    /// Where tables stand, each in a folder of its name: `file://` and a path, or the URL of an object store (`s3://bucket/lake`; what is
    /// needed to get in stands in the environment: `AWS_ACCESS_KEY_ID` and the like). Without one they lie in `data_dir`.
    pub lake: Option<String>,
    /// Whether `run` also archives the topics that its jobs read and whose events have a subject, as long as nobody else does. Switch it
    /// off where `run 'archive.*'` is looked after, or where nothing may be kept.
    pub keep_archives: bool,
    /// Where checkpoints go: `file://` and a path, or the URL of an object store. Without one they lie in `data_dir`.
    pub checkpoints: Option<String>,
    /// Address and port of the metrics endpoint (Prometheus text); port 0 takes a free one. Without one there is none.
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// How often topics are looked at again for new partitions. Hardly ever a reason to change it.
    pub metadata_interval_ms: u64,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a list of `target=level`.
    pub log: String,
}

/// What the watermark does while every partition is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleWatermark {
    /// Stands still until data comes.
    Hold,
    /// Goes on as the clock does, from where it was when the last partition became idle.
    Clock,
}

/// How hard the embedded bus works for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Survives a killed process; a loss of power may undo the last commits (never tear one).
    Normal,
    /// Survives a loss of power as well: every commit waits for the disk.
    Full,
}

/// How what is written to a shared bus is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As it is.
    None,
    /// Fast, to about half.
    Lz4,
    /// Smaller, for more work.
    Zstd,
}

/// How a user and a password are shown to a broker; it never sees the password itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

const MIB: u64 = 1 << 20;
const DAY_MS: u64 = 24 * 3_600_000;
/// More copies than this nobody keeps.
const COPIES_MAX: u64 = 32;

impl Settings {
    /// The defaults of a tier.
    #[must_use]
    pub fn of(tier: Tier) -> Self {
        match tier {
            Tier::Stream => Self::default(),
            Tier::Batch => Self {
                epoch_interval_ms: 10_000,
                idle_epoch_ms: 10_000,
                epoch_records_max: 500_000,
                epoch_bytes_max: 32 * MIB,
                epochs_in_flight_max: 4,
                bytes_in_flight_max: 64 * MIB,
                checkpoint_interval_ms: 60_000,
                ..Self::default()
            },
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epoch_interval_ms: 10,
            idle_epoch_ms: 1_000,
            epoch_records_max: 50_000,
            epoch_bytes_max: 4 * MIB,
            epochs_in_flight_max: 64,
            bytes_in_flight_max: 16 * MIB,
            questions_max: 10_000,
            checkpoint_interval_ms: 10_000,
            idle_after_ms: 5_000,
            idle_watermark: IdleWatermark::Hold,
            read_ahead_bytes: 4 * MIB,
            workers: 1,
            lanes: 1,
            data_dir: PathBuf::from(".distributary"),
            bus: None,
            bus_durability: Durability::Normal,
            kafka_replication_factor: 0,
            kafka_min_insync_replicas: 0,
            kafka_compression: Compression::Lz4,
            kafka_tls: false,
            kafka_ca_file: None,
            kafka_sasl_mechanism: None,
            kafka_sasl_username: None,
            kafka_sasl_password_file: None,
            kafka_sasl_password: None,
            lake: None,
            keep_archives: true,
            checkpoints: None,
            metrics_listen: None,
            metadata_interval_ms: 2_000,
            log: "info".to_string(),
        }
    }
}

/// As many bindings as the journal's writer takes at once must not make worker 0 wait: it holds twice as many.
pub(crate) const EPOCHS_IN_FLIGHT_LIMIT: u64 = 2_048;

/// What a number may be. The upper bounds only catch a wrong unit.
const RANGES: [(&str, u64, u64); 15] = [
    ("epoch_interval_ms", 1, DAY_MS),
    ("idle_epoch_ms", 1, DAY_MS),
    ("epoch_records_max", 1, 100_000_000),
    ("epoch_bytes_max", 1, 64 * 1024 * MIB),
    ("epochs_in_flight_max", 1, EPOCHS_IN_FLIGHT_LIMIT),
    ("bytes_in_flight_max", 1, 1024 * 1024 * MIB),
    ("questions_max", 1, 100_000_000),
    ("checkpoint_interval_ms", 1, DAY_MS),
    ("idle_after_ms", 1, DAY_MS),
    ("read_ahead_bytes", 1, 1024 * MIB),
    // More workers than key groups would have nothing to do.
    ("workers", 1, KEY_GROUPS as u64),
    ("lanes", 1, KEY_GROUPS as u64),
    ("metadata_interval_ms", 1, DAY_MS),
    ("kafka_replication_factor", 0, COPIES_MAX),
    ("kafka_min_insync_replicas", 0, COPIES_MAX),
];

impl Settings {
    /// Puts the layers together: defaults, then `file` (its name and its text), then those of `env` that begin with
    /// `DISTRIBUTARY_`, then `flags`.
    ///
    /// # Errors
    /// [`Error::Setting`]: an unknown name, a value of the wrong type or out of range, or a file that is not TOML.
    pub fn load(
        file: Option<(&str, &str)>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self> {
        Self::load_of(Tier::Stream, file, env, flags)
    }

    /// As [`Settings::load`], for a tier.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_of(
        tier: Tier,
        file: Option<(&str, &str)>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self> {
        let mut layers = Layers::over(tier, [&Self::of(Tier::Stream), &Self::of(Tier::Batch)]);
        if let Some((origin, text)) = file {
            layers.add_file(origin, text)?;
        }
        layers.add_env(env)?;
        layers.add_flags(flags)?;
        for (name, min, max) in RANGES {
            layers.check_range(name, min, max)?;
        }
        let settings: Self = layers.finish()?;
        settings.check(&layers)?;
        Ok(settings)
    }

    /// The name of every setting, in alphabetical order.
    #[must_use]
    pub fn names() -> Vec<String> {
        Layers::over(Tier::Stream, [&Self::of(Tier::Stream), &Self::of(Tier::Batch)]).names()
    }

    /// Where the bus is; a relative path is relative to the working folder.
    #[must_use]
    pub fn bus_url(&self) -> String {
        self.bus.clone().unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("bus.sqlite").display()))
    }

    /// Where tables stand; a relative path behind `file://` is relative to the working folder.
    #[must_use]
    pub fn lake_url(&self) -> String {
        self.lake.clone().unwrap_or_else(|| format!("file://{}", self.data_dir.join("lake").display()))
    }

    /// Where checkpoints are; a relative path behind `file://` is relative to the working folder.
    #[must_use]
    pub fn checkpoints_url(&self) -> String {
        self.checkpoints.clone().unwrap_or_else(|| format!("file://{}", self.data_dir.join("checkpoints").display()))
    }

    /// What one setting alone cannot tell.
    fn check(&self, layers: &Layers) -> Result<()> {
        let wrong = |name: &str, what: String| Err(Error::Setting { name: layers.named(name), what });
        if self.epoch_bytes_max > self.bytes_in_flight_max {
            let what = format!("must not be more than bytes_in_flight_max ({})", self.bytes_in_flight_max);
            return wrong("epoch_bytes_max", what);
        }
        let place = |url: &str| url.strip_prefix("sqlite://").or(url.strip_prefix("kafka://")).unwrap_or_default().len();
        if self.bus.as_ref().is_some_and(|url| place(url) == 0) {
            return wrong("bus", "expected `sqlite://` and a path, or `kafka://` and `host:port` of brokers".to_string());
        }
        for (name, url) in [("lake", &self.lake), ("checkpoints", &self.checkpoints)] {
            if url.as_ref().is_some_and(|url| !url.contains("://")) {
                return wrong(name, "expected a URL such as `file:///var/lib/distributary`".to_string());
            }
        }
        if self.kafka_ca_file.is_some() && !self.kafka_tls {
            return wrong("kafka_ca_file", "is of no use without `kafka_tls = true`".to_string());
        }
        self.check_login().or_else(|(name, what)| wrong(name, what.to_string()))
    }

    /// A login is whole, or there is none.
    fn check_login(&self) -> std::result::Result<(), (&'static str, &'static str)> {
        let passwords = [self.kafka_sasl_password.is_some(), self.kafka_sasl_password_file.is_some()];
        match (self.kafka_sasl_mechanism, &self.kafka_sasl_username, passwords) {
            (None, None, [false, false]) | (Some(_), Some(_), [true, false] | [false, true]) => Ok(()),
            (_, _, [true, true]) => Err(("kafka_sasl_password_file", "there is a kafka_sasl_password already")),
            (None, _, _) => {
                Err(("kafka_sasl_mechanism", "expected `scram-sha-256` or `scram-sha-512`, as there is a user or a password"))
            }
            (_, None, _) => Err(("kafka_sasl_username", "expected a user, as there is a kafka_sasl_mechanism")),
            (_, _, [false, false]) => {
                let what = "expected a file, or a password in the environment variable DISTRIBUTARY_KAFKA_SASL_PASSWORD";
                Err(("kafka_sasl_password_file", what))
            }
        }
    }
}
