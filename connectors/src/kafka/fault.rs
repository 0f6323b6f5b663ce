//! From librdkafka's errors to the bus's own.

use distributary_runtime::bus::BusError;
use distributary_runtime::time::monotonic;
use rdkafka::error::RDKafkaErrorCode;
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// How long a change of topics may take until every question shows it.
const SETTLE: Duration = Duration::from_secs(15);
/// Pause between two looks at it.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The cluster did not do it, and may do it later.
pub(super) fn unavailable(what: &str, reason: impl Display) -> BusError {
    BusError::Unavailable { what: what.to_string(), reason: reason.to_string() }
}

/// The cluster refused a change of topics: some of it for good.
pub(super) fn refused(what: &str, code: RDKafkaErrorCode) -> BusError {
    match code {
        RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidPartitions
        | RDKafkaErrorCode::InvalidReplicationFactor
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidRequest
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => BusError::Invalid(format!("{what}: {code}")),
        code => unavailable(what, code),
    }
}

/// Asks until the answer is there: brokers learn of a change one after the other.
pub(super) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>, BusError>) -> Result<T, BusError> {
    let start = monotonic();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > SETTLE {
            return Err(unavailable(what, format!("nothing to be seen of it after {} s", SETTLE.as_secs())));
        }
        std::thread::park_timeout(LOOK);
    }
}

/// Waits on this thread for an answer that another thread of the client brings; it has a time-out of its own.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
