//! Goal: a pipeline on a real bus does what the page says when its input, its topics, its bus or its sinks misbehave.
//! Method: scenarios. The engine runs in this process, timed, on an embedded bus in a file of its own; a wrapper around
//! the bus fails on demand. Nothing waits for a clock: every wait is for a condition, with a bound.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod archive;
mod backfill;
mod chain;
mod clients;
mod cookbook;
mod deletion;
mod holes;
mod look_up;
mod nexmark;
mod outages;
mod poison;
mod poison_kinds;
mod poisoned_stream;
mod releases;
mod rig;
mod same_bytes;
mod sink_topics;
mod sinks;
mod team_crate;
mod topics;
mod unruly_bus;
