//! From a job and its settings to a running pipeline: opens the bus, the checkpoint store and the sinks.

use crate::flow::{Flow, RowKeys};
use crate::job::TierOf;
use crate::{Error, Job, Result};
use distributary_connectors::archived::ArchivedBus;
use distributary_connectors::kafka::{KafkaBus, KafkaSettings, Login, Security};
use distributary_connectors::lake::{TableSink, TableSpec, TableStore};
use distributary_connectors::sinks::jsonl::JsonLinesSink;
use distributary_connectors::sinks::memory::MemorySink;
use distributary_connectors::sinks::stdout::StdoutSink;
use distributary_connectors::sinks::topic::topic_sinks;
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::Bus;
use distributary_runtime::engine;
use distributary_runtime::graph::Graph;
use distributary_runtime::metrics::Metrics;
use distributary_runtime::pipeline::{Components, Connect, Pipeline};
use distributary_runtime::plan::{SinkTarget, Tier};
use distributary_runtime::settings::{self, Secret, Settings};
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::time::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use url::Url;

/// One of the pipelines of a job; of a [`Job`] alone, its streaming tier.
#[must_use]
pub fn pipeline(of: impl Into<TierOf>) -> Pipeline {
    pipeline_with(of.into(), RowKeys::Dropped)
}

/// As [`pipeline`]: the same plan.
pub(crate) fn pipeline_with(of: TierOf, row_keys: RowKeys) -> Pipeline {
    let build = move |graph: &Graph<'_>| {
        let flow = Flow::new(graph, of.to_string(), of.tier).with(row_keys);
        of.job.build(&flow)?;
        flow.finish();
        Ok(())
    };
    Pipeline { name: of.to_string(), build: Arc::new(build) }
}

/// The pipelines that a job's sinks make: at least one. Of a job that writes nothing it is the streaming tier, whose plan says so.
///
/// # Errors
/// The job refuses.
pub fn tiers(job: Job) -> Result<Vec<TierOf>> {
    let mut tiers = Vec::new();
    for tier in Tier::ALL {
        let of = TierOf { job, tier };
        if !engine::outline(&pipeline(of))?.nodes.is_empty() {
            tiers.push(of);
        }
    }
    Ok(if tiers.is_empty() { vec![job.into()] } else { tiers })
}

/// Opens the bus that the settings name, with the archives in the lake that they name.
///
/// # Errors
/// The URL is of no kind that is known here, or the bus cannot be opened.
pub fn open_bus(settings: &Settings) -> Result<Arc<dyn Bus>> {
    let of = settings.clone();
    Ok(Arc::new(ArchivedBus::new(open_plain_bus(settings)?, move || open_lake(&of))))
}

fn open_plain_bus(settings: &Settings) -> Result<Arc<dyn Bus>> {
    let url = settings.bus_url();
    if let Some(brokers) = url.strip_prefix("kafka://") {
        return Ok(Arc::new(KafkaBus::connect(kafka(brokers, settings)?, Arc::new(SystemClock))?));
    }
    let Some(path) = url.strip_prefix("sqlite://") else {
        return Err(Error::Setting {
            name: "bus".into(),
            what: format!("`{url}` is of no known kind; it begins with `sqlite://` or `kafka://`"),
        });
    };
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        let what = format!("creating {}", folder.display());
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { what, source })?;
    }
    let durability = match settings.bus_durability {
        settings::Durability::Normal => Durability::Normal,
        settings::Durability::Full => Durability::Full,
    };
    Ok(Arc::new(SqliteBus::open(path, Arc::new(SystemClock), durability)?))
}

fn kafka(brokers: &str, settings: &Settings) -> Result<KafkaSettings> {
    let copies = |setting: u64| u16::try_from(setting).ok().filter(|copies| *copies > 0);
    Ok(KafkaSettings {
        replication_factor: copies(settings.kafka_replication_factor),
        min_insync_replicas: copies(settings.kafka_min_insync_replicas),
        compression: settings.kafka_compression,
        security: Security { tls: settings.kafka_tls, ca_file: settings.kafka_ca_file.clone(), login: login(settings)? },
        ..KafkaSettings::new(brokers)
    })
}

/// The user of the settings, with the password from wherever it is kept.
fn login(settings: &Settings) -> Result<Option<Login>> {
    let (Some(mechanism), Some(username)) = (settings.kafka_sasl_mechanism, settings.kafka_sasl_username.clone()) else {
        return Ok(None);
    };
    let password = match (&settings.kafka_sasl_password, &settings.kafka_sasl_password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(file)) => {
            let what = format!("reading the password from {} (kafka_sasl_password_file)", file.display());
            let text = std::fs::read_to_string(file).map_err(|source| Error::Io { what, source })?;
            Secret::from(text.trim_end_matches(['\r', '\n']).to_string())
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Login { mechanism, username, password }))
}

/// Opens the checkpoint store that the settings name; a relative path is relative to the working folder.
///
/// # Errors
/// The URL is of no kind that is known here, or the store cannot be opened.
pub fn open_store(settings: &Settings) -> Result<CheckpointStore> {
    CheckpointStore::open_with(&absolute(settings.checkpoints_url())?, &in_environment())
}

/// What object stores have to be told to be got into: keys, regions, endpoints. Only what names a store: `REGION` may be somebody else's.
fn in_environment() -> Vec<(String, String)> {
    let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let all = all.filter(|(name, _)| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|store| name.starts_with(store)));
    all.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn absolute(url: String) -> Result<String> {
    let Some(relative) = url.strip_prefix("file://").filter(|path| !path.starts_with('/')) else { return Ok(url) };
    let path = std::path::absolute(relative).map_err(|source| Error::Io { what: format!("resolving {relative}"), source })?;
    Ok(format!("file://{}", path.display()))
}

/// The lake that the settings name, and its folder there, which ends with `/`. What is needed to get in stands in the environment.
///
/// # Errors
/// The URL is of no kind that is known here.
pub fn open_lake(settings: &Settings) -> Result<(TableStore, Url)> {
    let text = format!("{}/", absolute(settings.lake_url())?.trim_end_matches('/'));
    let url = Url::parse(&text).map_err(|e| Error::Setting { name: "lake".into(), what: format!("`{text}` is no URL: {e}") })?;
    Ok((TableStore::open(&url, &in_environment())?, url))
}

/// A table, in a folder of its name in the lake.
fn open_table(target: &SinkTarget, settings: &Settings) -> Result<TableSink> {
    let SinkTarget::Table { name, event_time, columns } = target else { unreachable!("the caller has looked") };
    let (store, lake) = open_lake(settings)?;
    let spec = TableSpec::new(name, &format!("{lake}{name}"), event_time, columns.clone())?;
    Ok(TableSink::new(spec, store))
}

/// Everything a pipeline works with, from its settings.
///
/// # Errors
/// Bus or store cannot be opened.
pub fn components(pipeline: &str, settings: &Settings) -> Result<Components> {
    let bus = open_bus(settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(Components {
        store: open_store(settings)?,
        connect: connect(bus.clone(), settings, None),
        bus,
        clock,
        metrics: Metrics::new(pipeline),
        status: Arc::new(|_| {}),
    })
}

/// Sinks in memory by name; `None`: not in a test.
pub(crate) type Memory = Option<BTreeMap<String, MemorySink>>;

/// Opens the sinks of a plan. In a test, what would leave the process goes to memory, under the sink's own name.
pub(crate) fn connect(bus: Arc<dyn Bus>, settings: &Settings, memory: Memory) -> Arc<Connect> {
    let settings = settings.clone();
    Arc::new(move |_group, sinks, topics| match sinks.first().map(|s| &s.target) {
        Some(SinkTarget::Topic { .. }) => Ok(topic_sinks(bus.clone(), sinks, topics)),
        Some(target) => match (&memory, target) {
            (Some(memory), target) => match memory.get(&target_name(target)) {
                Some(sink) => Ok(Arc::new(sink.clone())),
                None => unreachable!("the test harness knows every sink of the plan"),
            },
            (None, SinkTarget::Table { .. }) => Ok(Arc::new(open_table(target, &settings)?)),
            (None, SinkTarget::Stdout) => Ok(Arc::new(StdoutSink::new(settings.data_dir.join("stdout")))),
            (None, SinkTarget::JsonLines { path }) => Ok(Arc::new(JsonLinesSink::new(path))),
            (None, _) => {
                let what = format!("sink `{}` is for tests", target_name(target));
                Err(Error::refused(what, "write to `topic(..)`, `upsert(..)`, `table(..)`, `json_lines(..)` or `stdout()`"))
            }
        },
        None => unreachable!("a group has a sink"),
    })
}

/// The name by which a test asks for the rows of a sink.
pub(crate) fn target_name(target: &SinkTarget) -> String {
    match target {
        SinkTarget::Topic { name, .. } | SinkTarget::Table { name, .. } | SinkTarget::Memory { name } => name.clone(),
        SinkTarget::JsonLines { path } => path.clone(),
        SinkTarget::Stdout => "stdout".to_string(),
    }
}
