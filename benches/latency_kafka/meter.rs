//! The meter: reads what comes out with a client of its own, on a thread of its own, and checks it.

use super::cluster::{Result, consumer, read_all};
use super::event::{Digest, Event, Schedule, users};
use super::process::unix_us;
use hdrhistogram::Histogram;
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A topic that gives nothing for so long behind the last expected record has nothing more.
const QUIET: Duration = Duration::from_millis(500);

/// What the records that are read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Every event.
    Events,
    /// Every event that passes the relay, flagged.
    Flagged,
    /// Running totals of users, each user's in order.
    Totals,
}

/// A meter that reads from the beginning of a topic until it is told to finish.
pub(crate) struct Meter {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Read>>,
}

struct Shared {
    finish: AtomicBool,
    /// How many events stand behind what was read.
    covered: AtomicU64,
    /// Latencies of events due in this span count.
    from_us: AtomicI64,
    until_us: AtomicI64,
    killed_us: AtomicI64,
}

/// What was read.
pub(crate) struct Read {
    /// Microseconds.
    pub(crate) latencies: Histogram<u64>,
    /// The worst of what was read after the engine was killed, in microseconds.
    pub(crate) worst_after_kill: i64,
    digest: Digest,
    totals: Vec<Total>,
    problem: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Total {
    count: i64,
    sum: i64,
}

/// A record of any of the shapes.
#[derive(Deserialize)]
struct Line<'a> {
    user: &'a str,
    due_us: i64,
    #[serde(default)]
    payment_id: &'a str,
    #[serde(default)]
    amount_cents: i64,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    count: i64,
    #[serde(default)]
    sum: i64,
}

impl Meter {
    pub(crate) fn start(brokers: &str, topic: &str, shape: Shape) -> Result<Self> {
        let consumer = read_all(&consumer(brokers, "bench-meter"), topic)?;
        let shared = Arc::new(Shared {
            finish: AtomicBool::new(false),
            covered: AtomicU64::new(0),
            from_us: AtomicI64::new(i64::MAX),
            until_us: AtomicI64::new(i64::MAX),
            killed_us: AtomicI64::new(i64::MAX),
        });
        let told = shared.clone();
        let thread = std::thread::Builder::new().name("meter".into()).spawn(move || read(&consumer, &told, shape))?;
        Ok(Self { shared, thread })
    }

    /// How many events stand behind what was read.
    pub(crate) fn covered(&self) -> u64 {
        self.shared.covered.load(Ordering::Acquire)
    }

    /// Latencies count from now on.
    pub(crate) fn begin(&self) {
        self.shared.from_us.store(unix_us(), Ordering::Release);
    }

    /// Events due from now on do not count.
    pub(crate) fn end(&self) {
        self.shared.until_us.store(unix_us(), Ordering::Release);
    }

    /// The engine is killed now.
    pub(crate) fn killed(&self) {
        self.shared.killed_us.store(unix_us(), Ordering::Release);
    }

    /// Reads what is there, and ends.
    pub(crate) fn finish(self) -> Result<Read> {
        self.shared.finish.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err("the meter panicked".into()))
    }
}

fn read(consumer: &BaseConsumer, shared: &Shared, shape: Shape) -> Result<Read> {
    let mut read = Read {
        latencies: Histogram::new(3)?,
        worst_after_kill: 0,
        digest: Digest::default(),
        totals: vec![Total::default(); if shape == Shape::Totals { users() as usize } else { 0 }],
        problem: None,
    };
    let mut covered = 0;
    loop {
        let message = match consumer.poll(QUIET) {
            Some(message) => message?,
            None if shared.finish.load(Ordering::Acquire) => return Ok(read),
            None => continue,
        };
        let now = unix_us();
        let payload = message.payload().unwrap_or_default();
        let line: Line<'_> = match serde_json::from_slice(payload) {
            Ok(line) => line,
            Err(error) => {
                read.problem.get_or_insert(format!("a record cannot be read: {error}"));
                continue;
            }
        };
        covered += read.take(&line, shape);
        shared.covered.store(covered, Ordering::Release);
        let took = now - line.due_us;
        if line.due_us >= shared.from_us.load(Ordering::Relaxed) && line.due_us < shared.until_us.load(Ordering::Relaxed) {
            read.latencies.record(took.unsigned_abs())?;
        }
        if now >= shared.killed_us.load(Ordering::Relaxed) {
            read.worst_after_kill = read.worst_after_kill.max(took);
        }
    }
}

impl Read {
    /// Returns how many events the record adds to those that stand behind what was read.
    fn take(&mut self, line: &Line<'_>, shape: Shape) -> u64 {
        let user = line.user.strip_prefix('u').and_then(|number| number.parse::<u64>().ok()).unwrap_or(u64::MAX);
        if shape != Shape::Totals {
            self.digest.add(line.payment_id.as_bytes(), user, line.amount_cents, line.flag, line.due_us);
            return 1;
        }
        let Some(total) = self.totals.get_mut(user as usize) else {
            self.problem.get_or_insert_with(|| format!("a total of the unknown user `{}`", line.user));
            return 0;
        };
        if line.count <= total.count {
            self.problem.get_or_insert_with(|| format!("a count repeated or went back: {} behind {}", line.count, total.count));
            return 0;
        }
        let more = line.count - total.count;
        *total = Total { count: line.count, sum: line.sum };
        more.unsigned_abs()
    }

    /// What is wrong with what was read, if anything.
    pub(crate) fn problem(&self, shape: Shape, schedule: &Schedule, events: u64) -> Option<String> {
        if let Some(problem) = &self.problem {
            return Some(problem.clone());
        }
        if shape == Shape::Totals {
            let mut totals = vec![Total::default(); users() as usize];
            for event in (0..events).map(Event::new) {
                let total = &mut totals[event.user as usize];
                total.count += 1;
                total.sum += event.amount_cents;
            }
            let wrong = totals.iter().zip(&self.totals).filter(|(expected, found)| expected != found).count();
            return (wrong > 0).then(|| format!("not correct: the totals of {wrong} users are wrong"));
        }
        let mut expected = Digest::default();
        for index in 0..events {
            let event = Event::new(index);
            let flag = shape == Shape::Flagged && event.amount_cents > 90_000;
            if shape == Shape::Events || event.passes() {
                expected.add(&event.id(), event.user, event.amount_cents, flag, schedule.due_us(index));
            }
        }
        (expected != self.digest).then(|| format!("not correct: {} records of {}", self.digest.count, expected.count))
    }
}

impl Shape {
    /// How many events stand behind the complete output of so many.
    pub(crate) fn covered_by(self, events: u64) -> u64 {
        match self {
            Self::Events | Self::Totals => events,
            Self::Flagged => (0..events).filter(|index| Event::new(*index).passes()).count() as u64,
        }
    }
}
