//! The file: its schema, and how a connection to it is opened.

use super::fault::{Fault, Result};
use distributary_runtime::bus::BusError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of the machine's failure a finished write outlives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process (`kill -9`). After a power loss the newest writes may be gone, never torn.
    #[default]
    Normal,
    /// Power loss too: every write waits for the disk.
    Full,
}

impl Durability {
    fn pragma(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
        }
    }
}

/// Version of [`SCHEMA`]; a file of a later one is refused.
const SCHEMA_VERSION: u32 = 1;

/// `logs` holds one row a partition; its `log` numbers the records, so that a re-created topic never meets old ones.
/// `records` is clustered by (log, offset): appending and reading run along the tree's edge. A log whose topic is gone
/// waits there for [`super::maintain`]. `clean`, `kept` and `tombstone_at` are what the last compaction left.
const SCHEMA: &str = "
CREATE TABLE topics (
    topic INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    upsert INTEGER NOT NULL,
    retention_ms INTEGER,
    retention_bytes INTEGER
) STRICT;
CREATE TABLE logs (
    log INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    log_start INTEGER NOT NULL DEFAULT 0,
    log_end INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    clean INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0,
    tombstone_at INTEGER,
    UNIQUE (topic, partition)
) STRICT;
CREATE TABLE records (
    log INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    key BLOB,
    headers BLOB,
    value BLOB,
    PRIMARY KEY (log, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE lanes (
    name TEXT PRIMARY KEY,
    token INTEGER NOT NULL,
    generation INTEGER,
    epoch INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE group_offsets (
    name TEXT NOT NULL,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    resume INTEGER NOT NULL,
    PRIMARY KEY (name, topic, partition)
) STRICT, WITHOUT ROWID;
";

/// A writer waits this many milliseconds for the writers of other processes. Write transactions last milliseconds, so
/// whoever waits longer faces a stopped process that holds the lock, and gets an error that may be retried.
const BUSY_WAITS_MAX: i32 = 10_000;

/// After a burst the write-ahead log is cut back to this many bytes.
const WAL_BYTES_KEPT: u32 = 64 << 20;

/// Enough for every statement of this module, so that none is parsed twice.
const STATEMENTS_CACHED: usize = 64;

/// Where the bus lives. In a scratch directory it goes with its last user.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    pub(super) scratch: Option<tempfile::TempDir>,
}

impl Place {
    /// Opens a connection of one's own.
    pub(super) fn connect(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.path)?;
        connection.busy_handler(Some(wait_a_little))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        use_wal(&connection)?;
        let synchronous = if self.scratch.is_some() { "OFF" } else { self.durability.pragma() };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
        prepare_schema(&mut connection, &self.path)?;
        Ok(connection)
    }
}

/// SQLite's own waiting sleeps up to 100 ms at a time; a write of ours is over in a few.
fn wait_a_little(waits: i32) -> bool {
    std::thread::park_timeout(Duration::from_millis(1));
    waits < BUSY_WAITS_MAX
}

/// The first change to write-ahead logging needs the file for itself, and SQLite does not wait for that by itself.
fn use_wal(connection: &Connection) -> Result<()> {
    let mut waits = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && wait_a_little(waits) => waits += 1,
            result => return Ok(result?),
        }
    }
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<()> {
    if schema_version(connection)? == 0 {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if schema_version(&tx)? == 0 {
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        tx.commit()?;
    }
    let found = schema_version(connection)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    Err(Fault::Bus(BusError::Invalid(format!(
        "{} has bus format {found}, this program reads format {SCHEMA_VERSION}: use the program that wrote it, or a newer one",
        path.display()
    ))))
}

fn schema_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
