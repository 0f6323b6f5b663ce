//! Distributary: jobs over a shared event bus, in a few lines of Rust.

// The macros name this crate `::distributary`; so that they work in here as well:
extern crate self as distributary;

mod archive;
pub mod cli;
pub mod codec;
pub mod event;
pub mod flow;
pub mod job;
pub mod jobs;
pub mod payments;
pub mod run;
pub mod sink;
mod table;
pub mod test_job;
pub mod timestamp;

/// A record is mostly freed by another thread than made it, which the C library's allocator is slow at.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub use distributary_derive::{Event, job};
pub use distributary_operators::aggregate::{
    Aggregate, all_first_by, all_last_by, avg, bottom, collect, count, distinct, first_by, frozen, last_by, max, min, percentile,
    sum, top, when,
};
pub use distributary_operators::{
    Done, KeyedRows, Match, Missing, PerKey, PerWindow, Process, Rounds, Rows, Rules, Side, Turn, Window,
};
pub use distributary_runtime::error::{Error, Result};
pub use event::{AsSubject, AsTimestamp, Event, EventDescription};
pub use flow::{
    Calendar, Flow, Hopping, InOrder, Interval, KeyedStream, Pattern, Service, Session, Stream, Tumbling, Turns, View, Windows,
    as_they_come, ask, begin, between, by_time, daily, hopping, monthly, session, tumbling, within,
};
pub use job::Job;
/// So that a team's crate needs no other dependency: `#[serde(crate = "distributary::serde")]` on its types.
pub use serde;
pub use sink::{Sink, json_lines, memory, stdout, table, topic, upsert};
pub use test_job::TestJob;
pub use timestamp::{Timestamp, days, hours, millis, mins, secs};
/// Event ids are often UUIDs.
pub use uuid;

/// The `main` of a team's own binary: its jobs, with all commands.
///
/// ```text
/// distributary::main!(spend, velocity);
/// ```
#[macro_export]
macro_rules! main {
    ($($job:expr),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::cli::main(&[$($job),+])
        }
    };
}
