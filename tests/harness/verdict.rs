//! The verdict: reads every output topic once, from its beginning, and compares it with what must be there and with
//! what stood there behind each kill.

use crate::cuts::Cuts;
use crate::findings::Findings;
use crate::ledger::{DEAD_LETTERS, DEDUP_LATE, LAKE_OUTPUTS, OUTPUTS, RELAY, SPEND, WINDOWS, WINDOWS_LATE};
use crate::oracle::{self, Expected, Total, id_of, original, relayed};
use crate::{Result, archives, outside, tables};
use distributary_runtime::bus::{Bus, Record, TopicId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Compares every output with what the oracle says of this input, and with the cuts.
///
/// # Errors
/// The bus failed, or an output is none of the job's.
pub fn judge(bus: &dyn Bus, payments: TopicId, cuts: &Cuts, findings: &mut Findings) -> Result<()> {
    let expected = oracle::expect(bus, payments)?;
    let Expected { relay, spend, windows, windows_late, dedup_late, dead } = expected;
    let mut relay = Relay { found: relay.keys().map(|p| (*p, Vec::new())).collect(), expected: relay };
    let mut spend = Spend { expected: spend, payments: HashMap::new(), newest: HashMap::new() };
    let mut windows = Windows { expected: windows, standing: HashMap::new() };
    let (mut windows_late, mut dedup_late) = (Late(windows_late), Late(dedup_late));
    let mut dead = Dead { expected: dead, found: HashMap::new() };
    for name in OUTPUTS {
        let topic = bus.topic(name)?.ok_or_else(|| format!("topic `{name}` is missing"))?;
        let mut logs: BTreeMap<u32, _> = (0..topic.spec.partitions).map(|p| (p, cuts.compare(name, p))).collect();
        outside::read(bus, topic.id, &BTreeMap::new(), |partition, record| {
            if name == SPEND {
                spend.compact(record)?;
            }
            // A new partition is nobody's.
            let Some(log) = logs.get_mut(&partition) else { return Ok(()) };
            if !log.record(record, findings)? {
                return Ok(());
            }
            match name {
                RELAY => relay.record(partition, record),
                SPEND => spend.record(record, findings),
                WINDOWS => windows.record(record, findings),
                WINDOWS_LATE => windows_late.record(name, record, findings),
                DEDUP_LATE => dedup_late.record(name, record, findings),
                _ => dead.record(record, findings),
            }
        })?;
        logs.into_values().for_each(|log| log.end(findings));
    }
    relay.end(findings);
    spend.end(findings);
    windows.end(findings);
    windows_late.end(WINDOWS_LATE, findings);
    dedup_late.end(DEDUP_LATE, findings);
    dead.end(findings);
    Ok(())
}

/// Compares the tables of the job that writes some, and its two topics, with what the oracle says of this input, and its archive with that input.
///
/// # Errors
/// The bus or the reader of the tables failed, or an output is none of the job's.
pub fn judge_tables(bus: &dyn Bus, payments: TopicId, lake: &str, findings: &mut Findings) -> Result<()> {
    let expected = oracle::expect(bus, payments)?;
    tables::judge(lake, &expected, findings)?;
    archives::judge(bus, payments, lake, findings)?;
    let (mut late, mut dead) = (Late(expected.dedup_late), Dead { expected: expected.dead, found: HashMap::new() });
    for name in LAKE_OUTPUTS {
        let topic = bus.topic(name)?.ok_or_else(|| format!("topic `{name}` is missing"))?;
        outside::read(bus, topic.id, &BTreeMap::new(), |_, record| match name == LAKE_OUTPUTS[0] {
            true => late.record(name, record, findings),
            false => dead.record(record, findings),
        })?;
    }
    late.end(LAKE_OUTPUTS[0], findings);
    dead.end(findings);
    Ok(())
}

fn json<T: DeserializeOwned>(record: &Record) -> Result<T> {
    let value = record.value.as_deref().ok_or_else(|| format!("the output at offset {} has no value", record.offset))?;
    Ok(serde_json::from_slice(value)?)
}

/// 1, or -1 for a record that takes something back.
fn diff(record: &Record) -> i64 {
    if record.header("op") == Some("-") { -1 } else { 1 }
}

/// Every payment, in the order of its partition.
struct Relay {
    expected: BTreeMap<u32, Vec<u64>>,
    found: BTreeMap<u32, Vec<u64>>,
}

#[derive(Deserialize)]
struct Relayed {
    payment_id: String,
    user_id: String,
    amount_cents: i64,
    at_ms: i64,
}

impl Relay {
    fn record(&mut self, partition: u32, record: &Record) -> Result<()> {
        let payment: Relayed = json(record)?;
        let digest = relayed(id_of(&payment.payment_id)?, &payment.user_id, payment.amount_cents, payment.at_ms);
        self.found.entry(partition).or_default().push(if diff(record) > 0 { digest } else { 0 });
        Ok(())
    }

    fn end(self, findings: &mut Findings) {
        for (partition, found) in self.found {
            let expected = self.expected.get(&partition).map_or(&[][..], Vec::as_slice);
            if found == expected {
                continue;
            }
            let first = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let place = || format!("{RELAY}[{partition}] first differs from the input at offset {first}");
            let mut net: HashMap<u64, i64> = HashMap::new();
            found.iter().for_each(|d| *net.entry(*d).or_default() += 1);
            expected.iter().for_each(|d| *net.entry(*d).or_default() -= 1);
            let more: i64 = net.values().filter(|n| **n > 0).sum();
            let less: i64 = net.values().filter(|n| **n < 0).sum();
            findings.duplicated(more.unsigned_abs(), place);
            // The right payments in a wrong order: one of them is not where it should be.
            findings.lost(less.unsigned_abs().max(u64::from(more == 0)), place);
        }
    }
}

#[derive(Deserialize)]
struct PerUser {
    key: String,
    value: Total,
}

/// The newest total of each user; every total on the way must have been true once, and none comes again.
struct Spend {
    expected: HashMap<String, Vec<i64>>,
    payments: HashMap<String, u64>,
    /// What compaction would keep of each key, whatever clients drop.
    newest: HashMap<String, u64>,
}

impl Spend {
    fn compact(&mut self, record: &Record) -> Result<()> {
        let PerUser { key, value: (payments, _) } = json(record)?;
        self.newest.insert(key, payments);
        Ok(())
    }

    fn record(&mut self, record: &Record, findings: &mut Findings) -> Result<()> {
        let PerUser { key, value: (payments, cents) } = json(record)?;
        let at = record.offset;
        let totals = self.expected.get(&key).map_or(&[][..], Vec::as_slice);
        if payments > totals.len() as u64 {
            findings.duplicated(1, || format!("{SPEND}@{at}: {key} has {payments} payments of {}", totals.len()));
        } else if payments == 0 || totals[payments as usize - 1] != cents {
            findings.lost(1, || format!("{SPEND}@{at}: {key} never had this sum with {payments} payments"));
        }
        let before = self.payments.insert(key.clone(), payments).unwrap_or(0);
        if payments <= before {
            findings.duplicated(1, || format!("{SPEND}@{at}: {key} goes from {before} to {payments} payments"));
        }
        Ok(())
    }

    fn end(self, findings: &mut Findings) {
        for (user, totals) in self.expected {
            let found = self.payments.get(&user).copied().unwrap_or(0);
            let missing = (totals.len() as u64).saturating_sub(found);
            findings.lost(missing, || format!("{SPEND}: {user} ends with {found} payments of {}", totals.len()));
            let newest = self.newest.get(&user).copied().unwrap_or(0);
            let outlived = || format!("{SPEND}: the newest record of {user} has {newest} payments of {found}");
            findings.lost(found.saturating_sub(newest), outlived);
        }
    }
}

#[derive(Deserialize)]
struct PerWindow {
    key: String,
    window: Window,
    value: Total,
}

#[derive(Deserialize)]
struct Window {
    start: i64,
}

/// The result that stands for each user and window, corrections applied.
struct Windows {
    expected: HashMap<(String, i64), Total>,
    standing: HashMap<(String, i64), Total>,
}

impl Windows {
    fn record(&mut self, record: &Record, findings: &mut Findings) -> Result<()> {
        let PerWindow { key, window: Window { start }, value } = json(record)?;
        let at = record.offset;
        let place = format!("{WINDOWS}@{at}: {key} in the window from {start}");
        match (self.standing.entry((key, start)), diff(record) > 0) {
            (Entry::Vacant(none), true) => {
                none.insert(value);
            }
            (Entry::Occupied(standing), false) if *standing.get() == value => {
                standing.remove();
            }
            (_, true) => findings.duplicated(1, || format!("{place} gets a second result")),
            (_, false) => findings.lost(1, || format!("{place} takes back what does not stand")),
        }
        Ok(())
    }

    fn end(mut self, findings: &mut Findings) {
        for ((user, start), expected) in self.expected {
            let found = self.standing.remove(&(user.clone(), start)).unwrap_or_default();
            let place = || format!("{WINDOWS}: {user} in the window from {start} has {} payments of {}", found.0, expected.0);
            findings.lost(expected.0.saturating_sub(found.0), place);
            findings.duplicated(found.0.saturating_sub(expected.0), place);
            findings.lost(u64::from(found.0 == expected.0 && found.1 != expected.1), || format!("{}, but another sum", place()));
        }
        for ((user, start), _) in self.standing {
            findings.duplicated(1, || format!("{WINDOWS}: {user} in the window from {start} should have no result"));
        }
    }
}

/// Refused payments: how often each is still expected.
struct Late(HashMap<u128, u32>);

#[derive(Deserialize)]
struct Refused {
    payment_id: String,
}

impl Late {
    fn record(&mut self, name: &str, record: &Record, findings: &mut Findings) -> Result<()> {
        let Refused { payment_id } = json(record)?;
        match self.0.get_mut(&id_of(&payment_id)?).filter(|left| **left > 0 && diff(record) > 0) {
            Some(left) => *left -= 1,
            None => findings.duplicated(1, || format!("{name}@{}: payment {payment_id}", record.offset)),
        }
        Ok(())
    }

    fn end(self, name: &str, findings: &mut Findings) {
        for (id, left) in self.0 {
            findings.lost(u64::from(left), || format!("{name}: payment {id:032x}"));
        }
    }
}

/// Dead letters, by the position of the original.
struct Dead {
    expected: HashMap<(u32, u64), u64>,
    found: HashMap<(u32, u64), u64>,
}

impl Dead {
    fn record(&mut self, record: &Record, findings: &mut Findings) -> Result<()> {
        let number = |name| record.header(name).and_then(|n| n.parse::<u64>().ok());
        let place = number("source-partition").zip(number("source-offset"));
        let (partition, offset) = place.ok_or_else(|| format!("a dead letter at {} has no position", record.offset))?;
        let position = (u32::try_from(partition)?, offset);
        let again = self.found.insert(position, original(record)).is_some();
        if again || diff(record) < 0 || !self.expected.contains_key(&position) {
            findings.duplicated(1, || format!("{DEAD_LETTERS}@{}: the record at {partition}@{offset}", record.offset));
        }
        Ok(())
    }

    fn end(self, findings: &mut Findings) {
        for (position, bytes) in self.expected {
            let (partition, offset) = position;
            let wrong = self.found.get(&position) != Some(&bytes);
            findings.lost(u64::from(wrong), || format!("{DEAD_LETTERS}: the record at {partition}@{offset}, or its bytes"));
        }
    }
}
