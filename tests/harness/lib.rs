//! What the tests that kill processes share: the job they kill, its process as seen from outside, and the bus as any
//! reader sees it.

pub mod ledger;
pub mod outside;
pub mod process;

/// What the harness does fails with a sentence for people.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
