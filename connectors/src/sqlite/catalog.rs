//! Topics and their partitions.

use super::fault::Result;
use distributary_runtime::bus::{BusError, Offset, PartitionOffsets, Topic, TopicForm, TopicId, TopicSpec};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// More partitions than this in one topic are a typing error: every consumer polls each of them.
const PARTITIONS_MAX: u32 = 4_096;

/// Kafka's own bound, so that a topic may move there.
const NAME_MAX: usize = 249;

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
    if partitions < present {
        return Err(BusError::Invalid(format!(
            "topic `{name}` has {present} partitions already; their number never falls, because keys would move"
        ))
        .into());
    }
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

fn check_name(name: &str) -> Result<(), BusError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() || name.len() > NAME_MAX {
        format!("it must have 1 to {NAME_MAX} characters")
    } else if matches!(name, "." | "..") {
        "`.` and `..` are not allowed".to_string()
    } else if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        format!("{c:?} is not allowed, only ASCII letters, digits, `.`, `_` and `-`")
    } else {
        return Ok(());
    };
    Err(BusError::Invalid(format!("topic name {name:?}: {problem}")))
}

fn check_partitions(name: &str, partitions: u32) -> Result<(), BusError> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    Err(BusError::Invalid(format!("topic `{name}`: {partitions} partitions; a topic has 1 to {PARTITIONS_MAX}")))
}
