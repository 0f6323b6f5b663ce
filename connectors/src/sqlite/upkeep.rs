//! Retention, compaction, and what deleted topics left. Everything happens in short transactions, each of which is
//! right on its own: a crash in between, or two processes at once, only leave the rest for the next run.

use super::SqliteBus;
use super::append::STORED_BYTES;
use super::fault::Result;
use distributary_runtime::bus::{BusError, Offset};
use distributary_runtime::time::WallTime;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::HashMap;

/// A tombstone of an upsert topic stays this long, so that a reader who is behind learns of the deletion.
pub const TOMBSTONE_MS: i64 = 24 * 3_600_000;

/// Records looked at or dropped in one transaction, which keeps it within a few milliseconds.
const STEP_RECORDS: usize = 1_000;

/// Bytes dropped in one transaction.
const STEP_BYTES: u64 = 1 << 20;

/// One pass of compaction remembers so many keys; a log with more new ones takes several passes.
const PASS_KEYS: usize = 100_000;

pub(super) fn maintain(bus: &SqliteBus, now: WallTime) -> Result<u64, BusError> {
    reap(bus)?;
    let mut dropped = 0;
    for log in bus.read("listing partitions", retained)? {
        dropped += if log.upsert { compact(bus, &log, now)? } else { retain(bus, &log, now)? };
    }
    Ok(dropped)
}

/// Removes the records of deleted topics.
pub(super) fn reap(bus: &SqliteBus) -> Result<(), BusError> {
    const GONE: &str = "SELECT log FROM logs WHERE topic NOT IN (SELECT topic FROM topics) LIMIT 1";
    let next = |c: &Connection| Ok(c.prepare_cached(GONE)?.query_row([], |row| row.get::<_, i64>(0)).optional()?);
    while let Some(log) = bus.read("looking for deleted topics", next)? {
        while bus.write("removing a deleted topic", |tx| trim(tx, log, |_| true))?.more {}
        bus.write("removing a deleted topic", |tx| Ok(tx.prepare_cached("DELETE FROM logs WHERE log = ?")?.execute([log])?))?;
    }
    Ok(())
}

/// Drops the records before `before`.
pub(super) fn truncate(bus: &SqliteBus, log: i64, before: Offset) -> Result<(), BusError> {
    while bus.write("truncating a journal", |tx| trim(tx, log, |record| record.offset < before))?.more {}
    Ok(())
}

struct Retained {
    log: i64,
    upsert: bool,
    retention_ms: Option<i64>,
    retention_bytes: Option<u64>,
    end: u64,
    clean: u64,
    kept: u64,
    tombstone_at: Option<i64>,
}

fn retained(connection: &Connection) -> Result<Vec<Retained>> {
    let sql = "SELECT l.log, t.upsert, t.retention_ms, t.retention_bytes, l.log_end, l.clean, l.kept, l.tombstone_at
               FROM topics t JOIN logs l ON l.topic = t.topic
               WHERE t.upsert OR t.retention_ms IS NOT NULL OR t.retention_bytes IS NOT NULL ORDER BY l.log";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([], |row| {
        Ok(Retained {
            log: row.get(0)?,
            upsert: row.get(1)?,
            retention_ms: row.get(2)?,
            retention_bytes: row.get(3)?,
            end: row.get(4)?,
            clean: row.get(5)?,
            kept: row.get(6)?,
            tombstone_at: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Drops the oldest records while they are too old or the partition is too large; a younger record keeps what is behind it.
fn retain(bus: &SqliteBus, log: &Retained, now: WallTime) -> Result<u64, BusError> {
    let oldest_kept = log.retention_ms.map_or(i64::MIN, |ms| now.0.saturating_sub(ms));
    let excess = |c: &Connection| -> Result<u64> {
        let bytes: u64 = c.prepare_cached("SELECT bytes FROM logs WHERE log = ?")?.query_row([log.log], |row| row.get(0))?;
        Ok(bytes.saturating_sub(log.retention_bytes.unwrap_or(u64::MAX)))
    };
    let due = |c: &Connection| -> Result<bool> {
        let mut front = c.prepare_cached("SELECT timestamp FROM records WHERE log = ? ORDER BY offset LIMIT 1")?;
        let front: Option<i64> = front.query_row([log.log], |row| row.get(0)).optional()?;
        Ok(front.is_some_and(|timestamp| timestamp < oldest_kept) || (front.is_some() && excess(c)? > 0))
    };
    let mut dropped = 0;
    // Reading first: an idle bus takes no write lock.
    while bus.read("looking for expired records", due)? {
        let step = bus.write("dropping expired records", |tx| {
            let mut excess = excess(tx)?;
            trim(tx, log.log, |record| {
                let goes = record.timestamp < oldest_kept || excess > 0;
                excess = excess.saturating_sub(record.bytes);
                goes
            })
        })?;
        dropped += step.dropped;
    }
    Ok(dropped)
}

struct Front {
    offset: Offset,
    timestamp: i64,
    bytes: u64,
}

struct Trimmed {
    dropped: u64,
    /// The step's bound was reached: there may be more to drop.
    more: bool,
}

/// One step of dropping records from the front, as long as `goes` says so.
fn trim(tx: &Transaction<'_>, log: i64, mut goes: impl FnMut(&Front) -> bool) -> Result<Trimmed> {
    let sql = format!("SELECT offset, timestamp, {STORED_BYTES} FROM records WHERE log = ? ORDER BY offset LIMIT {STEP_RECORDS}");
    let (mut dropped, mut bytes, mut start) = (0, 0, None);
    {
        let mut select = tx.prepare_cached(&sql)?;
        let mut rows = select.query([log])?;
        while let Some(row) = rows.next()?
            && bytes < STEP_BYTES
        {
            let front = Front { offset: Offset(row.get(0)?), timestamp: row.get(1)?, bytes: row.get(2)? };
            if !goes(&front) {
                break;
            }
            start = Some(front.offset.next());
            bytes += front.bytes;
            dropped += 1;
        }
    }
    if let Some(start) = start {
        tx.prepare_cached("DELETE FROM records WHERE log = ? AND offset < ?")?.execute(params![log, start.0])?;
        tx.prepare_cached("UPDATE logs SET log_start = ?, bytes = bytes - ? WHERE log = ?")?
            .execute(params![start.0, bytes, log])?;
    }
    Ok(Trimmed { dropped, more: bytes >= STEP_BYTES || dropped == STEP_RECORDS as u64 })
}

/// Keeps the newest record of each key. A pass is worth its reading when the new part is half as long as what the last
/// one kept, or when a tombstone has served its time.
fn compact(bus: &SqliteBus, log: &Retained, now: WallTime) -> Result<u64, BusError> {
    let expired = now.0.saturating_sub(TOMBSTONE_MS);
    let mut dropped = 0;
    let mut clean = log.clean;
    let grown = (log.end - clean) * 2 >= log.kept && log.end > clean;
    let mut due = grown || log.tombstone_at.is_some_and(|at| at < expired);
    while due {
        let (newest, upto) = newest_offsets(bus, log.log, clean, log.end)?;
        dropped += drop_superseded(bus, log.log, &newest, upto, expired)?;
        clean = upto;
        due = clean < log.end;
    }
    Ok(dropped)
}

/// The newest offset of each key in the part that no pass has seen, and where that part ends.
fn newest_offsets(bus: &SqliteBus, log: i64, clean: u64, end: u64) -> Result<(HashMap<Vec<u8>, u64>, u64), BusError> {
    let sql = format!(
        "SELECT offset, key FROM records WHERE log = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT {STEP_RECORDS}"
    );
    let (mut newest, mut upto) = (HashMap::new(), clean);
    while newest.len() < PASS_KEYS {
        let keys: Vec<(u64, Option<Vec<u8>>)> = bus.read("reading keys to compact", |c| {
            let mut select = c.prepare_cached(&sql)?;
            let rows = select.query_map(params![log, upto, end], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        let Some((last, _)) = keys.last() else { return Ok((newest, end)) };
        upto = last + 1;
        newest.extend(keys.into_iter().filter_map(|(offset, key)| Some((key?, offset))));
    }
    Ok((newest, upto))
}

/// A record below `upto`, as far as compaction cares.
struct Candidate {
    offset: u64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    tombstone: bool,
}

/// Drops, oldest first, what a newer record of the same key has replaced, and tombstones that have served their time.
fn drop_superseded(bus: &SqliteBus, log: i64, newest: &HashMap<Vec<u8>, u64>, upto: u64, expired: i64) -> Result<u64, BusError> {
    let (mut from, mut kept, mut dropped, mut tombstone_at) = (0, 0_u64, 0, None);
    loop {
        let candidates = bus.read("reading records to compact", |c| candidates(c, log, from, upto))?;
        let Some(last) = candidates.last() else { break };
        from = last.offset + 1;
        let mut go = Vec::new();
        for record in &candidates {
            let replaced = record.key.as_ref().and_then(|key| newest.get(key)).is_some_and(|offset| *offset > record.offset);
            if replaced || (record.tombstone && record.timestamp < expired) {
                go.push(record.offset);
                continue;
            }
            kept += 1;
            if record.tombstone {
                tombstone_at = Some(tombstone_at.map_or(record.timestamp, |at: i64| at.min(record.timestamp)));
            }
        }
        if !go.is_empty() {
            dropped += bus.write("compacting", |tx| remove(tx, log, &go))?;
        }
    }
    bus.write("finishing a compaction", |tx| {
        let sql = "UPDATE logs SET clean = max(clean, ?), kept = ?, tombstone_at = ? WHERE log = ?";
        Ok(tx.prepare_cached(sql)?.execute(params![upto, kept, tombstone_at, log])?)
    })?;
    Ok(dropped)
}

fn candidates(connection: &Connection, log: i64, from: u64, upto: u64) -> Result<Vec<Candidate>> {
    let sql = format!(
        "SELECT offset, timestamp, key, value IS NULL FROM records WHERE log = ? AND offset >= ? AND offset < ?
         ORDER BY offset LIMIT {STEP_RECORDS}"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params![log, from, upto], |row| {
        Ok(Candidate { offset: row.get(0)?, timestamp: row.get(1)?, key: row.get(2)?, tombstone: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes single records; those that somebody else removed already do not count.
fn remove(tx: &Transaction<'_>, log: i64, offsets: &[u64]) -> Result<u64> {
    let sql = format!("DELETE FROM records WHERE log = ? AND offset = ? RETURNING {STORED_BYTES}");
    let mut delete = tx.prepare_cached(&sql)?;
    let (mut dropped, mut bytes) = (0, 0_u64);
    for offset in offsets {
        if let Some(freed) = delete.query_row(params![log, offset], |row| row.get::<_, u64>(0)).optional()? {
            dropped += 1;
            bytes += freed;
        }
    }
    tx.prepare_cached("UPDATE logs SET bytes = bytes - ? WHERE log = ?")?.execute(params![bytes, log])?;
    Ok(dropped)
}
