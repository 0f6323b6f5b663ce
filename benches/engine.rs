//! What the engine costs beside a loop written by hand for the same work, on the same records, in the same run.
//!
//! `./dev bench engine [--events 4000000] [--rounds 5] [--payments 1000000]`; see `benches/README.md`.

mod common;

use common::backlog;
use common::table::Table;
use common::{Flags, median, process};
use distributary_operators::aggregate::{count, sum};
use distributary_operators::{PerKey, PerWindow, Window, aggregate, filter, key_by, map, tumbling, window};
use distributary_runtime::error::Result;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::{Key, stable_hash};
use distributary_runtime::testing::{drive, update};
use distributary_runtime::time::{EventTime, Watermark, monotonic};
use distributary_runtime::update::{Data, Origin, Stamp, Update};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::mem::take;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEYS: u64 = 100_000;
const EPOCH_RECORDS: u64 = 20_000;
/// What a poll of the embedded bus brings.
const BATCH_RECORDS: usize = 1_000;
/// Events in a second of event time: ten for each key and window.
const RATE_PER_S: u64 = 100_000;
const DISORDER_MS: u64 = 500;
const WINDOW_MS: i64 = 10_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payment<K> {
    user: K,
    amount_cents: i64,
}

/// The batches of an epoch, and its watermark.
type Epoch<K> = (Vec<Vec<Update<Payment<K>>>>, Watermark);

fn main() -> Result<()> {
    let flags = Flags::read(&[("events", 4e6), ("rounds", 5.0), ("payments", 1e6), ("case", 0.0)])?;
    let (events, rounds, only) = (flags.count("events"), flags.count("rounds"), flags.count("case"));
    let columns = ["case", "events_per_s", "events_per_cpu_s", "hand_events_per_cpu_s", "cpu_ratio", "wall_ratio"];
    let mut table = Table::new("engine", &columns);
    let wanted = |case| only == 0 || only == case;
    let numbers = || payments(events, |user| user);
    let texts = || payments(events, |user| format!("u{user}"));
    if wanted(1) {
        table.add(compared("map, filter", events, &compare(rounds, &numbers(), build_stateless, hand_stateless)));
    }
    if wanted(2) {
        table.add(compared("running sum, u64 keys", events, &compare(rounds, &numbers(), build_running, hand_running)));
    }
    if wanted(3) {
        table.add(compared("running sum, text keys", events, &compare(rounds, &texts(), build_running, hand_running)));
    }
    if wanted(4) {
        table.add(compared("window count, u64 keys", events, &compare(rounds, &numbers(), build_window, hand_window)));
    }
    if wanted(5) {
        table.add(compared("window count, text keys", events, &compare(rounds, &texts(), build_window, hand_window)));
    }
    if wanted(6) {
        table.add(from_bus(flags.count("payments"), rounds)?);
    }
    table.print();
    Ok(())
}

/// A backlog on the bus, through the real engine, to results on the bus.
fn from_bus(payments: u64, rounds: u64) -> Result<serde_json::Value> {
    let runs = backlog::run(payments, rounds)?;
    let of = |value: fn(&backlog::Run) -> Duration| payments as f64 / median(runs.iter().map(|run| value(run).as_secs_f64()));
    Ok(json!({
        "case": "window count, from bus bytes",
        "events": payments,
        "outputs": runs.first().map(|run| run.outputs),
        "events_per_s": of(|run| run.wall),
        "events_per_cpu_s": of(|run| run.cpu),
    }))
}

/// Uniform keys, mildly out of order, none late.
fn payments<K: Clone>(events: u64, key: impl Fn(u64) -> K) -> Vec<Epoch<K>> {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut seen = 0;
    let epoch = |first: u64| {
        let updates = (first..(first + EPOCH_RECORDS).min(events)).map(|offset| {
            let time = (DISORDER_MS + offset * 1_000 / RATE_PER_S - random(DISORDER_MS)) as i64;
            let payment = Payment { user: key(random(KEYS)), amount_cents: 1 + random(100_000) as i64 };
            let update = update(payment, offset, time, seen);
            seen = seen.max(time - DISORDER_MS as i64);
            update
        });
        let updates: Vec<_> = updates.collect();
        (updates.chunks(BATCH_RECORDS).map(<[_]>::to_vec).collect(), EventTime(seen))
    };
    (0..events).step_by(EPOCH_RECORDS as usize).map(epoch).collect()
}

/// What came out, in order: results must be equal to the last bit of their sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    records: u64,
    sequence: u64,
}

/// A result that can be told from another.
trait Told {
    fn told(&self) -> u64;
}

impl Told for i64 {
    fn told(&self) -> u64 {
        *self as u64
    }
}

impl<K> Told for PerKey<K, i64> {
    fn told(&self) -> u64 {
        self.value as u64
    }
}

impl<K> Told for PerWindow<K, u64> {
    fn told(&self) -> u64 {
        self.value ^ self.window.start.0 as u64
    }
}

impl Tally {
    fn look<Out: Told>(&mut self, batch: &[Update<Out>]) {
        self.records += batch.len() as u64;
        for (out, stamp, diff) in batch {
            let told = out.told() ^ stamp.time.0 as u64 ^ *diff as u64;
            self.sequence = (self.sequence ^ told).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}

/// One run of one side.
#[derive(Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    tally: Tally,
}

fn timed(work: impl FnOnce() -> Tally) -> Run {
    let (began, cpu) = (monotonic(), process::thread_cpu());
    let tally = work();
    Run { wall: began.elapsed(), cpu: process::thread_cpu() - cpu, tally }
}

/// Engine and hand in turn, each on a copy of its own that is made beforehand.
fn compare<K: Key, Out: Data + Told, B>(
    rounds: u64,
    epochs: &[Epoch<K>],
    build: B,
    hand: impl Fn(Vec<Epoch<K>>) -> Tally,
) -> Vec<[Run; 2]>
where
    B: for<'s> Fn(&Graph<'s>, Collection<'s, Payment<K>>) -> Collection<'s, Out> + Copy + Send + Sync + 'static,
{
    let engine = |epochs| {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let told = tally.clone();
        let look = move |_, batch: &[Update<Out>]| {
            if let Ok(mut tally) = told.lock() {
                tally.look(batch);
            }
        };
        drive(epochs, build, look);
        tally.lock().map_or_else(|poisoned| *poisoned.into_inner(), |tally| *tally)
    };
    let round = |_| {
        let (first, second) = (epochs.to_vec(), epochs.to_vec());
        let runs = [timed(|| engine(first)), timed(|| hand(second))];
        assert_eq!(runs[0].tally, runs[1].tally, "engine and hand give the same results in the same order");
        runs
    };
    (0..rounds).map(round).collect()
}

fn compared(case: &str, events: u64, runs: &[[Run; 2]]) -> serde_json::Value {
    let wall = |side: usize| median(runs.iter().map(|r| r[side].wall.as_secs_f64()));
    let cpu = |side: usize| median(runs.iter().map(|r| r[side].cpu.as_secs_f64()));
    json!({
        "case": case,
        "events": events,
        "outputs": runs.first().map(|r| r[0].tally.records),
        "events_per_s": events as f64 / wall(0),
        "events_per_cpu_s": events as f64 / cpu(0),
        "hand_events_per_cpu_s": events as f64 / cpu(1),
        "cpu_ratio": cpu(0) / cpu(1),
        "wall_ratio": wall(0) / wall(1),
    })
}

fn build_stateless<'s>(graph: &Graph<'s>, input: Collection<'s, Payment<u64>>) -> Collection<'s, i64> {
    let kept = filter(graph, &input, |payment: &Payment<u64>| payment.amount_cents % 10 != 0);
    map(graph, &kept, |payment| payment.amount_cents * 2 + i64::from(payment.amount_cents > 90_000))
}

fn hand_stateless(epochs: Vec<Epoch<u64>>) -> Tally {
    let mut tally = Tally::default();
    for (batches, _) in epochs {
        let mut out = Vec::with_capacity(EPOCH_RECORDS as usize);
        for (payment, stamp, diff) in batches.into_iter().flatten() {
            if payment.amount_cents % 10 != 0 {
                out.push((payment.amount_cents * 2 + i64::from(payment.amount_cents > 90_000), stamp, diff));
            }
        }
        tally.look(&out);
    }
    tally
}

fn build_running<'s, K: Key>(graph: &Graph<'s>, input: Collection<'s, Payment<K>>) -> Collection<'s, PerKey<K, i64>> {
    let keyed = key_by(graph, &input, |payment: &Payment<K>| payment.user.clone());
    aggregate(graph, &keyed, "spend", sum(|payment: &Payment<K>| payment.amount_cents))
}

/// Per key the sum and what was said of it; per epoch what changed, by hash and key.
fn hand_running<K: Key + Hash>(epochs: Vec<Epoch<K>>) -> Tally {
    struct Entry {
        sum: i64,
        said: Option<(EventTime, i64)>,
        touched: Option<EventTime>,
    }
    let mut tally = Tally::default();
    let mut spend: HashMap<K, Entry> = HashMap::new();
    let mut touched: Vec<(u64, K)> = Vec::new();
    let mut before = EventTime::MIN;
    for (batches, watermark) in epochs {
        for (payment, stamp, diff) in batches.into_iter().flatten() {
            if let Some(entry) = spend.get_mut(&payment.user) {
                entry.sum += payment.amount_cents * diff;
                if entry.touched.is_none() {
                    touched.push((stable_hash(&payment.user), payment.user));
                }
                entry.touched = entry.touched.max(Some(stamp.time));
            } else {
                touched.push((stable_hash(&payment.user), payment.user.clone()));
                let entry = Entry { sum: payment.amount_cents * diff, said: None, touched: Some(stamp.time) };
                spend.insert(payment.user, entry);
            }
        }
        touched.sort_unstable();
        let mut out = Vec::with_capacity(2 * touched.len());
        for (hash, key) in touched.drain(..) {
            let Some(entry) = spend.get_mut(&key) else { continue };
            let time = take(&mut entry.touched).unwrap_or(EventTime::MIN);
            if entry.said.is_some_and(|(_, said)| said == entry.sum) {
                continue;
            }
            let stamp = Stamp { origin: Origin::group(2, hash, 0), time, seen: before };
            if let Some((time, value)) = entry.said.replace((time, entry.sum)) {
                out.push((PerKey { key: key.clone(), value }, Stamp { time, ..stamp }, -1));
            }
            out.push((PerKey { key, value: entry.sum }, stamp, 1));
        }
        tally.look(&out);
        before = watermark;
    }
    tally
}

fn build_window<'s, K: Key>(graph: &Graph<'s>, input: Collection<'s, Payment<K>>) -> Collection<'s, PerWindow<K, u64>> {
    let keyed = key_by(graph, &input, |payment: &Payment<K>| payment.user.clone());
    window(graph, &keyed, "count", tumbling(WINDOW_MS), count()).results
}

/// A map of counts for each open window; a window that ends gives its counts by hash and key.
fn hand_window<K: Key + Hash>(epochs: Vec<Epoch<K>>) -> Tally {
    let mut tally = Tally::default();
    let mut windows: BTreeMap<i64, HashMap<K, i64>> = BTreeMap::new();
    let (mut before, mut late) = (EventTime::MIN, 0);
    for (batches, watermark) in epochs {
        for (payment, stamp, diff) in batches.into_iter().flatten() {
            let start = stamp.time.0 - stamp.time.0.rem_euclid(WINDOW_MS);
            if stamp.seen.max(before).0 >= start + WINDOW_MS {
                late += 1;
                continue;
            }
            let counts = windows.entry(start).or_default();
            match counts.get_mut(&payment.user) {
                Some(count) => *count += diff,
                None => drop(counts.insert(payment.user, diff)),
            }
        }
        let mut out = Vec::new();
        while let Some(first) = windows.first_entry()
            && first.key() + WINDOW_MS <= watermark.0
        {
            let (start, counts) = first.remove_entry();
            let window = Window { start: EventTime(start), end: EventTime(start + WINDOW_MS) };
            let mut counts: Vec<_> = counts.into_iter().map(|(key, count)| (stable_hash(&key), key, count)).collect();
            counts.sort_unstable();
            for (hash, key, count) in counts {
                let stamp = Stamp { origin: Origin::group(2, hash, start), time: window.end.minus_ms(1), seen: before };
                out.push((PerWindow { key, window, value: count as u64 }, stamp, 1));
            }
        }
        tally.look(&out);
        before = watermark;
    }
    assert_eq!(late, 0, "nothing is late");
    tally
}
