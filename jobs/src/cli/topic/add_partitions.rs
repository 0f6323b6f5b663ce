//! `topic add-partitions`

use crate::Result;
use crate::cli::context::{Context, find_topic};
use crate::cli::out::Out;
use std::process::ExitCode;

/// Raise the number of partitions. Running jobs read new ones within seconds; keys may move to other partitions.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The topic.
    name: String,
    /// How many there are to be in all.
    partitions: u32,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let bus = context.bus()?;
        let before = find_topic(&*bus, &self.name)?.spec.partitions;
        bus.add_partitions(&self.name, self.partitions)?;
        let mut out = Out::new();
        out.line(format_args!("{} had {before} partitions and has {} now", self.name, self.partitions))?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
