//! What is measured, as a process of its own, and what the kernel says of processes.

use super::cluster::Result;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Length of a tick in `/proc`: the same in every Linux.
const TICK: Duration = Duration::from_millis(10);

/// A process that is measured.
pub(crate) struct Engine {
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Engine {
    /// Starts a process whose output goes to a file in `dir`.
    pub(crate) fn start(mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join("engine.log");
        let to = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(to.try_clone()?).stderr(to);
        let child = command.spawn()?;
        Ok(Self { command, child, log })
    }

    /// Kills it as a lost machine would, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = self.command.spawn()?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Why it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| line.contains("rror")).or(log.lines().last()).unwrap_or_default();
        Ok(Some(format!("the engine ended, {status}: {last}")))
    }

    /// Asks it to stop, and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process and of its children that have ended; none if there is no such process.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: u32 = fields.skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}

/// The most memory a process ever had, in MiB.
pub(crate) fn peak_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?;
    Some(kib.parse::<f64>().ok()? / 1_024.0)
}

/// CPU time of the whole machine.
pub(crate) fn machine_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u32> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // Idle and waiting for a disk are no work; time of guests is part of the user's.
    let busy = ticks.iter().take(8).enumerate().filter(|(at, _)| ![3, 4].contains(at)).map(|(_, ticks)| *ticks).sum();
    Some(TICK * busy)
}
