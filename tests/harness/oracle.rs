//! What every topic must hold, said from the input alone: plain loops over the records of each partition, in order. It
//! shares nothing with the engine but the description of the job.
//!
//! Both the input and the outputs are partitioned by user, by the same function, and no partition is ever idle. So
//! everything here follows from the order within a partition, however epochs, restarts and workers cut it up.

use crate::ledger::{DELAY_MS, HORIZON_MS, LATENESS_MS, WINDOW_MS};
use crate::{Result, outside};
use distributary::payments::{AMOUNT_FAILS, AMOUNT_PANICS};
use distributary_runtime::bus::{Bus, Record, TopicId};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// Values longer than this are dead letters, by the job API's own limit.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// So are events further ahead of their record than this.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// A payment as the generator writes it.
#[derive(Deserialize)]
struct Payment {
    payment_id: String,
    user_id: String,
    amount_cents: i64,
    at: i64,
}

/// Payments and cents.
pub type Total = (u64, i64);

/// What the topics must hold.
#[derive(Default)]
pub struct Expected {
    /// By partition, the digest of each payment, in order.
    pub relay: BTreeMap<u32, Vec<u64>>,
    /// By user, the cents after the first, second, third payment.
    pub spend: HashMap<String, Vec<i64>>,
    /// By user and start of the window; only windows that have ended.
    pub windows: HashMap<(String, i64), Total>,
    /// By payment id: how often.
    pub windows_late: HashMap<u128, u32>,
    /// By payment id: how often.
    pub dedup_late: HashMap<u128, u32>,
    /// By position: the digest of key and value.
    pub dead: HashMap<(u32, u64), u64>,
}

/// What a partition has shown so far.
#[derive(Default)]
struct Partition {
    /// The newest event time.
    newest: Option<i64>,
    ids: HashSet<u128>,
}

/// Reads the input and says what must come of it.
///
/// # Errors
/// The bus failed.
pub fn expect(bus: &dyn Bus, payments: TopicId) -> Result<Expected> {
    let mut expected = Expected::default();
    let mut partitions: BTreeMap<u32, Partition> = BTreeMap::new();
    outside::read(bus, payments, &BTreeMap::new(), |partition, record| {
        expected.take(partition, record, partitions.entry(partition).or_default())
    })?;
    // The pipeline's watermark in the end: what its slowest partition claims.
    let ended = partitions.values().map(|p| p.newest.map_or(i64::MIN, |at| at - DELAY_MS)).min().unwrap_or(i64::MIN);
    expected.windows.retain(|(_, start), _| start + WINDOW_MS <= ended);
    Ok(expected)
}

impl Expected {
    fn take(&mut self, number: u32, record: &Record, partition: &mut Partition) -> Result<()> {
        let seen = partition.newest.map_or(i64::MIN, |at| at - DELAY_MS);
        let payment = decode(record);
        if let Some(payment) = &payment {
            partition.newest = partition.newest.max(Some(payment.at));
        }
        let usable = |p: &Payment| p.amount_cents != AMOUNT_PANICS && p.amount_cents != AMOUNT_FAILS;
        let Some(Payment { payment_id, user_id, amount_cents, at }) = payment.filter(usable) else {
            self.dead.insert((number, record.offset.0), original(record));
            return Ok(());
        };
        let id = id_of(&payment_id)?;
        self.relay.entry(number).or_default().push(relayed(id, &user_id, amount_cents, at));
        if seen >= at + HORIZON_MS {
            *self.dedup_late.entry(id).or_default() += 1;
            return Ok(());
        }
        if !partition.ids.insert(id) {
            return Ok(());
        }
        let spend = self.spend.entry(user_id.clone()).or_default();
        spend.push(spend.last().copied().unwrap_or(0) + amount_cents);
        let start = at - at.rem_euclid(WINDOW_MS);
        if seen >= start + WINDOW_MS + LATENESS_MS {
            *self.windows_late.entry(id).or_default() += 1;
            return Ok(());
        }
        let window = self.windows.entry((user_id, start)).or_default();
        *window = (window.0 + 1, window.1 + amount_cents);
        Ok(())
    }
}

fn decode(record: &Record) -> Option<Payment> {
    let value = record.value.as_ref().filter(|v| v.len() <= VALUE_BYTES_MAX)?;
    let payment: Payment = serde_json::from_slice(value).ok()?;
    (payment.at >= 0 && payment.at - record.timestamp.0 <= MAX_AHEAD_MS).then_some(payment)
}

/// The id of a payment: a UUID in text.
pub(crate) fn id_of(text: &str) -> Result<u128> {
    Ok(u128::from_str_radix(&text.replace('-', ""), 16)?)
}

/// Stands for a payment in the relay.
pub(crate) fn relayed(id: u128, user: &str, cents: i64, at: i64) -> u64 {
    xxh3_64(format!("{id:x} {user} {cents} {at}").as_bytes())
}

/// Stands for the bytes of a record.
pub(crate) fn original(record: &Record) -> u64 {
    xxh3_64(format!("{:?} {:?}", record.key, record.value).as_bytes())
}
