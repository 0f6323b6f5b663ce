//! What a process that ran one query on one side has to say.

use crate::rows::Rows;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run of one side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) wall_s: f64,
    /// Of all threads of the process.
    pub(crate) cpu_s: f64,
    /// The most memory it ever had, in bytes.
    pub(crate) peak: u64,
    pub(crate) rows: Rows,
    pub(crate) epochs: u64,
    /// What its last checkpoint holds.
    pub(crate) states: BTreeMap<String, State>,
}

/// One state of a query.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}
