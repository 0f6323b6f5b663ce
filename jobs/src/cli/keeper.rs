//! `run` keeps the archives of the topics that its jobs read, unless somebody does already.
//!
//! One pipeline archives a topic for all teams, and whoever reads the topic looks after it: now and then `run` reads the archive's journal,
//! and when no epoch has been bound for a while it starts a process for it. Of two that do so at once the journal chooses one; the other
//! one's process ends, and it goes on looking. Nothing that happens to an archive is felt by the job.

use super::process::ask_to_stop;
use super::standing::read_journal;
use super::supervisor;
use crate::job::TierOf;
use crate::{Error, Result, run};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use distributary_runtime::settings::Settings;
use distributary_runtime::time::{Clock, SystemClock};
use std::convert::Infallible;
use std::process::Child;
use std::thread::JoinHandle;
use std::time::Duration;

/// Before the first look: who starts archives of its own has done so by then.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// An archive that has bound nothing for so long is nobody's, or for so many epochs without data if that is longer.
const SILENT_MS: i64 = 60_000;
const SILENT_EPOCHS: i64 = 6;
/// What a process says that cannot run at all, and one that finds another in its place: see `exit_code`.
const REFUSED: i32 = 2;
const FENCED: i32 = 3;

/// Looks after archives until it is dropped; then their processes stop in order.
pub(super) struct Keeper(Option<(Sender<Infallible>, JoinHandle<()>)>);

impl Keeper {
    /// For these archives, with the settings of the batch tier.
    pub(super) fn start(archives: Vec<TierOf>, settings: Settings) -> Result<Self> {
        if archives.is_empty() {
            return Ok(Self(None));
        }
        let (tell, told) = bounded(0);
        let keep = move || keep(archives, &settings, &told);
        let thread = std::thread::Builder::new().name("archives".into()).spawn(keep);
        let thread = thread.map_err(|source| Error::Io { what: "looking after archives".into(), source })?;
        Ok(Self(Some((tell, thread))))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some((tell, thread)) = self.0.take() {
            drop(tell);
            // It has said what it had to say.
            let _ = thread.join();
        }
    }
}

fn keep(archives: Vec<TierOf>, settings: &Settings, told: &Receiver<Infallible>) {
    let mut all: Vec<Kept> = archives.into_iter().map(|of| Kept { of, process: Place::Free }).collect();
    let mut wait = FIRST_LOOK;
    while told.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        all.iter_mut().for_each(|one| one.look(settings));
        wait = LOOK;
    }
    let mut left: Vec<Child> =
        all.into_iter().filter_map(|one| if let Place::Ours(child) = one.process { Some(child) } else { None }).collect();
    left.iter().for_each(ask_to_stop);
    for child in &mut left {
        // Whatever it says, it has ended.
        let _ = child.wait();
    }
}

struct Kept {
    of: TierOf,
    process: Place,
}

enum Place {
    /// We have no process there; somebody else may.
    Free,
    Ours(Child),
    /// It cannot run, and has said why.
    Refused,
}

impl Kept {
    fn look(&mut self, settings: &Settings) {
        match &mut self.process {
            Place::Refused => {}
            Place::Ours(child) => match child.try_wait().map(|status| status.map(|status| status.code())) {
                Ok(None) => {}
                Ok(Some(Some(REFUSED))) => {
                    tracing::error!(archive = %self.of, "cannot be kept");
                    self.process = Place::Refused;
                }
                Ok(Some(Some(FENCED))) => {
                    tracing::info!(archive = %self.of, "is kept by another process");
                    self.process = Place::Free;
                }
                Ok(Some(code)) => {
                    tracing::warn!(archive = %self.of, ?code, "ended; it is started again");
                    self.process = Place::Free;
                }
                Err(error) => tracing::warn!(archive = %self.of, %error, "cannot be looked after"),
            },
            Place::Free => match is_kept(self.of, settings)
                .and_then(|is_kept| if is_kept { Ok(None) } else { supervisor::spawn(self.of).map(Some) })
            {
                Ok(None) => {}
                Ok(Some(child)) => {
                    tracing::info!(archive = %self.of, "is kept from here, since nobody did");
                    self.process = Place::Ours(child);
                }
                Err(error) => tracing::warn!(archive = %self.of, %error, "cannot be looked after"),
            },
        }
    }
}

/// Whether somebody has bound an epoch of the archive lately.
fn is_kept(of: TierOf, settings: &Settings) -> Result<bool> {
    let Some(history) = read_journal(&*run::open_bus(settings)?, &of.to_string())? else { return Ok(false) };
    let idle_ms = i64::try_from(settings.idle_epoch_ms).unwrap_or(i64::MAX);
    let silent_ms = SystemClock.now().0.saturating_sub(history.last_closed_at.0);
    Ok(silent_ms < SILENT_MS.max(idle_ms.saturating_mul(SILENT_EPOCHS)))
}
