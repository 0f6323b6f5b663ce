//! What a reader asks beside its reading, on a thread of its own so that reading never waits for an answer: whether the
//! topic is still the same one, and where its partitions end.
//!
//! librdkafka goes on at the old offset when a topic is deleted and created again; only the id tells. It reports the end of
//! a partition once; only a new answer shows that the partition is still drained, and not just out of reach.

use super::client::Asker;
use super::offsets;
use super::topics::Topics;
use distributary_runtime::bus::{BusError, Offset, TopicId};
use distributary_runtime::time::monotonic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Pause between two looks. A reader may deliver records of a re-created topic for so long before it is stopped.
const INTERVAL: Duration = Duration::from_millis(400);

/// What the cluster answered last.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// The topic is the one that is read.
    Same {
        asked_at: Instant,
        /// Where the next record of each partition goes, transactions that are still open included.
        ends: Arc<Vec<Option<Offset>>>,
    },
    /// It is gone, or another one has its name.
    Changed,
}

pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Option<Seen>>,
}

impl Watch {
    /// Starts looking; `asker` must not read only what is committed.
    pub(super) fn start(topics: Arc<Topics>, asker: Arc<Asker>, topic: TopicId) -> Result<Self, BusError> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("kafka-watch".to_string()).spawn(move || {
            while !of_thread.stop.load(Ordering::Acquire) {
                match look(&topics, &asker, topic) {
                    Ok(seen) => *of_thread.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen),
                    Err(error) => tracing::debug!(%error, "the cluster does not say where partitions end"),
                }
                std::thread::park_timeout(INTERVAL);
            }
        });
        let thread = thread.map_err(|e| super::fault::unavailable("starting a thread", e))?;
        Ok(Self { shared, thread: Some(thread.thread().clone()) })
    }

    /// The last answer, if there was one.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    /// The thread ends by itself: it may be waiting for an answer that does not come.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.unpark();
        }
    }
}

fn look(topics: &Topics, asker: &Asker, topic: TopicId) -> Result<Seen, BusError> {
    let asked_at = monotonic();
    let known = match topics.by_id(topic) {
        Ok(known) => known,
        Err(BusError::TopicChanged { .. }) => return Ok(Seen::Changed),
        Err(error) => return Err(error),
    };
    let ends = offsets::ends(asker, &known.name, 0..known.partitions)?;
    Ok(Seen::Same { asked_at, ends: Arc::new(ends) })
}
