//! Goal: whatever the network does to a single request, every result stands exactly once and no commit is torn.
//!
//! Method: the process of the job reaches the broker through a proxy only. A case is one fault at one request while events
//! flow: held, answered late, cut off before or behind, delivered late when the client has long sent it again, delivered
//! twice. After it the results must go on, or the process is killed in the midst of it. Producer and reader go straight
//! to the broker. In the end the same oracle as ever compares.
//!
//! The case that matters most is the end of a transaction (`EndTxn`) that is held. librdkafka sends it again on a new
//! connection after `retry.backoff.ms`, and the first copy may then end the *next* transaction half-written. Our lane uses a
//! producer again only after a commit that was quicker than that pause. After a slower one it makes a new producer, which
//! shuts out whatever is still under way in the name of the old one; then the marker says whether the commit stands.
//! What it costs is half a second without results, never a result.

use crate::campaign::{input, launch, work_off};
use crate::producer::{self, Producer};
use crate::say;
use distributary_runtime::time::monotonic;
use harness::cuts::Cuts;
use harness::fault::{Fault, Harm, Kind};
use harness::findings::Findings;
use harness::ledger::{PIPELINE, RELAY};
use harness::onlooker::Onlooker;
use harness::outside::Ground;
use harness::process::{Process, was_killed};
use harness::proxy::{Proxy, Route, hold};
use harness::random::Random;
use harness::{Result, verdict};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Payments a second, about: a hundredth every ten milliseconds.
const RATE: u64 = 1_000;
/// One case in so many ends with a kill.
const KILL_EVERY: u64 = 5;
/// Workers of a life: from one to this.
const WORKERS_MAX: u64 = 3;
/// How long anything may take beyond what holds it up: a start, the moment that a fault waits for, going on.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(5);
/// A reader waits no longer than this for a transaction of a process that was killed and started again.
const BLOCKED_MAX: Duration = Duration::from_secs(15);
/// So often a process is started whose start fails, and how it ends then.
const STARTS_MAX: u32 = 3;
const UNREACHED: i32 = 1;
/// More payments than any campaign gets to.
const EVENTS_MAX: u64 = 100_000_000;

/// What to do.
pub(crate) struct Requests {
    pub(crate) binary: PathBuf,
    pub(crate) ground: Ground,
    pub(crate) route: Route,
    pub(crate) cases: u64,
    /// How long the broker is out of reach in the end, if at all.
    pub(crate) away: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) lanes: u32,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) findings: Findings,
    pub(crate) kills: u64,
    pub(crate) blocked_max: Duration,
}

/// A running campaign.
struct Scene<'a> {
    plan: &'a Requests,
    proxy: Proxy,
    producer: Producer,
    onlooker: Onlooker,
    random: Random,
    process: Option<Process>,
}

impl Requests {
    pub(crate) fn run(&self) -> Result<Report> {
        let (bus, payments) = input(&self.ground)?;
        let producer = Producer::start(self.ground.bus()?, payments, producer::options(EVENTS_MAX, self.seed), RATE / 2)?;
        producer.allow(EVENTS_MAX);
        let mut scene = Scene {
            plan: self,
            proxy: Proxy::start(self.route)?,
            producer,
            onlooker: Onlooker::start(self.ground.bus()?, RELAY),
            random: Random(self.seed),
            process: None,
        };
        let (mut cuts, mut findings, mut kills) = (Cuts::new(self.lanes, self.ground.lane), Findings::default(), 0);
        for case in 1..=self.cases {
            let fault = Fault::any(&mut scene.random);
            let kill = scene.random.below(KILL_EVERY) == 0;
            scene
                .case(fault, kill)
                .map_err(|e| format!("case {case} ({fault}{}): {e}", if kill { ", then a kill" } else { "" }))?;
            if kill {
                kills += 1;
                cuts.cut(&*bus, kills, &mut findings)?;
            }
            if case % 20 == 0 {
                say(&format!("chaos: {case} requests disturbed, {kills} kills"));
            }
        }
        if let Some(away) = self.away {
            scene.away(away)?;
        }
        let process = scene.alive()?;
        let Scene { producer, onlooker, .. } = scene;
        producer.stop()?;
        let blocked_max = onlooker.blocked_max();
        work_off(process, &*bus, (PIPELINE, payments), onlooker.records())?;
        say("chaos: everything is processed, comparing");
        verdict::judge(&*bus, payments, &cuts, &mut findings)?;
        if blocked_max > BLOCKED_MAX {
            findings.lost(1, || format!("a transaction stayed open for {blocked_max:?}"));
        }
        Ok(Report { findings, kills, blocked_max })
    }
}

impl Scene<'_> {
    fn case(&mut self, fault: Fault, kill: bool) -> Result<()> {
        let mut process = self.alive()?;
        let delay = Duration::from_millis(300);
        // Only a new producer sends these: a commit that is slow makes the lane take one.
        let slow = match fault.kind {
            Kind::InitProducerId | Kind::FindCoordinator => fault.spared + 1,
            _ => 0,
        };
        let all = self.proxy.struck() + 1 + slow;
        self.proxy.arm(fault);
        (0..slow).for_each(|_| self.proxy.arm(Fault { kind: Kind::EndTxn, spared: 0, harm: Harm::DelayAnswer, delay }));
        if kill {
            let moment = Duration::from_millis(self.random.below(500 + fault.delay.as_millis() as u64));
            hold(moment);
            let status = process.kill()?;
            // What waits for a request that nobody sends any more is called off.
            self.proxy.disarm();
            return if was_killed(status) {
                Ok(())
            } else {
                Err(format!("it ended by itself ({status}){}", process.said()).into())
            };
        }
        let proxy = &self.proxy;
        self.wait(&mut process, "the fault strikes", fault.delay, || proxy.struck() >= all)?;
        self.goes_on(&mut process, fault.delay)?;
        self.process = Some(process);
        Ok(())
    }

    /// The broker is out of reach: it takes connections, and nothing comes back.
    fn away(&mut self, away: Duration) -> Result<()> {
        let mut process = self.alive()?;
        self.proxy.set_away(true);
        hold(away);
        self.proxy.set_away(false);
        self.goes_on(&mut process, away)?;
        self.process = Some(process);
        Ok(())
    }

    /// The process: the one that runs, or a new one that has come so far as to bring results.
    fn alive(&mut self) -> Result<Process> {
        if let Some(process) = self.process.take() {
            return Ok(process);
        }
        let through = Ground { brokers: Some(self.plan.route.proxy.to_string()), ..self.plan.ground.clone() };
        let workers = 1 + self.random.below(WORKERS_MAX);
        let launch = launch(&through, &self.plan.binary, self.plan.lanes).set("workers", workers);
        // Who cannot reach the bus at its start ends and says so; a supervisor then starts it again.
        for _ in 1..STARTS_MAX {
            let mut process = launch.start(Stdio::null())?;
            let outcome = self.goes_on(&mut process, Duration::ZERO);
            if process.ended()?.is_none_or(|status| status.code() != Some(UNREACHED)) {
                return outcome.map(|()| process);
            }
        }
        let mut process = launch.start(Stdio::null())?;
        self.goes_on(&mut process, Duration::ZERO)?;
        Ok(process)
    }

    /// Waits for results that were not there before.
    fn goes_on(&self, process: &mut Process, delay: Duration) -> Result<()> {
        let before = self.onlooker.records();
        self.wait(process, "there are new results", delay, || self.onlooker.records() > before)
    }

    fn wait(&self, process: &mut Process, what: &str, delay: Duration, mut is: impl FnMut() -> bool) -> Result<()> {
        let until = monotonic() + delay + PATIENCE;
        while !is() {
            std::thread::park_timeout(LOOK);
            if let Some(status) = process.ended()? {
                return Err(format!("the process ended by itself ({status}){}", process.said()).into());
            }
            if self.producer.has_failed() {
                return Err("the producer has failed".into());
            }
            if monotonic() >= until {
                return Err(format!("waited in vain until {what}{}", process.said()).into());
            }
        }
        Ok(())
    }
}
