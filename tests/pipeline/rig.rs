//! What the scenarios are told with: a bus in a file, pipelines that run on it, and patience.

use crate::unruly_bus::UnrulyBus;
use distributary::job::TierOf;
use distributary::{Event, Flow, Timestamp, job, run, topic};
use distributary_connectors::archived::ArchivedBus;
use distributary_connectors::kafka::{KafkaBus, KafkaSettings};
use distributary_connectors::lake::{TableSink, TableSpec};
use distributary_connectors::sinks::memory::MemorySink;
use distributary_connectors::sinks::topic::topic_sinks;
use distributary_connectors::sqlite::{Durability, SqliteBus};
use distributary_runtime::bus::{Bus, NewRecord, Offset, PartitionOffsets, Record, TopicId, TopicSpec};
use distributary_runtime::deletion;
use distributary_runtime::engine;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::journal::{Entry, Fact, StartRequest};
use distributary_runtime::metrics::Metrics;
use distributary_runtime::pipeline::Topics;
use distributary_runtime::pipeline::{Components, Minting, StartOptions};
use distributary_runtime::plan::{SinkNode, SinkTarget};
use distributary_runtime::report::Reports;
use distributary_runtime::response::Response;
use distributary_runtime::settings::Settings;
use distributary_runtime::sink::LaneGroup;
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::status::Status;
use distributary_runtime::time::{Clock, SystemClock, WallTime, monotonic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Nothing a scenario waits for takes nearly as long, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The event of these scenarios.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "payments", id = "id", time = "at", subject = "user")]
pub(crate) struct Payment {
    pub(crate) id: u64,
    pub(crate) user: String,
    pub(crate) cents: i64,
    pub(crate) at: Timestamp,
}

/// The payment with this number, in the second of the same number: 1 cent of one of three users.
pub(crate) fn payment(id: u64) -> NewRecord {
    payment_in(None, id)
}

/// The same, in a partition of the test's choice.
pub(crate) fn payment_in(partition: impl Into<Option<u32>>, id: u64) -> NewRecord {
    let user = format!("u{}", id % 3);
    let value = format!(r#"{{"id":{id},"user":"{user}","cents":1,"at":{}}}"#, id * 1_000);
    let timestamp = WallTime(id as i64 * 1_000);
    NewRecord { partition: partition.into(), timestamp, key: Some(user.into()), value: Some(value.into()), headers: vec![] }
}

/// The payments with these numbers.
pub(crate) fn payments(ids: std::ops::Range<u64>) -> Vec<NewRecord> {
    ids.map(payment).collect()
}

/// The numbers of the payments in these records, sorted: a loss, a duplicate and a stranger all show.
pub(crate) fn ids(records: &[Record]) -> Vec<u64> {
    let id = |r: &Record| serde_json::from_slice::<Payment>(r.value.as_ref().expect("a payment")).expect("a payment").id;
    let mut ids: Vec<u64> = records.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

/// A header as text.
pub(crate) fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    record.header(name).unwrap_or_else(|| panic!("no header `{name}`"))
}

/// These numbers, to be compared with [`ids`].
pub(crate) fn ids_of(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

/// Records of the first generation, and those of later ones.
pub(crate) fn by_generation(records: Vec<Record>) -> (Vec<Record>, Vec<Record>) {
    records.into_iter().partition(|r| header(r, "generation") == "1")
}

/// The error stops the pipeline, and says both what is wrong and what to do.
#[track_caller]
pub(crate) fn assert_says(error: &Error, reason: &str, remedy: &str) {
    let text = error.to_string();
    assert_eq!(error.response(), Response::StopPipeline, "{text}");
    assert!(text.contains(reason), "the reason `{reason}` is not in: {text}");
    assert!(text.contains(remedy), "the remedy `{remedy}` is not in: {text}");
}

/// Copies every payment, as it is.
#[job(team = "fraud")]
pub(crate) fn copies(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?.to(topic("fraud.copies"));
    Ok(())
}

/// A rig on which `copies` runs and has copied so many payments.
pub(crate) fn copying(partitions: u32, count: u64) -> (Rig, Running) {
    copying_on(Rig::new(), partitions, count)
}

/// The same, on a rig that is there.
pub(crate) fn copying_on(rig: Rig, partitions: u32, count: u64) -> (Rig, Running) {
    rig.topic("payments", partitions);
    rig.publish("payments", payments(0..count));
    let running = rig.start(copies);
    rig.read("fraud.copies", count as usize);
    (rig, running)
}

/// A place where pipelines run: one bus, one checkpoint store, one sink in memory.
pub(crate) struct Rig {
    /// What the pipelines use.
    pub(crate) bus: Arc<UnrulyBus>,
    /// The same bus, for the test itself: it always answers.
    pub(crate) calm: Arc<dyn Bus>,
    /// Every `memory(..)` sink of every pipeline.
    pub(crate) memory: MemorySink,
    /// Short intervals, so that nobody waits.
    pub(crate) settings: Settings,
    store: CheckpointStore,
    starts: AtomicU64,
    _dir: tempfile::TempDir,
    /// Rigs on one broker use the same topics.
    _alone: Option<MutexGuard<'static, ()>>,
}

static ON_KAFKA: Mutex<()> = Mutex::new(());

/// Plays a scenario on the embedded bus, and on the Kafka of this run, if there is one.
pub(crate) fn on_each_bus(scenario: impl Fn(Rig)) {
    scenario(Rig::new());
    Rig::on_kafka().into_iter().for_each(scenario);
}

/// The broker of this run (`./dev test` starts it); says so when there is none.
pub(crate) fn brokers() -> Option<String> {
    let brokers = std::env::var("DISTRIBUTARY_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped on Kafka: DISTRIBUTARY_TEST_KAFKA names no broker (`./dev kafka start`)");
    }
    brokers
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("bus.sqlite");
        let calm = SqliteBus::open(&path, Arc::new(SystemClock), Durability::Normal).expect("a bus");
        Self::with(Arc::new(calm), dir, None)
    }

    /// On the Kafka of this run, if there is one, without what other scenarios have left there.
    pub(crate) fn on_kafka() -> Option<Self> {
        let brokers = brokers()?;
        let alone = ON_KAFKA.lock().unwrap_or_else(PoisonError::into_inner);
        let bus = KafkaBus::connect(KafkaSettings::new(brokers), Arc::new(SystemClock)).expect("a bus");
        let of_ours = |name: &str| ["payments", deletion::TOPIC].contains(&name) || name.starts_with("fraud.");
        for topic in bus.topics().unwrap().into_iter().filter(|topic| of_ours(&topic.spec.name)) {
            bus.delete_topic(&topic.spec.name).unwrap();
        }
        Some(Self::with(Arc::new(bus), tempfile::tempdir().expect("a temporary directory"), Some(alone)))
    }

    fn with(calm: Arc<dyn Bus>, dir: tempfile::TempDir, alone: Option<MutexGuard<'static, ()>>) -> Self {
        let settings = Settings {
            epoch_interval_ms: 5,
            idle_epoch_ms: 50,
            checkpoint_interval_ms: 200,
            metadata_interval_ms: 50,
            data_dir: dir.path().to_path_buf(),
            ..Settings::default()
        };
        Self {
            bus: Arc::new(UnrulyBus::new(calm.clone())),
            calm,
            memory: MemorySink::new(),
            store: run::open_store(&settings).expect("a store"),
            settings,
            starts: AtomicU64::new(0),
            _dir: dir,
            _alone: alone,
        }
    }

    /// Creates a topic of one partition that keeps its records until [`Rig::loses_all`]. These records are so old that a broker, which
    /// applies retention by itself, would take them at once.
    pub(crate) fn losable(&self, name: &str) {
        let spec = TopicSpec::new(name, 1);
        let retention_ms = spec.retention_ms.filter(|_| self.calm.features().upkeep_on_call);
        self.create(&TopicSpec { retention_ms, ..spec });
    }

    /// Retention takes everything that a topic holds.
    pub(crate) fn loses_all(&self, topic: &str) {
        if self.calm.features().upkeep_on_call {
            self.calm.maintain(SystemClock.now()).unwrap();
        } else {
            let id = self.id(topic);
            let end = self.calm.offsets(id).unwrap()[0].end;
            self.calm.truncate_journal(id, end).unwrap();
        }
    }

    /// Creates a topic whose records [`Rig::forgets`] takes.
    pub(crate) fn forgetful(&self, name: &str, partitions: u32) {
        let spec = TopicSpec::new(name, partitions);
        let retention_ms = Some(1).filter(|_| self.calm.features().upkeep_on_call);
        self.create(&TopicSpec { retention_ms, ..spec });
    }

    /// Retention takes what is older than `before`; on Kafka, where it is asked for by offset, of partition 0 only.
    pub(crate) fn forgets(&self, topic: &str, before: WallTime) {
        if self.calm.features().upkeep_on_call {
            self.calm.maintain(before).unwrap();
        } else {
            let id = self.id(topic);
            let (_, first) = self.calm.offsets_at(id, before).unwrap()[0];
            self.calm.truncate_journal(id, first).unwrap();
        }
        assert!(self.calm.offsets(self.id(topic)).unwrap()[0].log_start > Offset(0), "nothing is forgotten");
    }

    /// The bus as a pipeline sees it: what is forgotten is read from archives.
    pub(crate) fn archived(&self) -> ArchivedBus {
        let settings = self.settings.clone();
        ArchivedBus::new(self.bus.clone(), move || run::open_lake(&settings))
    }

    /// Creates a topic that keeps everything.
    pub(crate) fn topic(&self, name: &str, partitions: u32) -> TopicId {
        self.create(&TopicSpec { retention_ms: None, ..TopicSpec::new(name, partitions) })
    }

    /// Creates a topic.
    pub(crate) fn create(&self, spec: &TopicSpec) -> TopicId {
        assert!(self.calm.create_topic(spec).unwrap(), "`{}` is there already", spec.name);
        self.id(&spec.name)
    }

    pub(crate) fn id(&self, topic: &str) -> TopicId {
        self.calm.topic(topic).unwrap().unwrap_or_else(|| panic!("no topic `{topic}`")).id
    }

    pub(crate) fn publish(&self, topic: &str, records: Vec<NewRecord>) -> Vec<(u32, Offset)> {
        self.calm.produce(self.id(topic), records).unwrap()
    }

    /// Starts a job as `run` does.
    pub(crate) fn start(&self, of: impl Into<TierOf>) -> Running {
        self.start_with(of, |_| {})
    }

    /// Starts a job with options.
    pub(crate) fn start_with(&self, of: impl Into<TierOf>, change: impl FnOnce(&mut StartOptions)) -> Running {
        let mut options = StartOptions {
            incarnation: u128::from(self.starts.fetch_add(1, Ordering::SeqCst)) + 1,
            request: StartRequest::Resume,
            until: None,
            accept_gap: false,
            minting: Minting::Timed,
        };
        change(&mut options);
        let pipeline = run::pipeline(of);
        let seen = Arc::new(Seen::default());
        let to = seen.clone();
        let components = Components {
            bus: Arc::new(self.archived()),
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            connect: self.connect(),
            metrics: Metrics::new(&pipeline.name),
            status: Arc::new(move |status| {
                *to.status.lock().unwrap() = Some(status.clone());
                to.changed.notify_all();
            }),
        };
        let settings = self.settings.clone();
        let (reports, inbox) = Reports::new();
        let (of, (answer, result)) = (reports.clone(), sync_channel(1));
        std::thread::spawn(move || {
            let result = engine::run(&pipeline, &components, &settings, &options, (of.clone(), inbox));
            of.halt();
            answer.send(result)
        });
        Running { reports, result: Some(result), seen }
    }

    /// Starts a job that must not run, and says why it does not.
    pub(crate) fn refusal(&self, of: impl Into<TierOf>) -> Error {
        self.start(of).end()
    }

    fn connect(&self) -> Arc<distributary_runtime::pipeline::Connect> {
        let (bus, memory, settings) = (self.bus.clone(), self.memory.clone(), self.settings.clone());
        Arc::new(move |_, sinks: &[&SinkNode], topics: &Topics| -> Result<Arc<dyn LaneGroup>> {
            match sinks.first().map(|sink| &sink.target) {
                Some(SinkTarget::Topic { .. }) => Ok(topic_sinks(bus.clone(), sinks, topics)),
                Some(SinkTarget::Table { name, event_time, columns }) => {
                    let (store, lake) = run::open_lake(&settings)?;
                    let spec = TableSpec::new(name, &format!("{lake}{name}"), event_time, columns.clone())?;
                    Ok(Arc::new(TableSink::new(spec, store)))
                }
                _ => Ok(Arc::new(memory.clone())),
            }
        })
    }

    /// Everything a topic holds, by partition and offset, as soon as `enough` says so of it.
    pub(crate) fn read_until(&self, topic: &str, enough: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let began = monotonic();
        let found = loop {
            if let Some(found) = self.calm.topic(topic).unwrap() {
                break found;
            }
            assert!(began.elapsed() < PATIENCE, "nobody creates `{topic}`");
            std::thread::yield_now();
        };
        let starts: Vec<_> = self.calm.offsets(found.id).unwrap().iter().map(|o| (o.partition, o.log_start)).collect();
        let mut consumer = self.calm.consumer(found.id, &starts).unwrap();
        let mut records = Vec::new();
        while !enough(&records) {
            assert!(began.elapsed() < PATIENCE, "`{topic}` has {} records and gets no more", records.len());
            for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
                records.extend(batch.records);
            }
        }
        records
    }

    /// Waits until a topic holds so many records.
    pub(crate) fn read(&self, topic: &str, count: usize) -> Vec<Record> {
        self.read_until(topic, |records| records.len() >= count)
    }

    /// Everything a topic holds now, as a pipeline that has stopped left it.
    pub(crate) fn all(&self, topic: &str) -> Vec<Record> {
        self.by_partition(topic).into_iter().flat_map(|(_, records)| records).collect()
    }

    /// The same, by partition.
    pub(crate) fn by_partition(&self, topic: &str) -> Vec<(u32, Vec<Record>)> {
        self.by_partition_of(&*self.calm, topic)
    }

    /// The same, as far back as this bus goes.
    pub(crate) fn by_partition_of(&self, bus: &dyn Bus, topic: &str) -> Vec<(u32, Vec<Record>)> {
        let id = self.id(topic);
        let read = |at: &PartitionOffsets| {
            let mut consumer = bus.consumer(id, &[(at.partition, at.log_start)]).unwrap();
            let (mut records, mut position) = (Vec::new(), at.log_start);
            while position < at.end {
                for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
                    records.extend(batch.records);
                    position = batch.position;
                }
            }
            (at.partition, records)
        };
        bus.readable(id).unwrap().iter().map(read).collect()
    }

    /// Whether a checkpoint of the job says that everything on the topic has been read, and all results of it are visible.
    pub(crate) fn has_read(&self, job: impl std::fmt::Display, topic: &str) -> bool {
        let id = self.id(topic);
        let read: BTreeMap<u32, Offset> = self.calm.group(&job.to_string(), id).unwrap().into_iter().collect();
        self.calm.offsets(id).unwrap().iter().all(|at| read.get(&at.partition) == Some(&at.end))
    }

    /// What the journal of a job says, oldest first.
    pub(crate) fn journal(&self, job: impl std::fmt::Display) -> Vec<Fact> {
        let page = self.calm.read_journal(self.id(&format!("{job}.journal")), Offset(0)).unwrap();
        page.entries.iter().map(|(at, bytes)| Entry::decode(*at, bytes).unwrap().fact).collect()
    }
}

#[derive(Default)]
struct Seen {
    status: Mutex<Option<Status>>,
    changed: Condvar,
}

/// A pipeline that runs.
pub(crate) struct Running {
    reports: Reports,
    result: Option<Receiver<Result<()>>>,
    seen: Arc<Seen>,
}

impl Running {
    /// Stops in order.
    pub(crate) fn stop(mut self) {
        engine::stop(&self.reports);
        self.wait().unwrap_or_else(|error| panic!("it should have stopped in order: {error}"));
    }

    /// Ends as a crash does: nothing is flushed, nothing is saved.
    pub(crate) fn crash(mut self) {
        self.reports.halt();
        // What a crashed process would have said does not matter.
        let _ = self.wait();
    }

    /// Waits until it ends by itself, in order.
    pub(crate) fn ends(mut self) {
        self.wait().unwrap_or_else(|error| panic!("it should have ended in order: {error}"));
    }

    /// Waits until it ends by itself, and says why.
    pub(crate) fn end(mut self) -> Error {
        self.wait().expect_err("it should not have stopped in order")
    }

    /// Waits until `until` says so of how things stand (told about once a second).
    pub(crate) fn wait_status(&self, until: impl Fn(&Status) -> bool) -> Status {
        let guard = self.seen.status.lock().unwrap();
        let waiting = |status: &mut Option<Status>| !status.as_ref().is_some_and(&until);
        let (status, timeout) = self.seen.changed.wait_timeout_while(guard, PATIENCE, waiting).unwrap();
        assert!(!timeout.timed_out(), "it stands at {status:?}");
        status.clone().expect("a status was seen")
    }

    /// Waits for the next status.
    pub(crate) fn next_status(&self) -> Status {
        *self.seen.status.lock().unwrap() = None;
        self.wait_status(|_| true)
    }

    fn wait(&mut self) -> Result<()> {
        let result = self.result.take().expect("it runs until it has ended");
        result.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not end"))
    }
}

/// A scenario that failed leaves no threads behind.
impl Drop for Running {
    fn drop(&mut self) {
        if self.result.is_some() {
            self.reports.halt();
        }
    }
}
