//! A cookbook: jobs as people ask for them, each a file with its test.
//!
//! | file | what it says |
//! |---|---|
//! | `velocity.rs` | too many payments in a minute; two countries in too short a time; each with the ids of the events behind it |
//! | `alerts.rs` | a service with too many errors; a service that has fallen silent |
//! | `billing.rs` | what each customer has used, by the hour and by the month of their own time zone |
//! | `funnel.rs` | how many visits became a purchase, by day, as a table for BI |
//! | `rings.rs` | accounts that share devices, transitively: fraud rings |
//!
//! They run like jobs of one's own: `cargo run --example cookbook -- list`, `-- plan velocity`, `-- run velocity`.

#![allow(clippy::unwrap_used, reason = "tests stand beside the jobs")]

mod alerts;
mod billing;
mod funnel;
mod rings;
mod velocity;

use alerts::{errors, silence};
use billing::usage;
use funnel::funnel;
use rings::rings;
use velocity::{jumps, velocity};

distributary::main!(velocity, jumps, errors, silence, usage, funnel, rings);
