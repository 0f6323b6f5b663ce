//! What the tests that kill processes share: the job they kill, its process as seen from outside, the bus as any
//! reader sees it, and an oracle that says what must stand there.

mod archives;
pub mod cluster;
pub mod cuts;
pub mod fault;
pub mod findings;
pub mod ledger;
pub mod onlooker;
pub mod oracle;
pub mod outage;
pub mod outside;
pub mod pipe;
pub mod places;
pub mod process;
pub mod proxy;
pub mod random;
pub mod tables;
pub mod teams;
pub mod verdict;

/// What the harness does fails with a sentence for people.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
