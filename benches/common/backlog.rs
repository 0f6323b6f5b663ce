//! A backlog of payments on the bus: decode, count by user and window, commit the results to the bus.

use super::pipeline::{AfterCommit, Place};
use super::process;
use distributary::payments::{PaymentOptions, Payments};
use distributary::{Event, Flow, Job, Timestamp, count, secs, topic, tumbling};
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::monotonic;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", delay = "2s")]
struct Payment {
    payment_id: Uuid,
    user_id: String,
    amount_cents: i64,
    merchant: String,
    at: Timestamp,
}

const COUNTS: Job = Job::new("counts", "bench", "", counts);

fn counts(flow: &Flow<'_>) -> Result<()> {
    flow.read::<Payment>()?
        .key_by(|p| p.user_id.clone())
        .window(tumbling(secs(10)))
        .aggregate("counts", count())
        .to(topic("counts"));
    Ok(())
}

/// One run over the whole backlog.
pub(crate) struct Run {
    pub(crate) wall: Duration,
    /// Of all threads of the process.
    pub(crate) cpu: Duration,
    pub(crate) outputs: u64,
}

/// Publishes a backlog once and works it off as often as asked, each time from zero; the last checkpoint is not timed.
pub(crate) fn run(payments: u64, rounds: u64) -> Result<Vec<Run>> {
    let place = Place::new(|_| {})?;
    let topic = place.topic("payments")?;
    let options = PaymentOptions { count: payments, bad_per_mille: 0, ..PaymentOptions::default() };
    place.publish(&topic, Payments::new(options)?.map(Into::into))?;
    let round = |_| {
        let outputs = Arc::new(AtomicU64::new(0));
        let counted = outputs.clone();
        let after: AfterCommit = Arc::new(move |run, _| {
            let records: usize = run.epochs.iter().map(|epoch| epoch.records.len()).sum();
            counted.fetch_add(records as u64, Ordering::Relaxed);
        });
        let (began, cpu) = (monotonic(), process::process_cpu());
        let pipeline = place.start(COUNTS, StartRequest::FromZero, after)?;
        pipeline.wait_applied(payments)?;
        let (wall, cpu) = (began.elapsed(), process::process_cpu() - cpu);
        pipeline.stop()?;
        Ok(Run { wall, cpu, outputs: outputs.load(Ordering::Relaxed) })
    };
    (0..rounds).map(round).collect()
}
