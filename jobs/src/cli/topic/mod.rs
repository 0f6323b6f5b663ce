//! `topic`: the topics of the bus.

mod add_partitions;
mod create;
mod delete;
mod list;
mod produce;
mod tail;

use super::context::Context;
use crate::Result;
use std::process::ExitCode;

/// Create, list, read, write and delete topics.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    Create(create::Args),
    List(list::Args),
    Tail(tail::Args),
    Produce(produce::Args),
    AddPartitions(add_partitions::Args),
    Delete(delete::Args),
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::Create(args) => args.run(context),
            Self::List(args) => args.run(context),
            Self::Tail(args) => args.run(context),
            Self::Produce(args) => args.run(context),
            Self::AddPartitions(args) => args.run(context),
            Self::Delete(args) => args.run(context),
        }
    }
}
