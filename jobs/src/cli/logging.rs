//! Logs: lines on standard error.

use crate::{Error, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// This level stands for `info` and a line for each epoch, when it has become visible.
const EPOCH: &str = "epoch";

/// Logs what `filter` says: a level, `epoch`, or a list of `target=level`.
pub(super) fn start(filter: &str) -> Result<()> {
    let (directives, spans) = match filter {
        EPOCH => ("info,epoch=debug", FmtSpan::CLOSE),
        directives => (directives, FmtSpan::NONE),
    };
    let filter = EnvFilter::builder().parse(directives).map_err(|e| Error::Setting {
        name: "log".into(),
        what: format!("`{filter}`: {e}; expected error, warn, info, debug, trace, epoch, or a list of target=level"),
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(spans)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Tests may have set one already: then that one stays.
    let _ = lines.try_init();
    Ok(())
}
