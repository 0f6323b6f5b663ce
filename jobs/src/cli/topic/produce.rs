//! `topic produce`

use crate::cli::context::{Context, find_topic};
use crate::cli::out::{Out, grouped, span};
use crate::cli::progress::Progress;
use crate::{Error, Result, codec};
use bytes::Bytes;
use distributary_runtime::bus::{Bus, NewRecord, TopicId};
use distributary_runtime::time::{Clock, SystemClock};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Records of one append: few enough to leave the bus to others in between.
const BATCH_RECORDS: usize = 1_000;
/// Bytes of one append.
const BATCH_BYTES: usize = 512 * 1024;

/// Write lines of JSON as records, from standard input or a file; empty lines are left out.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The topic.
    name: String,
    /// Read this file instead of standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The field that is the record's key, and decides its partition.
    #[arg(long, value_name = "FIELD")]
    key_field: Option<String>,
    /// Write all records to this partition.
    #[arg(long, short, value_name = "P")]
    partition: Option<u32>,
    /// Lines need not be JSON.
    #[arg(long, conflicts_with = "key_field")]
    raw: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let bus = context.bus()?;
        let topic = find_topic(&*bus, &self.name)?.id;
        let (input, named): (Box<dyn Read>, String) = match &self.file {
            Some(path) => {
                let failed = |source| Error::Io { what: format!("opening {}", path.display()), source };
                (Box::new(std::fs::File::open(path).map_err(failed)?), path.display().to_string())
            }
            None => (Box::new(std::io::stdin().lock()), "standard input".into()),
        };
        let mut input = BufReader::with_capacity(BATCH_BYTES, input);
        let mut batch = Batch { bus: &*bus, topic, records: Vec::new(), bytes: 0, progress: Progress::new("records", None) };
        let (mut line, mut number) = (Vec::new(), 0_u64);
        let failed = |source| Error::Io { what: format!("reading {named}"), source };
        while input.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            number += 1;
            match self.record(line.trim_ascii_end()) {
                Ok(record) => batch.records.extend(record),
                Err(what) => {
                    batch.write()?;
                    let (written, _) = batch.progress.finish();
                    let what = format!("{named}, line {number}: {what}; the {} records before it are written", grouped(written));
                    return Err(Error::refused(what, "correct it and go on from there"));
                }
            }
            batch.bytes += line.len();
            line.clear();
            // What was typed or piped so far is not held back for what may come.
            if batch.is_full() || input.buffer().is_empty() {
                batch.write()?;
            }
        }
        batch.write()?;
        let (written, took) = batch.progress.finish();
        let mut out = Out::new();
        let took = span(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        out.line(format_args!("wrote {} records to {} in {took}", grouped(written), self.name))?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    /// `None`: there is nothing on the line.
    fn record(&self, line: &[u8]) -> Result<Option<NewRecord>, String> {
        if line.is_empty() {
            return Ok(None);
        }
        let key = if self.raw { None } else { self.key(line)? };
        let value = Some(Bytes::copy_from_slice(line));
        Ok(Some(NewRecord { partition: self.partition, timestamp: SystemClock.now(), key, value, headers: Vec::new() }))
    }

    fn key(&self, line: &[u8]) -> Result<Option<Bytes>, String> {
        let json: Value =
            serde_json::from_slice(line).map_err(|e| format!("not JSON ({e}); `--raw` writes lines as they are"))?;
        let Some(field) = &self.key_field else { return Ok(None) };
        let value = json.get(field).ok_or_else(|| format!("there is no field `{field}`"))?;
        codec::key_text(value).map(|key| Some(Bytes::from(key))).ok_or_else(|| format!("the field `{field}` is null"))
    }
}

/// Records on their way to the bus.
struct Batch<'a> {
    bus: &'a dyn Bus,
    topic: TopicId,
    records: Vec<NewRecord>,
    bytes: usize,
    progress: Progress,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    fn write(&mut self) -> Result<()> {
        let n = self.records.len() as u64;
        if n > 0 {
            self.bus.produce(self.topic, std::mem::take(&mut self.records))?;
        }
        self.bytes = 0;
        self.progress.add(n);
        Ok(())
    }
}
