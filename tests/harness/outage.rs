//! An object store that dies, or becomes slow, under a job that writes a topic and a table: whether the topic feels it, and whether the table
//! is exact in the end.
//!
//! The job is `both` of the binary with the attacked jobs, run as a person runs it: two processes. Payments come at a fixed rate whatever becomes of
//! them. Latency is that of the topic: when a reader is given a result - when its payment was due.

use crate::Result;
use crate::ledger::{BOTH, BOTH_TABLE, BOTH_TOPIC, PAYMENTS};
use crate::outside::{Ground, has_read_all};
use crate::pipe::{Pipe, Way};
use crate::process::Process;
use crate::teams::{Latency, await_that, await_topic, due, park_until, send_as_due};
use distributary::run;
use distributary_connectors::lake::TableView;
use distributary_runtime::bus::{NewRecord, Offset, TopicId, TopicSpec};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::{Clock, SystemClock, monotonic};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 4;
const USERS: u64 = 1_000;
/// How often the batch process is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is done.
#[derive(Clone, Debug)]
pub struct Outage {
    /// The binary with the job.
    pub binary: PathBuf,
    /// A folder of its own.
    pub dir: PathBuf,
    /// Where Kafka listens.
    pub brokers: String,
    /// Where the object store listens, and a bucket on it.
    pub store: (SocketAddr, String),
    /// Payments a second.
    pub rate: u64,
    /// What is sent in so long a time at the beginning is not measured.
    pub warm_up: Duration,
    /// The phases: what the way to the store does, and for how long.
    pub phases: Vec<(Way, Duration)>,
}

/// What was seen in a phase.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Of the topic's results.
    pub latency: Latency,
    /// The most memory that the batch process held, in MiB.
    pub batch_mib: u64,
}

/// What was seen, phase by phase, and how long the table took to catch up behind the last.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of each phase.
    pub phases: Vec<Seen>,
    /// From the end of the last phase until everything was in the table.
    pub catch_up: Duration,
}

impl Outage {
    /// Runs it.
    ///
    /// # Errors
    /// A result is lost or comes twice, in the topic or in the table; a process, the bus or the store failed.
    pub fn run(&self) -> Result<Report> {
        let pipe = Pipe::start(self.store.0)?;
        let ground = Ground {
            dir: self.dir.clone(),
            brokers: Some(self.brokers.clone()),
            lane: TopicLane::default(),
            attacked: crate::ledger::Attacked::Ledger,
            store: None,
        };
        let bus = ground.clear()?;
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(PAYMENTS, PARTITIONS) })?;
        let payments = await_topic(&*bus, PAYMENTS)?;
        let endpoint = format!("http://{}", pipe.address());
        let launch = ground.launch(&self.binary, BOTH, "both").set("lake", &self.store.1);
        let launch = launch.env("AWS_ENDPOINT", &endpoint).env("AWS_ENDPOINT_URL", &endpoint);
        let job = launch.start(Stdio::null())?;
        let out = await_topic(&*bus, BOTH_TOPIC)?;

        let (began, began_at, done) = (monotonic(), SystemClock.now(), AtomicBool::new(false));
        let end = self.warm_up + self.phases.iter().map(|(_, length)| *length).sum::<Duration>();
        let (sent, seen, memory, catch_up) = scope(|threads| -> Result<_> {
            let sender = threads.spawn(|| send_as_due(&*bus, payments, self.rate, (began, began_at), end, payment));
            let reader = threads.spawn(|| listen(&ground, out, began, &done));
            let memory = self.attack(&pipe, &job, began);
            let sent = sender.join().unwrap_or_else(|_| Err("the sender panicked".into()));
            let catching_up = monotonic();
            let settled = sent.and_then(|sent| {
                await_that("both tiers have read everything", || {
                    let of = |pipeline: &str| has_read_all(&*bus, pipeline, payments);
                    Ok(of(&format!("chaos.{BOTH}"))? && of(&format!("chaos.{BOTH}.batch"))?)
                })?;
                Ok(sent)
            });
            let catch_up = catching_up.elapsed();
            // Whatever happened, the reader ends.
            done.store(true, Ordering::Release);
            let seen = reader.join().unwrap_or_else(|_| Err("the reader panicked".into()))?;
            Ok((settled?, seen, memory, catch_up))
        })?;
        if seen.len() as u64 != sent || seen.iter().any(Option::is_none) {
            return Err(format!("{} results have come of {sent}", seen.iter().flatten().count()).into());
        }
        let (store, lake) = run::open_lake(&Settings { lake: Some(self.store.1.clone()), ..Settings::default() })?;
        let view = TableView::open(&store, &lake.join(&format!("{BOTH_TABLE}/"))?)?.ok_or("there is no table")?;
        let mut rows = Vec::new();
        view.write_rows(&mut rows)?;
        let ids = rows.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(id_of).collect::<Result<Vec<_>>>()?;
        let distinct: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        if ids.len() as u64 != sent || distinct.len() as u64 != sent {
            return Err(format!("the table has {} rows of {} payments, {sent} were sent", ids.len(), distinct.len()).into());
        }
        let mut from = self.warm_up;
        let phases = self.phases.iter().zip(memory).map(|((_, length), batch_mib)| {
            let phase = from..from + *length;
            from = phase.end;
            let of_phase = (0..).zip(&seen).filter(|(id, _)| phase.contains(&due(*id, self.rate)));
            let latency = Latency::of(of_phase.filter_map(|(id, at)| Some((*at)?.saturating_sub(due(id, self.rate)))));
            Seen { latency, batch_mib }
        });
        Ok(Report { phases: phases.collect(), catch_up })
    }

    /// Goes through the phases; gives the most memory of the batch process in each.
    fn attack(&self, pipe: &Pipe, job: &Process, began: Instant) -> Vec<u64> {
        park_until(began + self.warm_up);
        let mut until = began + self.warm_up;
        let mut memory = Vec::new();
        for (way, length) in &self.phases {
            pipe.set(*way);
            until += *length;
            let mut most = 0;
            while monotonic() < until {
                park_until((monotonic() + LOOK).min(until));
                most = most.max(job.memory_of_children_mib("batch"));
            }
            memory.push(most);
        }
        pipe.set(Way::Open);
        memory
    }
}

/// When each payment came, since the beginning; it must come once.
fn listen(ground: &Ground, out: TopicId, began: Instant, done: &AtomicBool) -> Result<Vec<Option<Duration>>> {
    let bus = ground.bus()?;
    let starts: Vec<_> = bus.offsets(out)?.iter().map(|at| (at.partition, Offset(0))).collect();
    let mut consumer = bus.consumer(out, &starts)?;
    let mut seen: Vec<Option<Duration>> = Vec::new();
    while !done.load(Ordering::Acquire) {
        for batch in consumer.poll(Duration::from_millis(100))? {
            let now = began.elapsed();
            for record in batch.records {
                let id = usize::try_from(id_of(record.value.as_deref().unwrap_or_default())?)?;
                seen.resize(seen.len().max(id + 1), None);
                if seen[id].replace(now).is_some() {
                    return Err(format!("payment {id} has come twice").into());
                }
            }
        }
    }
    Ok(seen)
}

fn payment(id: u64, at: i64) -> NewRecord {
    let user = format!("u{}", id % USERS);
    let value = format!(r#"{{"payment_id":"{id:032x}","user_id":"{user}","amount_cents":1,"merchant":"m","at":{at}}}"#);
    NewRecord {
        partition: None,
        timestamp: SystemClock.now(),
        key: Some(user.into()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

fn id_of(row: &[u8]) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        payment_id: &'a str,
    }
    Ok(u64::from_str_radix(serde_json::from_slice::<Row<'_>>(row)?.payment_id, 16)?)
}
