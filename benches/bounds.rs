//! What bounds memory: a sink that becomes a hundred times slower, and a long run at a steady rate.
//!
//! `./dev bench bounds [--minutes 10] [--slow-seconds 120] [--rate 10000] [--slower 100]`; see `benches/README.md`.

mod common;

use common::Flags;
use common::payments::{Payment, RELAY, SPEND, Sender, user_of};
use common::pipeline::{AfterCommit, Pipeline, Place};
use common::process::{Memory, memory, mib, unix_us};
use common::table::Table;
use distributary_runtime::bus::Offset;
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::monotonic;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::park_timeout;
use std::time::Duration;
use uuid::Uuid;

const USERS: u64 = 100_000;
/// At full speed before the sink becomes slow: what memory is compared with.
const BEFORE: Duration = Duration::from_secs(10);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Offsets that are read back at a time.
const READ: u64 = 100_000;

fn main() -> Result<()> {
    let flags = Flags::read(&[("minutes", 10.0), ("slow-seconds", 120.0), ("rate", 10_000.0), ("slower", 100.0)])?;
    let columns = ["phase", "second", "sent", "in", "out", "rss_mib", "anonymous_mib"];
    let mut table = Table::new("bounds", &columns);
    let mut summary = Table::new("bounds", &["what", "value", "unit"]);
    if flags.get("slow-seconds") > 0.0 {
        slow_sink(&flags, &mut table, &mut summary)?;
    }
    if flags.get("minutes") > 0.0 {
        steady(&flags, &mut table, &mut summary)?;
    }
    table.print();
    summary.print();
    Ok(())
}

/// Watches a phase until it is over.
struct Watch<'a> {
    phase: &'static str,
    pipeline: &'a Pipeline,
    sender: Option<&'a Sender>,
    outputs: &'a AtomicU64,
}

impl Watch<'_> {
    /// What was seen every [`LOOK`], and at the end.
    fn until(&self, table: &mut Table, over: impl Fn(Duration) -> bool) -> Vec<(f64, Memory)> {
        let (began, mut seen, mut next) = (monotonic(), Vec::new(), Duration::ZERO);
        loop {
            let elapsed = began.elapsed();
            let over = over(elapsed);
            if elapsed >= next || over {
                next = elapsed + LOOK;
                let now = memory();
                seen.push((elapsed.as_secs_f64(), now));
                table.add(json!({
                    "phase": self.phase,
                    "second": elapsed.as_secs(),
                    "sent": self.sender.map(Sender::sent),
                    "in": self.pipeline.records_in(),
                    "out": self.outputs.load(Ordering::Relaxed),
                    "rss_mib": mib(now.rss),
                    "anonymous_mib": mib(now.anonymous),
                }));
            }
            if over {
                return seen;
            }
            park_timeout(Duration::from_millis(100));
        }
    }
}

/// Each commit takes `slower` times as long as the bus took for it.
fn slow_sink(flags: &Flags, table: &mut Table, summary: &mut Table) -> Result<()> {
    let place = Place::new(|_| {})?;
    let source = place.topic("in")?;
    let (slow, outputs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (slower, is_slow, counted) = (flags.get("slower"), slow.clone(), outputs.clone());
    let after: AfterCommit = Arc::new(move |run, took| {
        counted.fetch_add(run.epochs.iter().map(|epoch| epoch.records.len() as u64).sum(), Ordering::Relaxed);
        let until = monotonic() + took.mul_f64(slower - 1.0);
        while is_slow.load(Ordering::Acquire)
            && let Some(left) = until.checked_duration_since(monotonic()).filter(|left| !left.is_zero())
        {
            park_timeout(left.min(Duration::from_millis(100)));
        }
    });
    let pipeline = place.start(RELAY, StartRequest::Resume, after)?;
    pipeline.wait_live()?;
    let sender = Sender::start(&place, &source, flags.count("rate"), USERS, 0)?;
    let watch = |phase| Watch { phase, pipeline: &pipeline, sender: Some(&sender), outputs: &outputs };
    let before = watch("before").until(table, |elapsed| elapsed >= BEFORE);
    slow.store(true, Ordering::Release);
    let slow_for = Duration::from_secs_f64(flags.get("slow-seconds"));
    let during = watch("slow").until(table, |elapsed| elapsed >= slow_for);
    let held_back = sender.sent() - pipeline.records_in();
    slow.store(false, Ordering::Release);
    let (sent, kept_up) = sender.finish()?;
    let began = monotonic();
    let expected = (0..sent).filter(|i| Payment::new(*i, user_of(*i, USERS), 0).passes()).count() as u64;
    let watch = Watch { phase: "after", pipeline: &pipeline, sender: None, outputs: &outputs };
    let after = watch.until(table, |elapsed| outputs.load(Ordering::Relaxed) >= expected || elapsed > 10 * slow_for);
    let drained = began.elapsed();
    pipeline.wait_applied(sent)?;
    pipeline.stop()?;
    let (lost, duplicated) = compare(&place, sent)?;
    let peak = |seen: &[(f64, Memory)]| mib(seen.iter().map(|(_, memory)| memory.rss).max().unwrap_or(0));
    let mut add = |what: &str, value: f64, unit: &str| summary.add(json!({"what": what, "value": value, "unit": unit}));
    add("slow sink: sent", sent as f64, "events");
    add("slow sink: the bus took the rate", f64::from(u8::from(kept_up)), "1 = yes");
    add("slow sink: waiting on the bus at its end", held_back as f64, "events");
    add("slow sink: memory before", peak(&before), "MiB");
    add("slow sink: memory while slow, most", peak(&during), "MiB");
    add("slow sink: memory while catching up, most", peak(&after), "MiB");
    add("slow sink: caught up in", drained.as_secs_f64(), "s");
    add("slow sink: lost", lost as f64, "events");
    add("slow sink: duplicated", duplicated as f64, "events");
    assert_eq!((lost, duplicated), (0, 0), "every payment that passes has its result once");
    Ok(())
}

/// Reads the output back: how many results are missing, and how many stand there more than once.
fn compare(place: &Place, sent: u64) -> Result<(u64, u64)> {
    let bus = place.client()?;
    let mut found = vec![0_u8; sent as usize];
    let Some(topic) = bus.topic("out")? else { return Ok((sent, 0)) };
    for at in bus.offsets(topic.id)? {
        for from in (at.log_start.0..at.end.0).step_by(READ as usize) {
            let to = Offset(at.end.0.min(from + READ));
            for record in bus.read(topic.id, at.partition, Offset(from), to)? {
                let id = record.value.as_ref().and_then(|value| std::str::from_utf8(value.get(15..51)?).ok());
                let index = id.and_then(|id| Uuid::try_parse(id).ok()).map_or(u128::MAX, |id| id.as_u128());
                if let Some(times) = usize::try_from(index).ok().and_then(|index| found.get_mut(index)) {
                    *times = times.saturating_add(1);
                }
            }
        }
    }
    let passes = |i: usize| Payment::new(i as u64, user_of(i as u64, USERS), 0).passes();
    let lost = (0..found.len()).filter(|i| found[*i] == 0 && passes(*i)).count();
    let duplicated = found.iter().filter(|times| **times > 1).count();
    Ok((lost as u64, duplicated as u64))
}

/// A running sum over all users, its state full from the beginning.
fn steady(flags: &Flags, table: &mut Table, summary: &mut Table) -> Result<()> {
    let place = Place::new(|_| {})?;
    let source = place.topic("in")?;
    let now = unix_us();
    place.publish(&source, (0..USERS).map(|user| Payment::new(user, user, now).record()))?;
    let outputs = Arc::new(AtomicU64::new(0));
    let counted = outputs.clone();
    let after: AfterCommit = Arc::new(move |run, _| {
        counted.fetch_add(run.epochs.iter().map(|epoch| epoch.records.len() as u64).sum(), Ordering::Relaxed);
    });
    let pipeline = place.start(SPEND, StartRequest::Resume, after)?;
    pipeline.wait_applied(USERS)?;
    let sender = Sender::start(&place, &source, flags.count("rate"), USERS, USERS)?;
    let long = Duration::from_secs_f64(60.0 * flags.get("minutes"));
    let watch = Watch { phase: "steady", pipeline: &pipeline, sender: Some(&sender), outputs: &outputs };
    let seen = watch.until(table, |elapsed| elapsed >= long);
    let (sent, kept_up) = sender.finish()?;
    pipeline.wait_applied(USERS + sent)?;
    pipeline.stop()?;
    let second_half: Vec<_> = seen.iter().filter(|(at, _)| *at >= long.as_secs_f64() / 2.0).copied().collect();
    let mut add = |what: &str, value: f64, unit: &str| summary.add(json!({"what": what, "value": value, "unit": unit}));
    add("steady: sent", sent as f64, "events");
    add("steady: the bus took the rate", f64::from(u8::from(kept_up)), "1 = yes");
    add("steady: memory, most", mib(seen.iter().map(|(_, m)| m.rss).max().unwrap_or(0)), "MiB");
    add("steady: memory at the end", mib(seen.last().map_or(0, |(_, m)| m.rss)), "MiB");
    add("steady: growth in the second half", slope_per_minute(&second_half), "MiB/min");
    Ok(())
}

/// Least squares over (seconds, memory).
fn slope_per_minute(seen: &[(f64, Memory)]) -> f64 {
    let n = seen.len() as f64;
    let mean_x = seen.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = seen.iter().map(|(_, m)| mib(m.rss)).sum::<f64>() / n;
    let above = seen.iter().map(|(x, m)| (x - mean_x) * (mib(m.rss) - mean_y)).sum::<f64>();
    let below = seen.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    60.0 * above / below
}
