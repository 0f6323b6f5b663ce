//! Somebody who reads a topic all the time, as the teams that use it do: only what is committed.

use crate::Result;
use distributary_runtime::bus::{Bus, Offset};
use distributary_runtime::time::monotonic;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one wait for records lasts.
const TURN: Duration = Duration::from_millis(100);
/// An answer that comes later than this says nothing about the time since the last one: the bus was away.
const ANSWERS: Duration = Duration::from_secs(2);

/// A thread that reads; it ends when this is dropped.
#[derive(Debug)]
pub struct Onlooker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    records: AtomicU64,
    /// The longest time that a partition stood still in front of an open transaction.
    blocked: Mutex<Duration>,
    /// The longest time without a record.
    silence: Mutex<Duration>,
}

/// A partition, as it was seen last.
struct Sight {
    position: Offset,
    /// Since when it has stood still with something behind it that cannot be read yet.
    blocked_since: Option<Instant>,
    seen_at: Instant,
}

impl Onlooker {
    /// Reads this topic from its beginning as soon as it is there.
    #[must_use]
    pub fn start(bus: Box<dyn Bus>, topic: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut sights = BTreeMap::new();
            while !of_thread.stop.load(Ordering::SeqCst) {
                // A bus that is away is asked again.
                if of_thread.read(&*bus, topic, &mut sights).is_err() {
                    std::thread::park_timeout(TURN);
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// How many records it has seen.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::SeqCst)
    }

    /// The longest time that an open transaction held a partition up, while the bus answered.
    #[must_use]
    pub fn blocked_max(&self) -> Duration {
        *self.shared.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest time without any record.
    #[must_use]
    pub fn silence_max(&self) -> Duration {
        *self.shared.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn read(&self, bus: &dyn Bus, topic: &str, sights: &mut BTreeMap<u32, Sight>) -> Result<()> {
        let Some(found) = bus.topic(topic)? else { return Err("not there yet".into()) };
        let position = |p: u32| sights.get(&p).map_or(Offset(0), |sight| sight.position);
        let positions: Vec<_> = (0..found.spec.partitions).map(|p| (p, position(p))).collect();
        let mut consumer = bus.consumer(found.id, &positions)?;
        let mut last = monotonic();
        while !self.stop.load(Ordering::SeqCst) {
            for batch in consumer.poll(TURN)? {
                let now = monotonic();
                if !batch.records.is_empty() {
                    self.records.fetch_add(batch.records.len() as u64, Ordering::SeqCst);
                    raise(&self.silence, now - std::mem::replace(&mut last, now));
                }
                let before =
                    sights.insert(batch.partition, Sight { position: batch.position, blocked_since: None, seen_at: now });
                let Some(sight) = sights.get_mut(&batch.partition).filter(|_| batch.position < batch.end) else { continue };
                let stood = before.filter(|b| b.position == batch.position && now - b.seen_at < ANSWERS);
                let since = stood.and_then(|b| b.blocked_since).unwrap_or(now);
                sight.blocked_since = Some(since);
                raise(&self.blocked, now - since);
            }
        }
        Ok(())
    }
}

fn raise(longest: &Mutex<Duration>, to: Duration) {
    let mut longest = longest.lock().unwrap_or_else(PoisonError::into_inner);
    *longest = to.max(*longest);
}
