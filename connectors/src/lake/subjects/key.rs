//! The key of a table's indexes.

use super::FOLDER;
use crate::lake::store::TableStore;
use distributary_runtime::error::{Error, Result};
use siphasher::sip::SipHasher24;
use std::fmt;
use url::Url;

/// SipHash takes 128 bits.
const KEY_BYTES: usize = 16;

/// Hashes subjects. Shown nowhere.
#[derive(Clone)]
pub(in crate::lake) struct SubjectKey(SipHasher24);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

impl SubjectKey {
    /// The table's; `None` when nobody has needed one yet.
    pub(in crate::lake) fn read(store: &TableStore, table: &Url) -> Result<Option<Self>> {
        let url = url(table)?;
        let Some(bytes) = store.find(&url)? else { return Ok(None) };
        match <&[u8; KEY_BYTES]>::try_from(&bytes[..]) {
            Ok(key) => Ok(Some(Self::of(key))),
            Err(_) => Err(damaged(&url, format!("a key has {KEY_BYTES} bytes, this has {}", bytes.len()))),
        }
    }

    /// The table's, made of the system's random bits if there is none. Of two that make one the store takes one, and both use that; so does
    /// one whose answer was lost.
    pub(in crate::lake) fn create(store: &TableStore, table: &Url) -> Result<Self> {
        if let Some(key) = Self::read(store, table)? {
            return Ok(key);
        }
        let (url, mut key) = (url(table)?, [0; KEY_BYTES]);
        getrandom::fill(&mut key).map_err(|e| Error::Unavailable { what: format!("a key at {url}"), reason: e.to_string() })?;
        store.create(&url, key.to_vec())?;
        Self::read(store, table)?.ok_or_else(|| damaged(&url, "it was created, and is not there".into()))
    }

    fn of(key: &[u8; KEY_BYTES]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    pub(in crate::lake) fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

fn url(table: &Url) -> Result<Url> {
    table.join(&format!("{FOLDER}key")).map_err(|e| damaged(table, e.to_string()))
}

fn damaged(url: &Url, what: String) -> Error {
    Error::Damaged { object: url.to_string(), what }
}

#[cfg(test)]
mod tests {
    use super::SubjectKey;

    /// Of the paper of SipHash: the first bytes of a message and of a key are 0, 1, 2 and so on.
    #[test]
    fn the_hash_is_siphash_2_4() {
        let key = SubjectKey::of(&std::array::from_fn(|i| i as u8));
        let message: [u8; 15] = std::array::from_fn(|i| i as u8);
        assert_eq!(key.hash(&message), 0xa129_ca61_49be_45e5);
    }
}
