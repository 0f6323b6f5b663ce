//! `checkpoint`: what a pipeline would be restored from.

use super::context::Context;
use super::out::{Out, bytes, grouped};
use super::standing::journal_of;
use crate::{Error, Result, run};
use distributary_runtime::journal::Checkpoint;
use distributary_runtime::key;
use distributary_runtime::state::CheckpointStore;
use serde::Serialize;
use std::process::ExitCode;

/// List and verify the checkpoints of a job.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    List(List),
    Verify(Verify),
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::List(args) => args.run(context),
            Self::Verify(args) => args.run(context),
        }
    }
}

/// List the checkpoints that a restart may use, oldest first.
#[derive(clap::Args)]
pub(super) struct List {
    /// The job.
    job: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    epoch: u64,
    generation: u32,
    manifest: String,
    states: usize,
    objects: usize,
    bytes: u64,
    error: Option<String>,
}

impl List {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let (store, checkpoints) = checkpoints(context, &self.job)?;
        let listed: Vec<_> = checkpoints.iter().map(|c| listed(&store, c)).collect();
        let mut out = Out::new();
        if self.json {
            out.json(&listed)?;
        } else {
            let rows: Vec<_> = listed.iter().map(row).collect();
            out.table(["EPOCH", "GENERATION", "STATES", "OBJECTS", "BYTES", "MANIFEST"], &rows)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(listed: &Listed) -> [String; 6] {
    let Listed { epoch, generation, manifest, states, objects, bytes: size, error } = listed;
    let manifest = error.as_ref().map_or_else(|| manifest.clone(), |error| format!("damaged: {error}"));
    [grouped(*epoch), generation.to_string(), states.to_string(), objects.to_string(), bytes(*size), manifest]
}

fn listed(store: &CheckpointStore, checkpoint: &Checkpoint) -> Listed {
    let (epoch, generation, name) = (checkpoint.epoch.0, checkpoint.generation, checkpoint.manifest.clone());
    match store.manifest(&name) {
        Ok(manifest) => Listed {
            epoch,
            generation,
            manifest: name,
            states: manifest.states.len(),
            objects: manifest.objects().len(),
            bytes: manifest.slices().map(|s| s.len).sum(),
            error: None,
        },
        Err(e) => Listed { epoch, generation, manifest: name, states: 0, objects: 0, bytes: 0, error: Some(e.to_string()) },
    }
}

/// Read the checkpoints to the last byte and compare them with their checksums; status 1 if anything is damaged.
#[derive(clap::Args)]
pub(super) struct Verify {
    /// The job.
    job: String,
    /// Only the checkpoint of this epoch.
    #[arg(long)]
    epoch: Option<u64>,
    /// A JSON document for each checkpoint, on a line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verified {
    epoch: u64,
    objects: usize,
    slices: usize,
    bytes: u64,
    damages: Vec<String>,
}

impl Verify {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let (store, mut checkpoints) = checkpoints(context, &self.job)?;
        if let Some(epoch) = self.epoch {
            let known: Vec<_> = checkpoints.iter().map(|c| c.epoch.to_string()).collect();
            checkpoints.retain(|c| c.epoch.0 == epoch);
            if checkpoints.is_empty() {
                let what = format!("{} has no checkpoint of epoch {epoch}", self.job);
                return Err(Error::refused(what, format!("it has those of {}", known.join(", "))));
            }
        }
        let mut out = Out::new();
        let mut sound = true;
        for checkpoint in &checkpoints {
            let verified = verified(&store, checkpoint)?;
            sound &= verified.damages.is_empty();
            if self.json {
                out.json(&verified)?;
                continue;
            }
            let Verified { epoch, objects, slices, bytes: size, damages } = &verified;
            let verdict = if damages.is_empty() { "whole" } else { "DAMAGED: a restart uses the one before" };
            out.line(format_args!("epoch {epoch}: {objects} objects, {slices} slices, {}: {verdict}", bytes(*size)))?;
            damages.iter().try_for_each(|damage| out.line(format_args!("  {damage}")))?;
        }
        if checkpoints.is_empty() && !self.json {
            out.line(format_args!("{} has no checkpoint yet", self.job))?;
        }
        out.flush()?;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn verified(store: &CheckpointStore, checkpoint: &Checkpoint) -> Result<Verified> {
    let (epoch, name) = (checkpoint.epoch.0, &checkpoint.manifest);
    let mut damages = Vec::new();
    match store.get(name) {
        Ok(manifest) if key::hash_bytes(&manifest) != checkpoint.checksum => {
            damages.push(format!("{name}: its checksum is not the journal's"));
        }
        Ok(_) => {
            let report = store.verify(name)?;
            let (objects, slices, bytes) = (report.objects, report.slices, report.bytes);
            return Ok(Verified { epoch, objects, slices, bytes, damages: report.damages });
        }
        Err(error @ Error::Damaged { .. }) => damages.push(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(Verified { epoch, objects: 0, slices: 0, bytes: 0, damages })
}

fn checkpoints(context: &Context<'_>, job: &str) -> Result<(CheckpointStore, Vec<Checkpoint>)> {
    let settings = context.settings()?;
    let history = journal_of(&*run::open_bus(&settings)?, context.pipeline(job)?)?;
    Ok((run::open_store(&settings)?, history.checkpoints))
}
