//! What the `rdkafka` crate does not offer, by the C functions below it: topic ids, the offset at which a partition ended,
//! and a flush that sleeps until it is done. The only unsafe code of the workspace's connectors.

#![allow(unsafe_code, reason = "librdkafka is C; each block says why it is sound")]

use super::client::{Asker, Voice};
use bytes::Bytes;
use distributary_runtime::bus::{Header, Offset, Record, TopicId};
use distributary_runtime::time::WallTime;
use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// A topic as the cluster describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) id: TopicId,
    pub(super) partitions: u32,
}

/// What a consumer's queue gave.
pub(super) enum Event {
    Record {
        partition: u32,
        record: Record,
    },
    /// The partition was read up to here, and the log had nothing more that a reader may see.
    End {
        partition: u32,
        at: Offset,
    },
    Failed {
        partition: Option<u32>,
        code: RDKafkaErrorCode,
    },
}

/// Describes the topics of these names; those that do not exist are left out.
pub(super) fn describe(asker: &Asker, names: &[&str], wait: Duration) -> Result<Vec<Described>, RDKafkaErrorCode> {
    let names: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = asker.client().native_ptr();
    // SAFETY: `rk` lives as long as `asker`; the names outlive the collection, which copies them; every object that is made
    // here is destroyed here, after its last use, and the result's strings are copied before its event goes.
    unsafe {
        let queue = sys::rd_kafka_queue_new(rk);
        let options = sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), null_mut(), 0);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(rk, topics, options, queue);
        // The request has a time-out of its own and always answers.
        let event = sys::rd_kafka_queue_poll(queue, -1);
        let result = described(event);
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        result
    }
}

/// # Safety
/// `event` is the answer to a `DescribeTopics`.
unsafe fn described(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Described>, RDKafkaErrorCode> {
    // SAFETY: the caller's word; everything read here belongs to the event, and is copied.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error.is_error() {
            return Err(error.into());
        }
        let (mut count, mut found) = (0, Vec::new());
        let topics = sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(event), &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let error = RDKafkaErrorCode::from(sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)));
            match error {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic => continue,
                error => return Err(error),
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).to_be_bytes();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).to_be_bytes();
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&high);
            bytes[8..].copy_from_slice(&low);
            let mut partitions = 0;
            sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
            let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
            found.push(Described { name, id: TopicId(bytes), partitions: partitions as u32 });
        }
        Ok(found)
    }
}

/// The next thing a consumer has of a topic, within `wait`. What an earlier assignment left in its queue is passed over.
pub(super) fn poll(consumer: &BaseConsumer<Voice>, topic: &CStr, wait: Duration) -> Option<Event> {
    // SAFETY: the client lives as long as `consumer`; a message is ours until it is destroyed, and is copied before that.
    unsafe {
        let message = sys::rd_kafka_consumer_poll(consumer.client().native_ptr(), millis(wait));
        let (rkt, event) = (message.as_ref()?.rkt, event(&*message));
        let other = !rkt.is_null() && CStr::from_ptr(sys::rd_kafka_topic_name(rkt)) != topic;
        sys::rd_kafka_message_destroy(message);
        if other { None } else { Some(event) }
    }
}

/// # Safety
/// `message` came from `rd_kafka_consumer_poll` and has not been destroyed.
unsafe fn event(message: &sys::rd_kafka_message_t) -> Event {
    let partition = u32::try_from(message.partition).ok();
    let at = Offset(u64::try_from(message.offset).unwrap_or(0));
    match (RDKafkaErrorCode::from(message.err), partition) {
        (RDKafkaErrorCode::NoError, Some(partition)) => {
            // SAFETY: the caller's word; pointer and length belong together, headers live as long as the message.
            let record = unsafe {
                Record {
                    offset: at,
                    timestamp: WallTime(sys::rd_kafka_message_timestamp(message, null_mut())),
                    key: bytes(message.key, message.key_len),
                    value: bytes(message.payload, message.len),
                    headers: headers(message),
                }
            };
            Event::Record { partition, record }
        }
        (RDKafkaErrorCode::PartitionEOF, Some(partition)) => Event::End { partition, at },
        (code, partition) => Event::Failed { partition, code },
    }
}

/// # Safety
/// `from` is null, or points to `len` bytes.
unsafe fn bytes(from: *const c_void, len: usize) -> Option<Bytes> {
    // SAFETY: the caller's word.
    (!from.is_null()).then(|| Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) }))
}

/// # Safety
/// `message` has not been destroyed.
unsafe fn headers(message: &sys::rd_kafka_message_t) -> Vec<Header> {
    let (mut headers, mut found) = (null_mut(), Vec::new());
    // SAFETY: the caller's word; the headers belong to the message, and each is copied.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut headers).is_error() {
            return found;
        }
        let (mut name, mut value, mut len) = (null(), null(), 0);
        while !sys::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut len).is_error() {
            let value = bytes(value, len).unwrap_or_default();
            found.push((CStr::from_ptr(name).to_string_lossy().into_owned().into(), value));
        }
    }
    found
}

/// Where what is fetched of a partition goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// Into the queue that is polled, with all that has gathered.
    Deliver,
    /// It stays in the partition's own queue, which nobody polls.
    Gather,
}

/// Leads the queue of a partition. Nothing that was fetched is lost, and nothing overtakes.
pub(super) fn route(consumer: &BaseConsumer<Voice>, topic: &CStr, partition: u32, route: Route) {
    // SAFETY: the client lives as long as `consumer`; both queues are references of our own, given back after their use. To
    // be led nowhere is what a null pointer asks for.
    unsafe {
        let rk = consumer.client().native_ptr();
        let from = sys::rd_kafka_queue_get_partition(rk, topic.as_ptr(), partition as i32);
        if from.is_null() {
            return;
        }
        match route {
            Route::Gather => sys::rd_kafka_queue_forward(from, null_mut()),
            Route::Deliver => {
                let to = sys::rd_kafka_queue_get_consumer(rk);
                sys::rd_kafka_queue_forward(from, to);
                sys::rd_kafka_queue_destroy(to);
            }
        }
        sys::rd_kafka_queue_destroy(from);
    }
}

/// The end of the log, transactions that are still open included, as the last fetch of a partition saw it.
pub(super) fn high_watermark(consumer: &BaseConsumer<Voice>, topic: &CStr, partition: u32) -> Option<Offset> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as `consumer`; both results are plain numbers.
    let error = unsafe {
        let rk = consumer.client().native_ptr();
        sys::rd_kafka_get_watermark_offsets(rk, topic.as_ptr(), partition as i32, &mut low, &mut high)
    };
    if error.is_error() { None } else { u64::try_from(high).ok().map(Offset) }
}

/// Waits for answers to what was sent, at most `wait`, and hands over those that came: the number that was sent with the record, and where
/// it stands.
///
/// The crate's own poll rounds what is left of a millisecond to nothing, and spins.
pub(super) fn answers<C: ProducerContext<DeliveryOpaque = usize>>(
    producer: &BaseProducer<C>,
    wait: Duration,
    mut each: impl FnMut(usize, Result<Offset, RDKafkaErrorCode>),
) {
    // SAFETY: the client lives as long as `producer`; queue and event are destroyed after their last use, and what is read of the event
    // belongs to it and is copied. What was sent with a record is the number itself.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(producer.client().native_ptr());
        let event = sys::rd_kafka_queue_poll(queue, millis(wait));
        sys::rd_kafka_queue_destroy(queue);
        let Some(kind) = (!event.is_null()).then(|| sys::rd_kafka_event_type(event)) else { return };
        if kind == sys::RD_KAFKA_EVENT_DR {
            while let Some(message) = sys::rd_kafka_event_message_next(event).as_ref() {
                let offset = u64::try_from(message.offset).map(Offset);
                let answer = match RDKafkaErrorCode::from(message.err) {
                    RDKafkaErrorCode::NoError => offset.map_err(|_| RDKafkaErrorCode::NoOffset),
                    code => Err(code),
                };
                each(message._private as usize, answer);
            }
        } else if kind == sys::RD_KAFKA_EVENT_LOG {
            let (mut facility, mut text, mut level) = (null(), null(), 0);
            if sys::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) == 0 {
                let text_of = |text| CStr::from_ptr(text).to_string_lossy();
                Voice.log(level_of(level), &text_of(facility), &text_of(text));
            }
        } else if kind == sys::RD_KAFKA_EVENT_ERROR {
            let reason = CStr::from_ptr(sys::rd_kafka_event_error_string(event)).to_string_lossy();
            Voice.error(KafkaError::Global(sys::rd_kafka_event_error(event).into()), &reason);
        }
        sys::rd_kafka_event_destroy(event);
    }
}

/// Waits until everything that was sent has been answered, at most `wait`; says whether it has.
///
/// The crate's own flush waits in steps of 100 ms. With `delivery.report.only.error` nothing is left to be polled.
pub(super) fn flush<C: ProducerContext>(producer: &BaseProducer<C>, wait: Duration) -> bool {
    // SAFETY: the client lives as long as `producer`.
    let error = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), millis(wait)) };
    !error.is_error()
}

/// Of syslog's numbers, those that we tell apart.
fn level_of(level: c_int) -> RDKafkaLogLevel {
    if level <= 2 { RDKafkaLogLevel::Critical } else { RDKafkaLogLevel::Warning }
}

fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}
