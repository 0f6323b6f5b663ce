//! The terminal: the lines of [`super::jsonl`] on standard output.
//!
//! What was printed cannot be read back, so the marker is kept in a small file of the pipeline's state directory.
//!
//! - *Twice*, *out of order*: a commit whose `previous` is not the marker in the file is refused as fenced.
//! - *After a crash* between printing and marking, the lines of that run are printed again; nothing older is.
//! - *Two incarnations*: the older one is refused at its next commit.

use super::line::lines;
use super::marker::{MarkerEntry, MarkerFile, io};
use distributary_runtime::bus::{Marker, Token};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Standard output. See the module for what it promises.
#[derive(Clone)]
pub struct StdoutSink {
    state: PathBuf,
    out: Arc<Mutex<dyn Write + Send>>,
}

impl StdoutSink {
    /// Prints to standard output; markers are kept in the directory `state`.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self::to_writer(state, std::io::stdout())
    }

    /// Prints to something else, such as a pipe or a test's buffer.
    pub fn to_writer(state: impl Into<PathBuf>, out: impl Write + Send + 'static) -> Self {
        Self { state: state.into(), out: Arc::new(Mutex::new(out)) }
    }
}

impl LaneGroup for StdoutSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        std::fs::create_dir_all(&self.state).map_err(io("creating", &self.state))?;
        // A pipeline's name holds a slash.
        let name = context.pipeline.replace('/', "+");
        let marker = MarkerFile::new(self.state.join(format!("{name}.stdout.{}.marker", context.lane)));
        Ok(Box::new(StdoutLane { out: self.out.clone(), marker, token: None }))
    }
}

struct StdoutLane {
    out: Arc<Mutex<dyn Write + Send>>,
    marker: MarkerFile,
    token: Option<Token>,
}

impl LaneSink for StdoutLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        let marker = self.marker.fence(token, 0)?;
        self.token = Some(token);
        Ok(marker)
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let token = self.marker.check(self.token, run.previous)?;
        let lines = lines(run);
        if !lines.is_empty() {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            let printed = out.write_all(&lines).and_then(|()| out.flush());
            printed.map_err(|source| Error::Io { what: "writing to standard output".to_string(), source })?;
        }
        self.marker.write(&MarkerEntry { token, marker: Some(run.marker), bytes: 0 })
    }
}
