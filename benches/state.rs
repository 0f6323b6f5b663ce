//! What checkpoints of many keys cost: bytes, pauses of the record path, and the time of a restore.
//!
//! `./dev bench state [--keys 1000000] [--rounds 5] [--seconds 24] [--rate 5000]`; see `benches/README.md`.

mod common;

use common::meter::quantile_ms;
use common::payments::{Payment, SPEND, Sender, number, user_of};
use common::pipeline::{AfterCommit, Discard, Place};
use common::process::unix_us;
use common::process::{memory, mib};
use common::table::Table;
use common::{Flags, median};
use distributary_runtime::bus::Topic;
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::monotonic;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::park_timeout;
use std::time::Duration;

/// A checkpoint disturbs, if at all, within so long of its epoch.
const CHECKPOINT_TAKES: Duration = Duration::from_secs(4);
/// Between checkpoints while pauses are measured.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(8);
/// No checkpoint but the one of the stop.
const NEVER_MS: u64 = 24 * 3_600_000;

fn main() -> Result<()> {
    let flags = Flags::read(&[("keys", 1e6), ("rounds", 5.0), ("seconds", 30.0), ("rate", 5_000.0)])?;
    let keys = flags.count("keys");
    let mut table = Table::new("state", &["what", "value", "unit"]);
    let mut add = |what: &str, value: f64, unit: &str| table.add(json!({"what": what, "value": value, "unit": unit}));

    let mut place = Place::new(|settings| settings.checkpoint_interval_ms = NEVER_MS)?;
    let (topic, discard) = (place.topic("in")?, Discard::default());
    let quiet: AfterCommit = Arc::new(|_, _| ());
    let mut work = Work { topic: &topic, next: 0 };
    work.publish(&place, every_user(keys))?;
    let pipeline = place.start_discarding(SPEND, &discard, StartRequest::Resume, quiet.clone())?;
    pipeline.wait_applied(keys)?;
    let metrics = pipeline.metrics.clone();
    pipeline.stop()?;
    let full = metrics.checkpoint_bytes.get() as f64;
    add("keys", keys as f64, "keys");
    add("full checkpoint", full / f64::from(1 << 20), "MiB");

    let (mut restores, mut deltas) = (Vec::new(), Vec::new());
    for round in 0..flags.count("rounds") {
        let changed = keys / 100;
        let some = (0..changed as usize).map(|i| user_of(round * changed + i as u64, keys));
        work.publish(&place, some)?;
        let began = monotonic();
        let pipeline = place.start_discarding(SPEND, &discard, StartRequest::Resume, quiet.clone())?;
        pipeline.wait_live()?;
        restores.push(began.elapsed().as_secs_f64());
        pipeline.wait_applied(changed)?;
        let metrics = pipeline.metrics.clone();
        pipeline.stop()?;
        deltas.push(metrics.checkpoint_bytes.get() as f64);
    }
    add("checkpoint after 1 % changed, median", median(deltas.iter().copied()) / f64::from(1 << 20), "MiB");
    add("checkpoint after 1 % changed, share of full, median", 100.0 * median(deltas.iter().copied()) / full, "%");
    add("checkpoint after 1 % changed, share of full, largest", 100.0 * deltas.iter().copied().fold(0.0, f64::max) / full, "%");
    add("restore: from start to live, median", median(restores), "s");

    place.settings.checkpoint_interval_ms = CHECKPOINT_INTERVAL.as_millis() as u64;
    let pauses = pauses(&place, &mut work, &discard, keys, &flags)?;
    for (what, sorted) in [("no checkpoint", &pauses.without), ("full checkpoint", &pauses.full), ("1 in 25 keys", &pauses.delta)]
    {
        add(&format!("record to result, {what}: median"), quantile_ms(sorted, 0.5), "ms");
        add(&format!("record to result, {what}: longest"), quantile_ms(sorted, 1.0), "ms");
    }
    add("peak memory", mib(memory().peak), "MiB");
    table.print();
    Ok(())
}

/// All users, once.
fn every_user(users: u64) -> impl ExactSizeIterator<Item = u64> {
    (0..users as usize).map(|user| user as u64)
}

/// Publishes payments whose indices go on from call to call.
struct Work<'a> {
    topic: &'a Topic,
    next: u64,
}

impl Work<'_> {
    fn publish(&mut self, place: &Place, users: impl ExactSizeIterator<Item = u64>) -> Result<()> {
        let (first, now) = (self.next, unix_us());
        self.next += users.len() as u64;
        place.publish(self.topic, (first..).zip(users).map(|(index, user)| Payment::new(index, user, now).record()))
    }
}

/// Time from when the oldest record of an epoch was due until its results were written, for epochs that no checkpoint
/// was near, and for those within [`CHECKPOINT_TAKES`] of one. In microseconds, sorted.
struct Pauses {
    without: Vec<u32>,
    full: Vec<u32>,
    delta: Vec<u32>,
}

/// An epoch that was written.
#[derive(Clone, Copy)]
struct Seen {
    at_us: i64,
    took_us: u32,
    checkpoint: bool,
}

/// Changes every key, then sends at a fixed rate; the first checkpoint writes everything, those behind it what changed.
fn pauses(place: &Place, work: &mut Work<'_>, discard: &Discard, keys: u64, flags: &Flags) -> Result<Pauses> {
    work.publish(place, every_user(keys))?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let after: AfterCommit = Arc::new(move |run, _| {
        let at_us = unix_us();
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        for epoch in &run.epochs {
            // What is taken back was due long ago.
            let new = epoch.records.iter().filter(|record| record.diff > 0);
            let dues = new.filter_map(|record| number(record.value.as_ref()?, "due_us"));
            let oldest = dues.min();
            let took_us = oldest.and_then(|due| u32::try_from(at_us - due).ok()).unwrap_or(0);
            if oldest.is_some() || epoch.mark {
                noted.push(Seen { at_us, took_us, checkpoint: epoch.mark });
            }
        }
    });
    let pipeline = place.start_discarding(SPEND, discard, StartRequest::Resume, after)?;
    pipeline.wait_applied(keys)?;
    let from = unix_us();
    let sender = Sender::start(place, work.topic, flags.count("rate"), keys, work.next)?;
    let until = monotonic() + Duration::from_secs_f64(flags.get("seconds"));
    while monotonic() < until {
        park_timeout(Duration::from_millis(100));
    }
    let (sent, _) = sender.finish()?;
    work.next += sent;
    pipeline.wait_applied(keys + sent)?;
    pipeline.crash();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let seen: Vec<Seen> = seen.iter().filter(|s| s.at_us >= from).copied().collect();
    let marks: Vec<i64> = seen.iter().filter(|s| s.checkpoint).map(|s| s.at_us).collect();
    let mut pauses = Pauses { without: Vec::new(), full: Vec::new(), delta: Vec::new() };
    // The first moments belong to the sender's start.
    for s in seen.iter().filter(|s| s.at_us >= from + 500_000 && s.took_us > 0) {
        let takes = CHECKPOINT_TAKES.as_micros() as i64;
        match marks.iter().position(|mark| (*mark..*mark + takes).contains(&s.at_us)) {
            None => pauses.without.push(s.took_us),
            Some(0) => pauses.full.push(s.took_us),
            Some(_) => pauses.delta.push(s.took_us),
        }
    }
    for took in [&mut pauses.without, &mut pauses.full, &mut pauses.delta] {
        took.sort_unstable();
    }
    Ok(pauses)
}
