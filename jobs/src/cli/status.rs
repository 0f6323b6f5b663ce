//! How a running pipeline says it stands: a small file that is replaced about once a second. Only `why` reads it;
//! nothing is decided by it.

use crate::{Error, Result};
use distributary_runtime::status::Status;
use distributary_runtime::time::WallTime;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Which process wrote it.
    pub(super) pid: u32,
    /// When.
    pub(super) at: WallTime,
    /// Where its metrics are.
    pub(super) metrics: Option<SocketAddr>,
    /// How the pipeline stood.
    pub(super) status: Status,
}

/// The file of one pipeline.
pub(super) struct StatusFile(PathBuf);

impl StatusFile {
    pub(super) fn of(data_dir: &Path, pipeline: &str) -> Self {
        Self(data_dir.join("run").join(format!("{pipeline}.json")))
    }

    /// Replaces it in one step; what was there before a crash is as good as nothing, so nothing is flushed.
    pub(super) fn write(&self, told: &Told) -> Result<()> {
        let failed = |source| Error::Io { what: format!("writing {}", self.0.display()), source };
        let text = serde_json::to_vec(told).map_err(|e| failed(e.into()))?;
        let new = self.0.with_extension(format!("json.{}", told.pid));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.0)).map_err(failed)
    }

    /// Forgets what an earlier process said.
    pub(super) fn clear(&self) -> Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| Error::Io { what: format!("removing {}", self.0.display()), source }),
        }
    }

    /// `None` when no process has written one, or another release has.
    pub(super) fn read(&self) -> Result<Option<Told>> {
        match std::fs::read(&self.0) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: format!("reading {}", self.0.display()), source }),
        }
    }
}
