//! `topic delete`

use crate::cli::context::{Context, find_topic};
use crate::cli::out::{Out, grouped};
use crate::{Error, Result};
use std::process::ExitCode;

/// Delete a topic and its records. Jobs that read it stop with the reason.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// Its name.
    name: String,
    /// Yes, delete its records.
    #[arg(long)]
    yes: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let bus = context.bus()?;
        let topic = find_topic(&*bus, &self.name)?;
        let records: u64 = bus.offsets(topic.id)?.iter().map(|o| o.end.0 - o.log_start.0).sum();
        if !self.yes {
            let what = format!("topic `{}` holds {} records, which would be lost", self.name, grouped(records));
            return Err(Error::refused(what, "say `--yes` to delete it"));
        }
        bus.delete_topic(&self.name)?;
        let mut out = Out::new();
        out.line(format_args!("deleted {} with {} records", self.name, grouped(records)))?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
