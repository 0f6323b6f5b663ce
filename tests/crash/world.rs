//! A small input, the processes that work on it, and what they have written.

use distributary::payments::{PaymentOptions, Payments};
use distributary_runtime::bus::{Bus, NewRecord, Offset, Token, Topic, TopicSpec};
use distributary_runtime::journal::{Entry, History, Incarnation};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::start::journal_topic;
use distributary_runtime::time::monotonic;
use harness::cuts::Cuts;
use harness::findings::Findings;
use harness::ledger::{self, Attacked, OUTPUTS, PAYMENTS};
use harness::outside::Ground;
use harness::places::{Read, Reader};
use harness::process::{Launch, Process, Signal};
use harness::{outside, verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything here may take: far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Payments in the whole input.
pub(crate) const EVENTS: u64 = 300;
const PARTITIONS: u32 = 2;
/// Parts in which the input comes.
pub(crate) const PARTS: u64 = 3;

/// A data directory with a bus.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) bus: Box<dyn Bus>,
    pub(crate) payments: Topic,
    ground: Ground,
    /// Worlds on one broker use the same topics.
    _alone: Option<MutexGuard<'static, ()>>,
}

static ON_KAFKA: Mutex<()> = Mutex::new(());

/// The broker of this run (`./dev test` starts it); says so when there is none.
pub(crate) fn brokers() -> Option<String> {
    let brokers = std::env::var("DISTRIBUTARY_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: DISTRIBUTARY_TEST_KAFKA names no broker (`./dev kafka start`)");
    }
    brokers
}

/// Until it is dropped, nobody else in this run uses the broker.
pub(crate) fn alone_on_kafka() -> MutexGuard<'static, ()> {
    ON_KAFKA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::embedded(TopicLane::Transactional)
    }

    /// A world whose job writes by this kind of lane.
    pub(crate) fn embedded(lane: TopicLane) -> Self {
        Self::on(None, lane, Attacked::Ledger)
    }

    /// A world whose job writes tables.
    pub(crate) fn of_tables() -> Self {
        Self::on(None, TopicLane::default(), Attacked::Lake)
    }

    /// A world whose job writes tables, and its checkpoints, to this folder of an object store.
    pub(crate) fn of_tables_in(store: String) -> Self {
        let world = Self::of_tables();
        Self { ground: Ground { store: Some(store), ..world.ground }, ..world }
    }

    /// A world on a broker, without what earlier ones have left there.
    pub(crate) fn on_kafka(brokers: &str, lane: TopicLane) -> Self {
        Self::alone(brokers, lane, Attacked::Ledger)
    }

    /// A world on a broker whose job writes tables.
    pub(crate) fn of_tables_on_kafka(brokers: &str) -> Self {
        Self::alone(brokers, TopicLane::default(), Attacked::Lake)
    }

    fn alone(brokers: &str, lane: TopicLane, attacked: Attacked) -> Self {
        let alone = alone_on_kafka();
        let world = Self { _alone: Some(alone), ..Self::on(Some(brokers.to_string()), lane, attacked) };
        let read = || world.bus.group(world.pipeline(), world.payments.id).unwrap();
        wait_until("the offsets of the deleted topic are gone", || read().is_empty());
        world
    }

    fn on(brokers: Option<String>, lane: TopicLane, attacked: Attacked) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ground = Ground { dir: dir.path().to_path_buf(), brokers, lane, attacked, store: None };
        let bus = ground.clear().unwrap();
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(PAYMENTS, PARTITIONS) }).unwrap();
        let payments = bus.topic(PAYMENTS).unwrap().unwrap();
        Self { dir, ground, bus, payments, _alone: None }
    }

    pub(crate) fn is_on_kafka(&self) -> bool {
        self.ground.brokers.is_some()
    }

    /// Whose name the journal, the markers and the state have.
    pub(crate) fn pipeline(&self) -> &'static str {
        self.ground.attacked.pipeline()
    }

    /// The logs of its tables: every object in them. (A file `name#1` is one that was about to be made, and that no store lists.)
    pub(crate) fn versions(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let Ok(tables) = std::fs::read_dir(self.ground.lake()) else { return BTreeMap::new() };
        let logs = tables.flat_map(|table| std::fs::read_dir(table.unwrap().path().join("_delta_log")).unwrap());
        let objects = logs.map(|object| object.unwrap().path()).filter(|path| !path.display().to_string().contains('#'));
        objects.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// What the lane shows: (generation, epoch). Its owner is not alive.
    pub(crate) fn marker(&self) -> Option<(u32, u64)> {
        outside::marker(&*self.bus, self.pipeline(), 0).unwrap()
    }

    /// Publishes one of the parts of the input.
    pub(crate) fn produce(&self, part: u64) {
        let size = EVENTS / PARTS;
        let records = input().skip((part * size) as usize).take(size as usize).map(NewRecord::from).collect();
        self.bus.produce(self.payments.id, records).unwrap();
    }

    /// A process with short epochs and frequent checkpoints, so that every step comes soon.
    pub(crate) fn launch(&self, name: &str) -> Launch {
        self.ground
            .launch(env!("CARGO_BIN_EXE_chaos"), self.ground.attacked.job(), name)
            .set("epoch_interval_ms", 2)
            .set("idle_epoch_ms", 20)
            .set("epoch_records_max", 20)
            .set("checkpoint_interval_ms", 30)
            .set("idle_after_ms", 24 * 3_600_000)
    }

    /// What `why` says of the job.
    pub(crate) fn why(&self) -> String {
        self.told(&["why", "ledger"])
    }

    /// What a command of the job's binary prints.
    pub(crate) fn told(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(words).arg("--data-dir").arg(self.dir.path());
        command.args(self.ground.brokers.iter().flat_map(|brokers| ["--set".to_string(), format!("bus=kafka://{brokers}")]));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the process has worked off and saved everything that is published.
    pub(crate) fn catch_up(&self, process: &mut Process) {
        let until = monotonic() + PATIENCE;
        while !outside::has_read_all(&*self.bus, self.pipeline(), self.payments.id).unwrap() {
            assert!(process.ended().unwrap().is_none(), "the process has ended{}", process.said());
            assert!(monotonic() < until, "the process does not catch up{}", process.said());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Runs a process until everything is done, and stops it in order.
    pub(crate) fn run_to_end(&self, launch: &Launch) {
        let before = self.owner();
        let mut process = launch.start(Stdio::null()).unwrap();
        // When there is nothing to be done, it has caught up before it can be stopped.
        wait_until("the process is live", || self.owner() != before && !process.phase().recovering);
        self.catch_up(&mut process);
        stop(&mut process);
    }

    /// Whose the pipeline is.
    pub(crate) fn owner(&self) -> Option<(Incarnation, Token)> {
        self.journal_entries().and_then(|entries| History::read(&entries).unwrap().owner)
    }

    /// The journal as it stands.
    pub(crate) fn journal(&self) -> Vec<(u64, Entry)> {
        let entries = self.journal_entries().unwrap();
        entries.iter().map(|(at, bytes)| (at.0, Entry::decode(*at, bytes).unwrap())).collect()
    }

    /// What the journal says.
    pub(crate) fn history(&self) -> History {
        History::read(&self.journal_entries().unwrap()).unwrap()
    }

    fn journal_entries(&self) -> Option<Vec<(Offset, Vec<u8>)>> {
        let topic = self.bus.topic(&journal_topic(self.pipeline())).unwrap()?;
        Some(self.bus.read_journal(topic.id, Offset(0)).unwrap().entries)
    }

    /// Where an object of the checkpoint store lies.
    pub(crate) fn object(&self, name: &str) -> PathBuf {
        self.dir.path().join("checkpoints").join(name)
    }

    /// Every output topic, record for record, as clients read it: they drop what a tail lane repeats.
    pub(crate) fn logs(&self) -> Vec<String> {
        let mut logs = Vec::new();
        for name in OUTPUTS {
            let Some(topic) = self.bus.topic(name).unwrap() else { continue };
            let drops = ledger::lane_of(name, self.ground.lane) == TopicLane::Tail;
            let mut readers: BTreeMap<u32, Reader> = BTreeMap::new();
            let read = |partition, record: &_| {
                if readers.entry(partition).or_default().read(record)? == Read::Repeated && drops {
                    return Ok(());
                }
                logs.push(format!("{name}[{partition}] {record:?}"));
                Ok(())
            };
            outside::read(&*self.bus, topic.id, &BTreeMap::new(), read).unwrap();
        }
        logs.sort_unstable();
        logs
    }

    /// What the oracle finds wrong with the outputs.
    pub(crate) fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        let (bus, payments) = (&*self.bus, self.payments.id);
        match self.ground.attacked {
            Attacked::Ledger => verdict::judge(bus, payments, &Cuts::new(1, self.ground.lane), &mut findings).unwrap(),
            Attacked::Lake => verdict::judge_tables(bus, payments, &self.ground.lake(), &mut findings).unwrap(),
        }
        findings
    }

    /// Every result stands exactly once.
    pub(crate) fn assert_exact(&self, what: &str) {
        let findings = self.findings();
        assert!(findings.is_empty(), "{what}: {findings:#?}");
    }
}

/// The whole input.
pub(crate) fn input() -> Payments {
    payments(EVENTS, 7)
}

/// As many others as somebody needs.
pub(crate) fn payments(count: u64, seed: u64) -> Payments {
    let options = PaymentOptions {
        count,
        users: 20,
        seed,
        rate_per_s: 5,
        duplicates_per_mille: 50,
        late_per_mille: 100,
        late_by_ms: harness::ledger::HORIZON_MS as u64,
        bad_per_mille: 50,
        ..PaymentOptions::default()
    };
    Payments::new(options).unwrap()
}

/// Stops a process in order.
pub(crate) fn stop(process: &mut Process) {
    process.signal(Signal::Terminate);
    let status = process.end_within(PATIENCE).unwrap();
    assert!(status.success(), "{status}{}", process.said());
}

/// Waits until something is true.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = monotonic() + PATIENCE;
    while !is() {
        assert!(monotonic() < until, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
