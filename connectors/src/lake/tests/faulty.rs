//! An object store in memory that fails when a test says so.
//!
//! What is harmed is a put (a data file, its index, a version of the log), or an upload in parts: what a compaction writes, or what is left of
//! a large file.

use async_trait::async_trait;
use delta_kernel::object_store::memory::InMemory;
use delta_kernel::object_store::path::Path;
use delta_kernel::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use futures_util::stream::BoxStream;
use std::collections::VecDeque;
use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// What happens to a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Refused with 503, for longer than the client's own retries last: nothing is written.
    Unavailable,
    /// Refused with 429, as well.
    TooMany,
    /// No answer, for nothing has arrived: nothing is written.
    TimeoutBefore,
    /// It is written, and the answer is lost.
    TimeoutAfter,
    /// No answer, and it is written later, when so many other requests have been answered.
    Stray(u8),
    /// It is written, the answer is lost, and the client's own retry is told that it stands.
    AnswerLostThenRetried,
    /// Of an upload: a part gets lost, and the client gives up.
    Torn,
    /// It is slow, and nothing else: others have so many turns before it is written, and as many before the answer. (Turns and not
    /// milliseconds: no test waits for a clock.)
    Slow(u8),
}

impl Fault {
    /// One of each that a put can meet.
    pub(super) const ALL: [Self; 7] = [
        Self::Unavailable,
        Self::TooMany,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::Stray(2),
        Self::AnswerLostThenRetried,
        Self::Slow(50),
    ];

    /// Whether whoever has asked gets an error.
    pub(super) fn is_told(self) -> bool {
        !matches!(self, Self::AnswerLostThenRetried | Self::Slow(_))
    }
}

/// A put that is on its way.
#[derive(Debug)]
struct Late {
    /// So many requests are answered first.
    spared: u8,
    path: Path,
    payload: PutPayload,
    options: PutOptions,
}

/// Clones are the same store.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyStore {
    inner: Arc<InMemory>,
    faults: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
    upload: Arc<Mutex<Option<Fault>>>,
    on_their_way: Arc<Mutex<Vec<Late>>>,
}

impl FaultyStore {
    /// The next put whose path contains `part` meets this; called several times, the next ones, in this order.
    pub(super) fn fail_next_put(&self, part: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((part, fault));
    }

    /// The next upload in parts meets this.
    pub(super) fn fail_next_upload(&self, fault: Fault) {
        *self.upload.lock().unwrap() = Some(fault);
    }

    /// Faults that nobody has run into.
    pub(super) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len() + usize::from(self.upload.lock().unwrap().is_some())
    }

    /// A request is about to be answered: those that are due arrive first.
    async fn arrive(&self) -> Result<()> {
        let due: Vec<_> = {
            let mut late = self.on_their_way.lock().unwrap();
            late.iter_mut().for_each(|late| late.spared = late.spared.saturating_sub(1));
            late.extract_if(.., |late| late.spared == 0).collect()
        };
        for Late { path, payload, options, .. } in due {
            match self.inner.put_opts(&path, payload, options).await {
                // Nobody is there to be told that somebody else was first.
                Ok(_) | Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
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

fn failed(what: &str) -> Error {
    Error::Generic { store: "faulty", source: format!("{what}, on demand").into() }
}

/// Lets others go first, so many times.
async fn turns(count: u8) {
    for _ in 0..count {
        let mut has_waited = false;
        let turn = poll_fn(|context| match std::mem::replace(&mut has_waited, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        });
        turn.await;
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.arrive().await?;
        match self.fault(path) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::Unavailable) => Err(failed("503 Slow Down")),
            Some(Fault::TooMany) => Err(failed("429 Too Many Requests")),
            Some(Fault::TimeoutBefore | Fault::Torn) => Err(failed("timed out")),
            Some(Fault::TimeoutAfter) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(failed("timed out"))
            }
            Some(Fault::Stray(spared)) => {
                self.on_their_way.lock().unwrap().push(Late { spared, path: path.clone(), payload, options });
                Err(failed("timed out"))
            }
            Some(Fault::AnswerLostThenRetried) => {
                self.inner.put_opts(path, payload.clone(), options.clone()).await?;
                self.inner.put_opts(path, payload, options).await
            }
            Some(Fault::Slow(count)) => {
                turns(count).await;
                let put = self.inner.put_opts(path, payload, options).await;
                turns(count).await;
                put
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.arrive().await?;
        let inner = self.inner.put_multipart_opts(path, options).await?;
        let fault = self.upload.lock().unwrap().take();
        Ok(Box::new(FaultyUpload { inner, fault, parts: 0 }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.arrive().await?;
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

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fault: Option<Fault>,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        if self.fault == Some(Fault::Torn) && self.parts == 2 {
            return Box::pin(ready(Err(failed("connection reset"))));
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.fault {
            None | Some(Fault::Torn | Fault::AnswerLostThenRetried | Fault::Slow(_)) => self.inner.complete().await,
            Some(Fault::TimeoutAfter) => {
                self.inner.complete().await?;
                Err(failed("timed out"))
            }
            Some(_) => Err(failed("timed out")),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
