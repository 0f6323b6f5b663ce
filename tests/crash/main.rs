//! Goal: a crash, a pause or damage at any durable step loses nothing, repeats nothing, and lets no old process touch
//! what belongs to a newer one.
//!
//! Method: the real process of a job (`chaos run ledger`) on a small input. At every failpoint it is crashed, or paused
//! while another takes over; its objects are damaged; its sink is held back. In the end an oracle that shares no code
//! with the engine says from the input alone what every output must hold.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod blocked;
mod crashes;
mod damage;
mod held;
mod network;
mod oracle;
mod readers;
mod transactions;
mod world;
mod zombies;
