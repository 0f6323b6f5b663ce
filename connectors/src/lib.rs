//! Everything that talks to the outside: the buses, the suite that every bus must pass, and the sinks.
//!
//! - [`sqlite`]: the embedded bus, one file that several processes share. The default with nothing installed.
//! - [`kafka`]: the shared bus for real, Apache Kafka.
//! - [`archived`]: a bus whose topics go back as far as their archives.
//! - [`conformance`]: the behaviour of a bus as a list of cases, run against every implementation.
//! - [`sinks`]: what a lane writes to: topics of the bus, JSON-lines files, the terminal, memory.
//! - [`lake`]: tables of Parquet files on an object store, another thing that lanes write to.

pub mod archived;
pub mod conformance;
pub mod kafka;
pub mod lake;
mod rules;
pub mod sinks;
pub mod sqlite;
