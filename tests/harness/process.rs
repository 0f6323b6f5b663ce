//! The process of a job, as somebody outside sees it: started, looked at, stopped, killed.

use crate::Result;
use distributary_runtime::failpoint::{RECOVERING, Step};
use distributary_runtime::time::monotonic;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at while something is waited for.
const LOOK: Duration = Duration::from_micros(100);

/// How to start a process.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary with the job.
    pub binary: PathBuf,
    /// The job.
    pub job: String,
    /// Where its bus and its checkpoints are; also its log and its phase file.
    pub dir: PathBuf,
    /// Tells this process from others in the same folder.
    pub name: String,
    /// Settings.
    pub set: Vec<(String, String)>,
    /// Whether they are those of the batch tier.
    pub of_batch: bool,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// `step.side:n:action`.
    pub failpoint: Option<String>,
}

impl Launch {
    /// A start with no settings of its own.
    pub fn new(binary: impl Into<PathBuf>, job: &str, dir: &Path, name: &str) -> Self {
        let (binary, job, dir, name) = (binary.into(), job.to_string(), dir.to_path_buf(), name.to_string());
        Self { binary, job, dir, name, set: Vec::new(), of_batch: false, env: Vec::new(), failpoint: None }
    }

    /// With a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.set.push((name.to_string(), value.to_string()));
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    /// With a failpoint.
    #[must_use]
    pub fn failpoint(self, failpoint: impl Into<String>) -> Self {
        Self { failpoint: Some(failpoint.into()), ..self }
    }

    /// Where standard error of the process goes; processes of one name append to one log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Starts it, with a standard output of the caller's choice.
    ///
    /// # Errors
    /// The process or its files cannot be made.
    pub fn start(&self, stdout: Stdio) -> Result<Process> {
        let phase_path = self.dir.join(format!("{}.phase", self.name));
        std::fs::write(&phase_path, [0])?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.binary);
        command.args(["run", &self.job, "--data-dir"]).arg(&self.dir);
        for (name, value) in &self.set {
            let tier = if self.of_batch { "batch." } else { "" };
            command.arg("--set").arg(format!("{tier}{name}={value}"));
        }
        // What runs here is what was started here.
        command.env("DISTRIBUTARY_KEEP_ARCHIVES", "false");
        command.env("DISTRIBUTARY_PHASE_FILE", &phase_path).env_remove("DISTRIBUTARY_FAILPOINT").envs(self.env.iter().cloned());
        if let Some(failpoint) = &self.failpoint {
            command.env("DISTRIBUTARY_FAILPOINT", failpoint);
        }
        let phase = File::open(&phase_path)?;
        let started = monotonic();
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn()?;
        Ok(Process { child, phase, started, log: self.log() })
    }
}

/// The exit status of a process that finds a newer one in its place.
pub const FENCED: i32 = 3;

/// Where a process is, by its phase file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Between its start and the first epoch of its own.
    pub recovering: bool,
    /// The durable step it is in.
    pub step: Option<Step>,
}

/// What can be sent to a process.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// It stands still.
    Pause,
    /// It goes on.
    Continue,
    /// It stops in order.
    Terminate,
}

/// A started process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    phase: File,
    started: Instant,
    log: PathBuf,
}

impl Process {
    /// Its standard output, if it is a pipe.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// How long ago it was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where it is; where it was, once it is dead.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let mut byte = [0];
        // The byte is always there: the file was written before the start.
        let _ = self.phase.read_exact_at(&mut byte, 0);
        Phase { recovering: byte[0] & RECOVERING != 0, step: Step::from_phase(byte[0]) }
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Its end, if it has come.
    ///
    /// # Errors
    /// The system refused.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end within `wait`.
    pub fn end_within(&mut self, wait: Duration) -> Result<ExitStatus> {
        let until = monotonic() + wait;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None if monotonic() >= until => return Err(format!("process did not end within {wait:?}{}", self.said()).into()),
                None => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
    }

    /// Looks at it until `is` says so, it ends, or `wait` has passed; whether `is` said so.
    ///
    /// # Errors
    /// The system refused.
    pub fn wait_until(&mut self, wait: Duration, mut is: impl FnMut(&Self) -> bool) -> Result<bool> {
        let until = monotonic() + wait;
        loop {
            if is(self) {
                return Ok(true);
            }
            if self.child.try_wait()?.is_some() || monotonic() >= until {
                return Ok(false);
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Sends a signal.
    #[allow(unsafe_code, reason = "sending a signal has no safe form")]
    pub fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Pause => libc::SIGSTOP,
            Signal::Continue => libc::SIGCONT,
            Signal::Terminate => libc::SIGTERM,
        };
        let Ok(pid) = libc::pid_t::try_from(self.child.id()) else { return };
        // SAFETY: `kill` takes plain integers, and the process is ours until it has been waited for.
        unsafe {
            libc::kill(pid, number);
        }
    }

    /// Whether it stands still (SIGSTOP).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The state stands behind the name, which is in brackets and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// What it holds in memory.
    #[must_use]
    pub fn memory_mib(&self) -> u64 {
        resident_mib(&self.child.id().to_string())
    }

    /// What those of its children hold in memory whose command line has this word.
    #[must_use]
    pub fn memory_of_children_mib(&self, word: &str) -> u64 {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        let has_word = |pid: &&str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|said| said == word.as_bytes())
        };
        children.split_whitespace().filter(has_word).map(resident_mib).sum()
    }

    /// The last lines of its log, for messages.
    #[must_use]
    pub fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.iter().rev().map(|line| format!("\n  | {line}")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It ended in between: nothing is left to do.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a process ended by `kill -9`.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGKILL)
}

fn resident_mib(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    resident.unwrap_or(0) / 1_024
}
