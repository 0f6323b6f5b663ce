//! The bus as somebody outside the pipeline sees it: records, markers, how far a group has read.

use crate::Result;
use crate::ledger::{Attacked, LANE_VARIABLE, PAYMENTS};
use crate::process::Launch;
use distributary_connectors::kafka::{KafkaBus, KafkaSettings};
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::{Bus, Offset, Record, Token, TopicId};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::start::journal_topic;
use distributary_runtime::time::SystemClock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The bus of a data directory.
///
/// # Errors
/// It cannot be opened.
pub fn bus(dir: &Path) -> Result<SqliteBus> {
    Ok(SqliteBus::open(&dir.join("bus.sqlite"), Arc::new(SystemClock), Durability::Normal)?)
}

/// A directory where processes run, and the bus they run on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The data directory.
    pub dir: PathBuf,
    /// Where Kafka listens; without it the bus is a file in the directory.
    pub brokers: Option<String>,
    /// What the ledger chooses for its topics.
    pub lane: TopicLane,
    /// Who runs here.
    pub attacked: Attacked,
    /// A folder of an object store for tables and checkpoints; without it both lie in the directory.
    pub store: Option<String>,
}

impl Ground {
    /// The bus, for somebody outside. On Kafka nothing of earlier runs of these jobs is left there.
    ///
    /// # Errors
    /// It cannot be opened or cleared.
    pub fn clear(&self) -> Result<Box<dyn Bus>> {
        let bus = self.bus()?;
        if self.brokers.is_some() {
            let of_ours = |name: &str| name == PAYMENTS || name.starts_with("chaos.");
            for topic in bus.topics()?.into_iter().filter(|t| of_ours(&t.spec.name)) {
                bus.delete_topic(&topic.spec.name)?;
            }
        }
        Ok(bus)
    }

    /// The bus, for somebody outside.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn bus(&self) -> Result<Box<dyn Bus>> {
        Ok(match &self.brokers {
            Some(brokers) => Box::new(KafkaBus::connect(KafkaSettings::new(brokers), Arc::new(SystemClock))?),
            None => Box::new(bus(&self.dir)?),
        })
    }

    /// Where its tables stand.
    #[must_use]
    pub fn lake(&self) -> String {
        self.store.as_ref().map_or_else(|| self.dir.join("lake").display().to_string(), |store| format!("{store}/lake"))
    }

    /// How to start a process here.
    #[must_use]
    pub fn launch(&self, binary: impl Into<PathBuf>, job: &str, name: &str) -> Launch {
        let launch = Launch::new(binary, job, &self.dir, name);
        let launch = if self.attacked == Attacked::Lake { Launch { of_batch: true, ..launch } } else { launch };
        let launch = if self.lane == TopicLane::Tail { launch.env(LANE_VARIABLE, "tail") } else { launch };
        let launch = match &self.store {
            Some(store) => launch.set("lake", self.lake()).set("checkpoints", format!("{store}/checkpoints")),
            None => launch,
        };
        self.brokers.iter().fold(launch, |launch, brokers| launch.set("bus", format!("kafka://{brokers}")))
    }
}

/// What a lane of a pipeline's topics shows: (generation, epoch). The bus shows it only to whoever fences the lane, so this is done in
/// the name of the next start, whose token is greater. What the last process, which must not be alive, has left half done is then
/// settled, as that start would settle it.
///
/// # Errors
/// The bus failed.
pub fn marker(bus: &dyn Bus, pipeline: &str, lane: u32) -> Result<Option<(u32, u64)>> {
    let Some(journal) = bus.topic(&journal_topic(pipeline))? else { return Ok(None) };
    let next = bus.read_journal(journal.id, Offset(0))?.end;
    let marker = bus.fence_lane(&format!("{pipeline}/topics/{lane}"), Token(next.0))?;
    Ok(marker.map(|marker| (marker.generation, marker.epoch.0)))
}

/// Reads a topic from these positions to its end as it is now, each partition in order; returns where each partition ends.
///
/// # Errors
/// The bus failed, or `each` did.
pub fn read(
    bus: &dyn Bus,
    topic: TopicId,
    from: &BTreeMap<u32, Offset>,
    mut each: impl FnMut(u32, &Record) -> Result<()>,
) -> Result<BTreeMap<u32, Offset>> {
    let ends: BTreeMap<u32, Offset> = bus.offsets(topic)?.iter().map(|o| (o.partition, o.end)).collect();
    let start = |p: u32| from.get(&p).copied().unwrap_or_default();
    let mut open: BTreeMap<u32, Offset> = ends.iter().filter(|(p, end)| start(**p) < **end).map(|(p, end)| (*p, *end)).collect();
    let positions: Vec<_> = open.keys().map(|p| (*p, start(*p))).collect();
    let mut consumer = if positions.is_empty() { return Ok(ends) } else { bus.consumer(topic, &positions)? };
    while !open.is_empty() {
        for batch in consumer.poll(Duration::from_millis(100))? {
            let Some(end) = open.get(&batch.partition).copied() else { continue };
            batch.records.iter().filter(|r| r.offset < end).try_for_each(|r| each(batch.partition, r))?;
            if batch.position >= end {
                open.remove(&batch.partition);
            }
        }
    }
    Ok(ends)
}

/// Whether the last checkpoint of the pipeline, and with it every sink, is at the end of the topic.
///
/// # Errors
/// The bus failed.
pub fn has_read_all(bus: &dyn Bus, pipeline: &str, topic: TopicId) -> Result<bool> {
    let group: BTreeMap<u32, Offset> = bus.group(pipeline, topic)?.into_iter().collect();
    let ends = bus.offsets(topic)?;
    Ok(ends.iter().all(|o| o.end == Offset(0) || group.get(&o.partition) == Some(&o.end)))
}
