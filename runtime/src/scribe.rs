//! The scribe writes the journal, on a thread of its own, beside the processing of the epochs it records: only the
//! sinks' commits wait for it.

use crate::bus::{Appended, Bus, BusError, Offset, TopicId};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::journal::{self, Entry, Fact, Incarnation, Standing};
use crate::report::{Report, Reports};
use crate::response::Response;
use crate::settings::EPOCHS_IN_FLIGHT_LIMIT;
use crate::threads::spawn;
use crate::time::Epoch;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Facts that may wait to be written: more than epochs may be in flight, so that worker 0 never waits for the scribe. (If
/// both waited, the scribe for room among the reports, nobody would get on.)
const WAITING_MAX: usize = 2 * EPOCHS_IN_FLIGHT_LIMIT as usize;
/// Facts that are written in one append, so that a bus with a single writer is not held up.
const APPEND_MAX: usize = 64;
/// Pause before a journal that did not answer is read back.
const RETRY: Duration = Duration::from_millis(100);

/// Up to which epoch the journal is durable; lanes wait on it.
#[derive(Debug, Default)]
pub struct Durable {
    epoch: Mutex<Epoch>,
    changed: Condvar,
}

impl Durable {
    /// A journal that is durable up to `epoch`.
    #[must_use]
    pub fn at(epoch: Epoch) -> Self {
        Self { epoch: Mutex::new(epoch), changed: Condvar::new() }
    }

    /// The newest durable epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, to: Epoch) {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch = (*epoch).max(to);
        self.changed.notify_all();
    }

    /// Waits until `epoch` is durable, at most `wait`; returns the newest durable epoch.
    #[must_use]
    pub fn wait_for(&self, epoch: Epoch, wait: Duration) -> Epoch {
        let guard = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.changed.wait_timeout_while(guard, wait, |at| *at < epoch);
        *result.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The owner's end of a journal.
pub struct Journal {
    /// The bus it is on.
    pub bus: Arc<dyn Bus>,
    /// Its topic.
    pub topic: TopicId,
    /// The pipeline's name.
    pub pipeline: String,
    /// The writer.
    pub incarnation: Incarnation,
    /// Where the next entry goes.
    pub end: Offset,
}

impl Journal {
    /// Appends facts; they stand, and count, when this returns.
    ///
    /// # Errors
    /// [`Error::Fenced`]: another incarnation has started. [`Error::Bus`] when the bus refuses for good.
    pub fn append(&mut self, step: Step, facts: Vec<Fact>) -> Result<()> {
        let incarnation = self.incarnation;
        let entries: Vec<_> = facts.into_iter().map(|fact| Entry { incarnation, fact }.encode()).collect();
        let mut left = &entries[..];
        while !left.is_empty() {
            match durable(step, || self.bus.append_journal(self.topic, self.end, left)) {
                Ok(Appended::At(at)) if at == self.end => {
                    self.end = Offset(at.0 + left.len() as u64);
                    return Ok(());
                }
                // Somebody was there first; what stands, and whether it counts, the journal says.
                Ok(Appended::At(_) | Appended::Behind { .. } | Appended::Taken { .. }) => {}
                Err(error) => self.pause(error)?,
            }
            left = &left[self.standing(left)?..];
        }
        Ok(())
    }

    /// Reads the journal back, until it answers: how many of the entries stand behind each other. Moves on to its end.
    fn standing(&mut self, entries: &[Vec<u8>]) -> Result<usize> {
        let page = loop {
            match self.bus.read_journal(self.topic, self.end) {
                Ok(page) => break page,
                Err(error) => self.pause(error)?,
            }
        };
        match journal::standing(&page, self.end, self.incarnation, entries)? {
            Standing::These(count) => {
                self.end = page.end;
                Ok(count)
            }
            Standing::Fenced(at) => Err(self.fenced(format!("another start stands, or stood, at journal entry {at}"))),
        }
    }

    /// Waits a little after an answer that did not come.
    fn pause(&self, error: BusError) -> Result<()> {
        if error.response() != Response::Retry {
            return Err(error.into());
        }
        tracing::warn!(pipeline = %self.pipeline, %error, "journal did not answer, reading it back");
        std::thread::park_timeout(RETRY);
        Ok(())
    }

    fn fenced(&self, what: String) -> Error {
        Error::Fenced { pipeline: self.pipeline.clone(), what }
    }
}

/// The sending end: facts go to the journal in this order.
#[derive(Clone, Debug)]
pub struct Scribe(Sender<Fact>);

impl Scribe {
    /// Starts the thread.
    #[must_use]
    pub fn start(journal: Journal, durable: Arc<Durable>, reports: &Reports) -> Self {
        let (sender, facts) = bounded(WAITING_MAX);
        let to = reports.clone();
        spawn("journal", reports, move || write(journal, &facts, &durable, &to));
        Self(sender)
    }

    /// Hands a fact over; [`Report::Durable`], [`Report::Checkpointed`] or [`Report::Retired`] says when it stands.
    pub fn write(&self, fact: Fact) {
        // The receiver is gone only when the pipeline ends.
        let _ = self.0.send(fact);
    }
}

fn write(mut journal: Journal, facts: &Receiver<Fact>, durable: &Durable, reports: &Reports) -> Result<()> {
    while let Ok(first) = facts.recv() {
        let mut run = vec![first];
        run.extend(facts.try_iter().take(APPEND_MAX - 1));
        if reports.is_halted() {
            return Ok(());
        }
        // A run is split at the facts that have a failpoint of their own.
        while !run.is_empty() {
            let step = step_of(&run[0]);
            let same = run.iter().take_while(|f| step_of(f) == step).count();
            let part: Vec<Fact> = run.drain(..same).collect();
            let news: Vec<Report> = part.iter().filter_map(news).collect();
            journal.append(step, part)?;
            for report in news {
                if let Report::Durable(epoch) = report {
                    durable.advance(epoch);
                }
                reports.send(report);
            }
        }
    }
    Ok(())
}

fn step_of(fact: &Fact) -> Step {
    match fact {
        Fact::Start(_) => Step::JournalStart,
        Fact::Binding(_) => Step::JournalAppend,
        Fact::Checkpoint(_) => Step::JournalCheckpoint,
        Fact::Retire { .. } => Step::JournalRetire,
    }
}

fn news(fact: &Fact) -> Option<Report> {
    match fact {
        Fact::Start(_) => None,
        Fact::Binding(binding) => Some(Report::Durable(binding.epoch)),
        Fact::Checkpoint(checkpoint) => Some(Report::Checkpointed(checkpoint.epoch)),
        Fact::Retire { epoch } => Some(Report::Retired(*epoch)),
    }
}
