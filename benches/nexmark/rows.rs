//! What a query answered: as many rows, of the same bytes, in whatever order they were said and taken back.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The sum of everything that was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rows {
    /// Those that stand in the end.
    pub(crate) net: i64,
    /// Of the hashes of those.
    pub(crate) hash: u64,
    /// All that were said, and taken back.
    pub(crate) said: u64,
}

impl Rows {
    /// Takes in a row as it is written.
    pub(crate) fn look(&mut self, diff: i64, row: &[u8]) {
        self.said += 1;
        self.net += diff;
        self.hash = self.hash.wrapping_add(xxh3_64(row).wrapping_mul(diff.cast_unsigned()));
    }

    /// Whether the same rows stand.
    pub(crate) fn stand_as(&self, other: &Self) -> bool {
        (self.net, self.hash) == (other.net, other.hash)
    }
}

/// Takes in rows that it writes as JSON, as a topic has them.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) rows: Rows,
    buffer: Vec<u8>,
}

impl Writer {
    /// Says a row.
    pub(crate) fn row(&mut self, line: &str) {
        self.buffer.clear();
        // It is written to memory.
        let _ = serde_json::to_writer(&mut self.buffer, line);
        self.rows.look(1, &self.buffer);
    }
}
