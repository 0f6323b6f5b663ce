//! What the viewer sees: calm lines with the time and a word that says what they are about.

use crate::Result;
use crate::cli::out::Out;
use distributary_runtime::time::monotonic;
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// How loud a line is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Something happens.
    Loud,
    /// As it goes on.
    Plain,
    /// In the background.
    Quiet,
}

/// See the module.
pub(super) struct Stage {
    out: Out,
    began: Instant,
    colours: bool,
}

impl Stage {
    pub(super) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out: Out::new(), began: monotonic(), colours }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A line of the story.
    pub(super) fn say(&mut self, voice: Voice, about: &str, text: impl Display) -> Result<()> {
        let at = self.began.elapsed().as_secs_f64();
        let (before, after) = match voice {
            _ if !self.colours => ("", ""),
            Voice::Loud => (BOLD, PLAIN),
            Voice::Plain => ("", ""),
            Voice::Quiet => (DIM, PLAIN),
        };
        self.out.line(format_args!("{before}{at:6.1} s  {about:<9}  {text}{after}"))?;
        self.out.flush()
    }

    /// A line outside the story.
    pub(super) fn line(&mut self, text: impl Display) -> Result<()> {
        self.out.line(text)?;
        self.out.flush()
    }
}
