//! The events: each follows from its index, so that what must come out is known without remembering what went in.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// How many users there are: `u0` and up.
static USERS: AtomicU64 = AtomicU64::new(100_000);

pub(crate) fn users() -> u64 {
    USERS.load(Ordering::Relaxed)
}

/// Before the first event is made.
pub(crate) fn set_users(users: u64) {
    USERS.store(users.max(1), Ordering::Relaxed);
}

/// Makes the value about 200 bytes long.
const PAD: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

/// When each event is due: the first, by which the engine is seen to be up, at a moment of its own, the others at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) probe_us: i64,
    pub(crate) began_us: i64,
    pub(crate) rate: u64,
}

impl Schedule {
    /// Unix time in microseconds.
    pub(crate) fn due_us(&self, index: u64) -> i64 {
        match index.checked_sub(1) {
            None => self.probe_us,
            Some(after) => self.began_us + (after * 1_000_000 / self.rate) as i64,
        }
    }

    /// The index behind the last event that is due so long after the beginning.
    pub(crate) fn due_after(&self, micros: u64) -> u64 {
        1 + micros * self.rate / 1_000_000
    }
}

/// An event without its due time.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    index: u64,
    mixed: u64,
    pub(crate) user: u64,
    pub(crate) amount_cents: i64,
}

impl Event {
    pub(crate) fn new(index: u64) -> Self {
        let mixed = mix(index);
        // Event 0 passes the relay's filter: it is what the engine is seen to be up by.
        let amount_cents = if index == 0 { 1 } else { 1 + (mixed >> 24) as i64 % 100_000 };
        Self { index, mixed, user: mix(mixed) % users(), amount_cents }
    }

    /// Whether the relay lets it through.
    pub(crate) fn passes(&self) -> bool {
        self.amount_cents % 10 != 0
    }

    /// Its id, as 36 bytes of text.
    pub(crate) fn id(&self) -> [u8; 36] {
        let (mut id, m) = ([0; 36], self.mixed);
        let (a, b, c, d, e) = (m >> 32, m >> 16 & 0xffff, m & 0xffff, self.index >> 48, self.index & 0xffff_ffff_ffff);
        // The text fits exactly.
        let _ = write!(&mut id[..], "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}");
        id
    }

    /// Key and value of its record, behind what stands in the buffers.
    pub(crate) fn write(&self, due_us: i64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let (user, amount, merchant) = (self.user, self.amount_cents, (self.mixed >> 10) % 2_000);
        // Writing to memory does not fail.
        let _ = write!(key, "u{user}");
        value.extend_from_slice(b"{\"payment_id\":\"");
        value.extend_from_slice(&self.id());
        let _ = write!(
            value,
            "\",\"user\":\"u{user}\",\"amount_cents\":{amount},\"merchant\":\"merchant-{merchant:04}\",\"due_us\":{due_us},\"pad\":\"{PAD}\"}}"
        );
    }
}

/// A splitmix64 step: neighbours become unlike each other.
fn mix(index: u64) -> u64 {
    let mut x = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Of a set of records, whatever their order: a record that is lost, repeated or changed is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) count: u64,
    xor: u64,
    sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, id: &[u8], user: u64, amount_cents: i64, flag: bool, due_us: i64) {
        let mut bytes = [0; 61];
        let len = id.len().min(36);
        bytes[..len].copy_from_slice(&id[..len]);
        bytes[36..44].copy_from_slice(&user.to_le_bytes());
        bytes[44..52].copy_from_slice(&amount_cents.to_le_bytes());
        bytes[52..60].copy_from_slice(&due_us.to_le_bytes());
        bytes[60] = u8::from(flag);
        let hash = xxh3_64(&bytes);
        self.count += 1;
        self.xor ^= hash;
        self.sum = self.sum.wrapping_add(hash);
    }
}
