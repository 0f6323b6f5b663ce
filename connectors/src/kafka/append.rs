//! Appending outside of transactions: idempotent, acknowledged by all replicas, and told where each record stands.

use super::client::{KafkaSettings, Linger, Voice, learn};
use super::fault::unavailable;
use super::ffi;
use distributary_runtime::bus::{BusError, NewRecord, Offset};
use distributary_runtime::time::WallTime;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer, ProducerContext};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One wait for answers.
const TURN: Duration = Duration::from_millis(100);

/// A pause until a full queue may have room.
pub(super) const ROOM: Duration = Duration::from_millis(1);

/// The earliest time a record can carry: to librdkafka, 0 means "now".
pub(super) const EARLIEST: WallTime = WallTime(1);

/// One caller at a time. After a failure its producer goes: a late answer then belongs to nobody.
pub(super) struct Appender {
    settings: KafkaSettings,
    linger: Linger,
    producer: Mutex<Option<Producing>>,
}

/// Sends its records with a number each, by which the answers come back: see [`ffi::answers`].
struct Numbered;

/// A producer, and the topics it knows.
struct Producing {
    producer: BaseProducer<Numbered>,
    topics: BTreeSet<Arc<str>>,
}

/// A record and where it goes.
pub(super) struct Placed<'a> {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) record: &'a NewRecord,
}

impl Appender {
    pub(super) fn new(settings: KafkaSettings, linger: Linger) -> Self {
        Self { settings, linger, producer: Mutex::default() }
    }

    /// Appends records and returns their offsets.
    ///
    /// # Errors
    /// How many of them stand is unknown.
    pub(super) fn append(&self, what: &str, records: &[Placed<'_>]) -> Result<Vec<Offset>, BusError> {
        let mut held = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut producing = match held.take() {
            Some(producing) => producing,
            None => Producing { producer: self.settings.appender(Numbered, self.linger)?, topics: BTreeSet::new() },
        };
        let failed = |e| unavailable(&format!("appending to `{what}`"), e);
        learn_all(&producing.producer, &mut producing.topics, records).map_err(failed)?;
        let offsets = append(&producing.producer, records).map_err(failed)?;
        *held = Some(producing);
        Ok(offsets)
    }
}

fn append(producer: &BaseProducer<Numbered>, records: &[Placed<'_>]) -> Result<Vec<Offset>, KafkaError> {
    let (mut answers, mut left) = (vec![None; records.len()], records.len());
    let mut listen = |wait| {
        ffi::answers(producer, wait, |index, answer| {
            if let Some(place) = answers.get_mut(index) {
                left -= usize::from(place.is_none());
                *place = Some(answer);
            }
        });
        left
    };
    for (index, placed) in records.iter().enumerate() {
        send(producer, placed, index, || _ = listen(ROOM))?;
    }
    // Ends, because every message has a time-out of its own.
    while listen(TURN) > 0 {}
    let offset = |answer: Option<_>| answer.unwrap_or(Err(RDKafkaErrorCode::NoOffset)).map_err(KafkaError::MessageProduction);
    answers.into_iter().map(offset).collect()
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

/// Hands a record to a producer; waits for room in its queue by what it is told to.
pub(super) fn send<C: ProducerContext<NoCustomPartitioner>>(
    producer: &BaseProducer<C>,
    Placed { topic, partition, record }: &Placed<'_>,
    opaque: C::DeliveryOpaque,
    mut wait: impl FnMut(),
) -> Result<(), KafkaError> {
    let headers = record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(&value[..]) })
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
                wait();
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

impl ClientContext for Numbered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Voice.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Numbered {
    type DeliveryOpaque = usize;

    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}
