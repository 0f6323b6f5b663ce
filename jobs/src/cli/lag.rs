//! `lag`: how far each partition is behind.

use super::context::Context;
use super::out::{Out, grouped, span};
use super::standing::{Lag, Standing};
use crate::job::TierOf;
use crate::{Result, archive, run};
use distributary_runtime::plan::Tier;
use distributary_runtime::start;
use std::process::ExitCode;

/// Show how far jobs are behind, partition by partition. Exact also when they are not running.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The job; without one, every job of this binary, and the archives that have been started.
    job: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let mut pipelines = Vec::new();
        match &self.job {
            Some(name) => pipelines = context.pipelines(name)?,
            None => context.jobs().iter().try_for_each(|job| run::tiers(*job).map(|tiers| pipelines.extend(tiers)))?,
        }
        let settings = context.settings()?;
        let (bus, store) = (run::open_bus(&settings)?, run::open_store(&settings)?);
        if self.job.is_none() {
            // Of the archives those that have been started.
            for job in archive::jobs(context.jobs())? {
                let of = TierOf { job, tier: Tier::Batch };
                if bus.topic(&start::journal_topic(&of.to_string()))?.is_some() {
                    pipelines.push(of);
                }
            }
        }
        let mut lags = Vec::new();
        for of in pipelines {
            lags.extend(Standing::of(of, &*bus, &store)?.lags(&*bus)?);
        }
        let mut out = Out::new();
        if self.json {
            out.json(&lags)?;
        } else {
            let rows: Vec<_> = lags.iter().map(row).collect();
            out.table(["JOB", "PARTITION", "BOUND", "END", "LAG", "WAITING"], &rows)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(lag: &Lag) -> [String; 6] {
    let [bound, end, records] = [lag.bound.0, lag.end.0, lag.records].map(grouped);
    let waiting = lag.waiting_ms.map_or("-".into(), span);
    [lag.pipeline.clone(), format!("{}[{}]", lag.topic, lag.partition), bound, end, records, waiting]
}
