//! The commands of a binary: those of a team's own, and of the one with the built-in jobs.
//!
//! Each command is a file with the same shape: its arguments, and `run` with the [`Context`]. What a command prints goes to
//! standard output, as text or (`--json`) as one JSON document or line each; progress, logs and errors go to standard
//! error. Exit status: 0, or 1 (something failed; the same call may succeed later), 2 (it cannot go on as it stands), 3
//! (another incarnation owns the pipeline).

mod backfill;
mod checkpoint;
mod completion;
mod context;
mod dead_letter;
mod demo;

mod journal;
mod keeper;
mod lag;
mod liveness;
mod logging;
mod metrics_server;
mod out;
mod payments;
mod plan;
mod process;
mod progress;
mod record;
mod run;
mod standing;
mod status;
mod supervisor;
mod table;
mod topic;
mod why;

use crate::{Error, Job, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use context::{Context, Global};
use distributary_runtime::response::Response;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The `main` of a binary with these jobs; [`crate::main!`] calls it.
#[must_use]
pub fn main(jobs: &[Job]) -> ExitCode {
    main_with(jobs, std::env::args_os())
}

/// As [`main`], with arguments of the caller's choice, for a binary with a command line of its own. The first argument is the
/// binary's name. `run` of a job with two tiers starts the process's own command line twice, with more behind it, which has to arrive
/// here.
#[must_use]
pub fn main_with(jobs: &[Job], arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Wrong arguments end the process here, with the usage.
    let matches = command(jobs).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let context = Context::new(jobs, cli.global);
    match cli.command.run(&context) {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            exit_code(&error)
        }
    }
}

/// Runs, looks into and tries out streaming jobs.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Backfill(backfill::Args),
    Plan(plan::Args),
    #[command(subcommand)]
    Topic(topic::Command),
    Lag(lag::Args),
    Why(why::Args),
    #[command(subcommand)]
    Journal(journal::Command),
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
    #[command(subcommand)]
    DeadLetter(dead_letter::Command),
    #[command(subcommand)]
    Table(table::Command),
    #[command(subcommand)]
    Payments(payments::Command),
    Demo(demo::Args),
    Completion(completion::Args),
}

impl Command {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::Run(args) => args.run(context),
            Self::Backfill(args) => args.run(context),
            Self::Plan(args) => args.run(context),
            Self::Topic(command) => command.run(context),
            Self::Lag(args) => args.run(context),
            Self::Why(args) => args.run(context),
            Self::Journal(command) => command.run(context),
            Self::Checkpoint(command) => command.run(context),
            Self::DeadLetter(command) => command.run(context),
            Self::Table(command) => command.run(context),
            Self::Payments(command) => command.run(context),
            Self::Demo(args) => args.run(context),
            Self::Completion(args) => args.run(context),
        }
    }
}

/// The commands, with the jobs of this binary at the end of the help.
fn command(jobs: &[Job]) -> clap::Command {
    let width = jobs.iter().map(|job| job.name().len()).max().unwrap_or(0);
    let lines = jobs.iter().map(|job| {
        let doc = job.doc().lines().next().unwrap_or_default();
        format!("\n  {:width$}  {doc}", job.name())
    });
    let archives = "\n\nArchives, one for each topic that a job reads and whose events have a subject: archive.TOPIC";
    Cli::command().after_help(format!("Jobs:{}{archives}", lines.collect::<String>()))
}

fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(match error.response() {
        Response::StopPipeline => 2,
        Response::StopProcess => 3,
        Response::Retry | Response::DeadLetter => 1,
    })
}
