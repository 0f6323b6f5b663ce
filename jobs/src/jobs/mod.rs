//! Jobs to try things with, over the payments of [`crate::payments`]. Each is one small file.
//!
//! | job | what it shows |
//! |---|---|
//! | [`velocity`] | deduplication, a window, a filter: alerts as they happen |
//! | [`spend`] | a window with allowed lateness: spend per user and interval |
//! | [`balance`] | a running aggregate: the newest total of each user in an upsert topic |
//! | [`purchases`] | rows of a table on object storage |

mod balance;
mod payment;
mod purchases;
mod spend;
mod velocity;

pub use balance::{Balance, balance};
pub use payment::Payment;
pub use purchases::purchases;
pub use spend::{Spend, spend};
pub use velocity::{ALERT_AT, Alert, velocity};

/// All of them.
pub const ALL: [crate::Job; 4] = [velocity, spend, balance, purchases];
