//! Every kind of bad record by itself: it becomes a dead letter with its cause, its position and its original bytes, once,
//! and everything else is as if it had never been published. Nothing of it is printed.

use crate::rig::{Payment, header, payment, payments};
use distributary::{Event, Flow, Job, Result, TestJob, count, hours, job, secs, sum, topic, tumbling};
use distributary_runtime::bus::{NewRecord, Record};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::process::Command;

/// Stands in every poisoned record and in the text of every panic: it must turn up in no log.
const CANARY: &str = "canary-5f1c";
/// The child process of [`nothing_of_a_record_is_printed`] logs everything.
const LOG_ALL: &str = "DISTRIBUTARY_TEST_LOGS_ALL";

/// Copies: the job for what does not even decode.
#[job(team = "fraud")]
fn copies(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?.to(topic("fraud.out"));
    Ok(())
}

/// Runs a job with and without one bad record, over a restart. Shows that it is the only dead letter, and whole.
#[track_caller]
fn assert_set_aside(job: Job, poison: NewRecord, operator: &str, cause: &str) {
    log_all();
    let run = |poison: Option<NewRecord>| {
        let mut t = TestJob::new(job);
        push(&mut t, payments(0..6).into_iter().chain(poison).chain(payments(6..12)));
        t.settle().restart();
        push(&mut t, payments(12..18));
        t.advance_to(secs(100));
        t
    };
    let (mut with, mut without) = (run(Some(poison.clone())), run(None));
    assert!(without.dead_letters().is_empty());
    assert_eq!(with.rows("fraud.out"), without.rows("fraud.out"), "the rest is as if it had never been published");
    assert!(!with.rows("fraud.out").is_empty());

    let letters: Vec<Record> = with.records(&format!("{job}.dead-letters")).into_iter().flat_map(|(_, r)| r).collect();
    let [letter] = &letters[..] else { panic!("{} dead letters", letters.len()) };
    let (place, offset) = (header(letter, "source-partition"), header(letter, "source-offset"));
    let (_, partition) = with.records("payments").swap_remove(place.parse().unwrap());
    let original = partition.into_iter().find(|r| r.offset.to_string() == offset).expect("it has a position");
    assert_eq!((&original.key, &original.value), (&poison.key, &poison.value), "it is the bad record that was set aside");
    assert_eq!((&letter.key, &letter.value), (&original.key, &original.value), "its bytes are the original ones");
    assert_eq!(header(letter, "source-topic"), "payments");
    assert_eq!(header(letter, "source-timestamp-ms"), original.timestamp.0.to_string());
    assert!(header(letter, "operator").starts_with(operator), "{}", header(letter, "operator"));
    assert!(header(letter, "cause").starts_with(cause), "the cause is: {}", header(letter, "cause"));
}

fn push(t: &mut TestJob, records: impl IntoIterator<Item = NewRecord>) {
    for record in records {
        t.push_raw("payments", record);
    }
}

/// A payment of the user that no closure here can take.
fn bad() -> NewRecord {
    let value = format!(r#"{{"id":99,"user":"{CANARY}","cents":-1,"at":5000}}"#);
    NewRecord { key: Some(CANARY.into()), value: Some(value.into()), ..payment(5) }
}

fn bad_value(value: impl Into<bytes::Bytes>) -> NewRecord {
    NewRecord { value: Some(value.into()), ..bad() }
}

/// What a careless closure does.
fn choke(p: &Payment) {
    assert!(p.cents >= 0, "cannot take the payment of {}", p.user);
}

/// What a careful closure does.
fn refuse(p: &Payment) -> Result<bool, String> {
    if p.cents < 0 { Err(format!("no payment of {} is below zero", p.user)) } else { Ok(true) }
}

const PANICKED: &str = "panicked: cannot take the payment of canary-5f1c";
const REFUSED: &str = "no payment of canary-5f1c is below zero";

#[test]
fn undecodable() {
    assert_set_aside(copies, bad_value(format!("{CANARY} is not JSON")), "source", "undecodable: not JSON");
    assert_set_aside(copies, bad_value(format!(r#"{{"user":"{CANARY}","#)), "source", "undecodable: JSON ends early");
    assert_set_aside(copies, bad_value([b"\xff\xfe", CANARY.as_bytes()].concat()), "source", "undecodable: not UTF-8");
    let missing = bad_value(format!(r#"{{"id":99,"user":"{CANARY}","at":5000}}"#));
    assert_set_aside(copies, missing, "source", "undecodable: missing field cents");
}

/// The bus takes values of a mebibyte: the largest bad one is a whole dead letter, and a larger result is one too.
#[test]
fn oversized() {
    #[job(team = "fraud")]
    fn enlarges(flow: &Flow) -> Result<()> {
        let long = |p: Payment| if p.cents < 0 { p.user.repeat(1 << 20) } else { p.user };
        flow.read::<Payment>()?.map(long).to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn talks(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?
            .filter(|p| if p.cents < 0 { Err(p.user.repeat(1 << 20)) } else { Ok(true) })
            .to(topic("fraud.out"));
        Ok(())
    }
    let largest = CANARY.repeat(1 << 20)[..1 << 20].to_string();
    assert_set_aside(copies, bad_value(largest), "source", "undecodable: not JSON");
    assert_set_aside(enlarges, bad(), "sink", "a result of 11534338 bytes is larger than the bus takes (1048576 bytes)");
    assert_set_aside(talks, bad(), "filter", CANARY);
}

#[test]
fn null_value() {
    assert_set_aside(copies, NewRecord { value: None, ..bad() }, "source", "null value");
}

#[test]
fn wrong_type() {
    let wrong = bad_value(format!(r#"{{"id":99,"user":"u1","cents":"{CANARY}","at":5000}}"#));
    assert_set_aside(copies, wrong, "source", "undecodable: expected integer, found text in field cents");
}

#[test]
fn absurd_timestamp() {
    let at = |at: i64| bad_value(format!(r#"{{"id":99,"user":"{CANARY}","cents":1,"at":{at}}}"#));
    assert_set_aside(copies, at(5_000 + 3_600_001), "source", "absurd event time: 3600001 ms ahead");
    assert_set_aside(copies, at(-1), "source", "absurd event time: before 1970");
}

#[test]
fn decoding_panics() {
    /// A field whose author was careless.
    #[derive(Clone, Serialize)]
    struct User(String);
    impl<'de> Deserialize<'de> for User {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let name = String::deserialize(from)?;
            assert!(name.starts_with('u'), "{name} is no user");
            Ok(Self(name))
        }
    }
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "payments", id = "id", time = "at", no_personal_data)]
    struct Careless {
        id: u64,
        user: User,
        at: distributary::Timestamp,
    }
    #[job(team = "fraud")]
    fn careless(flow: &Flow) -> Result<()> {
        flow.read::<Careless>()?.to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(careless, bad(), "source", "undecodable: decoding panicked");
}

#[test]
fn map_panics_or_fails() {
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?
            .map(|p| {
                choke(&p);
                p
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn fails(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.try_map(|p| refuse(&p).map(|_| p)).to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "map", PANICKED);
    assert_set_aside(fails, bad(), "map", REFUSED);
}

#[test]
fn filter_panics_or_fails() {
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?
            .filter(|p| {
                choke(p);
                true
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn fails(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.filter(refuse).to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "filter", PANICKED);
    assert_set_aside(fails, bad(), "filter", REFUSED);
}

#[test]
fn flat_map_panics_or_fails() {
    /// The second of three panics: none of them comes.
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        let thrice = |p: Payment| {
            (0..3).map(move |n| {
                if n == 1 {
                    choke(&p)
                };
                (p.id, n)
            })
        };
        flow.read::<Payment>()?.flat_map(thrice).to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn fails(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.try_flat_map(|p| refuse(&p).map(|_| [p.clone(), p])).to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "flat_map", PANICKED);
    assert_set_aside(fails, bad(), "flat_map", REFUSED);
}

#[test]
fn key_by_panics() {
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        let keyed = flow.read::<Payment>()?.key_by(|p| {
            choke(p);
            p.user.clone()
        });
        keyed.aggregate("spend", count()).to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "key_by", PANICKED);
}

#[test]
fn an_aggregate_panics() {
    #[job(team = "fraud")]
    fn running(flow: &Flow) -> Result<()> {
        let keyed = flow.read::<Payment>()?.key_by(|_| "all".to_string());
        keyed
            .aggregate(
                "spend",
                (
                    count(),
                    sum(|p: &Payment| {
                        choke(p);
                        p.cents
                    }),
                ),
            )
            .to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn windowed(flow: &Flow) -> Result<()> {
        let keyed = flow.read::<Payment>()?.key_by(|_| "all".to_string()).window(tumbling(secs(10)).lateness(secs(60)));
        keyed
            .aggregate(
                "spend",
                (
                    count(),
                    sum(|p: &Payment| {
                        choke(p);
                        p.cents
                    }),
                ),
            )
            .to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(running, bad(), "aggregate", PANICKED);
    assert_set_aside(windowed, bad(), "window", PANICKED);
}

#[test]
fn fold_panics_or_fails() {
    /// Has changed the value already when it panics: the value is what it was before the record.
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        let keyed = flow.read::<Payment>()?.key_by(|_| "all".to_string());
        keyed
            .fold("spend", 0, |spend, p, diff| {
                *spend += p.cents * diff;
                choke(p)
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn fails(flow: &Flow) -> Result<()> {
        let keyed = flow.read::<Payment>()?.key_by(|_| "all".to_string());
        keyed
            .fold("spend", 0, |spend, p, diff| {
                *spend += p.cents * diff;
                refuse(p).map(drop)
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "fold", PANICKED);
    assert_set_aside(fails, bad(), "fold", REFUSED);
}

#[test]
fn a_dedup_id_panics() {
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?
            .dedup_by("seen", hours(1), |p| {
                choke(p);
                p.id
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "key_by", PANICKED); // deduplication keys records by their id
}

#[test]
fn a_sink_cannot_encode() {
    /// What somebody else's type may do when it is written as JSON.
    #[derive(Clone, Deserialize)]
    struct Fussy<const PANICS: bool>(Payment);
    impl<const PANICS: bool> Serialize for Fussy<PANICS> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if PANICS {
                choke(&self.0);
            }
            refuse(&self.0).map_err(serde::ser::Error::custom)?;
            self.0.serialize(to)
        }
    }
    #[job(team = "fraud")]
    fn panics(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.map(Fussy::<true>).to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn fails(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.map(Fussy::<false>).to(topic("fraud.out"));
        Ok(())
    }
    #[job(team = "fraud")]
    fn no_key(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?
            .keyed(|p| {
                choke(p);
                p.user.clone()
            })
            .to(topic("fraud.out"));
        Ok(())
    }
    assert_set_aside(panics, bad(), "sink", PANICKED);
    assert_set_aside(fails, bad(), "sink", "a result has no JSON form");
    assert_set_aside(no_key, bad(), "sink", PANICKED);
}

/// What an aggregate made has no record of the bus behind it: its dead letter says so by having neither key nor value.
#[test]
fn a_closure_behind_an_aggregate_panics() {
    #[job(team = "fraud")]
    fn totals(flow: &Flow) -> Result<()> {
        let spend = flow.read::<Payment>()?.key_by(|p| p.user.clone()).aggregate("spend", sum(|p: &Payment| p.cents));
        let checked = spend.map(|total| {
            assert!(total.value >= 0, "{} has spent less than nothing", total.key);
            total
        });
        checked.to(topic("fraud.out"));
        Ok(())
    }
    log_all();
    let mut t = TestJob::new(totals);
    push(&mut t, [bad()].into_iter().chain(payments(0..6)));
    assert_eq!(t.rows("fraud.out").len(), 3);
    let letters: Vec<Record> = t.records("fraud.totals.dead-letters").into_iter().flat_map(|(_, r)| r).collect();
    let [letter] = &letters[..] else { panic!("{} dead letters", letters.len()) };
    assert_eq!((&letter.key, &letter.value), (&None, &None));
    assert_eq!(header(letter, "cause"), format!("panicked: {CANARY} has spent less than nothing"));
}

/// Method: these very scenarios once more, in a process that logs all it can.
#[test]
fn nothing_of_a_record_is_printed() {
    if std::env::var_os(LOG_ALL).is_some() {
        return; // this is the child
    }
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new(this);
    let child = child.args(["poison_kinds::", "--nocapture", "--test-threads=1"]).env(LOG_ALL, "1").output().unwrap();
    let said = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
    assert!(child.status.success(), "the scenarios themselves fail");
    assert!(said.contains("fraud.copies") && said.contains("started"), "the child logs");
    let leak = said.lines().find(|line| line.contains(CANARY));
    assert_eq!(leak, None, "a log holds payload");
}

fn log_all() {
    if std::env::var_os(LOG_ALL).is_some() {
        let all = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
        // The first of the scenarios has set it already.
        let _ = all.with_writer(std::io::stderr).with_ansi(false).try_init();
    }
}
