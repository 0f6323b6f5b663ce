//! `backfill`: a job's results written anew from a time on that may lie long before what the bus still has.

use super::context::Context;
use super::run::{How, date};
use crate::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::WallTime;
use std::process::ExitCode;

/// Write a job's results from a time on, as a new generation, and go on live.
///
/// What the bus no longer has is read from the archives of its topics, with the same offsets; where an archive ends, the bus goes on, without a
/// gap or a duplicate. The same records are late as were when they came. `run JOB` goes on with a backfill that was stopped, or has died.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// From the first records at or after this time, by the timestamps of the records: a day (2026-01-31, UTC) or a time of RFC 3339
    /// (2026-01-31T12:00:00+01:00). Windows that were open then have only what came since.
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: WallTime,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        self.how.run(context, StartRequest::From(self.from))
    }
}
