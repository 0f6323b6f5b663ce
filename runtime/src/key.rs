//! Keys: one stable encoding and one stable hash for exchange, key group and state; Java's for bus partitions.

mod check;

pub use check::{Unfit, check, reads_back};

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that can be a key: ordered (which rules out floats and hash maps, whose encodings are not stable) and
/// encodable.
///
/// Keys are found again by their encoding's hash, and told apart by `==`: so keys that are equal must be written alike, and what is written
/// must make the same key. What shows in a type ([`check`]) is refused when the plan is made: a float in a wrapper that orders it,
/// `Decimal` (1.0 is 1.00), times with an offset, texts that are equal in capitals, sets without order, `untagged`, `flatten`. What does not show, a
/// field that is not written (`#[serde(skip)]`), stops the pipeline if one of the first keys tells of it ([`reads_back`]); an `Ord` of
/// one's own that leaves out what is written, behind a `Deserialize` that takes few values, is not noticed at all.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key or an event id",
    label = "use `String`, an integer, `Uuid`, or a type that derives Clone, PartialEq, Eq, PartialOrd, Ord, Serialize and Deserialize"
)]
pub trait Key: Clone + Ord + Send + Serialize + DeserializeOwned + 'static {}
#[diagnostic::do_not_recommend]
impl<T: Clone + Ord + Send + Serialize + DeserializeOwned + 'static> Key for T {}

/// Key groups: the unit in which keyed state is saved and moved between workers. A constant of the format.
pub const KEY_GROUPS: usize = 256;

/// One of the [`KEY_GROUPS`] slices of a keyed state. Any number of workers serves them: group modulo workers.
#[must_use]
pub fn key_group(hash: u64) -> u8 {
    // The middle bits: hash tables use the low ones for the bucket and the high ones for the tag.
    (hash >> 32) as u8
}

/// The stable encoding of a value, as it stands in state objects.
///
/// # Errors
/// A `Serialize` implementation may refuse; a derived one does not.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(value)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// The bytes are not an encoding of `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}

/// The stable hash of a key: xxh3 of its encoding.
///
/// ```
/// use distributary_runtime::key::stable_hash;
/// assert_eq!(stable_hash(&"u1"), stable_hash(&"u1".to_string()));
/// assert_ne!(stable_hash(&"u1"), stable_hash(&"u2"));
/// ```
///
/// # Panics
/// When the key's `Serialize` refuses: the key's own code is wrong, and the record becomes a dead letter.
#[must_use]
#[inline]
pub fn stable_hash<K: Serialize>(key: &K) -> u64 {
    let mut room = [0; SHORT];
    match postcard::serialize_with_flavor(key, Short { room: &mut room, len: 0 }) {
        Ok(len) => hash_bytes(&room[..len]),
        Err(_) => hash_long(key),
    }
}

/// Keys whose encoding is this short are hashed without a detour over the heap: all but unusual ones.
const SHORT: usize = 64;

/// Writes as `postcard::to_slice` does, but a number byte by byte: for the few bytes of most a call of `memcpy` takes longer than
/// their hash.
struct Short<'a> {
    room: &'a mut [u8; SHORT],
    len: usize,
}

/// The longest encoding of an integer.
const NUMBER: usize = 10;

impl Flavor for Short<'_> {
    type Output = usize;

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        *self.room.get_mut(self.len).ok_or(postcard::Error::SerializeBufferFull)? = byte;
        self.len += 1;
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        if bytes.len() <= NUMBER {
            return bytes.iter().try_for_each(|byte| self.try_push(*byte));
        }
        let room = self.room.get_mut(self.len..self.len + bytes.len()).ok_or(postcard::Error::SerializeBufferFull)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    #[inline]
    fn finalize(self) -> Result<usize, postcard::Error> {
        Ok(self.len)
    }
}

/// A stable hash of what a value says, for values that are longer than keys: xxh3 of its encoding, which is written to `room`, over
/// what stood there. Hand in the same room again, and none is allocated.
///
/// ```
/// use distributary_runtime::key::{content_hash, stable_hash};
/// let mut room = Vec::new();
/// assert_eq!(content_hash(&("u1", 5), &mut room)?, stable_hash(&("u1", 5)));
/// # Ok::<(), distributary_runtime::key::EncodeError>(())
/// ```
///
/// # Errors
/// A `Serialize` implementation may refuse; a derived one does not.
#[inline]
pub fn content_hash<T: Serialize>(value: &T, room: &mut Vec<u8>) -> Result<u64, EncodeError> {
    room.clear();
    postcard::serialize_with_flavor(value, Long(room))?;
    Ok(hash_bytes(room))
}

/// Why a value has no encoding.
pub use postcard::Error as EncodeError;

/// As [`Short`], but there is always room.
struct Long<'a>(&'a mut Vec<u8>);

impl Flavor for Long<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

#[cold]
fn hash_long<K: Serialize>(key: &K) -> u64 {
    hash_bytes(&encode(key).unwrap_or_else(|_| panic!("a key must be encodable")))
}

/// The stable hash of bytes that are already encoded.
#[must_use]
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The partition the Java client's default partitioner gives a key, so that records keyed elsewhere land alike.
///
/// Source: `org.apache.kafka.common.utils.Utils.murmur2`, then `toPositive(..) % partitions`.
///
/// ```
/// use distributary_runtime::key::java_partition;
/// assert_eq!(java_partition(b"foobar", 1_000), 166);
/// ```
#[must_use]
pub fn java_partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_the_java_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
