//! What the threads of a pipeline tell the minter: one bounded queue into worker 0, outside the dataflow, so that a
//! report never holds a frontier.

use crate::binding::{Delivered, Feed};
use crate::bus::Offset;
use crate::error::Error;
use crate::state::Written;
use crate::time::{Epoch, Watermark};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// Reports that may wait. A reader that outruns the minter blocks here, which is the right thing for it to do.
const WAITING_MAX: usize = 65_536;

/// Something the minter should know.
#[derive(Debug)]
pub enum Report {
    /// A reader delivered records to its worker.
    Delivered(Delivered),
    /// A fetch was answered and the partition has nothing more.
    Drained {
        /// The partition.
        feed: Feed,
        /// Where it stands.
        position: Offset,
    },
    /// A fetch was answered: somebody's open transaction lets nothing be read here, though the log goes on.
    Blocked {
        /// The partition.
        feed: Feed,
        /// Where it stands.
        position: Offset,
        /// Where its log ends.
        end: Offset,
    },
    /// The journal holds all bindings up to here.
    Durable(Epoch),
    /// A lane has written (or had nothing to write of) everything up to an epoch.
    Applied {
        /// Index of the lane among all lanes.
        lane: usize,
        /// The epoch.
        epoch: Epoch,
    },
    /// The marker of a lane is durable at an epoch.
    Marked {
        /// Index of the lane among all lanes.
        lane: usize,
        /// The epoch.
        epoch: Epoch,
    },
    /// The upkeep of checkpoints got on.
    Upkeep(Done),
    /// The checkpoint of an epoch stands in the journal.
    Checkpointed(Epoch),
    /// The retirement of a checkpoint stands in the journal.
    Retired(Epoch),
    /// Somebody outside asks for something.
    Command(Command),
    /// A thread cannot go on.
    Failed(Error),
}

/// What the upkeep has done.
#[derive(Debug)]
pub enum Done {
    /// A snapshot is durable.
    Saved {
        /// Of this epoch.
        epoch: Epoch,
        /// Where it stands.
        written: Written,
        /// Its bytes.
        bytes: u64,
    },
    /// A manifest is durable.
    Manifest {
        /// Of this epoch.
        epoch: Epoch,
        /// Its name.
        name: String,
        /// Its xxh3.
        checksum: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// What is not needed is gone.
    Cleaned,
}

/// What a running pipeline can be asked.
#[derive(Debug)]
pub enum Command {
    /// Stop in order: a last epoch, a last checkpoint, then the end.
    Stop,
    /// Close an epoch with everything that is on the bus now, and with at least this watermark; answer when every sink
    /// shows it. For tests: epochs are otherwise closed by time.
    Seal {
        /// The watermark somebody vouches for.
        watermark: Watermark,
        /// Gets the epoch.
        answer: Sender<Epoch>,
    },
}

/// The sending end.
#[derive(Clone, Debug)]
pub struct Reports {
    sender: Sender<Report>,
    minter: Arc<OnceLock<Thread>>,
    workers: Arc<Mutex<Vec<Thread>>>,
    halted: Arc<AtomicBool>,
    /// Questions that records wait for the answers to.
    questions: Arc<AtomicI64>,
}

impl Reports {
    /// A new queue.
    #[must_use]
    pub fn new() -> (Self, Receiver<Report>) {
        let (sender, receiver) = bounded(WAITING_MAX);
        (
            Self { sender, minter: Arc::default(), workers: Arc::default(), halted: Arc::default(), questions: Arc::default() },
            receiver,
        )
    }

    /// The calling thread is the one that reads: it is woken at each report.
    pub fn read_here(&self) {
        let _ = self.minter.set(std::thread::current());
    }

    /// The calling thread is a worker: it is woken when the pipeline ends.
    pub fn work_here(&self) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::current());
    }

    /// Tells the minter. When the pipeline has ended there is nobody to tell.
    pub fn send(&self, report: Report) {
        if self.sender.send(report).is_ok() {
            self.wake();
        }
    }

    /// Reports an error and ends the pipeline. Never waits: it may be worker 0 itself that cannot go on, and nobody else
    /// empties the queue.
    pub fn fail(&self, error: Error) {
        match self.sender.try_send(Report::Failed(error)) {
            Err(TrySendError::Full(report)) => {
                let to = self.clone();
                // Without another thread all that is left is to end without the reason.
                if std::thread::Builder::new().name("dst-failure".into()).spawn(move || to.send(report)).is_err() {
                    self.halt();
                }
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.wake(),
        }
    }

    /// So many more questions wait for an answer, or (negative) fewer.
    pub(crate) fn questions(&self, change: i64) {
        self.questions.fetch_add(change, Ordering::SeqCst);
    }

    /// Questions that records wait for the answers to, as of the epochs that operators have closed.
    #[must_use]
    pub fn questions_waiting(&self) -> u64 {
        self.questions.load(Ordering::SeqCst).max(0) as u64
    }

    /// Ends the pipeline: every thread stops at its next turn.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }

    /// Whether the pipeline ends.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Some(minter) = self.minter.get() {
            minter.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worker 0 may be the one that fails: if it waited for room in the queue that it alone empties, it would wait for ever.
    #[test]
    fn a_failure_does_not_wait_for_room() {
        let (reports, inbox) = Reports::new();
        (0..WAITING_MAX).for_each(|_| reports.send(Report::Durable(Epoch(1))));
        reports.fail(Error::Panicked("test".into()));
        let failed = inbox.iter().any(|report| matches!(report, Report::Failed(_)));
        assert!(failed);
    }
}
