//! Logs: lines on standard error.

use crate::{Error, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// This level stands for `info` and a line for each epoch, when it has become visible.
const EPOCH: &str = "epoch";

/// What others log beside every step of a table: only what is wrong, unless a filter names them.
const QUIET: &str = "delta_kernel=warn,delta_kernel_default_engine=warn,object_store=warn";

/// Logs what `filter` says: a level, `epoch`, or a list of `target=level`.
pub(super) fn start(filter: &str) -> Result<()> {
    let (directives, spans) = match filter {
        EPOCH => ("info,epoch=debug", FmtSpan::CLOSE),
        directives => (directives, FmtSpan::NONE),
    };
    let parsed = EnvFilter::builder().parse(format!("{QUIET},{directives}"));
    // A word that is no level would be taken for the name of a target, and silence all others.
    let is_word = !directives.contains(['=', ',']) && directives.parse::<LevelFilter>().is_err();
    let Some(filter) = parsed.ok().filter(|_| !is_word) else {
        let what = format!("`{filter}`: expected off, error, warn, info, debug, trace, epoch, or a list of target=level");
        return Err(Error::Setting { name: "log".into(), what });
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(spans)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Tests may have set one already: then that one stays.
    let _ = lines.try_init();
    Ok(())
}
