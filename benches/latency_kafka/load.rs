//! The sender: an open loop with a client of its own, on a thread of its own.

use super::cluster::{ANSWER, Result, producer, wait};
use super::event::{Event, Schedule};
use super::process::unix_us;
use distributary_runtime::time::monotonic;
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer, ProducerContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the sender hands over what is due.
const TICK: Duration = Duration::from_micros(500);

/// A sender that once was so late was not at its rate.
const LATE_MAX: Duration = Duration::from_secs(1);

/// So much of what was due long ago is on its way at once.
const BACKLOG_IN_FLIGHT: i32 = 200_000;

/// How long the broker may take for the last records.
const FLUSH: Duration = Duration::from_secs(30);

/// A client that has sent the first event, by which the engine is seen to be up.
pub(crate) struct Load {
    producer: BaseProducer<Failures>,
    probe_us: i64,
}

impl Load {
    pub(crate) fn connect(brokers: &str) -> Result<Self> {
        let mut config = producer(brokers);
        config
            .set("linger.ms", "1")
            // The queue never fills: who cannot keep up is seen by his being late.
            .set("queue.buffering.max.messages", "10000000")
            .set("queue.buffering.max.kbytes", "1048576");
        let producer: BaseProducer<Failures> = config.create_with_context(Failures::default())?;
        producer.client().fetch_metadata(Some("in"), ANSWER)?;
        let load = Self { producer, probe_us: unix_us() };
        load.send(0, load.probe_us, &mut Vec::new(), &mut Vec::new())?;
        Ok(load)
    }

    /// Sends the others, on a schedule that began so long ago: what was due since then is sent at once.
    pub(crate) fn start(self, rate: u64, ago: Duration) -> Result<Sender> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let schedule = Schedule { probe_us: self.probe_us, began_us: unix_us() - ago.as_micros() as i64, rate };
        let (stopped, counted) = (stop.clone(), sent.clone());
        let body = move || self.send_all(&schedule, ago, &stopped, &counted);
        let thread = std::thread::Builder::new().name("sender".into()).spawn(body)?;
        Ok(Sender { schedule, stop, sent, thread })
    }

    fn send_all(&self, schedule: &Schedule, ago: Duration, stop: &AtomicBool, sent: &AtomicU64) -> Result<Duration> {
        let began = monotonic() - ago;
        let (mut next, mut worst) = (1, Duration::ZERO);
        let mut behind = !ago.is_zero();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Acquire) {
            let due = schedule.due_after(began.elapsed().as_micros() as u64);
            if behind {
                behind = due - next > schedule.rate / 10;
            } else if due > next {
                let late = began.elapsed().saturating_sub(Duration::from_micros((next - 1) * 1_000_000 / schedule.rate));
                worst = worst.max(late);
            }
            for index in next..due {
                while behind && self.producer.in_flight_count() > BACKLOG_IN_FLIGHT {
                    self.producer.poll(TICK);
                }
                self.send(index, schedule.due_us(index), &mut key, &mut value)?;
            }
            next = due;
            sent.store(next, Ordering::Release);
            self.producer.poll(Duration::ZERO);
            let tick = (began.elapsed().as_micros() / TICK.as_micros()) as u32 + 1;
            wait(began + TICK * tick);
        }
        flush(&self.producer)?;
        Ok(worst)
    }

    fn send(&self, index: u64, due_us: i64, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<()> {
        key.clear();
        value.clear();
        Event::new(index).write(due_us, key, value);
        let record = BaseRecord::to("in").key(key.as_slice()).payload(value.as_slice());
        self.producer.send(record).map_err(|(error, _)| format!("the sender could not hand over an event: {error}"))?;
        Ok(())
    }
}

/// A load that runs.
pub(crate) struct Sender {
    pub(crate) schedule: Schedule,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<Duration>>,
}

/// What the sender says at the end.
pub(crate) struct Sent {
    pub(crate) events: u64,
    /// Why the load does not count, if so.
    pub(crate) problem: Option<String>,
}

impl Sender {
    /// How many events were handed over.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Stops sending; everything is on the bus then.
    pub(crate) fn finish(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Release);
        let problem = match self.thread.join() {
            Ok(Ok(worst)) if worst > LATE_MAX => Some(format!("below its rate: the sender was {} ms late", worst.as_millis())),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the sender panicked".to_string()),
        };
        Ok(Sent { events: self.sent.load(Ordering::Acquire), problem })
    }
}

fn flush(producer: &BaseProducer<Failures>) -> Result<()> {
    producer.flush(FLUSH)?;
    match producer.context().0.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => Err(format!("the broker did not take {failed} events").into()),
    }
}

/// Counts what was not delivered.
#[derive(Default)]
struct Failures(AtomicU64);

impl ClientContext for Failures {}

impl ProducerContext<NoCustomPartitioner> for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}
