//! Progress of what takes long, on standard error: one line that changes on a terminal, a line now and then elsewhere.

use super::out::grouped;
use distributary_runtime::time::monotonic;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes on a terminal, and how often there is a new one elsewhere.
const EVERY: Duration = Duration::from_millis(200);
const EVERY_ELSEWHERE: Duration = Duration::from_secs(5);

/// So many records behind the end, or fewer, is live.
const LIVE: u64 = 1_000;

/// See the module.
pub(super) struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    shown: Instant,
    terminal: bool,
    visible: bool,
}

impl Progress {
    /// Nothing done yet, of `total` if that is known.
    pub(super) fn new(what: &'static str, total: Option<u64>) -> Self {
        let began = monotonic();
        Self { what, total, done: 0, began, shown: began, terminal: std::io::stderr().is_terminal(), visible: false }
    }

    pub(super) fn add(&mut self, done: u64) {
        self.done += done;
        let every = if self.terminal { EVERY } else { EVERY_ELSEWHERE };
        if self.shown.elapsed() >= every {
            self.shown = monotonic();
            self.visible = true;
            self.show(if self.terminal { "\r" } else { "\n" });
        }
    }

    /// What was done, and how long it took.
    pub(super) fn finish(self) -> (u64, Duration) {
        if self.visible && self.terminal {
            self.show("\n");
        }
        (self.done, self.began.elapsed())
    }

    fn show(&self, end: &str) {
        let rate = grouped((self.done as f64 / self.began.elapsed().as_secs_f64().max(1e-3)) as u64);
        let of = self.total.map_or(String::new(), |total| {
            format!(" of {} ({} %)", grouped(total), u128::from(self.done) * 100 / u128::from(total.max(1)))
        });
        // Progress is a courtesy: without a standard error there is nobody to be told.
        let mut to = std::io::stderr().lock();
        let _ = write!(to, "{}: {}{of}, {rate}/s    {end}", self.what, grouped(self.done));
        let _ = to.flush();
    }
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
    use super::CatchingUp;

    #[test]
    fn who_has_little_left_is_live() {
        let mut catching_up = CatchingUp::default();
        let told = [None, Some(50_000), Some(20_000), Some(30_000), Some(900)].map(|lag| catching_up.is_over(lag));
        assert_eq!(told, [false, false, false, false, true]);
    }
}
