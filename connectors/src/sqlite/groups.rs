//! Published resume offsets, for lag tools.

use super::catalog;
use super::fault::Result;
use distributary_runtime::bus::{BusError, Offset, TopicId};
use rusqlite::{Connection, Transaction, params};

pub(super) fn commit(tx: &Transaction<'_>, group: &str, topic: TopicId, positions: &[(u32, Offset)]) -> Result<()> {
    let number = catalog::number_of(tx, topic)?.ok_or(BusError::TopicChanged { topic })?;
    let mut upsert = tx.prepare_cached(
        "INSERT INTO group_offsets (name, topic, partition, resume) VALUES (?, ?, ?, ?)
         ON CONFLICT (name, topic, partition) DO UPDATE SET resume = excluded.resume",
    )?;
    for (partition, resume) in positions {
        upsert.execute(params![group, number, partition, resume.0])?;
    }
    Ok(())
}

pub(super) fn read(connection: &Connection, group: &str, topic: TopicId) -> Result<Vec<(u32, Offset)>> {
    let sql = "SELECT g.partition, g.resume FROM group_offsets g JOIN topics t ON t.topic = g.topic
               WHERE g.name = ? AND t.id = ? ORDER BY g.partition";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![group, topic.0], |row| Ok((row.get(0)?, Offset(row.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn names(connection: &Connection) -> Result<Vec<String>> {
    let mut select = connection.prepare_cached("SELECT DISTINCT name FROM group_offsets ORDER BY name")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}
