//! Goal: brokers may die and come back as they like; every result stands exactly once, and nobody has to lift a hand.
//!
//! Method: a cluster of three, every topic in three copies of which two must hold a write. In each round a broker is
//! killed (who leads a partition of the output, who coordinates transactions or group offsets), one stays away for half a
//! minute, or all are killed at once. The process of the job is started once. While one broker is away the results must
//! go on. In the end, if asked, all of them stand still for a while. The same oracle as ever compares.
//!
//! No partition may count as idle meanwhile, and the process takes a partition for idle after two seconds: if one that
//! cannot be reached were taken for idle, its next records would be late, and the oracle knows that none of them is.

use crate::campaign::{input, launch, work_off};
use crate::producer::{self, Producer};
use crate::say;
use distributary_runtime::time::monotonic;
use harness::cluster::Cluster;
use harness::cuts::Cuts;
use harness::findings::Findings;
use harness::ledger::{PIPELINE, RELAY};
use harness::onlooker::Onlooker;
use harness::outside::Ground;
use harness::process::Process;
use harness::random::Random;
use harness::{Result, verdict};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Payments a second, about.
const RATE: u64 = 1_000;
/// How long a broker is away that is away for long.
const GONE: Duration = Duration::from_secs(30);
/// How long the cluster may take to be whole again, and the process to go on.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(100);
/// A partition is taken for idle after so long.
const IDLE_AFTER_MS: u64 = 2_000;
/// The process never needs more memory than this: what is in flight and read ahead is bounded.
const MEMORY_MAX_MIB: u64 = 1_024;
/// More payments than any campaign gets to.
const EVENTS_MAX: u64 = 100_000_000;

/// What to do.
pub(crate) struct Brokers {
    pub(crate) binary: PathBuf,
    pub(crate) ground: Ground,
    /// The folder of the cluster.
    pub(crate) nodes: PathBuf,
    pub(crate) rounds: u64,
    /// How long all brokers stand still in the end, if at all.
    pub(crate) away: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) lanes: u32,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) findings: Findings,
    /// The longest time without any result.
    pub(crate) silence_max: Duration,
    /// The longest time that an open transaction held up a reader.
    pub(crate) blocked_max: Duration,
    pub(crate) memory_max_mib: u64,
}

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
enum Round {
    /// Who leads a partition of the output dies.
    Leader,
    /// Who coordinates the transactions of a lane dies.
    Transactions,
    /// Who coordinates the offsets of the group dies.
    Offsets,
    /// One of them is away for long.
    Gone,
    /// All die at once.
    All,
}

struct Scene {
    cluster: Cluster,
    producer: Producer,
    onlooker: Onlooker,
    process: Process,
    memory_max_mib: u64,
}

impl Brokers {
    pub(crate) fn run(&self) -> Result<Report> {
        let mut random = Random(self.seed);
        let (bus, payments) = input(&self.ground)?;
        let producer = Producer::start(self.ground.bus()?, payments, producer::options(EVENTS_MAX, self.seed), RATE / 2)?;
        producer.allow(EVENTS_MAX);
        let launch = launch(&self.ground, &self.binary, self.lanes).set("workers", 2).set("idle_after_ms", IDLE_AFTER_MS);
        let mut scene = Scene {
            cluster: Cluster::open(&self.nodes, self.ground.brokers.as_deref().unwrap_or_default())?,
            producer,
            onlooker: Onlooker::start(self.ground.bus()?, RELAY),
            process: launch.start(Stdio::null())?,
            memory_max_mib: 0,
        };
        scene.goes_on()?;
        for (number, round) in (1..).zip(self.deck(&mut random)) {
            let node = self.node(&scene.cluster, round, &mut random)?;
            say(&format!("chaos: round {number}, {round:?}, broker {}", node + 1));
            scene.round(round, node).map_err(|e| format!("round {number}, {round:?}, broker {}: {e}", node + 1))?;
        }
        if let Some(away) = self.away {
            say("chaos: all brokers stand still");
            scene.away(away)?;
        }
        let Scene { producer, onlooker, process, memory_max_mib, .. } = scene;
        producer.stop()?;
        let (silence_max, blocked_max) = (onlooker.silence_max(), onlooker.blocked_max());
        work_off(process, &*bus, (PIPELINE, payments), onlooker.records())?;
        say("chaos: everything is processed, comparing");
        let mut findings = Findings::default();
        verdict::judge(&*bus, payments, &Cuts::new(self.lanes, self.ground.lane), &mut findings)?;
        if memory_max_mib > MEMORY_MAX_MIB {
            findings.lost(1, || format!("the process took {memory_max_mib} MiB"));
        }
        Ok(Report { findings, silence_max, blocked_max, memory_max_mib })
    }

    /// Every kind of round, in a random order; one in six leaves a broker away for long.
    fn deck(&self, random: &mut Random) -> Vec<Round> {
        let kinds = [Round::Leader, Round::Transactions, Round::All, Round::Offsets, Round::Leader, Round::Gone];
        let mut deck: Vec<Round> = kinds.into_iter().cycle().take(self.rounds as usize).collect();
        random.shuffle(&mut deck);
        deck
    }

    /// Whom it hits.
    fn node(&self, cluster: &Cluster, round: Round, random: &mut Random) -> Result<usize> {
        let any = random.below(cluster.size() as u64) as usize;
        let lane = random.below(u64::from(self.lanes));
        let found = match round {
            Round::Leader => cluster.partitions()?.iter().find(|p| p.topic == RELAY).and_then(|p| p.leader),
            Round::Transactions => cluster.coordinator("__transaction_state", &format!("{PIPELINE}/topics/{lane}"))?,
            Round::Offsets => cluster.coordinator("__consumer_offsets", PIPELINE)?,
            Round::Gone | Round::All => None,
        };
        Ok(found.unwrap_or(any))
    }
}

impl Scene {
    fn round(&mut self, round: Round, node: usize) -> Result<()> {
        match round {
            Round::All => {
                (0..self.cluster.size()).try_for_each(|node| self.cluster.kill(node))?;
                (0..self.cluster.size()).try_for_each(|node| self.cluster.start(node))?;
            }
            Round::Gone => {
                self.cluster.kill(node)?;
                self.goes_on()?;
                self.live_through(GONE)?;
                self.goes_on()?;
                self.cluster.start(node)?;
            }
            Round::Leader | Round::Transactions | Round::Offsets => {
                self.cluster.kill(node)?;
                self.goes_on()?;
                self.cluster.start(node)?;
            }
        }
        let until = monotonic() + PATIENCE;
        // A cluster that does not answer is not whole.
        while !self.cluster.is_whole().unwrap_or(false) {
            self.look(until, "the cluster is whole again")?;
        }
        self.goes_on()
    }

    fn away(&mut self, away: Duration) -> Result<()> {
        self.cluster.pause()?;
        self.live_through(away)?;
        self.cluster.resume()?;
        self.goes_on()
    }

    /// Lets a time pass in which the process must be alive.
    fn live_through(&mut self, time: Duration) -> Result<()> {
        let until = monotonic() + time;
        while monotonic() < until {
            self.look(until + PATIENCE, "")?;
        }
        Ok(())
    }

    /// Waits for results that were not there before.
    fn goes_on(&mut self) -> Result<()> {
        let (before, until) = (self.onlooker.records(), monotonic() + PATIENCE);
        while self.onlooker.records() == before {
            self.look(until, "there are new results")?;
        }
        Ok(())
    }

    /// Lets a moment pass in which the process must be alive.
    fn look(&mut self, until: std::time::Instant, what: &str) -> Result<()> {
        std::thread::park_timeout(LOOK);
        self.memory_max_mib = self.memory_max_mib.max(self.process.memory_mib());
        if let Some(status) = self.process.ended()? {
            return Err(format!("the process ended by itself ({status}){}", self.process.said()).into());
        }
        if self.producer.has_failed() {
            return Err("the producer has failed".into());
        }
        if monotonic() < until { Ok(()) } else { Err(format!("waited in vain until {what}{}", self.process.said()).into()) }
    }
}
