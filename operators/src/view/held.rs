//! Rows and keys as differential keeps them: it asks for `Debug` and `Hash`, which rows of a job need not have.

use crate::answer::attempt;
use distributary_runtime::key::{Key, stable_hash};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};

/// A row. It is never printed: it may hold personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Held<D>(pub(super) D);

impl<D> fmt::Debug for Held<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }
}

/// A key with its stable hash, by which it finds its worker.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

impl<K: Key> Hashed<K> {
    /// # Errors
    /// The key's `Serialize` refuses.
    pub(super) fn of(key: K) -> Result<Self, String> {
        let hash = attempt::<u64, _>(|| stable_hash(&key))?;
        Ok(Self { hash, key })
    }
}

impl<K: Eq> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K> fmt::Debug for Hashed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key ({:016x})", self.hash)
    }
}

/// A row that user code did not accept, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Aside {
    /// The row's stable hash, or its key's.
    pub(super) hash: u64,
    pub(super) cause: String,
}

impl Aside {
    pub(super) fn of<D: Key>(row: &D, cause: String) -> Self {
        Self { hash: attempt::<u64, _>(|| stable_hash(row)).unwrap_or_default(), cause }
    }
}
