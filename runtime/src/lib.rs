//! The runtime of Distributary.

pub mod binding;
pub mod bus;
pub mod error;
pub mod failpoint;
pub mod graph;
pub mod key;
pub mod metrics;
pub mod operator;
pub mod plan;
pub mod settings;
pub mod sink;
pub mod state;
pub mod testing;
pub mod time;
pub mod update;
pub mod user_code;
