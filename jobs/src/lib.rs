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
/// The allocator of a binary whose `main` is [`main!`]: a record is mostly freed by another thread than made it, which makes the C library's
/// slow. A binary with a `main` of its own has it with
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: distributary::Allocator = distributary::Allocator;
/// ```
pub use tikv_jemallocator::Jemalloc as Allocator;
pub use timestamp::{Timestamp, days, hours, millis, mins, secs};
/// Event ids are often UUIDs.
pub use uuid;

/// The `main` of a team's own binary: its jobs, with all commands, and [`Allocator`].
///
/// ```text
/// distributary::main!(spend, velocity);
/// ```
#[macro_export]
macro_rules! main {
    ($($job:expr),+ $(,)?) => {
        const _: () = {
            #[global_allocator]
            static ALLOCATOR: $crate::Allocator = $crate::Allocator;
        };
        fn main() -> ::std::process::ExitCode {
            $crate::cli::main(&[$($job),+])
        }
    };
}
