//! What the process does about signals and about its own panics.

use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit status after a second signal, as shells have it for SIGINT.
const EXIT_AT_ONCE: i32 = 130;

/// A panic of our own is a bug: nothing it leaves behind can be trusted, and a restart recovers. Panics of user code are
/// caught where they happen, and never come here.
pub(super) fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// Calls `stop` at the first SIGINT or SIGTERM; the second ends the process at once.
pub(super) fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> Result<()> {
    let failed = |source| Error::Io { what: "listening for signals".into(), source };
    let (mut hear, tell) = UnixStream::pair().map_err(failed)?;
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down and raises it.
        flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, stopping.clone()).map_err(failed)?;
        flag::register(signal, stopping.clone()).map_err(failed)?;
        low_level::pipe::register(signal, tell.try_clone().map_err(failed)?).map_err(failed)?;
    }
    let listen = move || {
        if hear.read_exact(&mut [0]).is_ok() {
            stop();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(failed)?;
    Ok(())
}

/// Calls `stop` when standard input ends.
pub(super) fn on_end_of_input(stop: impl FnOnce() + Send + 'static) -> Result<()> {
    let listen = move || {
        // Nothing is ever said; also an error means that nobody is there.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop();
    };
    let started = std::thread::Builder::new().name("parent".into()).spawn(listen);
    started.map(drop).map_err(|source| Error::Io { what: "listening for the end of the parent process".into(), source })
}

/// Asks a process that we started to stop in order.
#[allow(unsafe_code, reason = "sending a signal has no safe form")]
pub(super) fn ask_to_stop(child: &std::process::Child) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else { return };
    // SAFETY: `kill` takes plain integers, and the process is ours until it has been waited for.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
}
