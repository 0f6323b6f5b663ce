//! The campaign: produce, start, kill, look, start again; in the end compare.

use crate::kills::{self, Aim};
use crate::producer::{self, Producer};
use crate::random::Random;
use crate::say;
use distributary_runtime::bus::{Bus, TopicSpec};
use distributary_runtime::failpoint::Step;
use distributary_runtime::time::monotonic;
use harness::cuts::Cuts;
use harness::findings::Findings;
use harness::ledger::{PAYMENTS, PIPELINE};
use harness::process::{Launch, Process, Signal, was_killed};
use harness::{Result, outside, verdict};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Partitions of the input, and so of all outputs.
const PARTITIONS: u32 = 4;
/// Checkpoints are frequent, so that kills hit them too.
const CHECKPOINT_INTERVAL_MS: u64 = 300;
/// No partition is ever taken for idle: then lateness follows from the input alone, and the oracle can tell it.
const IDLE_AFTER_MS: u64 = 24 * 3_600_000;
/// Workers of a life: from one to this.
const WORKERS_MAX: u64 = 3;
/// How long the last life may take to work off what is left, for each thousand events.
const CATCH_UP_PER_THOUSAND: Duration = Duration::from_millis(200);
const CATCH_UP_MIN: Duration = Duration::from_secs(60);
/// A first guess of how long a recovery lasts.
const RECOVERY_GUESS: Duration = Duration::from_millis(10);

/// What to do.
pub(crate) struct Campaign {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) kills: u64,
    pub(crate) events: u64,
    pub(crate) seed: u64,
    pub(crate) lanes: u32,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) findings: Findings,
    pub(crate) in_commit: u64,
    pub(crate) in_recovery: u64,
    pub(crate) recovery_p99_ms: u128,
}

impl Campaign {
    pub(crate) fn run(&self) -> Result<Report> {
        let mut random = Random(self.seed);
        let bus = outside::bus(&self.dir)?;
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(PAYMENTS, PARTITIONS) })?;
        let payments = bus.topic(PAYMENTS)?.ok_or("the topic was just made")?;
        let slice = self.events / (self.kills + 1);
        let producer = Producer::start(&self.dir, payments.id, producer::options(self.events, self.seed), slice)?;
        let mut cuts = Cuts::new(&self.dir, self.lanes);
        let mut findings = Findings::default();
        let (mut in_commit, mut in_recovery, mut lives, mut recovery) = (0, 0, Vec::new(), RECOVERY_GUESS);
        let mut aims = kills::deck(self.kills, &mut random);
        for kill in 0..aims.len() {
            producer.allow(slice * (kill as u64 + 1));
            let aim = aims[kill];
            let workers = 1 + random.below(WORKERS_MAX);
            let mut launch = self.launch(workers);
            if aim == Aim::Failpoint {
                launch = launch.failpoint(kills::failpoint(&mut random));
            }
            let mut process = launch.start(Stdio::null())?;
            let seen = kills::strike(&mut process, aim, recovery, &mut random)?;
            let status = process.kill()?;
            if !was_killed(status) {
                return Err(format!("life {kill} ended by itself ({status}){}", process.said()).into());
            }
            let phase = process.phase();
            let (commit, recovering) = (phase.step == Some(Step::LaneCommit), phase.recovering);
            in_commit += u64::from(commit);
            in_recovery += u64::from(recovering);
            if let (Some(began), Some(live)) = (seen.recovery_began, seen.live) {
                recovery = (recovery + live.saturating_sub(began)) / 2;
                lives.push(live);
            }
            let missed = (aim == Aim::Commit && !commit) || (aim == Aim::Recovery && !recovering);
            if let Some(spare) = aims[kill + 1..].iter_mut().find(|a| missed && **a == Aim::Anywhen) {
                *spare = aim;
            }
            cuts.cut(&bus, kill as u64 + 1, &mut findings)?;
            if (kill + 1) % 10 == 0 {
                say(&format!("chaos: {} kills, {in_commit} in a commit, {in_recovery} in a recovery", kill + 1));
            }
        }
        producer.finish()?;
        self.finish(&bus, payments.id)?;
        say("chaos: everything is processed, comparing");
        verdict::judge(&bus, payments.id, &cuts, &mut findings)?;
        lives.sort_unstable();
        let p99 = lives.get((lives.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        Ok(Report { findings, in_commit, in_recovery, recovery_p99_ms: p99.as_millis() })
    }

    fn launch(&self, workers: u64) -> Launch {
        Launch::new(&self.binary, "ledger", &self.dir, "worker")
            .set("workers", workers)
            .set("lanes", self.lanes)
            .set("checkpoint_interval_ms", CHECKPOINT_INTERVAL_MS)
            .set("idle_after_ms", IDLE_AFTER_MS)
    }

    /// The last life: works off what is left, and stops in order.
    fn finish(&self, bus: &dyn Bus, payments: distributary_runtime::bus::TopicId) -> Result<()> {
        let mut process = self.launch(2).start(Stdio::null())?;
        let patience = CATCH_UP_MIN + CATCH_UP_PER_THOUSAND * u32::try_from(self.events / 1_000)?;
        let until = monotonic() + patience;
        while !outside::has_read_all(bus, PIPELINE, payments)? {
            let look = Duration::from_millis(20);
            process.wait_until(look, |_| false)?;
            if let Some(status) = process.ended()? {
                return Err(format!("the last life ended by itself ({status}){}", process.said()).into());
            }
            if monotonic() >= until {
                return Err(format!("the last life did not catch up within {patience:?}{}", process.said()).into());
            }
        }
        process.signal(Signal::Terminate);
        let status = end(&mut process)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the last life did not stop in order ({status}){}", process.said()).into())
        }
    }
}

fn end(process: &mut Process) -> Result<std::process::ExitStatus> {
    process.end_within(Duration::from_secs(30))
}
