//! Wakes the readers of this process when one of its threads has written; writers elsewhere are found by polling.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Signal {
    writes: Mutex<u64>,
    written: Condvar,
}

impl Signal {
    /// Something was written.
    pub(super) fn notify(&self) {
        *self.writes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.written.notify_all();
    }

    /// Writes so far. Take it before looking for records, so that none falls between looking and waiting.
    pub(super) fn writes(&self) -> u64 {
        *self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are more writes than `seen`, at most `wait`.
    pub(super) fn wait(&self, seen: u64, wait: Duration) {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.written.wait_timeout_while(writes, wait, |writes| *writes == seen));
    }
}
