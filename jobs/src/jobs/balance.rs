//! What every user has spent so far.

use super::Payment;
use crate::{Flow, Result, count, job, sum, upsert};
use serde::{Deserialize, Serialize};

/// What a user has spent so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Balance {
    /// Who.
    pub user_id: String,
    /// How often.
    pub payments: u64,
    /// How much.
    pub amount_cents: i64,
}

/// Running spend per user, the newest of each user, to the topic `demo.balance`.
#[job(team = "demo")]
pub fn balance(flow: &Flow) -> Result<()> {
    Payment::each_once(flow)?
        .key_by(|p| p.user_id.clone())
        .aggregate("balance", (count(), sum(|p: &Payment| p.amount_cents)))
        .map(|u| Balance { user_id: u.key, payments: u.value.0, amount_cents: u.value.1 })
        .keyed(|balance| balance.user_id.clone())
        .to(upsert("demo.balance"));
    Ok(())
}
