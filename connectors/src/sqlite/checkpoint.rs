//! Moves what the write-ahead log holds into the file, on a thread of its own: waiting for the disk there, tens of
//! milliseconds at times, would stand in the way of every commit.

use super::fault::Result;
use super::file::Place;
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The thread is asked each time the log has grown by so many pages (4 MB).
const PAGES: i32 = 1_000;

/// From so many pages on (16 MB) the writer helps, so that the log stays bounded under any load.
const PAGES_MAX: i32 = 4 * PAGES;

/// While one round waits for the disk, writers go on, and the next has less to do. When one leaves nothing, the log
/// starts over.
const ROUNDS: usize = 4;

#[derive(Debug)]
pub(super) struct Checkpointer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread, and makes `writer` ask it. If the system has no thread to give, the writer does the work.
    pub(super) fn start(place: &Place, writer: &mut Connection) -> Result<Self> {
        let connection = place.connect()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            while !stopped.load(Ordering::Acquire) {
                std::thread::park();
                move_pages(&connection);
            }
        };
        let Ok(thread) = std::thread::Builder::new().name("bus-checkpoint".to_string()).spawn(work) else {
            return Ok(Self { stop, thread: None });
        };
        let (asked, mut asked_at) = (thread.thread().clone(), 0);
        writer.wal_hook(Some(move |wal: &mut Wal, pages| {
            if pages < asked_at {
                asked_at = 0;
            }
            if pages >= PAGES_MAX {
                // An error here would make a commit that stands look as if it had failed; the next one tries again.
                drop(wal.checkpoint());
            } else if pages >= asked_at + PAGES {
                asked_at = pages;
                asked.unpark();
            }
            Ok(())
        }))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

/// What cannot be moved now, because somebody reads it or the disk is full, is moved later.
fn move_pages(connection: &Connection) {
    for _ in 0..ROUNDS {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row) {
            Ok((pages, moved)) if pages != moved => {}
            Ok(_) => return,
            Err(error) => return tracing::warn!(%error, "the bus's write-ahead log waits to be moved into the file"),
        }
    }
}
