//! The first contact with a cluster: a broker answers, or it is said why none does.

use super::client::{ANSWER, KafkaSettings, Voice};
use super::fault::unavailable;
use distributary_runtime::bus::BusError;
use distributary_runtime::time::monotonic;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, Producer, ProducerContext};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long one question waits before the reasons are looked at.
const TURN: Duration = Duration::from_millis(100);

/// A broker that refuses is one of several, or is starting: another may let us in within this.
const DOUBT: Duration = Duration::from_secs(2);

/// Asks any broker for the name of the cluster.
///
/// # Errors
/// `Invalid`: TLS or the login was refused. `Unavailable`: nobody answered. Both say what the client found.
pub(super) fn greet(settings: &KafkaSettings) -> Result<(), BusError> {
    let (start, client): (_, BaseProducer<Ear>) = (monotonic(), settings.greeter(Ear::default())?);
    loop {
        if client.client().fetch_cluster_id(TURN).is_some() {
            return Ok(());
        }
        client.poll(Duration::ZERO);
        let what = format!("connecting to Kafka at {}", settings.brokers);
        match client.context().heard() {
            Heard::Refusal(reason) if start.elapsed() > DOUBT => return Err(BusError::Invalid(format!("{what}: {reason}"))),
            Heard::Failure(reason) if start.elapsed() > ANSWER => return Err(unavailable(&what, reason)),
            Heard::Nothing if start.elapsed() > ANSWER => return Err(unavailable(&what, "no broker answers")),
            _ => {}
        }
    }
}

/// The last thing that went wrong.
#[derive(Clone, Default)]
enum Heard {
    #[default]
    Nothing,
    /// A broker could not be reached.
    Failure(String),
    /// A broker, or we, wanted no connection: TLS or login.
    Refusal(String),
}

/// Hears what the client says of its connections.
#[derive(Default)]
struct Ear(Mutex<Heard>);

impl Ear {
    fn heard(&self) -> Heard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, SSL};
        let heard = match error.rdkafka_error_code() {
            // Why the last one is down was said before.
            Some(AllBrokersDown) => return,
            Some(Authentication | SSL) => Heard::Refusal(reason.to_string()),
            _ => Heard::Failure(reason.to_string()),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }
}

impl ProducerContext<NoCustomPartitioner> for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
