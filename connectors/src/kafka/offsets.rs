//! Offsets: where logs begin and end, and what stands at a time.

use super::client::{ANSWER, Asker};
use super::fault::unavailable;
use distributary_runtime::bus::{BusError, Offset, PartitionOffsets};
use distributary_runtime::time::WallTime;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use std::ops::Range;

/// First and next offset of partitions. To an asker that reads what is committed, the next is the last stable one.
pub(super) fn bounds(asker: &Asker, topic: &str, partitions: Range<u32>) -> Result<Vec<PartitionOffsets>, BusError> {
    let starts = ask(asker, topic, partitions.clone(), Position::Beginning)?;
    let ends = ask(asker, topic, partitions.clone(), Position::End)?;
    let known = |(partition, (start, end)): (u32, (Option<Offset>, Option<Offset>))| match (start, end) {
        // The start may have moved between the two questions.
        (Some(log_start), Some(end)) => Ok(PartitionOffsets { partition, log_start, end: end.max(log_start) }),
        _ => Err(unavailable("reading offsets", format!("{topic}[{partition}] has none"))),
    };
    partitions.zip(starts.into_iter().zip(ends)).map(known).collect()
}

/// Where the log of each partition ends.
pub(super) fn ends(asker: &Asker, topic: &str, partitions: Range<u32>) -> Result<Vec<Option<Offset>>, BusError> {
    ask(asker, topic, partitions, Position::End)
}

/// The first offset at or after a time.
pub(super) fn at(asker: &Asker, topic: &str, partition: u32, at: WallTime) -> Result<Option<Offset>, BusError> {
    // Negative times are librdkafka's names for the ends of a log.
    let found = ask(asker, topic, partition..partition + 1, Position::Offset(at.0.max(0)))?;
    Ok(found.first().copied().flatten())
}

fn ask(asker: &Asker, topic: &str, partitions: Range<u32>, what: Position) -> Result<Vec<Option<Offset>>, BusError> {
    let failed = |reason: &dyn std::fmt::Display| unavailable("reading offsets", format!("{topic}: {reason}"));
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions.clone() {
        list.add_partition_offset(topic, partition as i32, what).map_err(|e| failed(&e))?;
    }
    let list = asker.offsets_for_times(list, ANSWER).map_err(|e| failed(&e))?;
    let mut found = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let Some(element) = list.find_partition(topic, partition as i32) else { return Err(failed(&"no answer")) };
        if let Err(error) = element.error() {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            return Err(failed(&code));
        }
        found.push(match element.offset() {
            Position::Offset(offset) => u64::try_from(offset).ok().map(Offset),
            _ => None,
        });
    }
    Ok(found)
}
