//! The marker of a lane in a small file of its own, replaced in one step.

use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkerEntry {
    /// Of the last incarnation that fenced the lane.
    pub(super) token: Token,
    /// What the lane has made visible.
    pub(super) marker: Option<Marker>,
    /// Length of the output when the marker was written: what stands behind it may come again.
    pub(super) bytes: u64,
}

/// The marker file of one lane.
#[derive(Debug)]
pub(super) struct MarkerFile {
    path: PathBuf,
}

impl MarkerFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes `token` the lane's own.
    pub(super) fn fence(&self, token: Token, bytes: u64) -> Result<Option<Marker>> {
        let found = self.read()?;
        if found.is_some_and(|entry| entry.token > token) {
            return Err(self.fenced());
        }
        let entry = MarkerEntry { token, marker: found.and_then(|e| e.marker), bytes: found.map_or(bytes, |e| e.bytes) };
        self.write(&entry)?;
        Ok(entry.marker)
    }

    /// Refuses whoever is not the lane's owner, or builds on another marker than the lane's.
    pub(super) fn check(&self, token: Option<Token>, previous: Option<Marker>) -> Result<Token> {
        match (self.read()?, token) {
            (Some(entry), Some(token)) if entry.token == token && entry.marker == previous => Ok(token),
            _ => Err(self.fenced()),
        }
    }

    /// `None` when no incarnation has been here.
    pub(super) fn read(&self) -> Result<Option<MarkerEntry>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("reading", &self.path)(e)),
        };
        let entry = serde_json::from_slice(&text);
        entry.map(Some).map_err(|e| Error::Damaged { object: self.path.display().to_string(), what: e.to_string() })
    }

    /// Replaces the file: whoever reads it sees the old entry or the new one.
    pub(super) fn write(&self, entry: &MarkerEntry) -> Result<()> {
        let new = with_suffix(&self.path, ".new");
        let mut text = serde_json::to_vec(entry)
            .map_err(|e| Error::Damaged { object: self.path.display().to_string(), what: e.to_string() })?;
        text.push(b'\n');
        let mut file = File::create(&new).map_err(io("creating", &new))?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(io("writing", &new))?;
        std::fs::rename(&new, &self.path).map_err(io("replacing", &self.path))
    }

    fn fenced(&self) -> Error {
        BusError::Fenced { lane: self.path.display().to_string() }.into()
    }
}

/// The path with something appended to its last part.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// An error with what was being done to which file.
pub(super) fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + use<'a> {
    move |source| Error::Io { what: format!("{doing} {}", path.display()), source }
}
