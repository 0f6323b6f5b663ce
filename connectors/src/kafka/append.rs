//! Appending outside of transactions: idempotent, acknowledged by all replicas, and told where each record stands.

use super::client::{KafkaSettings, Voice, learn};
use super::fault::unavailable;
use distributary_runtime::bus::{BusError, NewRecord, Offset};
use distributary_runtime::time::WallTime;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer, ProducerContext};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One look at the answers.
const TURN: Duration = Duration::from_millis(1);

/// The earliest time a record can carry: to librdkafka, 0 means "now".
pub(super) const EARLIEST: WallTime = WallTime(1);

/// One caller at a time. After a failure its producer goes: a late answer then belongs to nobody.
pub(super) struct Appender {
    settings: KafkaSettings,
    producer: Mutex<Option<Producing>>,
}

/// Where the records of the running call stand.
#[derive(Default)]
struct Answers(Mutex<Vec<Option<Result<Offset, KafkaError>>>>);

/// A producer, and the topics it knows.
struct Producing {
    producer: BaseProducer<Answers>,
    topics: BTreeSet<Arc<str>>,
}

/// A record and where it goes.
pub(super) struct Placed<'a> {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) record: &'a NewRecord,
}

impl Appender {
    pub(super) fn new(settings: KafkaSettings) -> Self {
        Self { settings, producer: Mutex::default() }
    }

    /// Appends records and returns their offsets.
    ///
    /// # Errors
    /// How many of them stand is unknown.
    pub(super) fn append(&self, what: &str, records: &[Placed<'_>]) -> Result<Vec<Offset>, BusError> {
        let mut held = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut producing = match held.take() {
            Some(producing) => producing,
            None => Producing { producer: self.settings.appender(Answers::default())?, topics: BTreeSet::new() },
        };
        let failed = |e| unavailable(&format!("appending to `{what}`"), e);
        learn_all(&producing.producer, &mut producing.topics, records).map_err(failed)?;
        let offsets = append(&producing.producer, records).map_err(failed)?;
        *held = Some(producing);
        Ok(offsets)
    }
}

fn append(producer: &BaseProducer<Answers>, records: &[Placed<'_>]) -> Result<Vec<Offset>, KafkaError> {
    let answers = producer.context();
    *answers.lock() = records.iter().map(|_| None).collect();
    for (index, placed) in records.iter().enumerate() {
        send(producer, placed, index)?;
    }
    // Ends, because every message has a time-out of its own.
    while producer.in_flight_count() > 0 {
        producer.poll(TURN);
    }
    let answers = std::mem::take(&mut *answers.lock());
    answers.into_iter().map(|answer| answer.unwrap_or(Err(KafkaError::Canceled))).collect()
}

/// Makes a producer know the topics of these records.
pub(super) fn learn_all<C: ProducerContext<NoCustomPartitioner>>(
    producer: &BaseProducer<C>,
    known: &mut BTreeSet<Arc<str>>,
    records: &[Placed<'_>],
) -> Result<(), KafkaError> {
    for Placed { topic, .. } in records {
        if !known.contains(topic) {
            learn(producer.client(), topic)?;
            known.insert(topic.clone());
        }
    }
    Ok(())
}

/// Hands a record to a producer, waiting for room in its queue.
pub(super) fn send<C: ProducerContext<NoCustomPartitioner>>(
    producer: &BaseProducer<C>,
    Placed { topic, partition, record }: &Placed<'_>,
    opaque: C::DeliveryOpaque,
) -> Result<(), KafkaError> {
    let headers = record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let mut message: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(topic, opaque)
        .partition(*partition as i32)
        .timestamp(record.timestamp.max(EARLIEST).0)
        .headers(headers);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    let mut asked = false;
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(TURN);
                message = refused;
            }
            // The partition is newer than what this client knows of the topic.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), refused)) if !asked => {
                learn(producer.client(), topic)?;
                asked = true;
                message = refused;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

impl Answers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Result<Offset, KafkaError>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Voice.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let answer = match result {
            Ok(message) => u64::try_from(message.offset()).map(Offset).map_err(|_| KafkaError::NoMessageReceived),
            Err((error, _)) => Err(error.clone()),
        };
        if let Some(place) = self.lock().get_mut(index) {
            *place = Some(answer);
        }
    }
}
