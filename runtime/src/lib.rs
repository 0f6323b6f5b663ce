//! The runtime of Distributary.

pub mod bus;
pub mod error;
pub mod failpoint;
pub mod key;
pub mod sink;
pub mod state;
pub mod time;
pub mod update;
