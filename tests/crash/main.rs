//! Goal: a crash, a pause or damage at any durable step loses nothing, repeats nothing, and lets no old process touch
//! what belongs to a newer one.
//!
//! Method: the real process of a job (`chaos run ledger`) on a small input. At every failpoint it is crashed, or paused
//! while another takes over; its objects are damaged; its sink is held back. In the end every output is that of a run
//! that nothing happened to.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod crashes;
mod damage;
mod held;
mod world;
mod zombies;
