//! `why`: one line that says what holds a pipeline back.

mod verdict;

use super::context::Context;
use super::out::Out;
use super::standing::Standing;
use super::status::StatusFile;
use super::{liveness, out};
use crate::job::TierOf;
use crate::{Result, run};
use distributary_runtime::bus::Bus;
use distributary_runtime::settings::Settings;
use distributary_runtime::state::CheckpointStore;
use distributary_runtime::time::{Clock, SystemClock};
use serde::Serialize;
use std::process::ExitCode;
use verdict::{Seen, Verdict};

/// Say in one line which partition, operator or sink holds a job back.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The job.
    job: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    verdict: &'a Verdict,
    text: String,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let job = context.pipeline(&self.job)?;
        let settings = context.settings()?;
        let (bus, store) = (run::open_bus(&settings)?, run::open_store(&settings)?);
        let (pipeline, verdict) = why(job, &*bus, &store, &settings)?;
        let mut out = Out::new();
        if self.json {
            out.json(&Document { pipeline: &pipeline, verdict: &verdict, text: verdict.to_string() })?;
        } else {
            out.line(format_args!("{pipeline}: {verdict}"))?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Looks at everything there is to see, and decides.
pub(super) fn why(job: TierOf, bus: &dyn Bus, store: &CheckpointStore, settings: &Settings) -> Result<(String, Verdict)> {
    let standing = Standing::of(job, bus, store)?;
    let lags = standing.lags(bus)?;
    let told = StatusFile::of(&settings.data_dir, &standing.pipeline).read()?;
    let seen = Seen {
        job: job.short(),
        started: standing.was_started(),
        running: liveness::is_running(&settings.data_dir, &standing.pipeline)?,
        told,
        now: SystemClock.now(),
        watermark_ms: super::standing::known(standing.positions.watermark()),
        lags,
        brokers: settings.bus_url().strip_prefix("kafka://").map(str::to_string),
    };
    Ok((standing.pipeline, verdict::decide(&seen)))
}

#[cfg(test)]
mod tests;
