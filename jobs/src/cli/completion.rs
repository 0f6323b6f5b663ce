//! `completion`: a script that lets a shell complete the commands.

use super::context::Context;
use super::{command, out::Out};
use crate::Result;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print a completion script: `source <(distributary completion bash)`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = std::path::Path::new(&program).file_name().map_or("distributary".into(), |n| n.to_string_lossy());
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(context.jobs()), program, &mut script);
        let mut out = Out::new();
        out.bytes(&script)?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
