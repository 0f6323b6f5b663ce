//! Pure operators on `(data, stamp, diff)`: no I/O, no clock, no threads.
//!
//! Each operator is a function over a [`Graph`](distributary_runtime::graph::Graph) in one small file; copy the nearest
//! one to write the next. There are two shapes. One looks at a record alone and keeps its stamp:
//!
//! | operator | gives |
//! |---|---|
//! | [`map`], [`try_map`] | one record for each |
//! | [`filter`] | the records that satisfy a predicate |
//! | [`filter_map`] | another record for some |
//! | [`flat_map`], [`try_flat_map`] | any number of records for each |
//! | [`split`] | the records with their branch, which [`branch_of`] takes apart |
//! | [`key_by`] | the records with a key, for those below |
//! | [`union`] | the records of several collections |
//!
//! The other keeps keyed state under a name, and gives what an epoch changed at the epoch's close:
//!
//! | operator | gives |
//! |---|---|
//! | [`dedup`], [`dedup_last`] | the first, the last record of each event id |
//! | [`window()`] | an [`Aggregate`](aggregate::Aggregate) for each key and interval of event time, of any kind of [`Windows`] |
//! | [`aggregate()`] | a running aggregate for each key |
//! | [`fold`] | a running value for each key, by a closure |
//! | [`sequence`] | records of a key that follow each other, as a [`Pattern`] says |
//! | [`in_order`] | the records of a key by their own numbers, with gaps and repeats |
//! | [`process`](process()) | what code of one's own gives, with state and timers for each key |
//!
//! Some of these have two inputs, and give what records of both with the same key make together:
//!
//! | operator | which records meet |
//! |---|---|
//! | [`join`] | all that stand: of two tables |
//! | [`interval_join`], [`left_interval_join`] | those near in event time: of two streams |
//! | [`window_join`] | those in the same window of event time: of two streams |
//! | [`as_of_join`] | a record of a stream, and the version of a table at its time |
//! | [`with_broadcast`] | a record of a stream, and all rules as of its epoch |
//!
//! What has to be derived again when rows change, of any number of inputs, is for differential dataflow:
//!
//! | operator | gives |
//! |---|---|
//! | [`view()`] | joins, the best of each key, counts, fixed points |
//!
//! Two make records of a topic that another pipeline writes into changes, and drop what stands there twice:
//!
//! | operator | reads |
//! |---|---|
//! | [`in_sequence`] | the append form |
//! | [`newest`] | the upsert form |
//!
//! All take retractions, and take back what they said before. What user code does not accept is a dead letter and
//! leaves the state as it was.

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
mod map;
mod newest;
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
pub use map::{map, try_map};
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
