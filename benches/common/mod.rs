//! What the benches share: flags, stopwatches, tables, and a pipeline to measure.
#![allow(dead_code, reason = "each bench is a program of its own and takes what it needs")]

pub(crate) mod backlog;
pub(crate) mod meter;
pub(crate) mod payments;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod table;

use distributary_runtime::error::{Error, Result};
use std::collections::BTreeMap;

/// The flags of a bench: `--name number`.
pub(crate) struct Flags(BTreeMap<String, f64>);

impl Flags {
    /// Reads the command line; `known` are the names with their defaults.
    pub(crate) fn read(known: &[(&str, f64)]) -> Result<Self> {
        let mut flags: BTreeMap<String, f64> = known.iter().map(|(name, default)| ((*name).to_string(), *default)).collect();
        // Cargo adds `--bench` to whatever is said.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").and_then(|name| flags.get_mut(name)) else {
                let names: Vec<_> = flags.keys().map(|name| format!("--{name} NUMBER")).collect();
                return Err(Error::refused(format!("flag `{word}`"), format!("known are {}", names.join(", "))));
            };
            let number = words.next().and_then(|text| text.parse().ok());
            *flag = number.ok_or_else(|| Error::refused(format!("flag `{word}`"), "give it a number"))?;
        }
        Ok(Self(flags))
    }

    /// The value of a flag.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The value of a flag that counts something.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.get(name) as u64
    }
}

/// The middle one; of an even number, the upper of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
