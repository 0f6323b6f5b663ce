//! An object store in memory that fails when a test says so.

use async_trait::async_trait;
use delta_kernel::object_store::memory::InMemory;
use delta_kernel::object_store::path::Path;
use delta_kernel::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use futures_util::stream::BoxStream;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// How a put fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is written.
    Before,
    /// It is written, and the writer is told otherwise.
    AnswerLost,
    /// It is written, the answer is lost, and the client's own retry is told that it stands.
    AnswerLostThenRetried,
}

/// Clones are the same store.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyStore {
    inner: Arc<InMemory>,
    faults: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
}

impl FaultyStore {
    /// The next put whose path contains `part` fails; called several times, the next ones, in this order.
    pub(super) fn fail_next_put(&self, part: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((part, fault));
    }

    /// Faults that nobody has run into.
    pub(super) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    fn fault(&self, path: &Path) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        match faults.front() {
            Some((part, _)) if path.as_ref().contains(part) => faults.pop_front().map(|(_, fault)| fault),
            _ => None,
        }
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn timeout() -> Error {
    Error::Generic { store: "faulty", source: "timed out on demand".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fault(path) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Before) => Err(timeout()),
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(timeout())
            }
            Some(Fault::AnswerLostThenRetried) => {
                self.inner.put_opts(path, payload.clone(), options.clone()).await?;
                self.inner.put_opts(path, payload, options).await
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
