//! A stream of card payments to try things with: the same seed gives the same bytes, on every machine.
//!
//! It looks like the real thing: out of order, with duplicates, late records and poison. How many there are of each is
//! exact, and every record comes with its [`Kind`], so that a test can say what has to come out. Nothing here reads a
//! clock; a record is a pure function of the options and its index.

mod poison;
mod random;
#[cfg(test)]
mod tests;

pub use poison::Poison;

use bytes::Bytes;
use distributary_runtime::bus::NewRecord;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::WallTime;
use random::Random;
use std::io::Write;

/// An amount at which a job that wants to show it panics.
pub const AMOUNT_PANICS: i64 = i64::MIN;

/// An amount at which a job that wants to show it returns an error.
pub const AMOUNT_FAILS: i64 = -1;

/// What the stream is like. Shares are in thousandths of all records, rounded down to whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentOptions {
    /// How many records.
    pub count: u64,
    /// How many users; the lower a user's number, the more they pay (user 0 about one payment in 300 of 100,000 users').
    pub users: u32,
    /// Another seed gives another stream.
    pub seed: u64,
    /// Event time of the first payment, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Payments in one second of event time.
    pub rate_per_s: u64,
    /// A payment arrives up to this much after it happened.
    pub out_of_order_ms: u64,
    /// Payments that arrive a second time, up to [`DUPLICATE_DISTANCE`] records later.
    pub duplicates_per_mille: u32,
    /// Payments that arrive `late_by_ms` (and their disorder) after they happened.
    pub late_per_mille: u32,
    /// How late a late payment is.
    pub late_by_ms: u64,
    /// Records of the kinds of [`Poison`].
    pub bad_per_mille: u32,
}

/// A duplicate comes at most so many records after its original, unless those are all special themselves.
pub const DUPLICATE_DISTANCE: u64 = 1_000;

impl Default for PaymentOptions {
    fn default() -> Self {
        Self {
            count: 1_000_000,
            users: 100_000,
            seed: 1,
            start_ms: 1_790_000_000_000,
            rate_per_s: 10_000,
            out_of_order_ms: 2_000,
            duplicates_per_mille: 10,
            late_per_mille: 5,
            late_by_ms: 60_000,
            bad_per_mille: 10,
        }
    }
}

impl PaymentOptions {
    /// How many records are duplicates.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.share(self.duplicates_per_mille)
    }

    /// How many records are late.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.share(self.late_per_mille)
    }

    /// How many records are poison.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.share(self.bad_per_mille)
    }

    fn share(&self, per_mille: u32) -> u64 {
        (u128::from(self.count) * u128::from(per_mille) / 1_000) as u64
    }
}

/// What a generated record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A payment, at most `out_of_order_ms` old.
    Good,
    /// The same bytes as an earlier good record.
    Duplicate,
    /// A payment that is older by `late_by_ms`. Whether a window refuses it depends on what came before it.
    Late,
    /// A record that no job can use.
    Bad(Poison),
}

/// One generated record of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// What it is.
    pub kind: Kind,
    /// The user.
    pub key: Bytes,
    /// The payment as JSON; `None` is poison too.
    pub value: Option<Bytes>,
    /// When it arrives.
    pub timestamp: WallTime,
}

impl From<Generated> for NewRecord {
    fn from(g: Generated) -> Self {
        Self { partition: None, timestamp: g.timestamp, key: Some(g.key), value: g.value, headers: Vec::new() }
    }
}

/// The stream: an iterator, and each record by its index.
///
/// ```
/// use distributary::payments::{Kind, PaymentOptions, Payments};
/// let options = PaymentOptions { count: 2_000, ..PaymentOptions::default() };
/// let records: Vec<_> = Payments::new(options)?.collect();
/// let bad = records.iter().filter(|r| matches!(r.kind, Kind::Bad(_))).count();
/// assert_eq!((records.len(), bad), (2_000, 20));
/// # Ok::<(), distributary_runtime::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Payments {
    options: PaymentOptions,
    /// Coprime to the count: `index * stride` visits every rank once.
    stride: u64,
    next: u64,
}

impl Payments {
    /// A stream of these options, from its beginning.
    ///
    /// # Errors
    /// No users, no rate, or no good records left beside the special ones.
    pub fn new(options: PaymentOptions) -> Result<Self> {
        if options.users == 0 || options.rate_per_s == 0 {
            return Err(Error::refused("payments without users or without a rate", "both are at least 1"));
        }
        if options.bad_per_mille.saturating_add(options.duplicates_per_mille).saturating_add(options.late_per_mille) >= 1_000 {
            return Err(Error::refused(
                "bad, duplicate and late payments leave no good ones",
                "their shares sum to less than 1000",
            ));
        }
        let mut random = Random::of(options.seed, u64::MAX);
        // Near the golden ratio's share of the count, neighbours in rank lie far apart and evenly.
        let golden = (u128::from(options.count) * 618_034 / 1_000_000) as u64 + random.below(options.count / 100 + 1);
        let stride = (golden.max(1)..).find(|s| coprime(*s, options.count)).unwrap_or(1);
        Ok(Self { options, stride, next: 0 })
    }

    /// The record with this index, the first being 0.
    #[must_use]
    pub fn record(&self, index: u64) -> Generated {
        let kind = self.kind(index);
        let timestamp = WallTime(self.arrival_ms(index));
        let (key, value) = match kind {
            Kind::Duplicate => self.good(self.original(index)),
            Kind::Bad(poison) => {
                let payment = self.payment(index);
                (payment.key(), poison.spoil(payment))
            }
            Kind::Good | Kind::Late => self.good(index),
        };
        Generated { kind, key, value, timestamp }
    }

    /// Every index has a rank of its own, and the ranks are dealt out to the kinds: so their numbers are exact. The
    /// last rank is always good, and is that of index 0: each duplicate finds an original before it.
    fn kind(&self, index: u64) -> Kind {
        let count = self.options.count.max(1);
        let rank = ((u128::from(index) * u128::from(self.stride) + u128::from(count - 1)) % u128::from(count)) as u64;
        let (bad, duplicates, late) = (self.options.bad(), self.options.duplicates(), self.options.late());
        match rank {
            r if r < bad => Kind::Bad(Poison::of_rank(r)),
            r if r < bad + duplicates => Kind::Duplicate,
            r if r < bad + duplicates + late => Kind::Late,
            _ => Kind::Good,
        }
    }

    fn original(&self, index: u64) -> u64 {
        let distance = 1 + Random::of(self.options.seed, index).below(DUPLICATE_DISTANCE);
        let mut original = index.saturating_sub(distance);
        while self.kind(original) != Kind::Good {
            original -= 1;
        }
        original
    }

    fn arrival_ms(&self, index: u64) -> i64 {
        let after = u128::from(index) * 1_000 / u128::from(self.options.rate_per_s);
        self.options.start_ms.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
    }

    fn good(&self, index: u64) -> (Bytes, Option<Bytes>) {
        let payment = self.payment(index);
        (payment.key(), Some(payment.json()))
    }

    fn payment(&self, index: u64) -> Payment {
        let options = &self.options;
        let mut random = Random::of(options.seed, index);
        let late = if self.kind(index) == Kind::Late { options.late_by_ms } else { 0 };
        let delay = late.saturating_add(random.below(options.out_of_order_ms.saturating_add(1)));
        Payment {
            id: u128::from(random.next()) << 64 | u128::from(random.next()),
            user: random.low(options.users),
            amount_cents: 100 + random.below(10_000) as i64 * if random.below(50) == 0 { 40 } else { 1 },
            merchant: random.low(MERCHANTS),
            at_ms: self.arrival_ms(index).saturating_sub(i64::try_from(delay).unwrap_or(i64::MAX)),
        }
    }
}

impl Iterator for Payments {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        let record = (self.next < self.options.count).then(|| self.record(self.next))?;
        self.next += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.options.count - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Payments {}

const MERCHANTS: u32 = 2_000;

/// What the JSON says.
struct Payment {
    id: u128,
    user: u32,
    amount_cents: i64,
    merchant: u32,
    at_ms: i64,
}

impl Payment {
    fn key(&self) -> Bytes {
        Bytes::from(format!("u{}", self.user))
    }

    fn json(&self) -> Bytes {
        let mut hyphenated = uuid::Uuid::encode_buffer();
        let id = uuid::Builder::from_random_bytes(self.id.to_be_bytes()).into_uuid();
        let id = id.hyphenated().encode_lower(&mut hyphenated);
        let Self { user, amount_cents, merchant, at_ms, .. } = self;
        let mut json = Vec::with_capacity(160);
        let written = write!(
            json,
            r#"{{"payment_id":"{id}","user_id":"u{user}","amount_cents":{amount_cents},"merchant":"merchant-{merchant:04}","at":{at_ms}}}"#
        );
        let Ok(()) = written else { unreachable!("writing to memory does not fail") };
        Bytes::from(json)
    }
}

fn coprime(a: u64, b: u64) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}
