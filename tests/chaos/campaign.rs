//! The campaign: produce, start, kill, look, start again; in the end compare.

use crate::kills::{self, Aim, Seen};
use crate::producer::{self, Producer};
use crate::say;
use distributary_runtime::bus::{Bus, TopicId, TopicSpec};
use distributary_runtime::failpoint::Step;
use distributary_runtime::time::monotonic;
use harness::cuts::Cuts;
use harness::findings::Findings;
use harness::ledger::{Attacked, PAYMENTS};
use harness::outside::Ground;
use harness::process::{FENCED, Launch, Process, Signal, was_killed};
use harness::random::Random;
use harness::{Result, outside, verdict};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Partitions of the input, and so of all outputs.
const PARTITIONS: u32 = 4;
/// Checkpoints are frequent, so that kills hit them too.
const CHECKPOINT_INTERVAL_MS: u64 = 300;
/// Epochs of tables: as long as a commit takes, about.
const TABLE_EPOCH_MS: u64 = 20;
/// No partition is ever taken for idle: then lateness follows from the input alone, and the oracle can tell it.
const IDLE_AFTER_MS: u64 = 24 * 3_600_000;
/// Workers of a life: from one to this.
const WORKERS_MAX: u64 = 3;
/// How long the last life may take to work off what is left, for each thousand events.
const CATCH_UP_PER_THOUSAND: Duration = Duration::from_millis(200);
const CATCH_UP_MIN: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long a process may take to take the place of a paused one.
const REPLACED_MAX: Duration = Duration::from_secs(60);
/// How long it works before, and again after, the paused one is woken.
const CALM_MAX_MS: u64 = 600;
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// A first guess of how long a recovery lasts.
const RECOVERY_GUESS: Duration = Duration::from_millis(10);

/// What to do.
pub(crate) struct Campaign {
    pub(crate) binary: PathBuf,
    pub(crate) ground: Ground,
    pub(crate) kills: u64,
    pub(crate) events: u64,
    pub(crate) seed: u64,
    pub(crate) lanes: u32,
    /// How many of the processes that are killed have been woken beside their successor.
    pub(crate) zombies: u64,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) findings: Findings,
    pub(crate) in_commit: u64,
    pub(crate) in_recovery: u64,
    pub(crate) woken: u64,
    /// From the start of a process to its first new epoch, of every life that came so far.
    recoveries: Vec<Duration>,
}

/// How a life ended.
struct Death {
    in_commit: bool,
    in_recovery: bool,
    woken: bool,
    seen: Seen,
}

impl Campaign {
    pub(crate) fn run(&self) -> Result<Report> {
        let mut random = Random(self.seed);
        let (bus, payments) = input(&self.ground)?;
        let slice = self.events / (self.kills + 1);
        let producer = Producer::start(self.ground.bus()?, payments, producer::options(self.events, self.seed), slice)?;
        let (mut cuts, mut report) = (Cuts::new(self.lanes, self.ground.lane), Report::default());
        let (mut aims, mut recovery) = (kills::deck(self.kills, self.zombies, &mut random), RECOVERY_GUESS);
        for kill in 1..=self.kills {
            producer.allow(slice * kill);
            let Some(aim) = aims.pop() else { unreachable!("there is an aim for each kill") };
            let death = self.life(aim, recovery, &mut random)?;
            recovery = (recovery + death.seen.recovered_in().unwrap_or(recovery)) / 2;
            let hit = match aim {
                Aim::Commit => death.in_commit,
                Aim::Recovery => death.in_recovery,
                Aim::Zombie => death.woken,
                Aim::Anywhen | Aim::Failpoint => true,
            };
            if let Some(spare) = aims.iter_mut().find(|spare| !hit && **spare == Aim::Anywhen) {
                *spare = aim;
            }
            report.count(&death);
            if death.woken {
                cuts.woken(kill);
            }
            if self.ground.attacked == Attacked::Ledger {
                cuts.cut(&*bus, kill, &mut report.findings)?;
            }
            if kill % 10 == 0 {
                say(&format!("chaos: {kill} kills, {} in a commit, {} in a recovery", report.in_commit, report.in_recovery));
            }
        }
        producer.finish()?;
        let pipeline = self.ground.attacked.pipeline();
        work_off(self.launch(2).start(Stdio::null())?, &*bus, (pipeline, payments), self.events)?;
        say("chaos: everything is processed, comparing");
        match self.ground.attacked {
            Attacked::Ledger => verdict::judge(&*bus, payments, &cuts, &mut report.findings)?,
            Attacked::Lake => verdict::judge_tables(&*bus, payments, &self.ground.lake(), &mut report.findings)?,
        }
        Ok(report)
    }

    /// Starts the process and kills it.
    fn life(&self, aim: Aim, recovery: Duration, random: &mut Random) -> Result<Death> {
        let mut launch = self.launch(1 + random.below(WORKERS_MAX));
        if aim == Aim::Failpoint {
            launch = launch.failpoint(kills::failpoint(random));
        }
        let mut process = launch.start(Stdio::null())?;
        let seen = kills::strike(&mut process, aim, recovery, random)?;
        let woken = aim == Aim::Zombie && process.is_paused();
        if woken {
            process = self.replace(process, random)?;
        }
        let status = process.kill()?;
        if !was_killed(status) {
            return Err(format!("a life ended by itself ({status}){}", process.said()).into());
        }
        let phase = process.phase();
        Ok(Death { in_commit: phase.step == Some(Step::LaneCommit), in_recovery: phase.recovering, woken, seen })
    }

    /// Starts another process beside the paused one, which has to end when it is woken; returns the other.
    fn replace(&self, mut paused: Process, random: &mut Random) -> Result<Process> {
        let launch = Launch { name: "successor".into(), ..self.launch(1 + random.below(WORKERS_MAX)) };
        let (mut successor, mut seen) = (launch.start(Stdio::null())?, Seen::default());
        let is_live = successor.wait_until(REPLACED_MAX, |p| {
            seen.look(p);
            seen.live.is_some()
        })?;
        if !is_live {
            return Err(format!("nobody can take the place of a paused process{}", successor.said()).into());
        }
        let calm = Duration::from_millis(random.below(CALM_MAX_MS));
        successor.wait_until(calm, |_| false)?;
        paused.signal(Signal::Continue);
        let status = paused.end_within(STOP_MAX)?;
        if status.code() != Some(FENCED) {
            return Err(format!("a woken process did not give way ({status}){}", paused.said()).into());
        }
        let calm = Duration::from_millis(random.below(CALM_MAX_MS));
        successor.wait_until(calm, |_| false)?;
        Ok(successor)
    }

    fn launch(&self, workers: u64) -> Launch {
        launch(&self.ground, &self.binary, self.lanes).set("workers", workers)
    }
}

/// A process as all campaigns start it.
pub(crate) fn launch(ground: &Ground, binary: &Path, lanes: u32) -> Launch {
    let launch = ground.launch(binary, ground.attacked.job(), "worker");
    let launch = match ground.attacked {
        Attacked::Ledger => launch,
        // Many commits, so that kills hit them.
        Attacked::Lake => launch.set("epoch_interval_ms", TABLE_EPOCH_MS).set("idle_epoch_ms", 1_000),
    };
    launch.set("lanes", lanes).set("checkpoint_interval_ms", CHECKPOINT_INTERVAL_MS).set("idle_after_ms", IDLE_AFTER_MS)
}

/// The topic that a campaign publishes to, on a bus where nothing is left of earlier ones.
pub(crate) fn input(ground: &Ground) -> Result<(Box<dyn Bus>, TopicId)> {
    let bus = ground.clear()?;
    bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(PAYMENTS, PARTITIONS) })?;
    let payments = bus.topic(PAYMENTS)?.ok_or("the topic was just made")?;
    Ok((bus, payments.id))
}

/// Lets a process work off what is left of so many events, and stops it in order.
pub(crate) fn work_off(mut process: Process, bus: &dyn Bus, of: (&str, TopicId), events: u64) -> Result<()> {
    let patience = CATCH_UP_MIN + CATCH_UP_PER_THOUSAND * u32::try_from(events / 1_000)?;
    let until = monotonic() + patience;
    while !outside::has_read_all(bus, of.0, of.1)? {
        process.wait_until(LOOK, |_| false)?;
        if let Some(status) = process.ended()? {
            return Err(format!("the last life ended by itself ({status}){}", process.said()).into());
        }
        if monotonic() >= until {
            return Err(format!("the last life did not catch up within {patience:?}{}", process.said()).into());
        }
    }
    process.signal(Signal::Terminate);
    let status = process.end_within(STOP_MAX)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the last life did not stop in order ({status}){}", process.said()).into())
    }
}

impl Report {
    fn count(&mut self, death: &Death) {
        self.in_commit += u64::from(death.in_commit);
        self.in_recovery += u64::from(death.in_recovery);
        self.woken += u64::from(death.woken);
        self.recoveries.extend(death.seen.live);
    }

    /// What one recovery in a hundred takes longer than.
    pub(crate) fn recovery_p99(&self) -> Duration {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }
}
