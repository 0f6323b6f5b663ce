//! Appending records within a write transaction.

use super::catalog::{self, Log};
use super::fault::Result;
use super::headers;
use distributary_runtime::bus::{BusError, NewRecord, Offset, Record, TopicForm, TopicId};
use distributary_runtime::key::java_partition;
use rusqlite::{CachedStatement, Transaction, params};
use std::collections::BTreeMap;

/// The largest value, the largest key, and the most bytes of headers, each by itself: a dead letter, which is its original
/// with other headers, then always fits. A transaction holds few pages, and one record never blows a reader's budget.
pub(super) const RECORD_BYTES_MAX: u64 = 1 << 20;

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
        open.check(record)?;
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

    fn check(&self, record: &NewRecord) -> Result<(), BusError> {
        let value = record.value.as_ref().map_or(0, |v| v.len());
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let key = record.key.as_ref().map_or(0, |k| k.len());
        let bytes = value.max(key).max(headers) as u64;
        if bytes > RECORD_BYTES_MAX {
            return Err(BusError::TooLarge { topic: self.name.clone(), bytes, max: RECORD_BYTES_MAX });
        }
        if self.form == TopicForm::Upsert && record.key.is_none() {
            return Err(BusError::Invalid(format!("a record for the upsert topic `{}` has no key", self.name)));
        }
        Ok(())
    }
}

/// What a record counts for in `logs.bytes`; [`STORED_BYTES`] is the same in SQL.
fn stored_bytes(key: Option<&[u8]>, headers: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    [key, headers, value].into_iter().flatten().map(|part| part.len() as u64).sum::<u64>() + Record::OVERHEAD
}

/// See [`stored_bytes`]. SQLite knows the length of a blob without reading it.
pub(super) const STORED_BYTES: &str = "coalesce(length(key), 0) + coalesce(length(headers), 0) + coalesce(length(value), 0) + 32";
const _: () = assert!(Record::OVERHEAD == 32);
