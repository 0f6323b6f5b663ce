//! Spend per user and interval.

use super::Payment;
use crate::{Flow, Result, Timestamp, count, job, secs, sum, topic, tumbling};
use serde::{Deserialize, Serialize};

/// What a user has spent in an interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spend {
    /// Who.
    pub user_id: String,
    /// From when on.
    pub from: Timestamp,
    /// How often.
    pub payments: u64,
    /// How much.
    pub amount_cents: i64,
}

/// Spend per user in ten seconds, corrected for two more, to the topic `demo.spend`.
#[job(team = "demo")]
pub fn spend(flow: &Flow) -> Result<()> {
    Payment::each_once(flow)?
        .key_by(|p| p.user_id.clone())
        .window(tumbling(secs(10)).lateness(secs(2)))
        .aggregate("spend_in_window", (count(), sum(|p: &Payment| p.amount_cents)))
        .map(|w| Spend { user_id: w.key, from: w.window.start.into(), payments: w.value.0, amount_cents: w.value.1 })
        .keyed(|spend| spend.user_id.clone())
        .to(topic("demo.spend"));
    Ok(())
}
