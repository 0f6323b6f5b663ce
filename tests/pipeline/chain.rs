//! Goal: job B reads what job A writes, in either form and by either kind of lane, and its sums are those over the rows of A that
//! stand: under corrections and deletions, crashes of A and of B, and late repeats of a replaced process of A.
//! Method: A writes one state four ways, B sums each; an oracle computes the sums from A's input alone.

use crate::rig::{Payment, Rig, Running, payment};
use distributary::{Event, Flow, PerKey, Result, TestJob, Timestamp, count, job, secs, sum, topic, upsert};
use distributary_runtime::bus::{NewRecord, Record};
use distributary_runtime::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const USERS: u64 = 25;
const COUNTRIES: u64 = 3;
/// A user who has spent a multiple of this has no row.
const HOLE: i64 = 5;

/// One state of A as B reads it, by four topics.
macro_rules! spend {
    ($name:ident, $topic:tt) => {
        #[derive(Event, Serialize, Deserialize, Clone, Debug)]
        #[event(topic = $topic, id = "user", time = "at", subject = "user")]
        struct $name {
            user: String,
            country: String,
            cents: i64,
            at: Timestamp,
        }
    };
}
spend!(Spend, "fraud.changes");
spend!(TailSpend, "fraud.changes-tail");
spend!(Row, "fraud.rows");
spend!(TailRow, "fraud.rows-tail");

/// What a user has spent, and when last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spent {
    cents: i64,
    at: Timestamp,
}

/// A: what each user has spent.
#[job(team = "fraud")]
fn spend(flow: &Flow) -> Result<()> {
    let none = Spent { cents: 0, at: Timestamp::from_millis(0) };
    flow.read::<Payment>()?
        .key_by(|p| p.user.clone())
        .fold("spent", none, |spent: &mut Spent, p: &Payment, diff| {
            spent.cents += p.cents * diff;
            spent.at = spent.at.max(p.at);
        })
        .filter(|row| row.value.cents % HOLE != 0)
        .map(|row| Spend { country: country_of(&row.key), user: row.key, cents: row.value.cents, at: row.value.at })
        .keyed(|row| row.user.clone())
        .to(topic("fraud.changes"))
        .to(topic("fraud.changes-tail").tail())
        .to(upsert("fraud.rows"))
        .to(upsert("fraud.rows-tail").tail());
    Ok(())
}

/// Where B writes its sums over each of the four.
const TOTALS: [&str; 4] = ["fraud.totals-changes", "fraud.totals-changes-tail", "fraud.totals-rows", "fraud.totals-rows-tail"];

/// B: how many users of a country have a row, and what these have spent.
#[job(team = "fraud")]
fn totals(flow: &Flow) -> Result<()> {
    macro_rules! total {
        ($stream:expr, $type:ty, $name:literal, $to:expr) => {
            $stream?.key_by(|s: &$type| s.country.clone()).aggregate($name, (count(), sum(|s: &$type| s.cents))).to(upsert($to));
        };
    }
    total!(flow.read::<Spend>(), Spend, "changes", TOTALS[0]);
    total!(flow.read_tail::<TailSpend>("places"), TailSpend, "changes by tail", TOTALS[1]);
    total!(flow.read_upsert::<Row>("rows"), Row, "totals of rows", TOTALS[2]);
    total!(flow.read_upsert::<TailRow>("rows by tail"), TailRow, "totals of rows by tail", TOTALS[3]);
    Ok(())
}

#[test]
fn sums_over_what_another_job_writes_are_those_over_its_input() {
    chained(&Rig::new());
}

#[test]
fn sums_over_what_another_job_writes_are_those_over_its_input_on_kafka() {
    if let Some(rig) = Rig::on_kafka() {
        chained(&rig);
    }
}

fn chained(rig: &Rig) {
    rig.topic("payments", 3);
    let mut published = 0;
    let mut publish = |count: u64| {
        rig.publish("payments", (published..published + count).map(of_user).collect());
        published += count;
        published
    };
    let all = publish(100);
    let a = rig.start(spend);
    for topic in ["fraud.changes", "fraud.changes-tail", "fraud.rows", "fraud.rows-tail"] {
        rig.read(topic, 1);
    }
    let b = rig.start(totals);
    await_totals(rig, all);

    // A dies in the middle, and what it had sent comes when another has taken its place.
    publish(50);
    a.crash();
    let all = publish(50);
    let a = rig.start(spend);
    repeat_late(rig);
    await_totals(rig, all);

    // B dies in the middle, and misses repeats.
    publish(50);
    b.crash();
    repeat_late(rig);
    let all = publish(50);
    let b = rig.start(totals);
    await_totals(rig, all);

    // Both stop and go on.
    [a, b].into_iter().for_each(Running::stop);
    repeat_late(rig);
    let all = publish(100);
    let (b, a) = (rig.start(totals), rig.start(spend));
    await_totals(rig, all);
    [a, b].into_iter().for_each(Running::stop);
    assert!(rig.all("fraud.totals.dead-letters").is_empty());
}

/// Waits until B says of each of the four what its sums must be, behind so many payments.
fn await_totals(rig: &Rig, payments: u64) {
    let expected = expected(payments);
    for topic in TOTALS {
        rig.read_until(topic, |records| state(records) == expected);
    }
}

/// The payment with this number: a cent of one of the users.
fn of_user(id: u64) -> NewRecord {
    let user = user_of(id);
    let value = format!(r#"{{"id":{id},"user":"{user}","cents":1,"at":{}}}"#, id * 1_000);
    NewRecord { key: Some(user.into()), value: Some(value.into()), ..payment(id) }
}

fn user_of(id: u64) -> String {
    format!("u{}", id * id % USERS)
}

fn country_of(user: &str) -> String {
    let number: u64 = user[1..].parse().unwrap();
    format!("c{}", number % COUNTRIES)
}

fn expected(payments: u64) -> BTreeMap<String, (u64, i64)> {
    let mut by_user: BTreeMap<String, i64> = BTreeMap::new();
    (0..payments).for_each(|id| *by_user.entry(user_of(id)).or_default() += 1);
    let mut sums: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for (user, cents) in by_user.into_iter().filter(|(_, cents)| cents % HOLE != 0) {
        let sum = sums.entry(country_of(&user)).or_default();
        *sum = (sum.0 + 1, sum.1 + cents);
    }
    sums
}

fn state(records: &[Record]) -> BTreeMap<String, (u64, i64)> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
        match &record.value {
            Some(value) => drop(rows.insert(key, serde_json::from_slice::<PerKey<String, _>>(value).unwrap().value)),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

/// A process of A that was replaced long ago wakes up, and sends what it still has.
fn repeat_late(rig: &Rig) {
    for topic in ["fraud.changes-tail", "fraud.rows-tail"] {
        for (partition, records) in rig.by_partition(topic) {
            let again = |Record { timestamp, key, value, headers, .. }: Record| NewRecord {
                partition: Some(partition),
                timestamp,
                key,
                value,
                headers,
            };
            let some = records.len() / 2;
            rig.publish(topic, records.into_iter().take(some).map(again).collect());
        }
    }
}

/// Sums of the rows and of the changes that are pushed.
#[job(team = "fraud")]
fn pushed(flow: &Flow) -> Result<()> {
    flow.read_upsert::<Row>("rows")?
        .key_by(|_| 0)
        .aggregate("sum of rows", sum(|r: &Row| r.cents))
        .to(upsert("fraud.sum-of-rows"));
    let changes = flow.read_tail::<Spend>("places")?;
    changes.key_by(|_| 0).aggregate("sum of changes", sum(|s: &Spend| s.cents)).to(upsert("fraud.sum-of-changes"));
    Ok(())
}

/// A record as the pipeline `fraud.spend` writes it in this epoch.
fn written(epoch: u64, op: &str, user: &str, cents: Option<i64>) -> NewRecord {
    let value = cents.map(|c| format!(r#"{{"user":"{user}","country":"c0","cents":{c},"at":{epoch}}}"#).into());
    let headers = [("pipeline", "fraud.spend"), ("generation", "1"), ("epoch", &epoch.to_string()), ("index", "0"), ("op", op)];
    let headers = headers.map(|(name, value)| (name.into(), value.to_string().into())).into();
    NewRecord { partition: Some(0), timestamp: WallTime(0), key: Some(user.to_string().into()), value, headers }
}

fn sum_of(t: &mut TestJob, sink: &str) -> Option<i64> {
    t.rows(sink).json().first().map(|row| row["value"].as_i64().unwrap())
}

#[test]
fn a_row_changes_goes_and_does_not_come_back_by_a_late_repeat() {
    let mut t = TestJob::new(pushed);
    t.push_raw("fraud.rows", written(1, "+", "u1", Some(5))).push_raw("fraud.rows", written(2, "+", "u2", Some(7)));
    t.push_raw("fraud.rows", written(3, "+", "u1", Some(6)));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-rows"), Some(13));
    t.restart().push_raw("fraud.rows", written(4, "-", "u2", None));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-rows"), Some(6));
    t.stop().restart_with(2);
    t.push_raw("fraud.rows", written(1, "+", "u1", Some(5))).push_raw("fraud.rows", written(2, "+", "u2", Some(7)));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-rows"), Some(6));
    t.push_raw("fraud.rows", written(5, "-", "u1", None));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-rows"), None);
    assert!(t.dead_letters().is_empty());
}

#[test]
fn a_correction_takes_back_and_a_late_repeat_does_nothing() {
    let mut t = TestJob::new(pushed);
    t.push_raw("fraud.changes", written(1, "+", "u1", Some(5))).push_raw("fraud.changes", written(2, "-", "u1", Some(5)));
    t.push_raw("fraud.changes", written(3, "+", "u1", Some(6)));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-changes"), Some(6));
    t.stop().restart();
    t.push_raw("fraud.changes", written(1, "+", "u1", Some(5))).push_raw("fraud.changes", written(2, "-", "u1", Some(5)));
    t.push_raw("fraud.changes", written(3, "+", "u1", Some(6)));
    t.advance_to(secs(1));
    assert_eq!(sum_of(&mut t, "fraud.sum-of-changes"), Some(6));
    let mut of_another = written(1, "+", "u1", Some(1));
    of_another.headers[0].1 = "fraud.other".into();
    t.push_raw("fraud.changes", of_another);
    assert_eq!(sum_of(&mut t, "fraud.sum-of-changes"), Some(7));
    assert!(t.dead_letters().is_empty());
}
