//! When a process is killed: at any time, or aimed at a commit, at a recovery, or at a durable step of its own.

use distributary_runtime::failpoint::Step;
use distributary_runtime::time::monotonic;
use harness::Result;
use harness::process::{Phase, Process, Signal};
use harness::random::Random;
use std::time::Duration;

/// What a kill is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Nothing.
    Anywhen,
    /// The inside of a commit.
    Commit,
    /// The time between start and the first new epoch.
    Recovery,
    /// Nothing at first: the process is paused, alone or in a commit, until another has taken its place, and woken.
    Zombie,
    /// The process kills itself before or behind a durable step.
    Failpoint,
}

/// A life without anything special lasts up to so long, and twice as long as a recovery.
const LIFE_MAX_MS: u64 = 600;
/// How long a moment that is aimed at may take to come: on Kafka a start alone takes a second or two.
const AIM_MAX: Duration = Duration::from_secs(15);
/// A failpoint that is not reached within this time is given up.
const FAILPOINT_MAX: Duration = Duration::from_millis(1_500);

/// The aims of a campaign, in a random order: more than the quotas ask for. `zombies` of them pause the process first.
pub(crate) fn deck(kills: u64, zombies: u64, random: &mut Random) -> Vec<Aim> {
    let mut deck = vec![Aim::Commit; (kills * 7).div_ceil(20) as usize];
    deck.extend(vec![Aim::Recovery; kills.div_ceil(4) as usize]);
    deck.extend(vec![Aim::Failpoint; kills.div_ceil(8) as usize]);
    deck.extend(vec![Aim::Zombie; zombies as usize]);
    deck.resize(kills as usize, Aim::Anywhen);
    random.shuffle(&mut deck);
    deck
}

/// A failpoint for a life: topics are made once, every other step comes again.
pub(crate) fn failpoint(random: &mut Random) -> String {
    let steps: Vec<Step> = Step::ALL.into_iter().filter(|s| *s != Step::TopicCreate).collect();
    let step = steps[random.below(steps.len() as u64) as usize];
    let side = if random.below(2) == 0 { "before" } else { "after" };
    format!("{}.{side}:{}:crash", step.name(), 1 + random.below(12))
}

/// What was seen of a life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// From the start of the process to the start of its recovery.
    pub(crate) recovery_began: Option<Duration>,
    /// From the start of the process to its first new epoch.
    pub(crate) live: Option<Duration>,
}

impl Seen {
    /// Looks once.
    pub(crate) fn look(&mut self, process: &Process) -> Phase {
        let phase = process.phase();
        if phase.recovering {
            self.recovery_began.get_or_insert(process.age());
        } else if self.recovery_began.is_some() {
            self.live.get_or_insert(process.age());
        }
        phase
    }

    /// From the start of the recovery to the first new epoch.
    pub(crate) fn recovered_in(&self) -> Option<Duration> {
        Some(self.live?.saturating_sub(self.recovery_began?))
    }
}

/// Waits for the moment to kill. `recovery` is how long recoveries have lasted so far.
pub(crate) fn strike(process: &mut Process, aim: Aim, recovery: Duration, random: &mut Random) -> Result<Seen> {
    let mut seen = Seen::default();
    match aim {
        Aim::Anywhen => {
            let life = Duration::from_millis(random.below(LIFE_MAX_MS + 2 * recovery.as_millis() as u64));
            process.wait_until(life, |p| {
                seen.look(p);
                false
            })?;
        }
        Aim::Commit => {
            let calm = Duration::from_millis(random.below(LIFE_MAX_MS / 2));
            let mut commits = |seen: &mut Seen, p: &Process| {
                let phase = seen.look(p);
                seen.live.is_some_and(|live| p.age() >= live + calm) && phase.step == Some(Step::LaneCommit)
            };
            freeze(process, &mut seen, &mut commits)?;
        }
        Aim::Zombie => {
            let calm = Duration::from_millis(random.below(LIFE_MAX_MS));
            let anywhere = random.below(2) == 0;
            let mut works = |seen: &mut Seen, p: &Process| {
                let phase = seen.look(p);
                let long_enough = seen.live.is_some_and(|live| p.age() >= live + calm);
                long_enough && (anywhere || phase.step == Some(Step::LaneCommit))
            };
            freeze(process, &mut seen, &mut works)?;
        }
        Aim::Recovery => {
            let part = recovery.mul_f64(random.below(1_000) as f64 / 1_000.0);
            let mut recovers = |seen: &mut Seen, p: &Process| {
                let phase = seen.look(p);
                phase.recovering && seen.recovery_began.is_some_and(|began| p.age() >= began + part)
            };
            freeze(process, &mut seen, &mut recovers)?;
        }
        Aim::Failpoint => {
            process.wait_until(FAILPOINT_MAX, |p| {
                seen.look(p);
                false
            })?;
        }
    }
    Ok(seen)
}

/// Stops the process where `at` says so, so that the kill lands there and not a moment later.
fn freeze(process: &mut Process, seen: &mut Seen, at: &mut impl FnMut(&mut Seen, &Process) -> bool) -> Result<()> {
    let until = monotonic() + AIM_MAX;
    while monotonic() < until {
        if !process.wait_until(until - monotonic(), |p| at(seen, p))? {
            return Ok(());
        }
        process.signal(Signal::Pause);
        process.wait_until(AIM_MAX, Process::is_paused)?;
        if at(seen, process) {
            return Ok(());
        }
        process.signal(Signal::Continue);
    }
    Ok(())
}
