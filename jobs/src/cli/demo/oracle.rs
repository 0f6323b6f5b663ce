//! What has to come out, worked out from the payments alone: a plain recomputation that shares nothing with the engine
//! but the partitioner.

use super::PARTITIONS;
use crate::jobs::{ALERT_AT, Alert, Balance};
use crate::payments::{Generated, Kind, Poison};
use crate::{Timestamp, secs};
use distributary_runtime::key::java_partition;
use std::collections::BTreeMap;

const WINDOW_MS: i64 = 10_000;
const LATENESS_MS: i64 = 2_000;
const DELAY_MS: i64 = 2_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Oracle {
    balances: BTreeMap<String, (u64, i64)>,
    /// Payments that came in time, by the window's start and the user.
    windows: BTreeMap<(i64, String), u64>,
    /// What each partition's payments so far claim of event time.
    claims: [Option<i64>; PARTITIONS as usize],
    pub(super) bad: u64,
}

/// What came out, against what had to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Results that had to come and did not.
    pub(super) lost: u64,
    /// Results that came and had not to.
    pub(super) duplicated: u64,
}

impl std::ops::Add for Difference {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { lost: self.lost + other.lost, duplicated: self.duplicated + other.duplicated }
    }
}

impl Difference {
    fn of(expected: u64, found: u64) -> Self {
        Self { lost: expected.saturating_sub(found), duplicated: found.saturating_sub(expected) }
    }
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self { balances: BTreeMap::new(), windows: BTreeMap::new(), claims: Default::default(), bad: 0 }
    }

    /// Takes in a payment as it is published.
    pub(super) fn take(&mut self, payment: &Generated) {
        if matches!(payment.kind, Kind::Bad(_)) {
            self.bad += 1;
        }
        // Bad ones that are payments to the decoder count for event time.
        let decodes = !matches!(
            payment.kind,
            Kind::Bad(
                Poison::NotJson | Poison::Truncated | Poison::Null | Poison::WrongType | Poison::MissingField | Poison::FarAhead
            )
        );
        let Some((user, cents, at)) = payment.value.as_deref().filter(|_| decodes).and_then(fields) else { return };
        let claim = &mut self.claims[java_partition(&payment.key, PARTITIONS) as usize];
        if matches!(payment.kind, Kind::Good | Kind::Late) {
            let (count, sum) = self.balances.entry(user.clone()).or_default();
            (*count, *sum) = (*count + 1, *sum + cents);
            let start = at.div_euclid(WINDOW_MS) * WINDOW_MS;
            if claim.is_none_or(|claim| claim < start + WINDOW_MS + LATENESS_MS) {
                *self.windows.entry((start, user)).or_default() += 1;
            }
        }
        *claim = (*claim).max(Some(at - DELAY_MS));
    }

    /// The alerts that have to be there when everything has been taken in.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        let Some(watermark) = self.claims.iter().copied().min().flatten() else { return Vec::new() };
        let over = self.windows.iter().filter(|((start, _), n)| **n >= ALERT_AT && start + WINDOW_MS <= watermark);
        let alert = |((start, user), n): (&(i64, String), &u64)| {
            let from = Timestamp::from_millis(*start);
            Alert { user_id: user.clone(), payments: *n, from, until: from + secs(10) }
        };
        over.map(alert).collect()
    }

    /// Compares the alerts that stand in the topic.
    pub(super) fn compare_alerts(&self, found: &BTreeMap<Alert, i64>) -> Difference {
        let expected = self.alerts();
        let missing = expected.iter().filter(|alert| found.get(*alert).is_none_or(|n| *n < 1)).count() as u64;
        let standing: u64 = found.values().map(|n| n.unsigned_abs()).sum();
        Difference { lost: missing, duplicated: standing.saturating_sub(expected.len() as u64 - missing) }
    }

    /// Compares the newest balance of every user, payment by payment.
    pub(super) fn compare_balances(&self, found: &BTreeMap<String, Balance>) -> Difference {
        let strangers = found.keys().filter(|user| !self.balances.contains_key(*user)).count() as u64;
        let each = self.balances.iter().map(|(user, (count, sum))| {
            let (n, cents) = found.get(user).map_or((0, 0), |b| (b.payments, b.amount_cents));
            // The right number with the wrong sum: one went and another came.
            if n == *count && cents != *sum { Difference { lost: 1, duplicated: 1 } } else { Difference::of(*count, n) }
        });
        each.fold(Difference { lost: 0, duplicated: strangers }, |a, b| a + b)
    }

    /// Compares the number of dead letters of a job.
    pub(super) fn compare_dead_letters(&self, found: u64) -> Difference {
        Difference::of(self.bad, found)
    }

    /// Payments that count, and their users.
    pub(super) fn totals(&self) -> (u64, usize) {
        (self.balances.values().map(|(n, _)| n).sum(), self.balances.len())
    }
}

/// User, cents and time, read as a stranger would: field by field.
fn fields(value: &[u8]) -> Option<(String, i64, i64)> {
    let json: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some((json["user_id"].as_str()?.to_string(), json["amount_cents"].as_i64()?, json["at"].as_i64()?))
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;
    use crate::payments::Payments;
    use crate::{TestJob, jobs};

    #[test]
    fn the_oracle_and_the_jobs_agree() {
        let options = Options::small().payments(1_790_000_000_000);
        let payments: Vec<Generated> = Payments::new(options).unwrap().collect();
        let mut oracle = Oracle::new();
        let mut job = TestJob::new(jobs::balance);
        for payment in payments {
            oracle.take(&payment);
            job.push_raw("payments", payment.into());
        }
        let rows: Vec<Balance> = job.rows("demo.balance").read();
        let found = rows.into_iter().map(|b| (b.user_id.clone(), b)).collect();
        assert_eq!(oracle.compare_balances(&found), Difference::default());
        assert_eq!(oracle.compare_dead_letters(job.dead_letters().len() as u64), Difference::default());
        assert!(oracle.bad > 0 && !oracle.alerts().is_empty(), "there is something to compare");
    }

    #[test]
    fn whatever_is_missing_or_too_much_is_seen() {
        let mut oracle = Oracle::new();
        Payments::new(Options::small().payments(1_790_000_000_000)).unwrap().for_each(|p| oracle.take(&p));
        let mut alerts: BTreeMap<Alert, i64> = oracle.alerts().into_iter().map(|a| (a, 1)).collect();
        assert_eq!(oracle.compare_alerts(&alerts), Difference::default());
        *alerts.values_mut().next().unwrap() = 2;
        assert_eq!(oracle.compare_alerts(&alerts), Difference { lost: 0, duplicated: 1 });
        *alerts.values_mut().next().unwrap() = 0;
        assert_eq!(oracle.compare_alerts(&alerts), Difference { lost: 1, duplicated: 0 });
        let of = |(user, (payments, amount_cents)): (&String, &(u64, i64))| {
            (user.clone(), Balance { user_id: user.clone(), payments: *payments, amount_cents: *amount_cents })
        };
        let mut balances: BTreeMap<String, Balance> = oracle.balances.iter().map(of).collect();
        assert_eq!(oracle.compare_balances(&balances), Difference::default());
        balances.values_mut().next().unwrap().amount_cents += 1;
        assert_eq!(oracle.compare_balances(&balances), Difference { lost: 1, duplicated: 1 });
        balances.pop_first();
        assert!(oracle.compare_balances(&balances).lost > 0);
    }
}
