//! Payments with the moment they are due, the two jobs that are measured with them, and who sends them: an open loop.

use super::pipeline::Place;
use super::process::unix_us;
use distributary::{AsTimestamp, Event, Flow, Job, Timestamp, codec, topic, upsert};
use distributary_runtime::bus::{NewRecord, Topic};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::{WallTime, monotonic};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Unix time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DueUs(pub(crate) i64);

impl AsTimestamp for DueUs {
    fn as_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.0.div_euclid(1_000))
    }
}

/// An event of about 200 bytes.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "in", id = "payment_id", time = "due_us", subject = "user")]
pub(crate) struct Payment {
    payment_id: Uuid,
    user: String,
    amount_cents: i64,
    merchant: String,
    due_us: DueUs,
    pad: String,
}

impl Payment {
    /// The payment with this index; its id is the index.
    pub(crate) fn new(index: u64, user: u64, due_us: i64) -> Self {
        let mixed = (index ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            payment_id: Uuid::from_u128(u128::from(index)),
            user: format!("u{user}"),
            amount_cents: 1 + (mixed >> 40) as i64 % 100_000,
            merchant: format!("merchant-{:04}", (mixed >> 20) % 2_000),
            due_us: DueUs(due_us),
            pad: "0123456789abcdefghijkl".to_string(),
        }
    }

    /// The record a producer writes.
    pub(crate) fn record(&self) -> NewRecord {
        let record = codec::new_record(self, WallTime(self.due_us.0.div_euclid(1_000)));
        record.unwrap_or_else(|cause| unreachable!("a payment has a JSON form: {cause}"))
    }

    /// Whether the relay lets it through.
    pub(crate) fn passes(&self) -> bool {
        self.amount_cents % 10 != 0
    }
}

/// A user in `0..users` for each index, all equally often.
pub(crate) fn user_of(index: u64, users: u64) -> u64 {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9) % users
}

/// What the relay writes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Flagged {
    payment_id: Uuid,
    user: String,
    amount_cents: i64,
    flag: bool,
    due_us: DueUs,
}

/// What spend writes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Spend {
    user: String,
    #[serde(flatten)]
    total: Total,
}

/// Of a user. The newest due time is folded: the aggregate `max` would keep every one it has seen, to survive retractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    count: i64,
    sum: i64,
    due_us: i64,
}

impl Total {
    fn add(&mut self, payment: &Payment, diff: i64) {
        self.count += diff;
        self.sum += diff * payment.amount_cents;
        self.due_us = self.due_us.max(payment.due_us.0);
    }
}

/// Stateless: parse, filter, flag, write.
pub(crate) const RELAY: Job = Job::new("relay", "bench", "", relay);

fn relay(flow: &Flow<'_>) -> Result<()> {
    flow.read::<Payment>()?
        .filter(|p| p.amount_cents % 10 != 0)
        .map(|p| Flagged {
            flag: p.amount_cents > 90_000,
            payment_id: p.payment_id,
            user: p.user,
            amount_cents: p.amount_cents,
            due_us: p.due_us,
        })
        .keyed(|f| f.user.clone())
        .to(topic("out"));
    Ok(())
}

/// Stateful: count and sum of each user, the last state of an epoch.
pub(crate) const SPEND: Job = Job::new("spend", "bench", "", spend);

fn spend(flow: &Flow<'_>) -> Result<()> {
    flow.read::<Payment>()?
        .key_by(|p| p.user.clone())
        .fold("spend", Total::default(), Total::add)
        .map(|s| Spend { user: s.key, total: s.value })
        .keyed(|s| s.user.clone())
        .to(upsert("out"));
    Ok(())
}

/// Finds `"name":number` in JSON without reading the rest.
pub(crate) fn number(json: &[u8], name: &str) -> Option<i64> {
    let text = std::str::from_utf8(json).ok()?;
    let rest = text.get(text.find(&format!("\"{name}\":"))? + name.len() + 3..)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Sends at a fixed rate, whatever happens: an open loop.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// When the sender was last seen to be behind by more than a second, if ever: the bus did not take the rate.
    behind: Arc<Mutex<Option<Duration>>>,
    thread: JoinHandle<Result<()>>,
}

/// How often the sender hands over what is due.
const TICK: Duration = Duration::from_micros(1_000);

impl Sender {
    /// Starts at once: payments with indices from `first` on, of as many users.
    pub(crate) fn start(place: &Place, topic: &Topic, rate_per_s: u64, users: u64, first: u64) -> Result<Self> {
        let (bus, topic) = (place.client()?, topic.id);
        let (stop, sent, behind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let (stopped, counted, noted) = (stop.clone(), sent.clone(), behind.clone());
        let (began, began_us) = (monotonic(), unix_us());
        let body = move || {
            let mut next = 0;
            while !stopped.load(Ordering::Acquire) {
                let due = (began.elapsed().as_micros() as u64) * rate_per_s / 1_000_000;
                if due > next {
                    let payment =
                        |i| Payment::new(first + i, user_of(first + i, users), began_us + (i * 1_000_000 / rate_per_s) as i64);
                    let records = (next..due).map(|i| payment(i).record()).collect();
                    let late = due - next > rate_per_s;
                    bus.produce(topic, records)?;
                    next = due;
                    counted.store(next, Ordering::Release);
                    if late {
                        *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(began.elapsed());
                    }
                }
                park_timeout(until_next(began));
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("sender".into()).spawn(body);
        let thread = thread.map_err(|source| Error::Io { what: "starting the sender".into(), source })?;
        Ok(Self { stop, sent, behind, thread })
    }

    /// How many it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Stops sending; returns how many were sent, and whether the bus took the rate.
    pub(crate) fn finish(self) -> Result<(u64, bool)> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err(Error::Panicked("sender".into())))?;
        let kept_up = self.behind.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        Ok((self.sent.load(Ordering::Acquire), kept_up))
    }
}

fn until_next(began: Instant) -> Duration {
    let into = began.elapsed().as_micros() as u64 % TICK.as_micros() as u64;
    TICK - Duration::from_micros(into)
}
