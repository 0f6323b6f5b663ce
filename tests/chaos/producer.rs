//! The producer: publishes the generated payments while the job is killed, a slice of them for each of its lives.

use distributary::payments::{PaymentOptions, Payments};
use distributary_runtime::bus::{Bus, NewRecord, TopicId};
use distributary_runtime::response::Response;
use distributary_runtime::time::monotonic;
use harness::Result;
use harness::ledger::PAYMENTS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A slice comes in so many pieces, one every [`PAUSE`]: a life of the process sees records all the time.
const PIECES: u64 = 50;
const PAUSE: Duration = Duration::from_millis(10);
/// The bus is never away for longer.
const AWAY_MAX: Duration = Duration::from_secs(300);

/// Payments of this campaign.
pub(crate) fn options(events: u64, seed: u64) -> PaymentOptions {
    PaymentOptions {
        count: events,
        users: 5_000,
        seed,
        rate_per_s: 5_000,
        late_by_ms: harness::ledger::HORIZON_MS as u64,
        ..PaymentOptions::default()
    }
}

/// A running producer.
pub(crate) struct Producer {
    allowed: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Producer {
    /// Starts it; nothing is allowed yet.
    pub(crate) fn start(bus: Box<dyn Bus>, topic: TopicId, options: PaymentOptions, slice: u64) -> Result<Self> {
        let allowed = Arc::new(AtomicU64::new(0));
        let count = Arc::new(AtomicU64::new(options.count));
        let (may, all) = (allowed.clone(), count.clone());
        let mut payments = Payments::new(options)?;
        let began = monotonic();
        // Brokers learn of a topic one after the other.
        while bus.topic(PAYMENTS)?.is_none_or(|found| found.id != topic) && began.elapsed() < AWAY_MAX {
            std::thread::park_timeout(PAUSE);
        }
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while sent < all.load(Ordering::SeqCst) {
                let piece = (slice / PIECES).max(1).min(may.load(Ordering::SeqCst).saturating_sub(sent));
                let records: Vec<NewRecord> = payments.by_ref().take(piece as usize).map(NewRecord::from).collect();
                if !records.is_empty() {
                    sent += records.len() as u64;
                    publish(&*bus, topic, records)?;
                }
                std::thread::park_timeout(PAUSE);
            }
            Ok(())
        });
        Ok(Self { allowed, count, thread })
    }

    /// It may publish up to so many payments.
    pub(crate) fn allow(&self, events: u64) {
        self.allowed.store(events, Ordering::SeqCst);
    }

    /// Waits until everything is published.
    pub(crate) fn finish(self) -> Result<()> {
        self.allow(u64::MAX);
        self.join()
    }

    /// Ends with what is published.
    pub(crate) fn stop(self) -> Result<()> {
        self.count.store(0, Ordering::SeqCst);
        self.join()
    }

    /// Whether it has failed; [`Producer::stop`] says why.
    pub(crate) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    fn join(self) -> Result<()> {
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| "the producer panicked")?
    }
}

/// Again and again while the bus is away. What stands already then comes twice, as from any producer: to the job it is the
/// same payment.
fn publish(bus: &dyn Bus, topic: TopicId, records: Vec<NewRecord>) -> Result<()> {
    let began = monotonic();
    loop {
        match bus.produce(topic, records.clone()) {
            Ok(_) => return Ok(()),
            Err(error) if error.response() == Response::Retry && began.elapsed() < AWAY_MAX => std::thread::park_timeout(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}
