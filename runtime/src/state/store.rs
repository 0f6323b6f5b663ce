//! The checkpoint store: an object store behind a blocking handle.
//!
//! Called from helper threads, off the latency path; never from within an async runtime.

use super::manifest::{Manifest, StateManifest};
use super::object::{SliceRef, StateObject};
use crate::error::{Error, Result};
use crate::failpoint::{self, Step};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use url::Url;

/// Key groups that are read at once when a state is restored: few requests for each object, and of the state's bytes only an
/// eighth in memory beside the state itself.
const GROUPS_PER_READ: usize = 32;

/// Threads for blocking file operations: a handful of helper threads call, each waits for its own.
const BLOCKING_THREADS_MAX: usize = 8;

/// A handle on the place where checkpoints lie; clones are the same store.
///
/// The URL decides: `file:///directory` (made if it is missing), `memory:///` (ends with the last handle), and whatever else
/// `object_store` is built with. A local `put` writes aside, flushes, renames, and flushes the folder: when it returns, the object
/// survives a power failure, and nobody ever sees half of one. A `kill -9` amid a put may leave a file `name#1`, which is never
/// listed.
///
/// ```
/// use distributary_runtime::{failpoint::Step, state::CheckpointStore};
/// let store = CheckpointStore::open("memory:///")?;
/// store.put(Step::StatePut, "state/p/1/7/sum-w0-5.state", "bytes".into())?;
/// assert_eq!(store.get("state/p/1/7/sum-w0-5.state")?, "bytes");
/// assert_eq!(store.list("state/p/")?.len(), 1);
/// # Ok::<(), distributary_runtime::error::Error>(())
/// ```
#[derive(Clone)]
pub struct CheckpointStore(Arc<Inner>);

struct Inner {
    url: String,
    store: Box<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
}

/// An object in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What [`CheckpointStore::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects the manifest needs.
    pub objects: usize,
    /// Slices it needs.
    pub slices: usize,
    /// Bytes of these slices.
    pub bytes: u64,
    /// One line for each thing that is missing or does not read back as it was written; empty when all is well.
    pub damages: Vec<String>,
}

impl CheckpointStore {
    /// Opens the store at a URL.
    ///
    /// # Errors
    /// The URL is of no kind that is known, or its directory cannot be made.
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(url, &[])
    }

    /// As [`CheckpointStore::open`], with what the store has to be told to be got into (`aws_access_key_id` and the like).
    ///
    /// # Errors
    /// As [`CheckpointStore::open`].
    pub fn open_with(url: &str, options: &[(String, String)]) -> Result<Self> {
        let refused = |what: String| {
            let remedy = "give `file:///a/directory` or `s3://bucket/folder`, or `memory:///` for tests";
            Error::refused(format!("checkpoint store `{url}`: {what}"), remedy)
        };
        let parsed = Url::parse(url).map_err(|e| refused(e.to_string()))?;
        let store: Box<dyn ObjectStore> = if parsed.scheme() == "file" {
            let directory = parsed.to_file_path().map_err(|()| refused("not an absolute path of this machine".into()))?;
            let io = |source| Error::Io { what: format!("making the checkpoint directory {}", directory.display()), source };
            create_durably(&directory).map_err(io)?;
            let local = LocalFileSystem::new_with_prefix(&directory).map_err(|e| refused(e.to_string()))?;
            Box::new(local.with_fsync(true).with_automatic_cleanup(true))
        } else {
            let options = options.iter().map(|(name, value)| (name, value));
            let (store, prefix) = object_store::parse_url_opts(&parsed, options).map_err(|e| refused(e.to_string()))?;
            Box::new(PrefixStore::new(store, prefix))
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).thread_name("checkpoint-io").build();
        let runtime = runtime.map_err(|source| Error::Io { what: "starting the checkpoint store".into(), source })?;
        Ok(Self(Arc::new(Inner { url: url.to_string(), store, runtime })))
    }

    /// The URL it was opened with.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Makes an object durable. Twice with the same bytes is the same as once.
    ///
    /// # Errors
    /// [`Error::Store`]; the object may stand nevertheless: put it again.
    pub fn put(&self, step: Step, name: &str, bytes: Bytes) -> Result<()> {
        let path = path(name)?;
        failpoint::durable(step, || self.wait(self.0.store.put(&path, PutPayload::from(bytes))))
            .map_err(failed("put", name))
            .map(drop)
    }

    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// [`Error::Store`]; delete it again.
    pub fn delete(&self, name: &str) -> Result<()> {
        let path = path(name)?;
        match failpoint::durable(Step::StateDelete, || self.wait(self.0.store.delete(&path))) {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed("delete", name)(e)),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not there, [`Error::Store`] when the store failed.
    pub fn get(&self, name: &str) -> Result<Bytes> {
        let path = path(name)?;
        self.wait(async { self.0.store.get(&path).await?.bytes().await }).map_err(failed("get", name))
    }

    /// Reads what a slice points to, and checks it.
    ///
    /// # Errors
    /// As [`CheckpointStore::get`]; [`Error::Damaged`] also when it is not what was written.
    pub fn get_range(&self, at: &SliceRef) -> Result<Bytes> {
        Ok(self.get_ranges(&at.object, &[at])?.remove(0))
    }

    /// All objects whose name begins with this folder, by name. (`state/p` is the folder of `state/p/1`, not of `state/pq`.)
    ///
    /// # Errors
    /// The store failed.
    pub fn list(&self, folder: &str) -> Result<Vec<Stored>> {
        let path = path(folder)?;
        let found: Vec<_> = self.wait(self.0.store.list(Some(&path)).try_collect()).map_err(failed("list", folder))?;
        let stored = |meta: object_store::ObjectMeta| Stored { name: meta.location.into(), bytes: meta.size };
        let mut found: Vec<_> = found.into_iter().map(stored).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// As [`CheckpointStore::get`] and [`Manifest::decode`].
    pub fn manifest(&self, name: &str) -> Result<Manifest> {
        Manifest::decode(name, &self.get(name)?)
    }

    /// Reads the key groups of a state that `wanted` names, and hands each with its slices, oldest first and checked, to
    /// `restore`.
    ///
    /// # Errors
    /// As [`CheckpointStore::get_range`], or what `restore` returns. Some groups have then been handed over.
    pub fn read_state(
        &self,
        state: &StateManifest,
        wanted: impl Fn(u8) -> bool,
        mut restore: impl FnMut(u8, &[Bytes]) -> Result<()>,
    ) -> Result<()> {
        let wanted: Vec<_> = state.groups.iter().filter(|(group, _)| wanted(**group)).collect();
        for groups in wanted.chunks(GROUPS_PER_READ) {
            let mut by_object = BTreeMap::<&str, Vec<&SliceRef>>::new();
            for at in groups.iter().flat_map(|(_, chain)| *chain) {
                by_object.entry(&at.object).or_default().push(at);
            }
            let mut read = BTreeMap::new();
            for (object, slices) in by_object {
                let contents = self.get_ranges(object, &slices)?;
                read.extend(slices.iter().zip(contents).map(|(at, content)| ((object, at.offset), content)));
            }
            for (group, chain) in groups {
                let slices: Vec<Bytes> = chain.iter().map(|at| read[&(at.object.as_str(), at.offset)].clone()).collect();
                restore(**group, &slices)?;
            }
        }
        Ok(())
    }

    /// Reads every object a manifest needs to the last byte, and checks that every slice stands where the manifest says.
    ///
    /// # Errors
    /// The manifest does not read back, or the store failed. Damages of objects stand in the report.
    pub fn verify(&self, manifest_name: &str) -> Result<Report> {
        let manifest = self.manifest(manifest_name)?;
        let mut report = Report::default();
        for object in manifest.objects() {
            report.objects += 1;
            let found = match self.get(object).and_then(|bytes| StateObject::read(object, &bytes)) {
                Ok(read) => read.slices.into_iter().map(|(group, at, _)| (group, at)).collect::<Vec<_>>(),
                Err(e @ (Error::Damaged { .. } | Error::Refused { .. })) => {
                    report.damages.push(e.to_string());
                    continue;
                }
                Err(e) => return Err(e),
            };
            let needed: BTreeSet<_> = found.iter().map(|(group, at)| (*group, at.offset, at.len, at.crc)).collect();
            let groups = manifest.states.iter().flat_map(|state| &state.groups);
            for (group, at) in groups.flat_map(|(group, chain)| chain.iter().map(move |at| (*group, at))) {
                if at.object != object {
                    continue;
                }
                report.slices += 1;
                report.bytes += at.len;
                if !needed.contains(&(group, at.offset, at.len, at.crc)) {
                    report.damages.push(format!("{object}: no slice of key group {group} at {}", at.offset));
                }
            }
        }
        Ok(report)
    }

    /// Reads and checks slices of one object.
    fn get_ranges(&self, object: &str, slices: &[&SliceRef]) -> Result<Vec<Bytes>> {
        let path = path(object)?;
        let ranges: Vec<_> = slices.iter().map(|at| at.offset..at.offset + at.len).collect();
        let contents = match self.wait(self.0.store.get_ranges(&path, &ranges)) {
            Ok(contents) => contents,
            Err(e) => return Err(self.cut_off(object, &path, slices).unwrap_or_else(|| failed("get", object)(e))),
        };
        for (at, content) in slices.iter().zip(&contents) {
            at.check(content)?;
        }
        Ok(contents)
    }

    /// Stores answer in many ways to a range behind the end; the size tells whether that is what happened.
    fn cut_off(&self, object: &str, path: &Path, slices: &[&SliceRef]) -> Option<Error> {
        let size = self.wait(self.0.store.head(path)).ok()?.size;
        let short = slices.iter().any(|at| at.offset + at.len > size);
        short.then(|| Error::Damaged { object: object.to_string(), what: format!("it is cut off at {size} bytes") })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(future)
    }
}

fn path(name: &str) -> Result<Path> {
    Path::parse(name).map_err(|e| failed("name", name)(e.into()))
}

fn failed(what: &str, name: &str) -> impl Fn(StoreError) -> Error {
    move |source| match source {
        StoreError::NotFound { .. } => Error::Damaged { object: name.to_string(), what: "it is missing".into() },
        source => Error::Store { what: format!("{what} {name}"), source },
    }
}

/// Makes a directory and those above it, each of them durable in its parent.
///
/// # Errors
/// The file system refused.
pub fn create_durably(directory: &std::path::Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    create_durably(parent)?;
    match std::fs::create_dir(directory) {
        // Another process was faster.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    std::fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests;
