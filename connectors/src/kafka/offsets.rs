//! Offsets: where logs begin and end, and what stands at a time.

use super::client::{ANSWER, Asker};
use super::fault::unavailable;
use distributary_runtime::bus::{BusError, Offset, PartitionOffsets};
use distributary_runtime::time::{WallTime, monotonic};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use std::ops::Range;
use std::time::Duration;

/// How long a partition may be without a leader before it counts as unavailable, and the pause between two looks.
const ELECTION: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

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

/// The first offset of each partition at or after a time.
pub(super) fn at(asker: &Asker, topic: &str, partitions: Range<u32>, at: WallTime) -> Result<Vec<Option<Offset>>, BusError> {
    // Negative times are librdkafka's names for the ends of a log.
    ask(asker, topic, partitions, Position::Offset(at.0.max(0)))
}

fn ask(asker: &Asker, topic: &str, partitions: Range<u32>, what: Position) -> Result<Vec<Option<Offset>>, BusError> {
    let start = monotonic();
    loop {
        match ask_once(asker, topic, partitions.clone(), what) {
            Err(error) if is_underway(&error) && start.elapsed() < ELECTION => std::thread::park_timeout(LOOK),
            result => return result.map_err(|e| unavailable("reading offsets", format!("{topic}: {e}"))),
        }
    }
}

fn ask_once(asker: &Asker, topic: &str, partitions: Range<u32>, what: Position) -> Result<Vec<Option<Offset>>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions.clone() {
        list.add_partition_offset(topic, partition as i32, what)?;
    }
    let list = asker.offsets_for_times(list, ANSWER)?;
    let mut found = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let element = list.find_partition(topic, partition as i32).ok_or(KafkaError::NoMessageReceived)?;
        element.error()?;
        found.push(match element.offset() {
            Position::Offset(offset) => u64::try_from(offset).ok().map(Offset),
            _ => None,
        });
    }
    Ok(found)
}

/// A new partition, or one that moves, has no leader for a moment, or one that has not heard of it.
fn is_underway(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::UnknownLeaderEpoch
                | Code::FencedLeaderEpoch
        )
    )
}
