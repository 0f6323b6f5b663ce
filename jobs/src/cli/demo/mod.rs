//! `demo`: two jobs over a stream of payments, killed and resumed before the viewer's eyes, and their results compared with
//! a plain recomputation.

mod child;
mod oracle;
mod results;
mod stage;

use super::context::{self, Context};
use super::out::grouped;
use super::process::on_stop_signal;
use super::standing::Standing;
use super::{payments, why};
use crate::job::TierOf;
use crate::jobs::{Alert, Payment, balance, velocity};
use crate::payments::{Generated, PaymentOptions, Payments};
use crate::{Error, Event as _, Result, Timestamp, archive, run};
use child::Running;
use distributary_connectors::lake;
use distributary_runtime::bus::{Bus, Consumer, NewRecord, Offset, TopicSpec};
use distributary_runtime::plan::Tier;
use distributary_runtime::settings::Settings;
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::time::{Clock, SystemClock, WallTime};
use oracle::{Difference, Oracle};
use results::{Results, is_addition, read};
use stage::{Stage, Voice};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const JOBS: [TierOf; 3] = [
    TierOf { job: velocity, tier: Tier::Stream },
    TierOf { job: velocity, tier: Tier::Batch },
    TierOf { job: balance, tier: Tier::Stream },
];
/// Runs beside them, and keeps what the bus will forget.
const ARCHIVE: TierOf = TierOf { job: archive::job::<Payment>(), tier: Tier::Batch };
/// How long the bus keeps the payments.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
const PARTITIONS: u32 = 4;
const PAYMENTS: &str = Payment::TOPIC;
const ALERTS: &str = "demo.alerts";
/// Alerts that are shown one by one in a turn; the others are counted.
const SHOWN_MAX: usize = 3;
/// How often the viewer is told how things stand.
const TOLD_EVERY: Duration = Duration::from_secs(3);
/// How often we look for new alerts.
const TURN: Duration = Duration::from_millis(100);
/// How long the jobs may take to catch up at the end.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// What the jobs run with: checkpoints often enough that one lies behind the kill; and a partition counts for event time
/// whatever the machine is doing, so that the oracle can know what is late.
const SETTINGS: [(&str, u64); 3] = [("epoch_interval_ms", 50), ("checkpoint_interval_ms", 3_000), ("idle_after_ms", 600_000)];

/// And the tables: a commit every two seconds.
const BATCH_SETTINGS: [(&str, u64); 4] =
    [("epoch_interval_ms", 2_000), ("idle_epoch_ms", 1_000), ("checkpoint_interval_ms", 3_000), ("idle_after_ms", 600_000)];

/// Show a job that is killed and resumed before your eyes, in about 25 seconds.
///
/// Everything runs on this machine, in a temporary folder (or in `--data-dir`): payments are published, two jobs turn them
/// into alerts, a table of alerts and balances, their processes are killed with `kill -9` and started again, and in the end every result is compared with
/// a plain recomputation. Status 1 if anything is off.
#[derive(clap::Args)]
pub(super) struct Args {
    /// For how many seconds payments are published.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// Payments in a second.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(50..))]
    rate: u64,
    /// Another seed gives other payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The bus it runs on, such as kafka://127.0.0.1:9092 (`./dev demo --bus kafka` starts one). Without it: a file in the folder.
    #[arg(long, value_name = "URL")]
    bus: Option<String>,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
struct Options {
    seconds: u64,
    rate: u64,
    seed: u64,
}

impl Options {
    /// Event time runs faster than the clock, so that windows close while one watches.
    const SPEED: u64 = 5;

    #[cfg(test)]
    fn small() -> Self {
        Self { seconds: 6, rate: 2_000, seed: 7 }
    }

    fn payments(self, start_ms: i64) -> PaymentOptions {
        PaymentOptions {
            count: self.seconds * self.rate,
            users: 500,
            seed: self.seed,
            start_ms,
            rate_per_s: (self.rate / Self::SPEED).max(1),
            ..PaymentOptions::default()
        }
    }
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let failed = |source| Error::Io { what: "making a folder for the demo".into(), source };
        let temporary = match context.data_dir() {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("distributary-demo-").tempdir().map_err(failed)?),
        };
        let given = context.data_dir().map(PathBuf::from);
        let data_dir = temporary.as_ref().map(|dir| dir.path().to_path_buf()).or(given).unwrap_or_default();
        let options = Options { seconds: self.seconds, rate: self.rate, seed: self.seed };
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        on_stop_signal(move || flag.store(true, Ordering::SeqCst))?;
        let result = Demo::open(Settings { data_dir, bus: self.bus, ..Settings::default() }, options, interrupted.clone());
        let result = result.and_then(Demo::play);
        if interrupted.load(Ordering::SeqCst) {
            return Ok(ExitCode::FAILURE);
        }
        if !matches!(result, Ok(Verdict::Exact)) {
            // What went wrong can be looked into.
            drop(temporary.map(tempfile::TempDir::keep));
        }
        Ok(if result? == Verdict::Exact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Exact,
    Off,
}

struct Demo {
    stage: Stage,
    options: Options,
    settings: Settings,
    bus: Arc<dyn Bus>,
    store: CheckpointStore,
    alerts: Box<dyn Consumer>,
    alerts_seen: usize,
    published: Arc<AtomicU64>,
    running: Vec<Running>,
    told_at: Duration,
    interrupted: Arc<AtomicBool>,
}

impl Demo {
    fn open(settings: Settings, options: Options, interrupted: Arc<AtomicBool>) -> Result<Self> {
        let bus = run::open_bus(&settings)?;
        for name in [PAYMENTS, ALERTS] {
            let spec = TopicSpec::new(name, PARTITIONS);
            let retention_ms = if name == PAYMENTS { Some(KEPT.as_millis() as u64) } else { spec.retention_ms };
            if !bus.create_topic(&TopicSpec { retention_ms, ..spec })? {
                let what = format!("topic `{name}` exists on {}", bus.describe());
                return Err(Error::refused(what, "give the demo an empty folder (or none), and a bus of its own"));
            }
        }
        let missing = || Error::refused(format!("topic `{ALERTS}` is gone"), "run the demo again");
        let topic = bus.topic(ALERTS)?.ok_or_else(missing)?.id;
        let starts: Vec<_> = (0..PARTITIONS).map(|p| (p, Offset(0))).collect();
        Ok(Self {
            stage: Stage::new(),
            options,
            store: run::open_store(&settings)?,
            alerts: bus.consumer(topic, &starts)?,
            bus,
            settings,
            alerts_seen: 0,
            published: Arc::default(),
            running: Vec::new(),
            told_at: Duration::ZERO,
            interrupted,
        })
    }

    fn play(mut self) -> Result<Verdict> {
        let Options { seconds, rate, seed } = self.options;
        let start = SystemClock.now();
        let payments = self.options.payments(start.0);
        self.stage
            .line("Distributary: payments flow in, two jobs in three processes watch them, one archives them, and all are killed on the way.")?;
        self.stage.line("")?;
        let [count, bad, twice, late] = [payments.count, payments.bad(), payments.duplicates(), payments.late()].map(grouped);
        let folder = self.settings.data_dir.display().to_string();
        self.stage.say(Voice::Quiet, "folder", folder)?;
        self.stage.say(Voice::Quiet, "bus", self.bus.describe())?;
        self.stage.say(
            Voice::Plain,
            "payments",
            format_args!("{count} in {seconds} s: {bad} bad, {twice} sent twice, {late} a minute late (seed {seed}, {rate}/s)"),
        )?;
        let feed = self.feed(payments)?;
        self.start("start")?;

        let third = Duration::from_secs(seconds) / 3;
        self.watch_until(|demo| demo.stage.elapsed() >= third)?;
        self.kill()?;
        let dark = third + Duration::from_secs(2).min(third / 2);
        self.watch_until(|demo| demo.stage.elapsed() >= dark)?;
        self.tell_why()?;
        self.start("restart")?;
        self.watch_until(|_| feed.is_finished())?;
        let oracle = match feed.join() {
            Ok(oracle) => oracle?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.stage.say(Voice::Plain, "payments", "all are on the bus")?;
        self.catch_up()?;
        self.tell_why()?;
        for running in std::mem::take(&mut self.running) {
            running.stop()?;
        }
        self.look_for_alerts()?;
        self.stage.say(Voice::Plain, "stop", "all have saved a last checkpoint and stopped")?;
        let results = Results::read(&*self.bus, &JOBS, &self.settings)?;
        self.backfill(start)?;
        self.sum_up(&oracle, &results)
    }

    /// The bus forgets the payments, and the table of alerts is written anew from the archive.
    fn backfill(&mut self, start: WallTime) -> Result<()> {
        if self.bus.features().upkeep_on_call {
            self.bus.maintain(WallTime(SystemClock.now().0 + 2 * KEPT.as_millis() as i64))?;
            let payments = context::find_topic(&*self.bus, PAYMENTS)?.id;
            let left: u64 = self.bus.offsets(payments)?.iter().map(|at| at.end.0 - at.log_start.0).sum();
            self.stage.say(
                Voice::Loud,
                "retention",
                format_args!("the bus has forgotten the payments: it has {left} of them"),
            )?;
        }
        let archived = results::table(&self.settings, &lake::archive_of(PAYMENTS))?.map_or(0, |view| view.rows());
        self.stage.say(Voice::Plain, "archive", format_args!("holds {} payments, good and bad", grouped(archived)))?;
        let of = JOBS[1];
        let [from, to] =
            [start, WallTime(SystemClock.now().0 + KEPT.as_millis() as i64)].map(|at| Timestamp::from_millis(at.0).to_string());
        let words = ["backfill", "--from", &from, "--to", &to];
        let running = Running::command(&words, of, &self.settings, &BATCH_SETTINGS)?;
        self.stage.say(
            Voice::Loud,
            "backfill",
            format_args!("{of} (process {}), as a new generation of its table", running.pid()),
        )?;
        let began = self.stage.elapsed();
        running.ends(CATCH_UP_MAX)?;
        let took = (self.stage.elapsed() - began).as_secs_f64();
        self.stage.say(Voice::Plain, "backfill", format_args!("done in {took:.1} s, the process's start and end included"))
    }

    /// Publishes the payments from a thread of its own; the oracle takes each in on the way.
    fn feed(&self, options: PaymentOptions) -> Result<std::thread::JoinHandle<Result<Oracle>>> {
        let (bus, published, rate) = (self.bus.clone(), self.published.clone(), self.options.rate);
        let payments = Payments::new(options)?;
        let work = move || {
            let mut oracle = Oracle::new();
            let records = payments.map(|payment: Generated| {
                oracle.take(&payment);
                NewRecord::from(payment)
            });
            payments::write(&*bus, PAYMENTS, records, Some(rate), |n| {
                published.fetch_add(n, Ordering::Relaxed);
            })?;
            Ok(oracle)
        };
        let failed = |source| Error::Io { what: "starting to publish".into(), source };
        std::thread::Builder::new().name("payments".into()).spawn(work).map_err(failed)
    }

    fn start(&mut self, word: &str) -> Result<()> {
        for of in JOBS.into_iter().chain([ARCHIVE]) {
            let settings = if of.tier == Tier::Batch { &BATCH_SETTINGS[..] } else { &SETTINGS };
            let running = Running::start(of, &self.settings, settings)?;
            self.stage.say(Voice::Loud, word, format_args!("{of} (process {})", running.pid()))?;
            self.running.push(running);
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        for mut running in std::mem::take(&mut self.running) {
            running.kill();
            self.stage.say(Voice::Loud, "kill -9", format_args!("{} (process {})", running.of, running.pid()))?;
        }
        Ok(())
    }

    /// Shows what happens until something has happened.
    fn watch_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) {
            for running in &mut self.running {
                running.check()?;
            }
            self.look_for_alerts()?;
            if self.stage.elapsed() >= self.told_at + TOLD_EVERY {
                self.told_at = self.stage.elapsed();
                self.tell()?;
            }
        }
        Ok(())
    }

    fn look_for_alerts(&mut self) -> Result<()> {
        if self.interrupted.load(Ordering::SeqCst) {
            return Err(Error::refused("the demo was interrupted", "run it again"));
        }
        let batches = self.alerts.poll(TURN)?;
        let mut new: Vec<Alert> = batches.iter().flat_map(|b| &b.records).filter(|r| is_addition(r)).filter_map(read).collect();
        new.sort_by_key(|alert| std::cmp::Reverse((alert.until, alert.payments)));
        self.alerts_seen += new.len();
        for alert in new.iter().take(SHOWN_MAX) {
            let until = alert.until.to_string();
            let until = until.get(11..19).unwrap_or(&until);
            let text = format!("{} has paid {} times in the ten seconds before {until}", alert.user_id, alert.payments);
            self.stage.say(Voice::Plain, "alert", text)?;
        }
        if new.len() > SHOWN_MAX {
            self.stage.say(Voice::Quiet, "alert", format_args!("and {} more", new.len() - SHOWN_MAX))?;
        }
        Ok(())
    }

    fn waiting(&self) -> Result<Vec<(TierOf, u64)>> {
        JOBS.iter()
            .chain([&ARCHIVE])
            .map(|of| {
                let lags = Standing::of(*of, &*self.bus, &self.store)?.lags(&*self.bus)?;
                Ok((*of, lags.iter().map(|lag| lag.records).sum()))
            })
            .collect()
    }

    /// How many alerts the table has, and at which version.
    fn in_table(&self) -> Result<Option<(u64, u64)>> {
        Ok(results::table(&self.settings, results::TABLE)?.map(|view| (view.rows(), view.version)))
    }

    fn tell(&mut self) -> Result<()> {
        let published = grouped(self.published.load(Ordering::Relaxed));
        let lags: Vec<String> = self.waiting()?.iter().map(|(of, n)| format!("{} {}", of.short(), grouped(*n))).collect();
        let text = format!("{published} payments on the bus, {} alerts; lag: {}", self.alerts_seen, lags.join(", "));
        self.stage.say(Voice::Quiet, "status", text)?;
        if let Some((rows, version)) = self.in_table()? {
            self.stage.say(Voice::Quiet, "table", format_args!("alerts has {rows} rows at version {version}"))?;
        }
        Ok(())
    }

    fn tell_why(&mut self) -> Result<()> {
        for of in JOBS {
            let (pipeline, verdict) = why::why(of, &*self.bus, &self.store, &self.settings)?;
            self.stage.say(Voice::Plain, "why", format_args!("{pipeline}: {verdict}"))?;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<()> {
        let until = self.stage.elapsed() + CATCH_UP_MAX;
        while self.waiting()?.iter().any(|(_, lag)| *lag > 0) {
            if self.stage.elapsed() > until {
                let what = format!("the jobs did not catch up within {} s", CATCH_UP_MAX.as_secs());
                return Err(Error::refused(what, "run the demo with a lower `--rate`"));
            }
            self.running.iter_mut().try_for_each(Running::check)?;
            self.look_for_alerts()?;
        }
        Ok(())
    }

    /// Shows what came out, and compares it.
    fn sum_up(&mut self, oracle: &Oracle, results: &Results) -> Result<Verdict> {
        let anew = results::rows(&self.settings)?;
        let difference = results.compare(oracle) + oracle.compare_alerts(&anew);
        results.lines(oracle).iter().try_for_each(|line| self.stage.line(line))?;
        let (rows, expected) = (anew.values().sum::<i64>(), oracle.alerts().len());
        self.stage
            .line(format_args!("  {rows:>8}  alerts in the table that was written anew from the archive, {expected} expected"))?;
        let Difference { lost, duplicated } = difference;
        self.stage.line(format_args!(
            "lost={lost} duplicated={duplicated} kills={} seed={}",
            JOBS.len() + 1,
            self.options.seed
        ))?;
        if difference == Difference::default() {
            return Ok(Verdict::Exact);
        }
        self.stage.line(format_args!("Something is off; everything is kept in {}", self.settings.data_dir.display()))?;
        Ok(Verdict::Off)
    }
}
