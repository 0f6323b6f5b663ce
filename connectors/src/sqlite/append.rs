//! Appending records within a write transaction.

use super::catalog::{self, Log};
use super::fault::Result;
use super::headers;
use crate::rules::check_record;
use distributary_runtime::bus::{BusError, NewRecord, Offset, Record, TopicForm, TopicId};
use distributary_runtime::key::java_partition;
use rusqlite::{CachedStatement, Transaction, params};
use std::collections::BTreeMap;

/// Appends records to several topics; nothing stands before [`Appender::finish`] and the transaction's commit.
pub(super) struct Appender<'tx> {
    tx: &'tx Transaction<'tx>,
    insert: CachedStatement<'tx>,
    topics: BTreeMap<TopicId, OpenTopic>,
    headers: Vec<u8>,
}

struct OpenTopic {
    name: String,
    form: TopicForm,
    /// Each partition, and the bytes appended to it.
    logs: Vec<(Log, u64)>,
}

impl<'tx> Appender<'tx> {
    pub(super) fn new(tx: &'tx Transaction<'tx>) -> Result<Self> {
        let sql = "INSERT INTO records (log, offset, timestamp, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)";
        Ok(Self { tx, insert: tx.prepare_cached(sql)?, topics: BTreeMap::new(), headers: Vec::new() })
    }

    pub(super) fn append(&mut self, topic: TopicId, record: &NewRecord) -> Result<(u32, Offset)> {
        let open = match self.topics.entry(topic) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(OpenTopic::read(self.tx, topic)?),
        };
        check_record(&open.name, open.form, record)?;
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => java_partition(key, open.logs.len() as u32),
            (None, None) => 0,
        };
        let Some((log, bytes)) = open.logs.get_mut(partition as usize) else {
            return Err(BusError::NoPartition { topic: open.name.clone(), partition }.into());
        };
        let headers = headers::encode(&record.headers, &mut self.headers)?;
        let offset = log.offsets.end;
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.insert.execute(params![log.log, offset.0, record.timestamp.0, key, headers, value])?;
        log.offsets.end = offset.next();
        *bytes += stored_bytes(key, headers, value);
        Ok((partition, offset))
    }

    /// Moves the ends of the partitions that were appended to.
    pub(super) fn finish(self) -> Result<()> {
        let mut update = self.tx.prepare_cached("UPDATE logs SET log_end = ?, bytes = bytes + ? WHERE log = ?")?;
        for (log, bytes) in self.topics.values().flat_map(|t| &t.logs).filter(|(_, bytes)| *bytes > 0) {
            update.execute(params![log.offsets.end.0, bytes, log.log])?;
        }
        Ok(())
    }
}

impl OpenTopic {
    fn read(tx: &Transaction<'_>, topic: TopicId) -> Result<Self> {
        let (name, form) = catalog::name_and_form(tx, topic)?;
        let logs = catalog::logs(tx, topic)?.into_iter().map(|log| (log, 0)).collect();
        Ok(Self { name, form, logs })
    }
}

/// What a record counts for in `logs.bytes`; [`STORED_BYTES`] is the same in SQL.
fn stored_bytes(key: Option<&[u8]>, headers: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    [key, headers, value].into_iter().flatten().map(|part| part.len() as u64).sum::<u64>() + Record::OVERHEAD
}

/// See [`stored_bytes`]. SQLite knows the length of a blob without reading it.
pub(super) const STORED_BYTES: &str = "coalesce(length(key), 0) + coalesce(length(headers), 0) + coalesce(length(value), 0) + 32";
const _: () = assert!(Record::OVERHEAD == 32);
