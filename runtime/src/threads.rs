//! The threads of a pipeline.

use crate::error::{Error, Result};
use crate::report::Reports;

/// Starts a thread of the pipeline; an error it returns, or a panic, ends the pipeline.
pub(crate) fn spawn(name: &str, reports: &Reports, run: impl FnOnce() -> Result<()> + Send + 'static) {
    let to = reports.clone();
    let body = move || match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => to.fail(error),
        Err(_) => to.fail(Error::Panicked(std::thread::current().name().unwrap_or("?").to_string())),
    };
    if let Err(source) = std::thread::Builder::new().name(format!("dst-{name}")).spawn(body) {
        reports.fail(Error::Io { what: format!("starting the {name} thread"), source });
    }
}
