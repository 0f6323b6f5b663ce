//! The behaviour of a bus, as cases that every implementation runs. A case fails by panic, with what was expected.
//!
//! A case is left out only when the bus says in its [`Features`] that it lacks what the case needs; [`run`] returns
//! those, so that a test states them. Topics and lanes of a run carry a prefix: a shared server may be used again.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "the cases of a suite fail by panic")]

mod consumers;
mod groups;
mod journal;
mod lanes;
mod records;
mod topics;
mod upkeep;

use bytes::Bytes;
use distributary_runtime::bus::{Batch, Bus, Consumer, Features, NewRecord, Offset, Record, TopicId, TopicSpec};
use distributary_runtime::time::{WallTime, monotonic};
use std::sync::Arc;
use std::time::Duration;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, in the words of the reader of a report.
    pub name: &'static str,
    /// What a bus must have for it; `None`: every bus.
    pub needs: Option<Need>,
    /// Shows it, or panics.
    pub show: fn(&Ground),
}

/// A feature that a bus may lack.
#[derive(Clone, Copy)]
pub struct Need {
    /// The field of [`Features`].
    pub name: &'static str,
    /// Whether the bus says it has it.
    pub has: fn(&Features) -> bool,
}

/// What the suite has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that were shown.
    pub shown: Vec<&'static str>,
    /// Features the bus lacks; their cases were left out.
    pub missing: Vec<&'static str>,
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    [topics::CASES, records::CASES, consumers::CASES, journal::CASES, lanes::CASES, groups::CASES, upkeep::CASES].concat()
}

/// Runs every case the bus has the features for. `make` gives a handle of the same bus at each call, as another process
/// would have one; a bus that cannot do that gives clones. `prefix` must be new to the bus.
pub fn run(make: &(dyn Fn() -> Arc<dyn Bus> + Sync), prefix: &str) -> Report {
    let mut report = Report::default();
    let features = make().features();
    for (number, case) in cases().into_iter().enumerate() {
        match case.needs {
            Some(need) if !(need.has)(&features) => report.missing.push(need.name),
            _ => {
                (case.show)(&Ground { bus: make(), make, prefix: format!("{prefix}.{number}") });
                report.shown.push(case.name);
            }
        }
    }
    report.missing.sort_unstable();
    report.missing.dedup();
    report
}

/// Where a case plays.
pub struct Ground<'a> {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Another handle of the same bus.
    pub make: &'a (dyn Fn() -> Arc<dyn Bus> + Sync),
    /// What the names of topics, lanes and groups begin with.
    pub prefix: String,
}

/// Nothing a case waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time that records of the suite carry: 2001-09-09.
const THEN: WallTime = WallTime(1_000_000_000_000);

impl Ground<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Creates a topic that must be new.
    fn create(&self, spec: TopicSpec) -> TopicId {
        let spec = TopicSpec { name: self.name(&spec.name), ..spec };
        assert!(self.bus.create_topic(&spec).unwrap(), "{} must be new", spec.name);
        self.bus.topic(&spec.name).unwrap().expect("a topic that was created").id
    }

    /// A topic that keeps everything, and so is free of the clock.
    fn topic(&self, name: &str, partitions: u32) -> TopicId {
        self.create(TopicSpec { retention_ms: None, ..TopicSpec::new(name, partitions) })
    }

    fn ends(&self, topic: TopicId) -> Vec<u64> {
        self.bus.offsets(topic).unwrap().iter().map(|p| p.end.0).collect()
    }

    fn starts(&self, topic: TopicId) -> Vec<u64> {
        self.bus.offsets(topic).unwrap().iter().map(|p| p.log_start.0).collect()
    }

    /// Everything that stands in a partition.
    fn all(&self, topic: TopicId, partition: u32) -> Vec<Record> {
        let range = self.bus.offsets(topic).unwrap()[partition as usize];
        let mut consumer = self.bus.consumer(topic, &[(partition, range.log_start)]).unwrap();
        read_while(&mut *consumer, |batches| batches.last().is_none_or(|b| b.position < range.end))
    }

    fn values(&self, topic: TopicId, partition: u32) -> Vec<String> {
        self.all(topic, partition).iter().map(value).collect()
    }
}

/// Polls while `more` says so of the batches so far; returns their records.
fn read_while(consumer: &mut dyn Consumer, more: impl Fn(&[Batch]) -> bool) -> Vec<Record> {
    let (start, mut batches) = (monotonic(), Vec::new());
    while more(&batches) {
        assert!(start.elapsed() < PATIENCE, "no progress after {} batches", batches.len());
        batches.extend(consumer.poll(Duration::from_millis(100)).unwrap());
    }
    batches.into_iter().flat_map(|b| b.records).collect()
}

/// Polls until so many records came; there must not be more.
fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<Record> {
    let records = read_while(consumer, |batches| batches.iter().map(|b| b.records.len()).sum::<usize>() < count);
    assert_eq!(records.len(), count);
    records
}

/// Polls until the consumer ends with an error.
fn poll_error(consumer: &mut dyn Consumer) -> distributary_runtime::bus::BusError {
    let start = monotonic();
    while start.elapsed() < PATIENCE {
        if let Err(e) = consumer.poll(Duration::from_millis(100)) {
            return e;
        }
    }
    panic!("the consumer goes on");
}

fn record(partition: u32, key: &str, value: &str) -> NewRecord {
    at(partition, key, Some(value), THEN)
}

fn at(partition: u32, key: &str, value: Option<&str>, timestamp: WallTime) -> NewRecord {
    let value = value.map(|v| Bytes::copy_from_slice(v.as_bytes()));
    NewRecord { partition: Some(partition), timestamp, key: Some(Bytes::copy_from_slice(key.as_bytes())), value, headers: vec![] }
}

fn value(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Records `range` of a partition, each with its number as value.
fn series(partition: u32, range: std::ops::Range<u64>) -> Vec<NewRecord> {
    range.map(|n| record(partition, "k", &n.to_string())).collect()
}

const START: Offset = Offset(0);
