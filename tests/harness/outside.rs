//! The bus as somebody outside the pipeline sees it: records, markers, how far a group has read.

use crate::Result;
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::{Bus, Offset, Record, TopicId};
use distributary_runtime::time::SystemClock;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The bus of a data directory.
///
/// # Errors
/// It cannot be opened.
pub fn bus(dir: &Path) -> Result<SqliteBus> {
    Ok(SqliteBus::open(&file(dir), Arc::new(SystemClock), Durability::Normal)?)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("bus.sqlite")
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

/// What a lane of a pipeline's topics shows: (generation, epoch). Read from the file itself, because the bus shows markers
/// only to whoever fences the lane.
///
/// # Errors
/// The file cannot be read.
pub fn marker(dir: &Path, pipeline: &str, lane: u32) -> Result<Option<(u32, u64)>> {
    let connection = Connection::open_with_flags(file(dir), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "SELECT generation, epoch FROM lanes WHERE name = ? AND generation IS NOT NULL";
    let found = connection.query_row(sql, [format!("{pipeline}/topics/{lane}")], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
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

/// A header as text.
#[must_use]
pub fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let (_, value) = record.headers.iter().find(|(n, _)| n == name)?;
    std::str::from_utf8(value).ok()
}
