//! Reading a stretch of one partition: journals and markers, at the start of a pipeline and when an answer is in doubt.

use super::client::{ANSWER, Asker, KafkaSettings, Voice, learn};
use super::fault::unavailable;
use super::ffi::{self, Event};
use super::offsets;
use distributary_runtime::bus::{BusError, Offset, Record};
use distributary_runtime::time::monotonic;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Everything that is scanned stands already; only a control record at the end is found by a fetch that brings nothing.
const PATIENCE: Duration = Duration::from_millis(5);

/// How long one wait lasts before the time is looked at.
const TURN: Duration = Duration::from_millis(100);

/// So often a scan begins again because the front of the log went meanwhile.
const TRIES_MAX: usize = 5;

/// Keeps one client between two scans: making and closing one takes longer than reading a marker.
pub(super) struct Scanner {
    settings: KafkaSettings,
    committed: Arc<Asker>,
    idle: Mutex<Option<BaseConsumer<Voice>>>,
}

impl Scanner {
    pub(super) fn new(settings: KafkaSettings, committed: Arc<Asker>) -> Self {
        Self { settings, committed, idle: Mutex::default() }
    }

    /// Every committed record of a partition from `from` to `end`, which must be offsets that it has had.
    pub(super) fn scan(&self, topic: &str, partition: u32, from: Offset, end: Offset) -> Result<Vec<Record>, BusError> {
        let mut from = from;
        for _ in 0..TRIES_MAX {
            if from >= end {
                return Ok(Vec::new());
            }
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
            let client = idle.map_or_else(|| self.settings.consumer(PATIENCE), Ok)?;
            if let Some(records) = scan(&client, topic, partition, from, end)? {
                if client.unassign().is_ok() {
                    *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
                }
                return Ok(records);
            }
            // The owner has truncated since the caller looked; or the client still had this to say of an earlier scan, and a
            // new one knows nothing of that.
            let bounds = offsets::bounds(&self.committed, topic, partition..partition + 1)?;
            from = bounds.first().map_or(from, |log| from.max(log.log_start));
        }
        Err(unavailable(&format!("reading {topic}[{partition}]"), "its front goes faster than it can be read"))
    }
}

/// `None`: the position is out of range.
fn scan(
    client: &BaseConsumer<Voice>,
    topic: &str,
    partition: u32,
    from: Offset,
    end: Offset,
) -> Result<Option<Vec<Record>>, BusError> {
    let what = format!("reading {topic}[{partition}]");
    let name = CString::new(topic).map_err(|e| BusError::Invalid(format!("topic name {topic:?}: {e}")))?;
    learn(client.client(), topic).map_err(|e| unavailable(&what, e))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition as i32, Position::Offset(from.0 as i64))
        .and_then(|()| client.assign(&list))
        .map_err(|e| unavailable(&what, e))?;
    let (mut records, mut position, mut progress) = (Vec::new(), from, monotonic());
    while position < end {
        match ffi::poll(client, &name, TURN) {
            Some(Event::Record { partition: of, record }) if of == partition => {
                position = record.offset.next();
                progress = monotonic();
                if record.offset < end {
                    records.push(record);
                }
            }
            Some(Event::End { partition: of, at }) if of == partition => position = position.max(at),
            Some(Event::Failed { code: RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange, .. }) => {
                return Ok(None);
            }
            Some(Event::Failed { code, .. }) => tracing::debug!(topic, partition, %code, "a fetch failed"),
            // Nothing, or what is left of the scan before.
            Some(_) | None => {}
        }
        if progress.elapsed() > ANSWER {
            return Err(unavailable(&what, format!("nothing came for {} s", ANSWER.as_secs())));
        }
    }
    Ok(Some(records))
}
