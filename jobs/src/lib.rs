//! x

pub mod payments;
