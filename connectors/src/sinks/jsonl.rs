//! A file of JSON lines: `{"sink","key","value","op","epoch","id","at_ms"}`, appended to.
//!
//! Beside `out.jsonl` stands `out.jsonl.marker`, replaced behind every commit: token, marker and the length of the file
//! then. Lanes other than 0 write to `out.jsonl.1` and so on.
//!
//! - *Twice*, *out of order*: a commit whose `previous` is not the marker in the file is refused as fenced.
//! - *After a crash* between the lines and the marker, the lines of that run come again: `id`, `op` and `epoch` tell them
//!   apart, and what stands behind the marker's `bytes` at the restart is what is repeated. A line that was cut off is
//!   closed with a line break and stays, as damaged. Nothing is ever truncated.
//! - *Two incarnations*: the older one is refused at its next commit; one that was past that check may still append a run.

use super::line::lines;
use super::marker::{MarkerEntry, MarkerFile, io, with_suffix};
use distributary_runtime::bus::{Marker, Token};
use distributary_runtime::error::Result;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A JSON-lines file. See the module for what it promises.
#[derive(Clone, Debug)]
pub struct JsonLinesSink {
    path: PathBuf,
}

impl JsonLinesSink {
    /// The file at `path`; created at the first fence, with its directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl LaneGroup for JsonLinesSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        let path = match context.lane {
            0 => self.path.clone(),
            lane => with_suffix(&self.path, &format!(".{lane}")),
        };
        let marker = MarkerFile::new(with_suffix(&path, ".marker"));
        Ok(Box::new(FileLane { path, marker, owned: None }))
    }
}

struct FileLane {
    path: PathBuf,
    marker: MarkerFile,
    /// Since the fence.
    owned: Option<(Token, File)>,
}

impl LaneSink for FileLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(io("creating", directory))?;
        }
        let mut file = File::options().read(true).append(true).create(true).open(&self.path).map_err(io("opening", &self.path))?;
        let bytes = file.metadata().map_err(io("reading", &self.path))?.len();
        let marker = self.marker.fence(token, bytes)?;
        close_last_line(&mut file, bytes).map_err(io("writing", &self.path))?;
        self.owned = Some((token, file));
        Ok(marker)
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let token = self.marker.check(self.owned.as_ref().map(|(token, _)| *token), run.previous)?;
        let Some((_, file)) = &mut self.owned else { unreachable!("the check refuses a lane that was not fenced") };
        let lines = lines(run);
        if !lines.is_empty() {
            file.write_all(&lines).and_then(|()| file.sync_data()).map_err(io("writing", &self.path))?;
        }
        let bytes = file.metadata().map_err(io("reading", &self.path))?.len();
        self.marker.write(&MarkerEntry { token, marker: Some(run.marker), bytes })
    }
}

/// A crash may have cut the last line off: the next one must not continue it.
fn close_last_line(file: &mut File, bytes: u64) -> std::io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}
