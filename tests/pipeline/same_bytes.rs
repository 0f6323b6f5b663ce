//! Goal: what a test of a job sees is what `run` writes, for every example job.
//!
//! Method: the same records through `TestJob` and through the engine as `run` starts it: its components, its settings, time
//! closing the epochs. Epochs then hold other records each time, so windows are corrected at other moments; what must be
//! equal to the byte is what stands in the end, by partition: key, value, all headers but the epoch, and how often. Of late
//! records and dead letters that is every record. The plan is the same by its fingerprint in the journal.

use crate::rig::{PATIENCE, Rig};
use distributary::job::TierOf;
use distributary::payments::{PaymentOptions, Payments};
use distributary::{Job, TestJob, Timestamp, jobs, run};
use distributary_connectors::lake::TableView;
use distributary_runtime::bus::{Header, NewRecord, Record, TopicForm};
use distributary_runtime::engine;
use distributary_runtime::journal::{Fact, StartRequest};
use distributary_runtime::pipeline::{Minting, StartOptions};
use distributary_runtime::plan::SinkTarget;
use distributary_runtime::report::Reports;
use distributary_runtime::time::{WallTime, monotonic};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

#[allow(dead_code, unreachable_pub, reason = "it is a binary of its own")]
#[path = "../../examples/alerts.rs"]
mod alerts;
#[allow(dead_code, unreachable_pub, reason = "it is a binary of its own")]
#[path = "../../examples/balance.rs"]
mod balance;
#[allow(dead_code, unreachable_pub, reason = "it is a binary of its own")]
#[path = "../../examples/team_crate/src/main.rs"]
mod team_crate;

/// As many as `TestJob` makes.
const PARTITIONS: u32 = 2;
const RECORDS: u64 = 4_000;
/// Records between two epochs of the `TestJob`.
const EPOCH: usize = 500;

#[test]
fn the_built_in_jobs() {
    for job in jobs::ALL {
        assert_same(job, "payments", generated());
    }
}

#[test]
fn the_job_of_the_team_crate() {
    assert_same(team_crate::spend, "payments", generated());
}

#[test]
fn the_examples() {
    assert_same(
        alerts::alerts,
        "card-payments",
        made(|id, at| format!(r#"{{"id":{},"card":"c{}","at":{at}}}"#, id / 2, id / 2 % 7)),
    );
    assert_same(
        balance::balance,
        "bookings",
        made(|id, at| {
            let cents = (id as i64 * 7919) % 201 - 90; // now and then an account would be overdrawn
            format!(r#"{{"id":{id},"account":"a{}","cents":{cents},"at":{at}}}"#, id / 2 % 11)
        }),
    );
}

/// Payments out of order, twice, late and bad, of few users, so that there are alerts.
fn generated() -> Vec<NewRecord> {
    let options = PaymentOptions { count: RECORDS, users: 20, rate_per_s: 100, late_per_mille: 50, ..PaymentOptions::default() };
    Payments::new(options).unwrap().map(NewRecord::from).collect()
}

/// Records a tenth of a second apart, every 50th two minutes late, every 100th no JSON. Keyed so that the two of a payment, and all of an
/// account, are in one partition: which of two partitions comes first is for the epochs to say, and they are other ones in each run.
fn made(value: impl Fn(u64, u64) -> String) -> Vec<NewRecord> {
    let record = |id: u64| {
        let now = 1_000_000 + id * 100;
        let value = if id % 100 == 99 { "{".to_string() } else { value(id, if id % 50 == 48 { now - 120_000 } else { now }) };
        let key = Some(format!("k{}", id / 2 % 11).into());
        NewRecord { partition: None, timestamp: WallTime(now as i64), key, value: Some(value.into()), headers: vec![] }
    };
    (0..RECORDS).map(record).collect()
}

/// Of every tier of the job.
fn assert_same(job: Job, topic: &str, records: Vec<NewRecord>) {
    let mut tested = TestJob::new(job);
    for epoch in records.chunks(EPOCH) {
        epoch.iter().for_each(|record| {
            tested.push_raw(topic, record.clone());
        });
        tested.settle();
    }
    for (i, of) in run::tiers(job).unwrap().into_iter().enumerate() {
        let plan = tested.plans()[i].clone();
        let (rig, fingerprint) = really_run(of, topic, records.clone());
        assert_eq!(plan.fingerprint(rig.settings.lanes), fingerprint, "{of}: the plan");
        plan.sinks().for_each(|sink| assert_same_sink(of, &sink.target, &mut tested, &rig));
    }
}

fn assert_same_sink(job: TierOf, target: &SinkTarget, tested: &mut TestJob, rig: &Rig) {
    if let SinkTarget::Table { name, .. } = target {
        let (seen, written) = (sorted(tested.rows(name).json()), sorted(table(rig, name)));
        assert!(
            seen == written && !seen.is_empty(),
            "{job}: {} rows of the table {name}, {} expected",
            written.len(),
            seen.len()
        );
    } else if let Some((sink, form)) = topic_of(target) {
        let seen = standing(tested.records(&sink), form);
        let written = standing(rig.by_partition(&sink), form);
        assert_eq!(seen.len(), written.len(), "{job}: rows that stand in {sink}");
        assert!(seen == written, "{job}: the rows of {sink} differ");
        println!("{job}: {sink}: {} rows are the same", seen.len());
        assert!(!seen.is_empty() || sink.ends_with(".late"), "{job}: nothing in {sink} to compare");
    }
}

/// The rows of a table, without what says where they come from.
fn table(rig: &Rig, name: &str) -> Vec<Value> {
    let (store, lake) = run::open_lake(&rig.settings).unwrap();
    let view = TableView::open(&store, &lake.join(&format!("{name}/")).unwrap()).unwrap().unwrap();
    let mut lines = Vec::new();
    view.write_rows(&mut lines).unwrap();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rows.map(|row| serde_json::from_slice::<BTreeMap<String, Value>>(row).unwrap())
        .map(|row| row.into_iter().filter(|(name, _)| !name.starts_with('_')).collect())
        .collect()
}

/// Rows in an order, with times as numbers: a table writes them with other digits.
fn sorted(rows: Vec<Value>) -> Vec<String> {
    let plain = |row: Value| {
        let Value::Object(fields) = row else { panic!("a row is an object") };
        let number = |value: Value| match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(at) => at.as_millis().into(),
            None => value,
        };
        let fields: BTreeMap<String, Value> = fields.into_iter().map(|(name, value)| (name, number(value))).collect();
        serde_json::to_string(&fields).unwrap()
    };
    let mut rows: Vec<String> = rows.into_iter().map(plain).collect();
    rows.sort_unstable();
    rows
}

fn topic_of(target: &SinkTarget) -> Option<(String, TopicForm)> {
    let SinkTarget::Topic { name, form, .. } = target else { return None };
    Some((name.clone(), *form))
}

/// Runs the job as the command does, until a checkpoint says that all has been read and shown.
fn really_run(job: TierOf, topic: &str, records: Vec<NewRecord>) -> (Rig, u128) {
    let mut rig = Rig::new();
    rig.settings.idle_after_ms = 3_600_000; // the test's clock knows no pauses, so a busy machine may make none here
    rig.topic(topic, PARTITIONS);
    let pipeline = run::pipeline(job);
    let components = run::components(&pipeline.name, &rig.settings).unwrap();
    let (reports, inbox) = Reports::new();
    let options =
        StartOptions { incarnation: 1, request: StartRequest::Resume, until: None, accept_gap: false, minting: Minting::Timed };
    std::thread::scope(|scope| {
        let to = reports.clone();
        let running = scope.spawn(|| engine::run(&pipeline, &components, &rig.settings, &options, (to, inbox)));
        records.chunks(EPOCH / 3).for_each(|chunk| drop(rig.publish(topic, chunk.to_vec())));
        let began = monotonic();
        while !rig.has_read(job, topic) {
            assert!(began.elapsed() < PATIENCE && !running.is_finished(), "{job} does not read on");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        engine::stop(&reports);
        running.join().unwrap().unwrap();
    });
    let start = rig.journal(job).into_iter().find_map(|fact| match fact {
        Fact::Start(start) => Some(start.layout.fingerprint),
        _ => None,
    });
    let Some(fingerprint) = start.or_else(|| checkpointed(&rig, job)) else { panic!("the journal says no plan") };
    (rig, fingerprint)
}

/// The journal may have been truncated behind its `Start`; a checkpoint says the same.
fn checkpointed(rig: &Rig, job: TierOf) -> Option<u128> {
    rig.journal(job).into_iter().find_map(|fact| match fact {
        Fact::Checkpoint(checkpoint) => Some(checkpoint.layout.fingerprint),
        _ => None,
    })
}

/// A row: its partition, key, value, and headers but the epoch's number and the place in it.
type Row = (u32, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

/// What stands in a topic, and how often.
fn standing(partitions: Vec<(u32, Vec<Record>)>, form: TopicForm) -> BTreeMap<Row, i64> {
    let mut rows: BTreeMap<Row, i64> = BTreeMap::new();
    let mut newest: BTreeMap<(u32, Option<Vec<u8>>), Row> = BTreeMap::new();
    for (partition, record) in partitions.into_iter().flat_map(|(p, records)| records.into_iter().map(move |r| (p, r))) {
        let comes = record.header("op") == Some("+");
        let of_epoch = |name: &str| matches!(name, "epoch" | "index" | "op");
        let headers = record.headers.into_iter().filter(|(name, _)| !of_epoch(name)).collect();
        let (key, value) = (record.key.map(|k| k.to_vec()), record.value.map(|v| v.to_vec()));
        match form {
            TopicForm::Append => {
                *rows.entry((partition, key, value, headers)).or_default() += if comes { 1 } else { -1 };
            }
            TopicForm::Upsert => drop(newest.insert((partition, key.clone()), (partition, key, value, headers))),
        }
    }
    rows.extend(newest.into_values().filter(|row| row.2.is_some()).map(|row| (row, 1)));
    rows.retain(|_, copies| *copies != 0);
    rows
}
