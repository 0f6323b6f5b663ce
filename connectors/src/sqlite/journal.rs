//! The journal: an append that happens only where its writer believes the end to be.

use super::append::Appender;
use super::catalog;
use super::fault::Result;
use bytes::Bytes;
use distributary_runtime::bus::{Appended, JournalPage, NewRecord, Offset, TopicId};
use distributary_runtime::time::WallTime;
use rusqlite::{Connection, Transaction};

pub(super) fn append(
    tx: &Transaction<'_>,
    journal: TopicId,
    expected: Offset,
    entries: &[Vec<u8>],
    now: WallTime,
) -> Result<Appended> {
    let end = catalog::log(tx, journal, 0)?.offsets.end;
    if end != expected {
        return Ok(Appended::Taken { end });
    }
    let mut appender = Appender::new(tx)?;
    for entry in entries {
        let value = Some(Bytes::copy_from_slice(entry));
        appender.append(journal, &NewRecord { partition: Some(0), timestamp: now, key: None, value, headers: vec![] })?;
    }
    appender.finish()?;
    Ok(Appended::At(expected))
}

pub(super) fn read(tx: &Connection, journal: TopicId, from: Offset) -> Result<JournalPage> {
    let log = catalog::log(tx, journal, 0)?;
    if from >= log.offsets.end {
        return Ok(JournalPage { entries: Vec::new(), end: log.offsets.end });
    }
    let mut select = tx.prepare_cached("SELECT offset, value FROM records WHERE log = ? AND offset >= ? ORDER BY offset")?;
    let entries = select.query_map((log.log, from.0), |row| Ok((Offset(row.get(0)?), row.get(1)?)))?;
    Ok(JournalPage { entries: entries.collect::<rusqlite::Result<_>>()?, end: log.offsets.end })
}
