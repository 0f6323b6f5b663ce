//! `run` of several pipelines: a process for each, so that none feels what happens to another.
//!
//! A process that dies is started again, after a while that grows; one that says that a start cannot help (its pipeline is refused, or
//! another process has its place) is left alone. The processes stop in order when this one is told to, and when it is gone.

use super::process::{self, ask_to_stop};
use crate::job::TierOf;
use crate::{Error, Result};
use distributary_runtime::time::monotonic;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often we look whether a process has ended.
const TURN: Duration = Duration::from_millis(50);
/// Before the first new start; then twice as long each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Who has run so long has got over it.
const RAN_WELL: Duration = Duration::from_secs(60);
/// An end that another start would only repeat: see `exit_code`.
const FINAL: [i32; 3] = [0, 2, 3];
/// A process that was killed has no status of its own.
const KILLED: i32 = 1;

/// Runs the pipelines until all have ended. With `restart`, those that die come back.
pub(super) fn run(pipelines: &[TierOf], restart: bool) -> Result<ExitCode> {
    let (tell, told) = crossbeam_channel::bounded(1);
    process::on_stop_signal(move || {
        // Nobody listens any more when all have ended.
        let _ = tell.send(());
    })?;
    let mut all = Vec::new();
    for of in pipelines {
        all.push(Supervised { of: *of, pause: PAUSE_MIN, state: start(*of)? });
    }
    let mut stopping = false;
    loop {
        if stopping {
            std::thread::park_timeout(TURN);
        } else if told.recv_timeout(TURN).is_ok() {
            stopping = true;
            all.iter().for_each(Supervised::stop);
        }
        for one in &mut all {
            one.look(restart && !stopping)?;
        }
        let ended: Option<Vec<i32>> =
            all.iter().map(|one| if let State::Ended(code) = one.state { Some(code) } else { None }).collect();
        if let Some(worst) = ended.and_then(|codes| codes.into_iter().max()) {
            return Ok(ExitCode::from(u8::try_from(worst).unwrap_or(u8::MAX)));
        }
    }
}

struct Supervised {
    of: TierOf,
    pause: Duration,
    state: State,
}

enum State {
    Runs { child: Child, since: Instant },
    Pauses { since: Instant },
    Ended(i32),
}

fn start(of: TierOf) -> Result<State> {
    Ok(State::Runs { child: spawn(of)?, since: monotonic() })
}

/// This very command, for one pipeline.
pub(super) fn spawn(of: TierOf) -> Result<Child> {
    let failed = |source| Error::Io { what: format!("starting {of}"), source };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).args(["--supervised", "--of", &of.job.to_string(), "--tier", &of.tier.to_string()]);
    // A group of its own, or Ctrl-C would reach it twice. It lives as long as the other end of its standard input.
    command.stdin(Stdio::piped()).process_group(0).spawn().map_err(failed)
}

impl Supervised {
    fn stop(&self) {
        if let State::Runs { child, .. } = &self.state {
            ask_to_stop(child);
        }
    }

    fn look(&mut self, restart: bool) -> Result<()> {
        match &mut self.state {
            State::Runs { child, since } => {
                let looked = child.try_wait();
                let looked = looked.map_err(|source| Error::Io { what: format!("looking after {}", self.of), source })?;
                let Some(status) = looked else { return Ok(()) };
                if since.elapsed() >= RAN_WELL {
                    self.pause = PAUSE_MIN;
                }
                self.ended(status, restart);
            }
            State::Pauses { since } if restart && since.elapsed() >= self.pause => {
                self.pause = PAUSE_MAX.min(self.pause * 2);
                self.state = start(self.of)?;
            }
            State::Pauses { .. } if !restart => self.state = State::Ended(KILLED),
            State::Pauses { .. } | State::Ended(_) => {}
        }
        Ok(())
    }

    fn ended(&mut self, status: ExitStatus, restart: bool) {
        let code = status.code().unwrap_or(KILLED);
        self.state = if FINAL.contains(&code) || !restart { State::Ended(code) } else { State::Pauses { since: monotonic() } };
        match &self.state {
            State::Pauses { .. } => {
                tracing::warn!(pipeline = %self.of, %status, pause = ?self.pause, "ended; it is started again")
            }
            _ if code != 0 => tracing::error!(pipeline = %self.of, %status, "ended, and is not started again"),
            _ => {}
        }
    }
}
