//! Whether some process of this machine runs a pipeline, told by a lock that goes with the process, however it ends.
//!
//! The lock is shared: two incarnations at once are the journal's business, not ours.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Held as long as the process runs the pipeline.
pub(super) struct Alive {
    _locked: File,
}

impl Alive {
    pub(super) fn hold(data_dir: &Path, pipeline: &str) -> Result<Self> {
        let path = path(data_dir, pipeline);
        let failed = |source| Error::Io { what: format!("locking {}", path.display()), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        file.lock_shared().map_err(failed)?;
        Ok(Self { _locked: file })
    }
}

/// Whether a process runs the pipeline now.
pub(super) fn is_running(data_dir: &Path, pipeline: &str) -> Result<bool> {
    let path = path(data_dir, pipeline);
    let failed = |source| Error::Io { what: format!("looking at {}", path.display()), source };
    let file = match File::options().write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(e)),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn path(data_dir: &Path, pipeline: &str) -> PathBuf {
    data_dir.join("run").join(format!("{pipeline}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_runs_as_long_as_somebody_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_running(dir.path(), "t.j").unwrap());
        let first = Alive::hold(dir.path(), "t.j").unwrap();
        let second = Alive::hold(dir.path(), "t.j").unwrap();
        assert!(is_running(dir.path(), "t.j").unwrap());
        drop(first);
        assert!(is_running(dir.path(), "t.j").unwrap());
        drop(second);
        assert!(!is_running(dir.path(), "t.j").unwrap());
    }
}
