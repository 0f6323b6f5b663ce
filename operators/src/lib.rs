//! Pure operators on `(data, stamp, diff)`: no I/O, no clock, no threads.
//!
//! Each operator is a function over a [`Graph`](distributary_runtime::graph::Graph) in one small file; copy the nearest
//! one to write the next. Each has an example that asserts. All take retractions, and take back what they said before. What user code does
//! not accept is a dead letter and leaves the state as it was. Results do not depend on the order of arrival, on the number of workers, or on
//! where the pipeline was stopped or killed.
//!
//! These look at a record alone, at once, and keep its stamp. They have no state, nothing is late for them, and a retraction gives what its record
//! gave, with the difference turned round:
//!
//! | operator | takes | gives |
//! |---|---|---|
//! | [`map`], [`try_map`] | records | one for each |
//! | [`filter`] | records | those that satisfy a predicate |
//! | [`filter_map`] | records | another one for some |
//! | [`flat_map`], [`try_flat_map`] | records | any number for each |
//! | [`split`], [`branch_of`] | records | those of a branch |
//! | [`map_blocking`], [`try_map_blocking`] | records with a key | one for each, by a call that takes long, at the close of the epoch |
//! | [`key_by`] | records | the same with a key, for those below |
//! | [`union`] | several collections | the records of all |
//!
//! The others keep state under a name, by key, and give what an epoch changed at its close. *Late* is what they refuse, which leaves by an output of
//! its own. "Horizon" is how long an operator can correct what it has said ([`Graph::correct_for`](distributary_runtime::graph::Graph::correct_for)): state is kept as
//! much longer. The plan shows it, and whether a retraction is subtracted (*linear*) or finds what it needs among records that are kept
//! (*complete*). *n* are the records of a key that are kept.
//!
//! | operator | gives | state, by key | late | a retraction | cost of a record |
//! |---|---|---|---|---|---|
//! | [`dedup`] | the first record of each id | a fingerprint of that record, and those that repeated it; for a time and the horizon | older than that | the next one follows | one look-up |
//! | [`dedup_last`] | the last record of each id | the records of the id, for as long | the same | the one before follows | log *n* |
//! | [`window()`] of [`tumbling`], [`daily`], [`monthly`] | an [aggregate](aggregate) for each interval of event time | the aggregate's, until lateness and horizon are over | behind the lateness | as the aggregate says | one look-up |
//! | [`window()`] of [`hopping`] | the same, of intervals that overlap | an aggregate's for each slice | the same, for each window | the same | one look-up; size / slide merges when a window ends |
//! | [`window()`] of [`session`] | the same, of records that are near each other | an aggregate's for each time that can still part a session | farther back than gap and lateness | the session may fall apart | log *n* |
//! | [`aggregate()`] | a running aggregate | the aggregate's, for ever | nothing | as the aggregate says | one look-up |
//! | [`fold`] | a running value, by a closure | the value, for ever | nothing | the closure gets it | one look-up |
//! | [`sequence`] | records that follow each other, as a [`Pattern`] says | all records, for the pattern's time, lateness and horizon | behind the lateness | matches go, others come | log *n* |
//! | [`in_order`] | records by their own numbers; gaps, repeats | records that wait, and the horizon's | behind the wait | its place is a gap | *n* |
//! | [`process`](process()) | what code of one's own gives, by state and timers | its own; by time also all records of lateness and horizon | behind the lateness | replayed ([`by_time`]), or told ([`as_they_come`]) | *n*, or one call |
//!
//! With two inputs:
//!
//! | operator | which records meet | state, by key | late | a retraction | cost of a record |
//! |---|---|---|---|---|---|
//! | [`join`] | all that stand: of two tables | all records of both, for ever | nothing | its pairs go | its pairs |
//! | [`interval_join`] | those near in event time: of two streams | records as long as partners can come or go, and the horizon | behind the lateness | its pairs go | log *n* and its pairs |
//! | [`left_interval_join`] | the same; a left one that meets none gives a result too | the same | the same | and who is left alone is told | the same |
//! | [`window_join`] | those in the same window | records of open windows, and of the horizon | behind the lateness | its pairs go | log *n*; its pairs when the window ends |
//! | [`as_of_join`] | a record of a stream, and the version of a table at its time | records and versions of lateness and horizon; the newest version for ever | behind the lateness | of a version: those that it was the version of get another | log *n* |
//! | [`look_up()`] | a record of a stream, and the answer of a service to its key | records that wait, answers of the horizon | nothing | gives what was said | one look-up; one question |
//! | [`with_broadcast`] | a record of a stream, and all rules as of its epoch | all rules, with the versions of the horizon | behind the horizon | gives what was said | the closure |
//!
//! What has to be derived again when rows change, of any number of inputs, is for differential dataflow; and two read what another pipeline writes, as changes,
//! without what stands there twice:
//!
//! | operator | gives | state | late | a retraction | cost of a record |
//! |---|---|---|---|---|---|
//! | [`view()`] | joins, the best of each key, counts, fixed points | all rows of its inputs, and their arrangements in memory | nothing | is derived | as many rows as change |
//! | [`in_sequence`] | the records of an append topic | a few bytes for each partition | nothing | is one | one look-up |
//! | [`newest`] | the rows of an upsert topic, as they change | all rows | nothing | a tombstone takes its row back | one look-up |

pub mod aggregate;
mod answer;
mod as_of_join;
mod as_they_come;
mod dedup;
mod dedup_last;
mod filter;
mod filter_map;
mod flat_map;
mod fold;
mod in_order;
mod in_sequence;
mod interval;
mod interval_join;
mod join;
mod joining;
mod kept;
mod key_by;
mod look_up;
mod map;
mod map_blocking;
mod newest;
mod ordered;
mod pairs;
mod pattern;
mod process;
mod replay;
mod running;
mod said;
mod saying;
mod sequence;
mod side;
mod split;
mod turn;
mod union;
mod view;
mod window;
mod window_join;
mod with_broadcast;
mod written;

pub use answer::Answer;
pub use as_of_join::as_of_join;
pub use dedup::dedup;
pub use dedup_last::dedup_last;
pub use filter::filter;
pub use filter_map::filter_map;
pub use flat_map::{flat_map, try_flat_map};
pub use fold::fold;
pub use in_order::{Missing, Numbered, in_order};
pub use in_sequence::in_sequence;
pub use interval::{Interval, between};
pub use interval_join::{interval_join, left_interval_join};
pub use join::join;
pub use key_by::{Keyed, key_by};
pub use look_up::{LookUp, look_up};
pub use map::{map, try_map};
pub use map_blocking::{map_blocking, try_map_blocking};
pub use newest::{Row, newest};
pub use pattern::{Pattern, begin};
pub use process::{Done, Process, Turns, as_they_come, by_time, process};
pub use running::{PerKey, aggregate};
pub use sequence::{Match, sequence};
pub use side::Side;
pub use split::{branch_of, split};
pub use turn::Turn;
pub use union::union;
pub use view::{InRound, KeyedRows, Rounds, Rows, View, ViewTime, view};
pub use window::{
    Calendar, Hopping, PerWindow, Session, Tumbling, Window, Windows, daily, hopping, monthly, session, tumbling, window,
};
pub use window_join::window_join;
pub use with_broadcast::{Rules, TakenBack, with_broadcast};
pub use written::Written;

#[cfg(test)]
mod tests;
