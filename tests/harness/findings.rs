//! What is wrong, counted, with the first few examples.

/// Enough to see a pattern.
const EXAMPLES_MAX: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub struct Findings {
    /// Results that should be there and are not, or are others.
    pub lost: u64,
    /// Results that should not be there.
    pub duplicated: u64,
    /// Places where a reader saw part of a commit.
    pub torn: u64,
    /// Records of tail lanes that stand in the log once more, and that reading clients drop: nothing is wrong with them.
    pub repeated: u64,
    /// Those of them that no woken process can have written: the last request of a killed one reached the bus late.
    pub late_of_killed: u64,
    /// Positions and keys, never payloads.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.torn == 0
    }

    /// So many results are missing.
    pub fn lost(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.lost += count;
        self.example("lost", count, what);
    }

    /// So many results are too many.
    pub fn duplicated(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.duplicated += count;
        self.example("duplicated", count, what);
    }

    /// A reader saw part of a commit.
    pub fn torn(&mut self, what: impl FnOnce() -> String) {
        self.torn += 1;
        self.example("torn", 1, what);
    }

    fn example(&mut self, kind: &str, count: u64, what: impl FnOnce() -> String) {
        if count > 0 && self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{kind}: {}", what()));
        }
    }
}
