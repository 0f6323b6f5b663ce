//! What the derive and `#[job]` accept: every kind of field, every setting, and the face of the architecture page.

use distributary::{Event, Flow, Job, Result, Timestamp, job};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
pub(crate) struct Payment {
    pub(crate) payment_id: Uuid,
    pub(crate) user_id: String,
    pub(crate) amount_cents: i64,
    pub(crate) at: Timestamp,
}

/// An id of the user's own, an optional subject, and all settings, in two attributes.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "web.page-views_1", id = "type", time = "seen", subject = "visitor")]
#[event(key = "shop", delay = "250ms", max_ahead = "2d")]
pub(crate) struct PageView {
    pub(crate) r#type: OwnId,
    pub(crate) seen: jiff::Timestamp,
    pub(crate) visitor: Option<u64>,
    pub(crate) shop: u32,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnId(pub(crate) String, pub(crate) u8);

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "weather", id = "station", time = "at", no_personal_data)]
pub(crate) struct Weather {
    pub(crate) station: u16,
    pub(crate) at: Timestamp,
}

/// Spend per user.
///
/// In cents.
#[job(team = "fraud")]
pub(crate) fn spend(_flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "ops-eu_1")]
fn refuses(_: &Flow<'_>) -> distributary::Result<()> {
    Err(distributary::Error::refused("never starts", "write another"))
}

pub(crate) const JOBS: &[Job] = &[spend, refuses];
