//! The object store a table stands on, and the engine that reads and writes its log there.

use bytes::Bytes;
use delta_kernel::object_store;
use delta_kernel::object_store::local::LocalFileSystem;
use delta_kernel::object_store::path::Path;
use delta_kernel::object_store::{DynObjectStore, MultipartUpload, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode};
use delta_kernel::{Engine, KernelError};
use delta_kernel_default_engine::executor::TaskExecutor as _;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::storage::store_from_url_opts;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use distributary_runtime::error::{Error, Result};
use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use url::Url;

/// Threads that wait for the store. Two, because a checkpoint of the log reads on one while it writes on the other.
const THREADS: usize = 2;
/// Threads for calls to the file system that block; a lane does one thing after the other.
const BLOCKING_THREADS_MAX: usize = 8;

/// Objects that are asked for at once: so many hide the way to a store that is far, and no store refuses them.
pub(super) const AT_ONCE: usize = 16;

/// What is larger is written in parts of this size. (S3 takes no less than 5 MiB.)
const PART_BYTES: usize = if cfg!(test) { 4 << 10 } else { 8 << 20 };

/// An object store; clones share it.
#[derive(Clone)]
pub struct TableStore {
    objects: Arc<DynObjectStore>,
    executor: Arc<TokioMultiThreadExecutor>,
    engine: Arc<DefaultEngine<TokioMultiThreadExecutor>>,
}

impl std::fmt::Debug for TableStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableStore({})", self.objects)
    }
}

impl TableStore {
    /// The store that an address names: `file:///dir`, `memory:///` (a new and empty one), or one of a cloud, with the
    /// options of that cloud. What a folder has taken survives a power failure.
    ///
    /// # Errors
    /// There is no such kind of store, or an option is wrong.
    pub fn open(url: &Url, options: &[(String, String)]) -> Result<Self> {
        if url.scheme() == "file" {
            return Self::new(Arc::new(LocalFileSystem::new().with_fsync(true)));
        }
        let options = options.iter().map(|(name, value)| (name, value.clone()));
        let objects = store_from_url_opts(url, options).map_err(|e| {
            let what = format!("no object store at `{url}`: {}", reason(&e));
            Error::refused(what, "use file:///dir or s3://bucket/dir, and check the options")
        })?;
        Self::new(objects)
    }

    /// A store that is there already.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new(objects: Arc<DynObjectStore>) -> Result<Self> {
        let executor = TokioMultiThreadExecutor::new_owned_runtime(Some(THREADS), Some(BLOCKING_THREADS_MAX))
            .map_err(|e| Error::refused(format!("no threads for an object store: {}", reason(&e)), "raise the system's limit"))?;
        let executor = Arc::new(executor);
        let engine = DefaultEngineBuilder::new(objects.clone()).with_task_executor(executor.clone()).build();
        Ok(Self { objects, executor, engine: Arc::new(engine) })
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// Where an object is to be asked for.
    pub(super) fn object(&self, url: &Url) -> Result<(Arc<DynObjectStore>, Path)> {
        Ok((self.objects.clone(), path(url)?))
    }

    /// Waits for what the store is asked.
    pub(super) fn block_on<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        self.executor.block_on(task)
    }

    /// The names of the folders in a folder, in order.
    ///
    /// # Errors
    /// The store failed.
    pub fn folders(&self, url: &Url) -> Result<Vec<String>> {
        let (folder, objects) = (path(url)?, self.objects.clone());
        let listed = self.executor.block_on(async move { objects.list_with_delimiter(Some(&folder)).await });
        let listed = listed.map_err(|e| unavailable(&format!("listing {url}"), &e))?;
        let mut names: Vec<_> =
            listed.common_prefixes.iter().filter_map(|prefix| prefix.filename()).map(str::to_string).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The objects in a folder and its folders: name within the folder, and what the store says of it. In the order of their names.
    pub(super) fn objects(&self, url: &Url) -> Result<Vec<(String, ObjectMeta)>> {
        let (folder, objects) = (path(url)?, self.objects.clone());
        let listed: Vec<ObjectMeta> = self
            .executor
            .block_on(async move { objects.list(Some(&folder)).try_collect().await })
            .map_err(|e: object_store::Error| unavailable(&format!("listing {url}"), &e))?;
        let within = url.path().trim_start_matches('/');
        let name = |object: &ObjectMeta| object.location.as_ref().strip_prefix(within).map(str::to_string);
        let mut named: Vec<_> = listed.into_iter().filter_map(|object| Some((name(&object)?, object))).collect();
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }

    /// The lines of JSON of each of these objects of a folder.
    pub(super) fn lines<T: DeserializeOwned>(&self, folder: &Url, names: &[String]) -> Result<Vec<Vec<T>>> {
        let damaged = |name: &str, what: String| Error::Damaged { object: format!("{folder}{name}"), what };
        let urls = names.iter().map(|name| folder.join(name).map_err(|e| damaged(name, e.to_string())));
        let found = self.find_all(&urls.collect::<Result<Vec<_>>>()?)?;
        let lines = names.iter().zip(found).map(|(name, bytes)| {
            let bytes = bytes.ok_or_else(|| damaged(name, "it is not there".into()))?;
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).map_err(|e| damaged(name, e.to_string()))).collect()
        });
        lines.collect()
    }

    /// Deletes an object; one that is gone already is none.
    pub(super) fn delete(&self, path: &Path) -> Result<()> {
        let (path, objects) = (path.clone(), self.objects.clone());
        let what = format!("deleting {path}");
        match self.executor.block_on(async move { objects.delete(&path).await }) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(unavailable(&what, &e)),
        }
    }

    /// How many bytes an object has, if it is there.
    pub(super) fn size(&self, url: &Url) -> Result<Option<u64>> {
        let (objects, path) = self.object(url)?;
        match self.block_on(async move { objects.head(&path).await }) {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(unavailable(&format!("looking for {url}"), &e)),
        }
    }

    /// An object as a whole.
    pub(super) fn get(&self, url: &Url) -> Result<Bytes> {
        self.find(url)?.ok_or_else(|| Error::Damaged { object: url.to_string(), what: "it is not there".into() })
    }

    /// An object as a whole, if it is there.
    pub(super) fn find(&self, url: &Url) -> Result<Option<Bytes>> {
        Ok(self.find_all(std::slice::from_ref(url))?.pop().flatten())
    }

    /// Objects as a whole, in this order, if they are there. All are asked for at once: no more than [`AT_ONCE`].
    pub(super) fn find_all(&self, urls: &[Url]) -> Result<Vec<Option<Bytes>>> {
        let objects = self.objects.clone();
        let paths = urls.iter().map(|url| Ok((path(url)?, url.to_string()))).collect::<Result<Vec<_>>>()?;
        self.executor.block_on(async move {
            let find = |(path, url): (Path, String)| {
                let objects = objects.clone();
                async move {
                    let got = match objects.get(&path).await {
                        Ok(got) => got.bytes().await,
                        Err(e) => Err(e),
                    };
                    match got {
                        Ok(bytes) => Ok(Some(bytes)),
                        Err(object_store::Error::NotFound { .. }) => Ok(None),
                        Err(e) => Err(unavailable(&format!("reading {url}"), &e)),
                    }
                }
            };
            try_join_all(paths.into_iter().map(find)).await
        })
    }

    /// Writes an object unless there is one of that name.
    pub(super) fn create(&self, url: &Url, bytes: Vec<u8>) -> Result<()> {
        let (path, objects) = (path(url)?, self.objects.clone());
        let put = self.executor.block_on(async move { objects.put_opts(&path, bytes.into(), PutMode::Create.into()).await });
        match put {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(e) => Err(unavailable(&format!("creating {url}"), &e)),
        }
    }

    /// Begins to write an object piece by piece; one of that name is replaced.
    pub(super) fn upload(&self, url: &Url) -> Result<Upload> {
        Ok(Upload { store: self.clone(), path: path(url)?, piece: Vec::new(), parts: None, bytes: 0 })
    }

    /// Writes an object as a whole; one of that name is replaced.
    pub(super) fn put(&self, url: &Url, bytes: Vec<u8>) -> Result<()> {
        let path = path(url)?;
        let objects = self.objects.clone();
        let put = self.executor.block_on(async move { objects.put(&path, bytes.into()).await });
        put.map(drop).map_err(|e| unavailable(&format!("writing {url}"), &e))
    }
}

/// An object that is written piece by piece, and is there as a whole or not at all. Small ones are one request.
pub(super) struct Upload {
    store: TableStore,
    path: Path,
    piece: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
    bytes: u64,
}

impl Upload {
    /// Writes the rest; the object is there. How many bytes it has.
    pub(super) fn complete(mut self) -> Result<u64> {
        let what = format!("writing {}", self.path);
        let failed = |e: &dyn Display| Error::Unavailable { what: what.clone(), reason: e.to_string() };
        let rest = std::mem::take(&mut self.piece);
        if self.bytes == rest.len() as u64 {
            let (path, objects) = (self.path.clone(), self.store.objects.clone());
            let put = self.store.executor.block_on(async move { objects.put(&path, rest.into()).await });
            return put.map(|_| self.bytes).map_err(|e| failed(&e));
        }
        if !rest.is_empty() {
            self.part(rest).map_err(|e| failed(&e))?;
        }
        let Some(mut parts) = self.parts.take() else { return Err(failed(&"a part of it was not written")) };
        let (parts, completed) = self.store.executor.block_on(async move {
            let completed = parts.complete().await;
            (parts, completed)
        });
        self.parts = completed.is_err().then_some(parts);
        completed.map(|_| self.bytes).map_err(|e| failed(&e))
    }

    fn part(&mut self, bytes: Vec<u8>) -> object_store::Result<()> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let (path, objects) = (self.path.clone(), self.store.objects.clone());
                self.store.executor.block_on(async move { objects.put_multipart(&path).await })?
            }
        };
        let (parts, put) = self.store.executor.block_on(async move {
            let put = parts.put_part(bytes.into()).await;
            (parts, put)
        });
        self.parts = Some(parts);
        put
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // All parts but the last are of one size: some stores ask for it.
        let taken = bytes.len().min(PART_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PART_BYTES {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PART_BYTES));
            self.part(piece).map_err(io::Error::other)?;
        }
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    /// What the store has got of an object that will not be is thrown away.
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            let aborted = self.store.executor.block_on(async move { parts.abort().await });
            if let Err(error) = aborted {
                tracing::warn!(path = %self.path, %error, "parts of an object stay with the store");
            }
        }
    }
}

fn path(url: &Url) -> Result<Path> {
    let path = Path::from_url_path(url.path());
    path.map_err(|e| Error::refused(format!("`{url}` names no object: {e}"), "choose another folder"))
}

/// What an error of the kernel means for the caller.
pub(super) fn failed(what: &str, error: &KernelError) -> Error {
    match error {
        // Only with RUST_BACKTRACE.
        KernelError::Backtraced { source, .. } => failed(what, source),
        KernelError::ObjectStore(e) => unavailable(what, e),
        KernelError::IOError(e) => unavailable(what, e),
        KernelError::Reqwest(e) => unavailable(what, e),
        // Another writer was first; the next attempt sees what it did.
        KernelError::FileNotFound(e) => unavailable(what, e),
        KernelError::Unsupported(_) => Error::refused(format!("{what}: {error}"), "write to a table of our own"),
        other => Error::Damaged { object: what.into(), what: other.to_string() },
    }
}

pub(super) fn unavailable(what: &str, reason: &impl Display) -> Error {
    Error::Unavailable { what: what.into(), reason: reason.to_string() }
}

fn reason(error: &KernelError) -> String {
    match error {
        KernelError::Backtraced { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
