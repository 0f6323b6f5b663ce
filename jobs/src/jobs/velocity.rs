//! Alerts when somebody pays suspiciously often.

use super::Payment;
use crate::{Flow, Result, Timestamp, count, job, secs, table, topic, tumbling};
use serde::{Deserialize, Serialize};

/// So many payments of a user in ten seconds are an alert.
pub const ALERT_AT: u64 = 50;

/// Somebody has paid often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alert {
    /// Who.
    pub user_id: String,
    /// How often.
    pub payments: u64,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Users with many payments in ten seconds, to the topic `demo.alerts` and the table `alerts`.
#[job(team = "demo")]
pub fn velocity(flow: &Flow) -> Result<()> {
    Payment::each_once(flow)?
        .key_by(|p| p.user_id.clone())
        .window(tumbling(secs(10)).lateness(secs(2)))
        .aggregate("payments_in_window", count())
        .filter(|w| w.value >= ALERT_AT)
        .map(|w| Alert { user_id: w.key, payments: w.value, from: w.window.start.into(), until: w.window.end.into() })
        .keyed(|alert| alert.user_id.clone())
        .to(topic("demo.alerts"))
        .to(table("alerts").time("from"));
    Ok(())
}
