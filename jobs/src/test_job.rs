//! Tests of a job without a broker, a clock or a thread to wait for: `TestJob::new(spend)`.

use crate::codec::new_record;
use crate::event::Event;
use crate::flow::RowKeys;
use crate::job::TierOf;
use crate::run::{connect, pipeline_with, target_name, tiers};
use crate::{Job, Timestamp};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use distributary_connectors::lake::row_json;
use distributary_connectors::sinks::memory::MemorySink;
use distributary_connectors::sqlite::SqliteBus;
use distributary_runtime::bus::{Bus, NewRecord, Offset, Record, TopicSpec};
use distributary_runtime::deletion::{self, Cut, Request};
use distributary_runtime::engine;
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::metrics::Metrics;
use distributary_runtime::pipeline::{Components, Minting, Pipeline, StartOptions};
use distributary_runtime::plan::{Plan, SinkTarget};
use distributary_runtime::report::{Command, Report, Reports};
use distributary_runtime::settings::Settings;
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::time::{EventTime, ManualClock, WallTime, monotonic};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a step of a test may take before the test fails: far more than any needs.
const STEP_MAX: Duration = Duration::from_secs(60);
/// How often a waiting test looks whether the job has ended.
const TURN: Duration = Duration::from_millis(20);
/// How often a waiting test looks whether a question is answered.
const ANSWER_TURN: Duration = Duration::from_millis(1);
/// Partitions of the topics a test makes: more than one, so that order between keys is not taken for granted.
const PARTITIONS: u32 = 2;

/// A job under test. It runs the same plan, bindings, codec and operators as `run` does, on a bus that goes with the test.
///
/// Time is what the test says: epochs close, and the watermark moves, only when the test asks for it.
pub struct TestJob {
    /// Of a job with tables beside other sinks there are two.
    tiers: Vec<TierUnderTest>,
    settings: Settings,
    bus: Arc<SqliteBus>,
    clock: Arc<ManualClock>,
    memory: BTreeMap<String, MemorySink>,
    starts: u128,
}

struct TierUnderTest {
    pipeline: Pipeline,
    plan: Plan,
    components: Components,
    running: Option<Running>,
}

struct Running {
    reports: Reports,
    thread: JoinHandle<Result<()>>,
}

impl Running {
    /// Whether the answer comes. A job that has ended has none, but may leave the question in its queue.
    fn waits_for<T>(&self, answer: &Receiver<T>) -> bool {
        let began = monotonic();
        loop {
            match answer.recv_timeout(TURN) {
                Ok(_) => return true,
                Err(RecvTimeoutError::Timeout) if !self.thread.is_finished() && began.elapsed() < STEP_MAX => {}
                Err(_) => return answer.try_recv().is_ok(),
            }
        }
    }
}

impl TestJob {
    /// Starts the job; its topics are made.
    ///
    /// # Panics
    /// As everything here: with the reason, when the job cannot be planned or run.
    #[must_use]
    pub fn new(job: Job) -> Self {
        Self::with(job, Settings::default())
    }

    /// Starts the job with settings of the test's own, such as the number of workers.
    #[must_use]
    pub fn with(job: Job, settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::at(WallTime(0)));
        let bus = Arc::new(must(SqliteBus::in_memory(clock.clone())));
        must(bus.create_topic(&deletion::topic()));
        let mut memory = BTreeMap::new();
        let shared: Arc<dyn Bus> = bus.clone();
        let tier = |of: TierOf| {
            let pipeline = pipeline_with(of, RowKeys::Kept);
            let plan = must(engine::plan(&pipeline));
            for source in plan.sources().filter(|source| !source.is_answers) {
                must(bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(source.topic.clone(), PARTITIONS) }));
            }
            let outside = plan.sinks().filter(|s| !matches!(s.target, SinkTarget::Topic { .. }));
            let own: BTreeMap<_, _> = outside.map(|s| (target_name(&s.target), MemorySink::new())).collect();
            memory.extend(own.clone());
            let components = Components {
                connect: connect(shared.clone(), &settings, Some(own)),
                bus: shared.clone(),
                store: must(CheckpointStore::open("memory:///")),
                clock: clock.clone(),
                metrics: Metrics::new(&pipeline.name),
                status: Arc::new(|_| {}),
            };
            TierUnderTest { pipeline, plan, components, running: None }
        };
        let tiers = must(tiers(job)).into_iter().map(tier).collect();
        let mut job = Self { tiers, settings, bus, clock, memory, starts: 0 };
        job.start();
        job
    }

    /// Publishes an event. Its record's timestamp is the event's own time.
    pub fn push<E: Event>(&mut self, event: E) -> &mut Self {
        let time = EventTime::from(event.time());
        let record =
            new_record(&event, WallTime(time.0)).unwrap_or_else(|cause| panic!("the event cannot be published: {cause}"));
        self.push_raw(E::TOPIC, record)
    }

    /// Publishes any bytes: what a producer with a mistake might.
    pub fn push_raw(&mut self, topic: &str, record: NewRecord) -> &mut Self {
        let topic = must(self.bus.topic(topic)).unwrap_or_else(|| panic!("the job does not read `{topic}`"));
        must(self.bus.produce(topic.id, vec![record]));
        self
    }

    /// Asks to forget a subject, with everything about it that is published so far. What follows from it is corrected with the next epoch.
    pub fn delete(&mut self, subject: impl Into<String>) -> &mut Self {
        let read: BTreeSet<&str> =
            self.tiers.iter().flat_map(|tier| tier.plan.sources()).map(|source| source.topic.as_str()).collect();
        let cut = must(Cut::now(&*self.bus, read));
        self.request(&Request { subjects: vec![subject.into()], cut })
    }

    /// Publishes a request to delete.
    pub fn request(&mut self, request: &Request) -> &mut Self {
        let record = must(request.record(WallTime(self.clock_now())));
        self.push_raw(deletion::TOPIC, record)
    }

    /// Closes an epoch with everything published so far and moves the watermark to this point in event time, as if every
    /// partition had claimed it. (`secs(20)` is twenty seconds after the epoch of 1970.)
    pub fn advance_to(&mut self, to: impl Into<Timestamp>) -> &mut Self {
        // Whoever waits for an answer now has it before event time goes on.
        if self.asks() {
            self.settle();
        }
        self.seal(EventTime::from(to.into()));
        if self.asks() {
            self.settle();
        }
        self
    }

    /// Closes an epoch with everything published so far, and further ones until every question of a look-up is answered.
    pub fn settle(&mut self) -> &mut Self {
        self.seal(EventTime::MIN);
        let began = monotonic();
        while self.asks() && self.questions_waiting() > 0 {
            assert!(began.elapsed() < STEP_MAX, "a question was not answered within {STEP_MAX:?}");
            std::thread::park_timeout(ANSWER_TURN);
            self.seal(EventTime::MIN);
        }
        self
    }

    /// Whether the job has look-ups.
    fn asks(&self) -> bool {
        self.tiers.iter().flat_map(|tier| tier.plan.sources()).any(|source| source.is_answers)
    }

    fn questions_waiting(&self) -> u64 {
        self.tiers.iter().filter_map(|tier| tier.running.as_ref()).map(|running| running.reports.questions_waiting()).sum()
    }

    /// The rows that stand in a sink now, corrections applied, by key and then value. Everything published so far is settled first.
    ///
    /// Rows of a table are shown as [`row_json`] has them: times as milliseconds, decimals with a point as text.
    pub fn rows(&mut self, sink: &str) -> Rows {
        self.settle();
        let mut net: BTreeMap<(Option<String>, String), i64> = BTreeMap::new();
        let upsert = self.tiers.iter().flat_map(|tier| tier.plan.sinks()).any(|s| {
            matches!(&s.target, SinkTarget::Topic { name, form, .. } if name == sink && *form == distributary_runtime::bus::TopicForm::Upsert)
        });
        if upsert {
            let mut newest = BTreeMap::new();
            for record in self.records(sink).into_iter().flat_map(|(_, records)| records) {
                newest.insert(text(record.key.as_deref()), record.value.map(|v| text(Some(&v)).unwrap_or_default()));
            }
            net.extend(newest.into_iter().filter_map(|(key, value)| Some(((key, value?), 1))));
        } else if let Some(memory) = self.memory.get(sink) {
            let columns = self.tiers.iter().flat_map(|tier| tier.plan.sinks()).find_map(|s| match &s.target {
                SinkTarget::Table { name, columns, .. } if name == sink => Some(columns),
                _ => None,
            });
            for row in memory.rows() {
                let record = row.record;
                let value = match (columns, &record.value) {
                    (Some(columns), Some(row)) => must(row_json(columns, row)).to_string(),
                    (_, value) => text(value.as_deref()).unwrap_or_default(),
                };
                *net.entry((text(record.key.as_deref()), value)).or_default() += record.diff;
            }
        } else {
            for record in self.records(sink).into_iter().flat_map(|(_, records)| records) {
                let diff = if record.header("op") == Some("-") { -1 } else { 1 };
                *net.entry((text(record.key.as_deref()), text(record.value.as_deref()).unwrap_or_default())).or_default() += diff;
            }
        }
        let mut rows = Vec::new();
        for ((key, value), copies) in net {
            assert!(copies >= 0, "`{sink}` takes back a row it does not hold");
            rows.extend((0..copies).map(|_| Row { key: key.clone(), value: value.clone() }));
        }
        Rows(rows)
    }

    /// The rows of the dead-letter topics: the original values. What no tier of a job can use is a dead letter of each.
    pub fn dead_letters(&mut self) -> Rows {
        let topics: Vec<_> = self.tiers.iter().map(|tier| format!("{}.dead-letters", tier.pipeline.name)).collect();
        Rows(topics.iter().flat_map(|topic| self.rows(topic).0).collect())
    }

    /// Everything a topic holds, by partition, as it stands there: what a reader of the bus would see.
    pub fn records(&mut self, topic: &str) -> Vec<(u32, Vec<Record>)> {
        let known: Vec<_> = self.tiers.iter().flat_map(|tier| tier.plan.sinks()).map(|s| target_name(&s.target)).collect();
        let topic =
            must(self.bus.topic(topic)).unwrap_or_else(|| panic!("the job does not write `{topic}`; it writes {known:?}"));
        read_all(&*self.bus, topic.id)
    }

    /// Ends the process as a crash would: nothing is flushed, nothing is saved.
    pub fn crash(&mut self) -> &mut Self {
        for Running { reports, thread } in self.tiers.iter_mut().filter_map(|tier| tier.running.take()) {
            reports.halt();
            // What a crashed process would have said does not matter.
            let _ = thread.join();
        }
        self
    }

    /// Stops the job in order, with a last checkpoint.
    pub fn stop(&mut self) -> &mut Self {
        for Running { reports, thread } in self.tiers.iter_mut().filter_map(|tier| tier.running.take()) {
            engine::stop(&reports);
            must(thread.join().unwrap_or_else(|_| panic!("the pipeline panicked")));
        }
        self
    }

    /// Starts the job again, where it stopped or crashed.
    pub fn restart(&mut self) -> &mut Self {
        self.crash();
        self.start();
        self
    }

    /// Starts the job again with another number of workers.
    pub fn restart_with(&mut self, workers: u32) -> &mut Self {
        self.settings.workers = workers;
        self.restart()
    }

    /// The plans of the job, one for each tier.
    #[must_use]
    pub fn plans(&self) -> Vec<&Plan> {
        self.tiers.iter().map(|tier| &tier.plan).collect()
    }

    fn start(&mut self) {
        self.starts += 1;
        let options = StartOptions {
            incarnation: self.starts,
            request: StartRequest::Resume,
            until: None,
            accept_gap: false,
            minting: Minting::Sealed,
        };
        for tier in &mut self.tiers {
            let (pipeline, components, settings) = (tier.pipeline.clone(), tier.components.clone(), self.settings.clone());
            let (reports, inbox) = Reports::new();
            let to = reports.clone();
            let thread = std::thread::spawn(move || {
                let result = engine::run(&pipeline, &components, &settings, &options, (to.clone(), inbox));
                to.halt();
                result
            });
            tier.running = Some(Running { reports, thread });
        }
    }

    fn seal(&mut self, watermark: EventTime) {
        let now = self.clock_now() + 1;
        self.clock.set(WallTime(now));
        for tier in &mut self.tiers {
            let Some(running) = &tier.running else { panic!("the job is not running: `restart()` it") };
            let (answer, answered) = crossbeam_channel::bounded(1);
            running.reports.send(Report::Command(Command::Seal { watermark, answer }));
            if !running.waits_for(&answered) {
                let Some(Running { reports, thread }) = tier.running.take() else { unreachable!("it was there above") };
                reports.halt();
                match thread.join() {
                    Ok(Err(error)) => panic!("the job cannot go on: {error}"),
                    _ => panic!("the job did not settle within {STEP_MAX:?}"),
                }
            }
        }
    }

    fn clock_now(&self) -> i64 {
        use distributary_runtime::time::Clock;
        self.clock.now().0
    }
}

impl Drop for TestJob {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Everything a topic holds, by partition.
pub(crate) fn read_all(bus: &dyn Bus, topic: distributary_runtime::bus::TopicId) -> Vec<(u32, Vec<Record>)> {
    let offsets = must(bus.offsets(topic));
    let starts: Vec<(u32, Offset)> = offsets.iter().map(|o| (o.partition, o.log_start)).collect();
    let mut records: BTreeMap<u32, Vec<Record>> = starts.iter().map(|(p, _)| (*p, Vec::new())).collect();
    let mut open: BTreeMap<u32, Offset> = offsets.iter().filter(|o| o.log_start < o.end).map(|o| (o.partition, o.end)).collect();
    let mut consumer = must(bus.consumer(topic, &starts));
    while !open.is_empty() {
        for batch in must(consumer.poll(Duration::from_millis(100))) {
            records.entry(batch.partition).or_default().extend(batch.records);
            if open.get(&batch.partition).is_some_and(|end| batch.position >= *end) {
                open.remove(&batch.partition);
            }
        }
    }
    records.into_iter().collect()
}

/// A row of a sink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Its key, as text.
    pub key: Option<String>,
    /// Its value, as JSON text.
    pub value: String,
}

/// The rows of a sink, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows(Vec<Row>);

impl Rows {
    /// The keys, in order; rows without a key are left out.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        self.0.iter().filter_map(|row| row.key.as_deref()).collect()
    }

    /// The values as JSON, in order of the keys.
    ///
    /// # Panics
    /// A value is not JSON.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        self.read()
    }

    /// The values as a type of the test's own, in order of the keys.
    ///
    /// # Panics
    /// A value is not of this type.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Vec<T> {
        self.0.iter().map(|row| must(serde_json::from_str(&row.value))).collect()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.0.iter()
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
