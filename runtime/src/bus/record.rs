//! Records: as they are read, and as they are written.

use crate::bus::Offset;
use crate::time::WallTime;
use bytes::Bytes;
use std::borrow::Cow;

/// A named header of a record.
pub type Header = (Cow<'static, str>, Bytes);

/// A record as it stands on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position within its partition.
    pub offset: Offset,
    /// The producer's timestamp.
    pub timestamp: WallTime,
    /// Key; decides the partition and, in upsert topics, the row.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in the order they were written.
    pub headers: Vec<Header>,
}

impl Record {
    /// Bytes this record counts for in budgets and retention.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let parts = self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        (parts + headers) as u64 + Self::OVERHEAD
    }

    /// Whether it takes back an earlier record: its header `op` is `-`, and it holds that record's full value.
    #[must_use]
    pub fn is_retraction(&self) -> bool {
        self.value.is_some() && self.header("op") == Some("-")
    }

    /// Whether a pipeline wrote it: then that pipeline corrects it, and nobody else.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "pipeline")
    }

    /// The text of a header; `None` when there is none of this name, or it is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }

    /// What a record costs beside its own bytes, in every budget.
    pub const OVERHEAD: u64 = 32;
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Where to; `None`: by the key as the Java client would (without a key: partition 0).
    pub partition: Option<u32>,
    /// The record's timestamp.
    pub timestamp: WallTime,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<Header>,
}
