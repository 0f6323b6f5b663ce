//! A pipeline in this process, on a bus of its own in a temporary folder (`TMPDIR` says on which disk).

use distributary::Job;
use distributary::run;
use distributary_runtime::bus::{Bus, Marker, NewRecord, Token, Topic, TopicSpec};
use distributary_runtime::engine;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::journal::StartRequest;
use distributary_runtime::metrics::Metrics;
use distributary_runtime::pipeline::{Components, Connect, Minting, StartOptions};
use distributary_runtime::report::Reports;
use distributary_runtime::settings::Settings;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use distributary_runtime::time::monotonic;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, park_timeout};
use std::time::Duration;

/// Partitions of the topics that are read.
pub(crate) const PARTITIONS: u32 = 4;

/// How often something is looked at that nobody reports.
const LOOK: Duration = Duration::from_millis(2);

/// Names the brokers of a Kafka to measure on: `./dev bench NAME --bus kafka` starts one.
const KAFKA: &str = "BENCH_KAFKA";

/// Topics that earlier measurements have left on a Kafka.
fn is_ours(topic: &str) -> bool {
    ["in", "out", "payments", "counts"].contains(&topic) || topic.starts_with("bench.")
}

/// The threads that belong to a pipeline.
pub(crate) const ENGINE_THREADS: [&str; 2] = ["dst-", "timely:"];

/// A bus and a place for checkpoints; they go with this value.
pub(crate) struct Place {
    pub(crate) settings: Settings,
    starts: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Place {
    /// A new one; `adjust` changes the default settings, and may name the bus of another one, which then is that one's.
    pub(crate) fn new(adjust: impl FnOnce(&mut Settings)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("distributary-bench-").tempdir();
        let folder = folder.map_err(|source| Error::Io { what: "making a temporary folder".into(), source })?;
        let bus = std::env::var(KAFKA).ok().map(|brokers| format!("kafka://{brokers}"));
        let mut settings = Settings { data_dir: folder.path().to_path_buf(), bus, ..Settings::default() };
        adjust(&mut settings);
        // Of the processes that share a bus each has numbers of its own.
        let starts = AtomicU64::new(u64::from(std::process::id()) << 16);
        let place = Self { settings, starts, _folder: folder };
        if place.is_on_kafka() {
            let bus = place.client()?;
            for topic in bus.topics()?.into_iter().filter(|topic| is_ours(&topic.spec.name)) {
                bus.delete_topic(&topic.spec.name)?;
            }
        }
        Ok(place)
    }

    /// Whether the bus is a Kafka that is there already, or a file of its own.
    pub(crate) fn is_on_kafka(&self) -> bool {
        self.settings.bus.as_ref().is_some_and(|bus| bus.starts_with("kafka://"))
    }

    /// A number that no other start has.
    fn starts(&self) -> u128 {
        u128::from(self.starts.fetch_add(1, Ordering::Relaxed)) + 1
    }

    /// A handle on the bus as another process has it: nothing is shared with the others but the file, or the brokers.
    pub(crate) fn client(&self) -> Result<Arc<dyn Bus>> {
        run::open_bus(&self.settings)
    }

    /// Makes a topic that is read.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic> {
        let bus = self.client()?;
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(name, PARTITIONS) })?;
        let found = bus.topic(name)?;
        Ok(found.ok_or_else(|| distributary_runtime::bus::BusError::NoTopic(name.to_string()))?)
    }

    /// Appends records, a thousand in a transaction.
    pub(crate) fn publish(&self, topic: &Topic, records: impl Iterator<Item = NewRecord>) -> Result<()> {
        let bus = self.client()?;
        let mut records = records.peekable();
        while records.peek().is_some() {
            bus.produce(topic.id, records.by_ref().take(1_000).collect())?;
        }
        Ok(())
    }

    /// Starts a job with its own sinks; `after` is called behind each commit.
    pub(crate) fn start(&self, job: Job, request: StartRequest, after: AfterCommit) -> Result<Pipeline> {
        let pipeline = run::pipeline(job);
        let mut components = run::components(&pipeline.name, &self.settings)?;
        let inner = components.connect;
        components.connect = Arc::new(move |group, sinks, topics| {
            let inner = inner(group, sinks, topics)?;
            Ok(Arc::new(Watched { inner, after: after.clone() }))
        });
        Ok(Pipeline::start(pipeline, components, self.settings.clone(), request, self.starts()))
    }

    /// Starts a job whose results go nowhere; `after` is called behind each commit.
    pub(crate) fn start_discarding(
        &self,
        job: Job,
        discard: &Discard,
        request: StartRequest,
        after: AfterCommit,
    ) -> Result<Pipeline> {
        let pipeline = run::pipeline(job);
        let mut components = run::components(&pipeline.name, &self.settings)?;
        let discard = discard.clone();
        let connect: Arc<Connect> = Arc::new(move |group, _, _| {
            let inner = Arc::new(Discard { group: group.to_string(), ..discard.clone() });
            Ok(Arc::new(Watched { inner, after: after.clone() }))
        });
        components.connect = connect;
        Ok(Pipeline::start(pipeline, components, self.settings.clone(), request, self.starts()))
    }
}

/// A running pipeline.
pub(crate) struct Pipeline {
    pub(crate) metrics: Metrics,
    sources: Vec<String>,
    reports: Reports,
    thread: JoinHandle<Result<()>>,
}

impl Pipeline {
    fn start(
        pipeline: distributary_runtime::pipeline::Pipeline,
        components: Components,
        settings: Settings,
        request: StartRequest,
        incarnation: u128,
    ) -> Self {
        let sources = engine::plan(&pipeline).map(|plan| plan.sources().map(|s| s.topic.clone()).collect()).unwrap_or_default();
        let metrics = components.metrics.clone();
        let options = StartOptions { incarnation, request, until: None, accept_gap: false, minting: Minting::Timed };
        let (reports, inbox) = Reports::new();
        let to = reports.clone();
        let thread = std::thread::spawn(move || {
            let result = engine::run(&pipeline, &components, &settings, &options, (to.clone(), inbox));
            to.halt();
            result
        });
        Self { metrics, sources, reports, thread }
    }

    /// Records that stand in closed epochs of this incarnation.
    pub(crate) fn records_in(&self) -> u64 {
        let partitions = self.sources.iter().flat_map(|topic| (0..PARTITIONS).map(move |p| (topic, p)));
        partitions.map(|(topic, p)| self.metrics.partition(topic, p).records_in.get()).sum()
    }

    /// Waits until this incarnation has read so many records and all of their results are visible.
    pub(crate) fn wait_applied(&self, records: u64) -> Result<()> {
        self.wait(|pipeline| pipeline.records_in() >= records)?;
        let closed = self.metrics.epochs_closed.get();
        self.wait(|pipeline| pipeline.epochs_applied() >= closed)
    }

    /// Waits until the pipeline is live.
    pub(crate) fn wait_live(&self) -> Result<()> {
        self.wait(|pipeline| pipeline.metrics.recovery_seconds.get() > 0.0)
    }

    fn wait(&self, reached: impl Fn(&Self) -> bool) -> Result<()> {
        while !reached(self) {
            if self.reports.is_halted() {
                return Err(Error::refused("the pipeline ended while it was measured", "run it again with `--set log=debug`"));
            }
            park_timeout(LOOK);
        }
        Ok(())
    }

    fn epochs_applied(&self) -> u64 {
        let text = self.metrics.encode_text();
        let line = text.lines().find(|line| line.starts_with("distributary_epoch_latency_seconds_count"));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Stops it in order, with a last checkpoint.
    pub(crate) fn stop(self) -> Result<()> {
        engine::stop(&self.reports);
        self.thread.join().unwrap_or_else(|_| Err(Error::Panicked("pipeline".into())))
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(self) {
        self.reports.halt();
        // What a crashed process would have said does not matter.
        let _ = self.thread.join();
    }
}

/// What is done behind each commit, with how long it took.
pub(crate) type AfterCommit = Arc<dyn Fn(&Run, Duration) + Send + Sync>;

/// Sinks that are watched.
struct Watched {
    inner: Arc<dyn LaneGroup>,
    after: AfterCommit,
}

impl LaneGroup for Watched {
    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(WatchedLane { inner: self.inner.open(context)?, after: self.after.clone() }))
    }
}

struct WatchedLane {
    inner: Box<dyn LaneSink>,
    after: AfterCommit,
}

impl LaneSink for WatchedLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        self.inner.fence(token)
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let began = monotonic();
        self.inner.commit(run)?;
        (self.after)(run, began.elapsed());
        Ok(())
    }
}

/// A sink that keeps its markers and forgets what it is given.
#[derive(Clone, Default)]
pub(crate) struct Discard {
    group: String,
    markers: Arc<Mutex<BTreeMap<String, Marker>>>,
}

impl LaneGroup for Discard {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        let name = format!("{}/{}", self.group, context.lane);
        Ok(Box::new(DiscardLane { name, markers: self.markers.clone() }))
    }
}

struct DiscardLane {
    name: String,
    markers: Arc<Mutex<BTreeMap<String, Marker>>>,
}

impl LaneSink for DiscardLane {
    fn fence(&mut self, _: Token) -> Result<Option<Marker>> {
        Ok(self.markers.lock().unwrap_or_else(PoisonError::into_inner).get(&self.name).copied())
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        self.markers.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), run.marker);
        Ok(())
    }
}
