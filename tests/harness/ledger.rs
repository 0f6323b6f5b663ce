//! The job that is killed: every kind of operator with state, and every kind of topic sink, in one pipeline.

use distributary::payments::{AMOUNT_FAILS, AMOUNT_PANICS};
use distributary::{Event, Flow, Result, Sink, Timestamp, count, job, secs, stdout, sum, table, topic, tumbling, upsert};
use distributary_runtime::plan::TopicLane;
use serde::{Deserialize, Serialize};

/// The topic it reads.
pub const PAYMENTS: &str = "payments";
/// Every usable payment, in the order of its partition.
pub const RELAY: &str = "chaos.relay";
/// Payments and cents of each user, each payment once: the newest of each key.
pub const SPEND: &str = "chaos.spend";
/// Payments and cents of each user and window, with corrections.
pub const WINDOWS: &str = "chaos.windows";
/// Payments that came when their window took nothing more.
pub const WINDOWS_LATE: &str = "chaos.windows.late";
/// Payments that came when their id could be forgotten.
pub const DEDUP_LATE: &str = "chaos.ledger.late";
/// Payments that nobody can use.
pub const DEAD_LETTERS: &str = "chaos.ledger.dead-letters";
/// Every topic it writes.
pub const OUTPUTS: [&str; 6] = [RELAY, SPEND, WINDOWS, WINDOWS_LATE, DEDUP_LATE, DEAD_LETTERS];

/// The table of every usable payment.
pub const LAKE_RELAY: &str = "chaos_relay";
/// The table of payments and cents of each user and window.
pub const LAKE_WINDOWS: &str = "chaos_windows";
/// The table of payments that came when their window took nothing more.
pub const LAKE_WINDOWS_LATE: &str = "chaos_windows_late";
/// The topics that the job with tables writes: payments whose id could be forgotten, and those that nobody can use.
pub const LAKE_OUTPUTS: [&str; 2] = ["chaos.lake.batch.late", "chaos.lake.batch.dead-letters"];
/// The pipeline of the job with tables.
pub const LAKE_PIPELINE: &str = "chaos.lake.batch";

/// The job with both tiers, and what it writes.
pub const BOTH: &str = "both";
/// Its topic.
pub const BOTH_TOPIC: &str = "chaos.both";
/// Its table.
pub const BOTH_TABLE: &str = "chaos_both";

/// Which job is attacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attacked {
    /// The one that writes topics.
    #[default]
    Ledger,
    /// The one that writes tables.
    Lake,
}

impl Attacked {
    /// Its name.
    #[must_use]
    pub fn job(self) -> &'static str {
        if self == Self::Lake { "lake" } else { "ledger" }
    }

    /// The name of its pipeline.
    #[must_use]
    pub fn pipeline(self) -> &'static str {
        if self == Self::Lake { LAKE_PIPELINE } else { PIPELINE }
    }
}

/// Names the kind of lane that the job chooses for its topics: `tail`; any other word, or none, is the default.
pub const LANE_VARIABLE: &str = "LEDGER_LANE";

/// How a topic is written when the job chooses this lane: those it has not named itself are transactional in any case.
#[must_use]
pub fn lane_of(topic: &str, chosen: TopicLane) -> TopicLane {
    if matches!(topic, DEDUP_LATE | DEAD_LETTERS) { TopicLane::Transactional } else { chosen }
}

/// The pipeline's name.
pub const PIPELINE: &str = "chaos.ledger";

/// How far a partition's watermark stays behind its newest payment.
pub const DELAY_MS: i64 = 1_000;
/// How long an id is remembered. The generator's late payments are 20 to 22 s old: dedup refuses some, the window others.
pub const HORIZON_MS: i64 = 20_000;
/// Length of a window.
pub const WINDOW_MS: i64 = 5_000;
/// How long a window takes payments after its end.
pub const LATENESS_MS: i64 = 1_000;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", delay = "1s")]
struct Payment {
    payment_id: String,
    user_id: String,
    amount_cents: i64,
    merchant: String,
    at: Timestamp,
}

#[derive(Serialize, Deserialize, Clone)]
struct Relayed {
    payment_id: String,
    user_id: String,
    amount_cents: i64,
    at_ms: i64,
}

/// Accounts of payments, in every way there is.
#[job(team = "chaos")]
pub fn ledger(flow: &Flow) -> Result<()> {
    let payments = flow.read::<Payment>()?.filter(is_usable);
    payments.clone().map(relayed).keyed(|p: &Relayed| p.user_id.clone()).to(chosen(topic(RELAY)));
    let once = payments.dedup("seen", ms(HORIZON_MS));
    let spend = (count(), sum(|p: &Payment| p.amount_cents));
    once.clone().key_by(|p| p.user_id.clone()).aggregate("spend", spend).to(chosen(upsert(SPEND)));
    once.key_by(|p| p.user_id.clone())
        .window(tumbling(ms(WINDOW_MS)).lateness(ms(LATENESS_MS)))
        .aggregate("windows", (count(), sum(|p: &Payment| p.amount_cents)))
        .late_to(chosen(topic(WINDOWS_LATE)))
        .to(chosen(topic(WINDOWS)));
    Ok(())
}

/// The same in tables: rows as they come, and rows that are corrected; and all payments in an archive.
#[job(team = "chaos")]
pub fn lake(flow: &Flow) -> Result<()> {
    flow.archive::<Payment>()?;
    let payments = flow.read::<Payment>()?.filter(is_usable);
    payments.clone().to(table(LAKE_RELAY));
    payments
        .dedup("seen", ms(HORIZON_MS))
        .key_by(|p| p.user_id.clone())
        .window(tumbling(ms(WINDOW_MS)).lateness(ms(LATENESS_MS)))
        .aggregate("windows", (count(), sum(|p: &Payment| p.amount_cents)))
        .late_to(table(LAKE_WINDOWS_LATE))
        .to(table(LAKE_WINDOWS));
    Ok(())
}

/// Every payment, in a topic and in a table.
#[job(team = "chaos")]
pub fn both(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?.to(topic(BOTH_TOPIC)).to(table(BOTH_TABLE));
    Ok(())
}

/// Payments on standard output: a sink that is held back as long as nobody reads it.
#[job(team = "chaos")]
pub fn held(flow: &Flow) -> Result<()> {
    let payments = flow.read::<Payment>()?.filter(is_usable);
    payments.clone().map(relayed).keyed(|p: &Relayed| p.user_id.clone()).to(stdout());
    payments.dedup("seen", secs(60)).key_by(|p| p.user_id.clone()).aggregate("spend", count()).to(upsert("held.spend"));
    Ok(())
}

fn chosen(sink: Sink) -> Sink {
    if std::env::var(LANE_VARIABLE).is_ok_and(|lane| lane == "tail") { sink.tail() } else { sink }
}

fn relayed(payment: Payment) -> Relayed {
    let Payment { payment_id, user_id, amount_cents, at, .. } = payment;
    Relayed { payment_id, user_id, amount_cents, at_ms: at.as_millis() }
}

fn is_usable(payment: &Payment) -> Result<bool, &'static str> {
    assert!(payment.amount_cents != AMOUNT_PANICS, "an amount that panics");
    if payment.amount_cents == AMOUNT_FAILS { Err("an amount that fails") } else { Ok(true) }
}

const fn ms(ms: i64) -> std::time::Duration {
    std::time::Duration::from_millis(ms as u64)
}
