//! Topics and their partitions.

use super::fault::Result;
use crate::rules::{check_growth, check_name, check_partitions};
use distributary_runtime::bus::{BusError, Offset, PartitionOffsets, Topic, TopicForm, TopicId, TopicSpec};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

pub(super) fn create(tx: &Transaction<'_>, spec: &TopicSpec) -> Result<bool> {
    check_name(&spec.name)?;
    check_partitions(&spec.name, spec.partitions)?;
    let inserted = tx
        .prepare_cached(
            "INSERT INTO topics (id, name, upsert, retention_ms, retention_bytes) VALUES (randomblob(16), ?, ?, ?, ?)
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![spec.name, spec.form == TopicForm::Upsert, spec.retention_ms, spec.retention_bytes])?;
    if inserted == 1 {
        add_logs(tx, tx.last_insert_rowid(), 0..spec.partitions)?;
    }
    Ok(inserted == 1)
}

pub(super) fn topic(connection: &Connection, name: &str) -> Result<Option<Topic>> {
    let sql = "SELECT id, name, upsert, retention_ms, retention_bytes, (SELECT count(*) FROM logs l WHERE l.topic = t.topic)
               FROM topics t WHERE name = ?";
    Ok(connection.prepare_cached(sql)?.query_row([name], topic_row).optional()?)
}

pub(super) fn topics(connection: &Connection) -> Result<Vec<Topic>> {
    let sql = "SELECT id, name, upsert, retention_ms, retention_bytes, (SELECT count(*) FROM logs l WHERE l.topic = t.topic)
               FROM topics t ORDER BY name";
    Ok(connection.prepare_cached(sql)?.query_map([], topic_row)?.collect::<rusqlite::Result<_>>()?)
}

/// The topic goes at once; its records are left to [`super::maintain`], so that no transaction is long.
pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Result<()> {
    let number = number(tx, name)?;
    tx.prepare_cached("DELETE FROM topics WHERE topic = ?")?.execute([number])?;
    tx.prepare_cached("DELETE FROM group_offsets WHERE topic = ?")?.execute([number])?;
    Ok(())
}

pub(super) fn add_partitions(tx: &Transaction<'_>, name: &str, partitions: u32) -> Result<()> {
    check_partitions(name, partitions)?;
    let number = number(tx, name)?;
    let present: u32 = tx.prepare_cached("SELECT count(*) FROM logs WHERE topic = ?")?.query_row([number], |row| row.get(0))?;
    check_growth(name, present, partitions)?;
    add_logs(tx, number, present..partitions)
}

/// A partition as the `logs` table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    /// The number its records carry.
    pub(super) log: i64,
    pub(super) offsets: PartitionOffsets,
}

/// The partitions of a topic in order, so that partition p stands at index p.
pub(super) fn logs(connection: &Connection, topic: TopicId) -> Result<Vec<Log>> {
    let sql = "SELECT l.log, l.partition, l.log_start, l.log_end FROM topics t JOIN logs l ON l.topic = t.topic
               WHERE t.id = ? ORDER BY l.partition";
    let row = |row: &Row<'_>| {
        let offsets = PartitionOffsets { partition: row.get(1)?, log_start: Offset(row.get(2)?), end: Offset(row.get(3)?) };
        Ok(Log { log: row.get(0)?, offsets })
    };
    let logs: Vec<Log> = connection.prepare_cached(sql)?.query_map([topic.0], row)?.collect::<rusqlite::Result<_>>()?;
    if logs.is_empty() { Err(BusError::TopicChanged { topic }.into()) } else { Ok(logs) }
}

/// One partition of a topic.
pub(super) fn log(connection: &Connection, topic: TopicId, partition: u32) -> Result<Log> {
    let found = logs(connection, topic)?.get(partition as usize).copied();
    Ok(found.ok_or_else(|| BusError::NoPartition { topic: topic.to_string(), partition })?)
}

/// Name and form of a topic, for messages and rules.
pub(super) fn name_and_form(connection: &Connection, topic: TopicId) -> Result<(String, TopicForm)> {
    let sql = "SELECT name, upsert FROM topics WHERE id = ?";
    let found = connection.prepare_cached(sql)?.query_row([topic.0], |row| Ok((row.get(0)?, form(row, 1)?))).optional()?;
    Ok(found.ok_or(BusError::TopicChanged { topic })?)
}

/// The number of a topic within this file.
pub(super) fn number_of(connection: &Connection, topic: TopicId) -> Result<Option<i64>> {
    let sql = "SELECT topic FROM topics WHERE id = ?";
    Ok(connection.prepare_cached(sql)?.query_row([topic.0], |row| row.get(0)).optional()?)
}

fn number(connection: &Connection, name: &str) -> Result<i64> {
    let sql = "SELECT topic FROM topics WHERE name = ?";
    let found = connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.ok_or_else(|| BusError::NoTopic(name.to_string()))?)
}

fn add_logs(tx: &Transaction<'_>, topic: i64, partitions: std::ops::Range<u32>) -> Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO logs (topic, partition) VALUES (?, ?)")?;
    for partition in partitions {
        insert.execute(params![topic, partition])?;
    }
    Ok(())
}

fn topic_row(row: &Row<'_>) -> rusqlite::Result<Topic> {
    let spec = TopicSpec {
        name: row.get(1)?,
        partitions: row.get(5)?,
        form: form(row, 2)?,
        retention_ms: row.get(3)?,
        retention_bytes: row.get(4)?,
    };
    Ok(Topic { id: TopicId(row.get(0)?), spec })
}

fn form(row: &Row<'_>, column: usize) -> rusqlite::Result<TopicForm> {
    Ok(if row.get(column)? { TopicForm::Upsert } else { TopicForm::Append })
}
