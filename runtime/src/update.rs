//! What flows: `(data, stamp, diff)`, and the identity of a record inside the engine.

use crate::time::{EventTime, Watermark};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A value that may travel between operators and workers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between operators",
    label = "what travels is cloned, written and read: `#[derive(Clone, Serialize, Deserialize)]`"
)]
pub trait Data: Clone + Send + Serialize + serde::de::DeserializeOwned + 'static {}
#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Serialize + serde::de::DeserializeOwned + 'static> Data for T {}

/// One change: `diff` copies of `data` come (positive) or go (negative).
pub type Update<D> = (D, Stamp, Diff);

/// How many copies of a record come or go.
pub type Diff = i64;

/// What every update carries beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Which record this is, or comes from.
    pub origin: Origin,
    /// When the event happened.
    pub time: EventTime,
    /// What its own partition's prefix had claimed before it: a window refuses the record iff this is at or past
    /// the window's end plus the allowed lateness. A fact of the record, so it is the same in every replay.
    pub seen: Watermark,
}

/// The identity of a record inside the engine, and the canonical order of an epoch.
///
/// A record of the bus is (source, partition, offset, sub-index); the result of an aggregation is (operator, key,
/// window). Keys stand as their stable 64-bit hash: where order must be total whatever hashes do, sinks break ties by
/// the encoded bytes.
///
/// ```
/// use distributary_runtime::update::Origin;
/// let first = Origin::record(0, 1, 41);
/// assert!(first < Origin::record(0, 1, 42));
/// assert!(first.child(0).unwrap() < first.child(1).unwrap());
/// assert_eq!(first.position(), Some((0, 1, 41)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Source and partition, or (with the top bit set) an operator.
    major: u64,
    /// Offset, or the hash of a key.
    minor: u64,
    /// 0, or the start of a window with its sign bit flipped (so that the order is that of time).
    window: u64,
    /// Path through the fan-outs a record went through, 16 bits a level.
    sub: u64,
}

const OPERATOR: u64 = 1 << 63;
const SUB_BITS: u32 = 16;

impl Origin {
    /// The most children one record may have in one fan-out.
    pub const CHILDREN_MAX: usize = (1 << SUB_BITS) - 1;

    /// A record as it came from a source partition.
    #[must_use]
    pub fn record(source: u16, partition: u32, offset: u64) -> Self {
        Self { major: u64::from(source) << 32 | u64::from(partition), minor: offset, window: 0, sub: 0 }
    }

    /// A result of `operator` for the key with this stable hash, and the window that starts at `window` (0 without one).
    #[must_use]
    pub fn group(operator: u32, key_hash: u64, window: i64) -> Self {
        Self { major: OPERATOR | u64::from(operator), minor: key_hash, window: (window as u64) ^ (1 << 63), sub: 0 }
    }

    /// The `index`-th result of a fan-out over this record; `None` past 65,534 children or four levels of fan-out.
    #[must_use]
    pub fn child(self, index: usize) -> Option<Self> {
        if index >= Self::CHILDREN_MAX || self.sub >> (64 - SUB_BITS) != 0 {
            return None;
        }
        Some(Self { sub: self.sub << SUB_BITS | (index as u64 + 1), ..self })
    }

    /// (source, partition, offset) of the bus record this comes from; `None` for a result of an aggregation.
    #[must_use]
    pub fn position(self) -> Option<(u16, u32, u64)> {
        (self.major & OPERATOR == 0).then_some(((self.major >> 32) as u16, self.major as u32, self.minor))
    }

    /// The path through the fan-outs the record went through, 16 bits a level; 0 without any.
    #[must_use]
    pub fn sub(self) -> u64 {
        self.sub
    }
}

/// `source/partition@offset`, or `operator#key-hash@window`, then `.sub` where a fan-out happened. Holds no data.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            Some((source, partition, offset)) => write!(f, "{source}/{partition}@{offset}")?,
            None => {
                let window = (self.window ^ (1 << 63)) as i64;
                write!(f, "op{}#{:016x}@{window}", self.major as u32, self.minor)?;
            }
        }
        if self.sub == 0 { Ok(()) } else { write!(f, ".{:x}", self.sub) }
    }
}

/// A node's number: its place in the plan.
pub type NodeId = u32;

/// A record that an operator set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Which record.
    pub origin: Origin,
    /// The node of the plan that could not use it.
    pub node: NodeId,
    /// Copies set aside (negative: one that was set aside before is retracted).
    pub diff: Diff,
    /// Why. May hold what user code said, so it goes to the dead-letter topic and never to a log.
    pub cause: String,
}
