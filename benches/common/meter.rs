//! Reads what comes out, on a thread of its own, as another client of the bus.

use super::payments::number;
use super::pipeline::Place;
use super::process::unix_us;
use distributary_runtime::bus::{Offset, Record};
use distributary_runtime::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an output took: (when it was due, microseconds until it was read).
pub(crate) type Latency = (i64, u32);

/// Reads a topic from its beginning until it is told to stop.
pub(crate) struct Meter {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: JoinHandle<Result<Vec<Latency>>>,
}

impl Meter {
    /// Starts reading; the topic must be there.
    pub(crate) fn start(place: &Place, topic: &str) -> Result<Self> {
        let bus = place.client()?;
        let found = bus.topic(topic)?.ok_or_else(|| distributary_runtime::bus::BusError::NoTopic(topic.to_string()))?;
        let from: Vec<_> = (0..found.spec.partitions).map(|p| (p, Offset(0))).collect();
        let mut consumer = bus.consumer(found.id, &from)?;
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), read.clone());
        let body = move || {
            // The handle keeps the bus open as long as its consumer reads.
            let _bus = bus;
            let mut latencies = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let batches = consumer.poll(Duration::from_millis(50))?;
                let now = unix_us();
                for record in batches.iter().flat_map(|batch| &batch.records) {
                    latencies.push(latency(record, now));
                }
                counted.store(latencies.len() as u64, Ordering::Release);
            }
            Ok(latencies)
        };
        let thread = std::thread::Builder::new().name("meter".into()).spawn(body);
        let thread = thread.map_err(|source| Error::Io { what: "starting the meter".into(), source })?;
        Ok(Self { stop, read, thread })
    }

    /// How many outputs it has read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// Stops reading; returns what was measured.
    pub(crate) fn finish(self) -> Result<Vec<Latency>> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err(Error::Panicked("meter".into())))
    }
}

fn latency(record: &Record, now: i64) -> Latency {
    let due = record.value.as_ref().and_then(|value| number(value, "due_us")).unwrap_or(now);
    (due, u32::try_from(now - due).unwrap_or(0))
}

/// The value below which this share of the sorted latencies lies, in milliseconds.
pub(crate) fn quantile_ms(sorted: &[u32], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
}
