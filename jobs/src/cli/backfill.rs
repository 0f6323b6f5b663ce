//! `backfill`: a job's results written anew from a time on that may lie long before what the bus still has.

use super::context::Context;
use super::progress::Progress;
use super::run::How;
use crate::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::WallTime;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::process::ExitCode;

/// So many records behind the end, or fewer, is live.
const LIVE: u64 = 1_000;

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

pub(super) fn date(text: &str) -> Result<WallTime, String> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let at = text.parse::<Timestamp>().ok().or_else(|| day().map(|day| day.timestamp()));
    at.map(|at| WallTime(at.as_millisecond()))
        .ok_or_else(|| "write a day as 2026-01-31, or a time as 2026-01-31T12:00:00Z".to_string())
}

/// How far a backfill is, told from what is still to be read.
#[derive(Default)]
pub(super) struct CatchingUp {
    progress: Option<(Progress, u64)>,
}

impl CatchingUp {
    /// Takes how many records are still to be read, if that is known; true at the end.
    pub(super) fn is_over(&mut self, lag: Option<u64>) -> bool {
        let Some(lag) = lag else { return false };
        let (progress, before) = self.progress.get_or_insert_with(|| (Progress::new("backfill: records", Some(lag)), lag));
        progress.add(before.saturating_sub(lag));
        *before = lag.min(*before);
        if lag > LIVE {
            return false;
        }
        self.progress.take().map(|(progress, _)| progress.finish());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{CatchingUp, WallTime, date};

    #[test]
    fn a_day_is_its_beginning_in_utc() {
        assert_eq!(date("1970-01-02"), Ok(WallTime(86_400_000)));
        assert_eq!(date("1970-01-01T01:00:01+01:00"), Ok(WallTime(1_000)));
        assert!(date("yesterday").unwrap_err().contains("2026-01-31"));
    }

    #[test]
    fn who_has_little_left_is_live() {
        let mut catching_up = CatchingUp::default();
        let told = [None, Some(50_000), Some(20_000), Some(30_000), Some(900)].map(|lag| catching_up.is_over(lag));
        assert_eq!(told, [false, false, false, false, true]);
    }
}
