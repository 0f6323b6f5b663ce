//! The records that no job can use, each in its own way.

use super::{AMOUNT_FAILS, AMOUNT_PANICS, Payment};
use bytes::Bytes;

/// A way in which a record is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Poison {
    /// Not JSON at all.
    NotJson,
    /// JSON that breaks off.
    Truncated,
    /// No value.
    Null,
    /// The amount is a text.
    WrongType,
    /// No amount.
    MissingField,
    /// The payment happens ten years from now.
    FarAhead,
    /// The amount is [`AMOUNT_PANICS`].
    Panics,
    /// The amount is [`AMOUNT_FAILS`].
    Fails,
    /// The value has more than [`Poison::OVERSIZED_BYTES`].
    Oversized,
}

impl Poison {
    /// Every kind there is.
    pub const ALL: [Self; 9] = [
        Self::NotJson,
        Self::Truncated,
        Self::Null,
        Self::WrongType,
        Self::MissingField,
        Self::FarAhead,
        Self::Panics,
        Self::Fails,
        Self::Oversized,
    ];

    /// An oversized value has more bytes than this.
    pub const OVERSIZED_BYTES: usize = 256 * 1024;

    /// So many oversized records at most: more would make a small stream a large one.
    pub const OVERSIZED_MAX: u64 = 8;

    /// The kind of the bad record with this rank: in turn, the other kinds taking over from the oversized ones.
    pub(super) fn of_rank(rank: u64) -> Self {
        let (round, kind) = (rank / Self::ALL.len() as u64, rank as usize % Self::ALL.len());
        match Self::ALL[kind] {
            Self::Oversized if round >= Self::OVERSIZED_MAX => Self::ALL[round as usize % (Self::ALL.len() - 1)],
            kind => kind,
        }
    }

    /// The bytes of a payment that has gone bad.
    pub(super) fn spoil(self, payment: Payment) -> Option<Bytes> {
        match self {
            Self::NotJson => Some(Bytes::from_static(b"\xff\x00 not json")),
            Self::Truncated => {
                let json = payment.json();
                Some(json.slice(..json.len() / 2))
            }
            Self::Null => None,
            Self::WrongType => Some(replaced(&payment, "\"amount_cents\":", "\"amount_cents\":\"many\",\"was\":")),
            Self::MissingField => Some(replaced(&payment, "\"amount_cents\":", "\"amount\":")),
            Self::FarAhead => Some(Payment { at_ms: payment.at_ms.saturating_add(TEN_YEARS_MS), ..payment }.json()),
            Self::Panics => Some(Payment { amount_cents: AMOUNT_PANICS, ..payment }.json()),
            Self::Fails => Some(Payment { amount_cents: AMOUNT_FAILS, ..payment }.json()),
            Self::Oversized => {
                let long = format!("\"merchant\":\"{}", "x".repeat(Self::OVERSIZED_BYTES));
                Some(replaced(&payment, "\"merchant\":\"", &long))
            }
        }
    }
}

const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

fn replaced(payment: &Payment, from: &str, to: &str) -> Bytes {
    let json = payment.json();
    Bytes::from(String::from_utf8_lossy(&json).replacen(from, to, 1))
}
