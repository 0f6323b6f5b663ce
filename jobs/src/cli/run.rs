//! `run`: a pipeline, until it is told to stop or cannot go on.

use super::context::Context;
use super::keeper::Keeper;
use super::liveness::Alive;
use super::progress::CatchingUp;
use super::status::{StatusFile, Told};
use super::{logging, metrics_server, process, supervisor};
use crate::job::TierOf;
use crate::{Error, Result, archive, run};
use distributary_runtime::engine;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::pipeline::{Minting, StartOptions};
use distributary_runtime::plan::Tier;
use distributary_runtime::report::Reports;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::{Clock, SystemClock, WallTime};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Run a job, until SIGINT or SIGTERM asks it to stop (a second one ends it at once).
///
/// It goes on where it stopped or crashed. Stopping is a last checkpoint.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// Begin a new generation of results, from the oldest records on the bus.
    #[arg(long)]
    from_zero: bool,
    /// Go on under a changed plan: states of the same name and types are kept, new ones begin empty. The old binary must have
    /// stopped in order.
    #[arg(long, conflicts_with = "from_zero")]
    adopt_plan: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let request = match (self.from_zero, self.adopt_plan) {
            (true, _) => StartRequest::FromZero,
            (false, true) => StartRequest::AdoptPlan,
            (false, false) => StartRequest::Resume,
        };
        self.how.run(context, request)
    }
}

/// What it takes to run a job, however it begins.
#[derive(clap::Args)]
pub(super) struct How {
    /// The job, or `TEAM.*` for all of a team (`archive.*`: all archives). Several, and one with tables beside other sinks, which has a tier for
    /// each, run as a process each; this one starts them again when they die.
    job: String,
    /// Of those, this one.
    #[arg(long, hide = true, requires = "tier")]
    of: Option<String>,
    /// Only this tier, in this process.
    #[arg(long, value_name = "TIER", value_parser = tier, overrides_with = "tier")]
    tier: Option<Tier>,
    /// Stop when standard input ends, which whoever started this process holds.
    #[arg(long, hide = true, requires = "tier")]
    supervised: bool,
    /// Stop in order when everything before this time has been read, by the timestamps of the records: a day (2026-01-31, UTC) or a time
    /// of RFC 3339.
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<WallTime>,
    /// Go on although records were lost to retention before they were read; the gap is noted in the journal.
    #[arg(long)]
    accept_gap: bool,
    /// Worker threads: short for `--set workers=N`.
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// What is logged: a level, or `epoch` for a line for each epoch. Short for `--set log=..`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Address of the metrics endpoint, such as 127.0.0.1:9100 (port 0: any; several jobs need it). Short for `--set metrics_listen=..`; of two
    /// tiers it is that of the streaming tier (the other's: `--set batch.metrics_listen=..`).
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

impl How {
    pub(super) fn run(self, context: &Context<'_>, request: StartRequest) -> Result<ExitCode> {
        process::abort_on_panic();
        let pipelines = context.pipelines_to_run(self.of.as_ref().unwrap_or(&self.job), self.tier)?;
        let is_alone = pipelines.len() == 1 && !self.supervised;
        let all = pipelines.iter().map(|of| self.settings(context, of.tier, is_alone)).collect::<Result<Vec<_>>>()?;
        let mut endpoints = BTreeSet::new();
        let fixed = all.iter().filter_map(|settings| settings.metrics_listen).filter(|address| address.port() != 0);
        if let Some(twice) = fixed.into_iter().find(|address| !endpoints.insert(*address)) {
            return Err(Error::refused(
                format!("`metrics_listen` is {twice} for several pipelines"),
                "use port 0 (`why JOB` says which it has got), or run the jobs one by one",
            ));
        }
        logging::start(&all[0].log)?;
        let _keeper = Keeper::start(self.archives(context, &pipelines, &request)?, self.settings(context, Tier::Batch, false)?)?;
        let ([of], [settings]) = (&pipelines[..], &all[..]) else {
            return supervisor::run(&pipelines, request == StartRequest::Resume);
        };
        // From the first moment on: a stop that comes while the pipeline starts is kept until it runs.
        let (reports, inbox) = Reports::new();
        let to = reports.clone();
        process::on_stop_signal(move || {
            tracing::info!("stopping with a last checkpoint; a second signal ends the process at once");
            engine::stop(&to);
        })?;
        if self.supervised {
            let to = reports.clone();
            process::on_end_of_input(move || engine::stop(&to))?;
        }

        let pipeline = run::pipeline(*of);
        if matches!(request, StartRequest::FromZero | StartRequest::From(_))
            && let Some(topic) = archive::archived_topic(&engine::plan(&pipeline)?)
        {
            return Err(Error::refused(
                format!(
                    "{}: a new generation would take the place of the archive of topic `{topic}`, which holds what the bus no longer has",
                    pipeline.name
                ),
                "go on with it (`run`); or begin another: delete the table's folder and the topics of the pipeline first",
            ));
        }
        let mut components = run::components(&pipeline.name, settings)?;
        let metrics = match settings.metrics_listen {
            Some(address) => Some(metrics_server::start(address, components.metrics.clone())?),
            None => None,
        };
        if let Some(address) = metrics {
            tracing::info!("metrics at http://{address}/metrics");
        }
        let _alive = Alive::hold(&settings.data_dir, &pipeline.name)?;
        let file = StatusFile::of(&settings.data_dir, &pipeline.name);
        file.clear()?;
        let progress = Mutex::new(matches!(request, StartRequest::From(_)).then(CatchingUp::default));
        components.status = Arc::new(move |status| {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if progress.as_mut().is_some_and(|catching_up| catching_up.is_over(status.lag)) {
                *progress = None;
                tracing::info!(pipeline = %status.pipeline, "has caught up, and goes on live");
            }
            let told = Told { pid: std::process::id(), at: SystemClock.now(), metrics, status: status.clone() };
            if let Err(error) = file.write(&told) {
                tracing::warn!(%error, "`why` will not know how things stand");
            }
        });

        let options = StartOptions {
            incarnation: incarnation()?,
            request,
            until: self.to,
            accept_gap: self.accept_gap,
            minting: Minting::Timed,
        };
        engine::run(&pipeline, &components, settings, &options, (reports, inbox))?;
        tracing::info!(pipeline = %pipeline.name, "stopped");
        Ok(ExitCode::SUCCESS)
    }

    /// The archives to look after: of what the jobs read that run on and on, and that none of them archives itself.
    fn archives(&self, context: &Context<'_>, pipelines: &[TierOf], request: &StartRequest) -> Result<Vec<TierOf>> {
        let is_live = *request == StartRequest::Resume && self.to.is_none() && !self.accept_gap;
        let is_asked_for = self.tier.is_none() && !self.supervised && self.settings(context, Tier::Batch, false)?.keep_archives;
        if !is_live || !is_asked_for {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for job in archive::jobs(&pipelines.iter().map(|of| of.job).collect::<Vec<_>>())? {
            found.extend(run::tiers(job)?);
        }
        for of in pipelines {
            let plan = engine::plan(&run::pipeline(*of))?;
            let topic = archive::archived_topic(&plan);
            found.retain(|archive| Some(archive.job.name()) != topic);
        }
        Ok(found)
    }

    /// The settings of a tier, with our own flags on top.
    fn settings(&self, context: &Context<'_>, tier: Tier, is_alone: bool) -> Result<Settings> {
        let metrics = self.metrics.clone().filter(|_| is_alone || tier == Tier::Stream);
        let workers = self.workers.map(|n| n.to_string());
        context.settings_of(tier, &[("workers", workers), ("log", self.log.clone()), ("metrics_listen", metrics)])
    }
}

fn tier(name: &str) -> Result<Tier, String> {
    let found = Tier::ALL.into_iter().find(|tier| tier.to_string() == name);
    found.ok_or_else(|| "it is `stream` or `batch`".to_string())
}

/// The identity of this start: the one place where randomness enters.
fn incarnation() -> Result<u128> {
    let mut bytes = [0; 16];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|e| Error::Io { what: "drawing a random number".into(), source: std::io::Error::other(e.to_string()) })?;
    Ok(u128::from_le_bytes(bytes))
}

/// A day, or a time of RFC 3339.
pub(super) fn date(text: &str) -> Result<WallTime, String> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let at = text.parse::<Timestamp>().ok().or_else(|| day().map(|day| day.timestamp()));
    at.map(|at| WallTime(at.as_millisecond()))
        .ok_or_else(|| "write a day as 2026-01-31, or a time as 2026-01-31T12:00:00Z".to_string())
}

#[cfg(test)]
mod tests {
    use super::{WallTime, date};

    #[test]
    fn a_day_is_its_beginning_in_utc() {
        assert_eq!(date("1970-01-02"), Ok(WallTime(86_400_000)));
        assert_eq!(date("1970-01-01T01:00:01+01:00"), Ok(WallTime(1_000)));
        assert!(date("yesterday").unwrap_err().contains("2026-01-31"));
    }
}
