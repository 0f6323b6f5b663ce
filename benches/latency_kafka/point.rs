//! One measurement: fresh topics, the engine, the load, the meter, and what they found.

use super::cluster::{Result, fresh_topics, wait};
use super::engine::{Engine, cpu, machine_cpu, peak_mib};
use super::load::Load;
use super::meter::{Meter, Shape};
use super::process::process_cpu;
use super::{JobName, What, name};
use distributary_runtime::time::monotonic;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::park_timeout;
use std::time::Duration;

/// How long an engine may take to come up.
const UP: Duration = Duration::from_secs(60);

/// How long the last results may take.
const DRAIN: Duration = Duration::from_secs(60);

/// How long an engine may take to catch up, and how often that is looked at.
const LAG_MAX: Duration = Duration::from_secs(600);
const LAG_LOOK: Duration = Duration::from_millis(200);

/// How often something is looked at that nobody reports.
const LOOK: Duration = Duration::from_millis(5);

/// What all points have in common.
pub(crate) struct Setup {
    pub(crate) brokers: String,
    pub(crate) broker_pid: Option<u32>,
    pub(crate) warm_up_s: u64,
    pub(crate) seconds: u64,
    pub(crate) restart: bool,
    pub(crate) lag: Duration,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) what: What,
    /// An echo has none.
    pub(crate) job: Option<JobName>,
    pub(crate) interval_ms: u64,
    pub(crate) rate: u64,
}

/// CPU time used so far.
struct Used {
    engine: Option<Duration>,
    broker: Option<Duration>,
    machine: Option<Duration>,
    load_tool: Duration,
}

impl Point {
    pub(crate) fn measure(&self, setup: &Setup) -> Result<Value> {
        fresh_topics(&setup.brokers)?;
        let place = tempfile::Builder::new().prefix("distributary-bench-").tempdir()?;
        let command = self.job.map(|job| self.command(job, setup, place.path())).transpose()?;
        let start = |command: Option<Command>| command.map(|command| Engine::start(command, place.path())).transpose();
        let (command, mut engine) = if setup.lag.is_zero() { (None, start(command)?) } else { (command, None) };
        let (shape, topic) = match self.job {
            None => (Shape::Events, "in"),
            Some(JobName::Relay) => (Shape::Flagged, "out"),
            Some(JobName::Spend) => (Shape::Totals, "out"),
        };
        let meter = Meter::start(&setup.brokers, topic, shape)?;
        let load = Load::connect(&setup.brokers)?;
        let up = |engine: &mut Option<Engine>| reach(&meter, 1, engine, UP);
        let not_up = |problem| self.result(json!({"problem": format!("did not come up: {problem}")}));
        if setup.lag.is_zero()
            && let Some(problem) = up(&mut engine)?
        {
            return Ok(not_up(problem));
        }

        let sender = load.start(self.rate, setup.lag)?;
        let mut caught_up = None;
        if let Some(command) = command {
            while sender.sent() < self.rate * setup.lag.as_secs() {
                park_timeout(LAG_LOOK);
            }
            let began = monotonic();
            engine = start(Some(command))?;
            if let Some(problem) = up(&mut engine)? {
                return Ok(not_up(problem));
            }
            // The newest tenth of a second may be on its way.
            while meter.covered() < shape.covered_by(sender.sent().saturating_sub(self.rate / 10)) && began.elapsed() < LAG_MAX {
                park_timeout(LAG_LOOK);
            }
            caught_up = Some(began.elapsed());
        }
        wait(monotonic() + Duration::from_secs(setup.warm_up_s));
        let (began, sent, before) = (monotonic(), sender.sent(), Used::now(engine.as_ref(), setup));
        meter.begin();
        let half = Duration::from_secs(setup.seconds) / 2;
        wait(began + half);
        if let Some(engine) = engine.as_mut().filter(|_| setup.restart) {
            meter.killed();
            engine.kill_and_restart()?;
        }
        wait(began + 2 * half);
        meter.end();
        let (lasted, events) = (began.elapsed(), sender.sent() - sent);
        let used = Used::now(engine.as_ref(), setup).since(&before);
        let schedule = sender.schedule;
        let sent = sender.finish()?;

        let drained = reach(&meter, shape.covered_by(sent.events), &mut engine, DRAIN)?;
        let peak = engine.as_ref().and_then(|engine| peak_mib(engine.pid()));
        engine.map(Engine::stop).transpose()?;
        let read = meter.finish()?;
        let problem = sent.problem.or(drained).or_else(|| read.problem(shape, &schedule, sent.events));

        let ms = |quantile| read.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let cores = |used: Option<Duration>| used.map(|used| used.as_secs_f64() / lasted.as_secs_f64());
        let per_million = |used: Option<Duration>| used.map(|used| used.as_secs_f64() / events as f64 * 1e6);
        Ok(self.result(json!({
            "outputs": read.latencies.len(),
            "p50_ms": ms(0.5),
            "p90_ms": ms(0.9),
            "p99_ms": ms(0.99),
            "p999_ms": ms(0.999),
            "max_ms": read.latencies.max() as f64 / 1e3,
            // Of a process that was killed the kernel has forgotten what it used.
            "engine_cpu_s_per_million": per_million(used.engine.filter(|_| !setup.restart)),
            "broker_cpu_s_per_million": per_million(used.broker),
            "engine_peak_mib": peak,
            "busy_cores": cores(used.machine),
            "others_cores": cores(used.by_others()).filter(|_| !setup.restart),
            "worst_after_kill_ms": setup.restart.then_some(read.worst_after_kill as f64 / 1e3),
            "caught_up_s": caught_up.map(|took| took.as_secs_f64()),
            "problem": problem,
        })))
    }

    fn command(&self, job: JobName, setup: &Setup, dir: &Path) -> Result<Command> {
        let own = std::env::current_exe()?;
        let interval = self.interval_ms.to_string();
        if let Some(guarantee) = self.what.bare() {
            let mut command = Command::new(own);
            // Offsets of a group belong to topics by name: each point has a group of its own.
            let group = format!("bench-bare-{}", dir.file_name().unwrap_or_default().display());
            command.args(["bare", &setup.brokers, &name(job), &name(guarantee), &interval, &group]);
            return Ok(command);
        }
        let mut command = Command::new(jobs(&own));
        command.args([&setup.brokers, &name(job)]).arg(dir.join("state")).arg(name(self.what)).args(["--epoch-ms", &interval]);
        Ok(command)
    }

    /// What was measured, and of what.
    fn result(&self, measured: Value) -> Value {
        let mut result = json!({
            "bus": "kafka",
            "what": name(self.what),
            "job": self.job.map(name),
            "interval_ms": self.interval_ms,
            "rate": self.rate,
        });
        if let (Value::Object(result), Value::Object(measured)) = (&mut result, measured) {
            result.extend(measured);
        }
        result
    }
}

/// The example beside which Cargo puts this program.
fn jobs(own: &Path) -> PathBuf {
    let profile = own.parent().and_then(Path::parent).unwrap_or(own);
    profile.join("examples").join("latency_jobs")
}

/// Waits until so many events stand behind what was read; says why that did not happen.
fn reach(meter: &Meter, events: u64, engine: &mut Option<Engine>, wait: Duration) -> Result<Option<String>> {
    let until = monotonic() + wait;
    while meter.covered() < events {
        if let Some(engine) = engine
            && let Some(ended) = engine.ended()?
        {
            return Ok(Some(ended));
        }
        if monotonic() > until {
            return Ok(Some(format!("not drained: {} of {events}", meter.covered())));
        }
        park_timeout(LOOK);
    }
    Ok(None)
}

impl Used {
    fn now(engine: Option<&Engine>, setup: &Setup) -> Self {
        Self {
            engine: engine.and_then(|engine| cpu(engine.pid())),
            broker: setup.broker_pid.and_then(cpu),
            machine: machine_cpu(),
            load_tool: process_cpu(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        let since = |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?));
        Self {
            engine: since(self.engine, before.engine),
            broker: since(self.broker, before.broker),
            machine: since(self.machine, before.machine),
            load_tool: self.load_tool.saturating_sub(before.load_tool),
        }
    }

    /// What nobody here has used: if it is much, the machine was not free for the measurement.
    fn by_others(&self) -> Option<Duration> {
        let ours = self.engine.unwrap_or_default() + self.broker? + self.load_tool;
        Some(self.machine?.saturating_sub(ours))
    }
}
