//! A job as a process of its own, to be killed before the viewer's eyes.

use crate::cli::process::ask_to_stop;
use crate::job::TierOf;
use crate::{Error, Result};
use distributary_runtime::plan::Tier;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::monotonic;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a process may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How often we look whether it has.
const TURN: Duration = Duration::from_millis(20);

/// A running job. It goes with its handle.
pub(super) struct Running {
    pub(super) of: TierOf,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Runs a tier of a job of this binary, where `place` says, with these settings and no others.
    pub(super) fn start(of: TierOf, place: &Settings, settings: &[(&str, u64)]) -> Result<Self> {
        Self::command(&["run"], of, place, settings)
    }

    /// As [`Running::start`], by another command than `run`.
    pub(super) fn command(words: &[&str], of: TierOf, place: &Settings, settings: &[(&str, u64)]) -> Result<Self> {
        let log = place.data_dir.join(format!("{of}.log"));
        let failed = |source| Error::Io { what: format!("starting {of}"), source };
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(words)
            .args([&of.job.to_string(), "--tier", &of.tier.to_string(), "--config", "/dev/null", "--data-dir"])
            .arg(&place.data_dir);
        command.args(["--set", &format!("bus={}", place.bus_url())]);
        for (name, value) in settings {
            let tier = if of.tier == Tier::Batch { "batch." } else { "" };
            command.args(["--set", &format!("{tier}{name}={value}")]);
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DISTRIBUTARY_")) {
            command.env_remove(name);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().map_err(failed)?;
        Ok(Self { of, child, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        // It may be gone already: that is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// An error, with the end of its log, if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.died(&status.to_string())),
            Err(source) => Err(Error::Io { what: format!("looking after {}", self.of), source }),
        }
    }

    /// Asks it to stop, and waits for its last checkpoint.
    pub(super) fn stop(self) -> Result<()> {
        ask_to_stop(&self.child);
        self.ends(STOP_MAX)
    }

    /// Waits until it has ended in order.
    pub(super) fn ends(mut self, within: Duration) -> Result<()> {
        let began = monotonic();
        while began.elapsed() < within {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.died(&status.to_string())),
                Ok(None) => std::thread::park_timeout(TURN),
                Err(source) => return Err(Error::Io { what: format!("stopping {}", self.of), source }),
            }
        }
        Err(self.died(&format!("it did not stop within {} s", within.as_secs())))
    }

    fn died(&self, how: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let end = log.lines().last().unwrap_or("(nothing)");
        Error::refused(format!("{} ended: {how}; its log ends with: {end}", self.of), format!("see {}", self.log.display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
