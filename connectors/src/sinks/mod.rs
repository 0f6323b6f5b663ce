//! What a lane writes to. Each sink says what happens when a commit comes twice, out of order, or after a crash.
//!
//! | sink | guarantee | lanes write to |
//! |---|---|---|
//! | [`topic`] | exactly-once | topics of the bus, all sinks of a pipeline in one transaction |
//! | [`tail`] | exactly-once, but for late requests of a dead process | topics of the bus, behind what their tails show |
//! | [`memory`] | exactly-once within the process | a shared vector, for tests |
//! | [`jsonl`] | at-least-once | a file, one JSON object a line |
//! | [`stdout`] | at-least-once | the terminal, one JSON object a line |

mod frame;
pub mod jsonl;
mod line;
mod marker;
pub mod memory;
pub mod stdout;
pub mod tail;
pub mod topic;

pub use frame::{STANDARD_HEADERS, TopicSink};
