//! Goal: behind a request to delete, every sink holds what the job says of the same records without those that the request covers: of
//! each kind of operator, in both tiers, whenever requests come, and through crashes with other numbers of workers.
//! Method: random scenarios, of which the oracle is the same job with the covered records filtered out in front; so watermarks and
//! lateness of the others are the same. The seed is printed; `DISTRIBUTARY_SEED` runs one. And once as it is run, on both buses.

use crate::rig::{self, Rig, on_each_bus};
use distributary::{
    Event, Flow, PerKey, Result, Stream, TestJob, Timestamp, collect, count, distinct, job, max, mins, secs, sum, table, top,
    topic, tumbling, upsert, within,
};
use distributary_runtime::bus::NewRecord;
use distributary_runtime::deletion::{self, Cut, Request};
use distributary_runtime::journal::StartRequest;
use distributary_runtime::settings::Settings;
use distributary_runtime::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const SEEDS: u64 = 12;
const STEPS: u64 = 60;
const USERS: u64 = 4;
/// No aggregate takes this many cents.
const POISON: i64 = 13;
/// Events come so much behind the greatest time, at most.
const BEHIND_S: u64 = 25;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "payments", id = "id", time = "at", subject = "user")]
struct Payment {
    id: u64,
    user: String,
    to: String,
    cents: i64,
    at: Timestamp,
    /// What the oracle leaves out.
    covered: bool,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "logins", id = "id", time = "at", subject = "user")]
struct Login {
    id: u64,
    user: String,
    at: Timestamp,
    covered: bool,
}

#[derive(Serialize, Deserialize, Clone)]
struct Row {
    start: Timestamp,
    to: String,
    payments: u64,
    cents: i64,
}

const SINKS: [&str; 9] = [
    "d.all",
    "d.totals",
    "d.windows",
    "d.lists",
    "d.near",
    "d.tops",
    "d_windows",
    "d.everything.late",
    "d.everything.dead-letters",
];

fn cents(p: &Payment) -> i64 {
    assert_ne!(p.cents, POISON, "poison");
    p.cents
}

#[job(team = "d")]
fn everything(flow: &Flow) -> Result<()> {
    flow.correct_for(mins(60));
    let payments: Stream<'_, Payment> = flow.read::<Payment>()?.filter(|p| !p.covered).dedup("ids", mins(5));
    let logins = flow.read::<Login>()?.filter(|l| !l.covered);
    payments.clone().map(|p| p.id).to(topic("d.all"));
    payments
        .clone()
        .key_by(|p| p.to.clone())
        .aggregate("totals", (count(), sum(cents), distinct(|p: &Payment| p.user.clone())))
        .to(upsert("d.totals"));
    let windows = payments
        .clone()
        .key_by(|p| p.to.clone())
        .window(tumbling(secs(10)).lateness(secs(10)))
        .aggregate("windows", (count(), sum(cents), max(|p: &Payment| p.cents)));
    let rows = windows.to(topic("d.windows")).map(|w| Row {
        start: Timestamp::from_millis(w.window.start.0),
        to: w.key,
        payments: w.value.0,
        cents: w.value.1,
    });
    rows.clone().to(table("d_windows").time("start"));
    rows.key_by(|_| "all".to_string())
        .aggregate("tops", top(3, |r: &Row| (r.cents, r.start.as_millis(), r.to.clone())))
        .to(upsert("d.tops"));
    payments
        .clone()
        .key_by(|_| ())
        .window(tumbling(secs(20)).lateness(secs(5)))
        .aggregate("lists", collect(|p: &Payment| p.id))
        .to(topic("d.lists"));
    let near = within(secs(8), secs(8)).lateness(secs(10));
    logins
        .key_by(|l| l.user.clone())
        .left_join_within(near, "near", &payments.key_by(|p| p.to.clone()), |_, l, p| (l.id, p.map(|p| p.id)))
        .to(topic("d.near"));
    Ok(())
}

/// What happens to a job under test, and to the oracle.
#[derive(Clone)]
enum Step {
    Pay(Payment),
    Login(Login),
    Advance(u64),
    Delete { subject: String, standing: bool },
    Restart { workers: u32, in_order: bool },
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(&self.0.to_le_bytes(), 7);
        self.0 % n
    }
}

/// Each payment and login with whether any request covers it.
fn scenario(seed: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let (mut steps, mut now_s, mut id, mut standing): (Vec<Step>, u64, u64, Vec<String>) = (Vec::new(), 100, 0, Vec::new());
    for _ in 0..STEPS {
        for _ in 0..random.below(6) {
            id += 1;
            // Some come twice.
            let id = if random.below(10) == 0 { id - 1 } else { id };
            let user = format!("u{}", random.below(USERS));
            let at = Timestamp::EPOCH + secs(now_s + 5 - random.below(BEHIND_S).min(now_s));
            let covered = standing.contains(&user);
            let to = format!("u{}", random.below(USERS));
            let cents = if random.below(15) == 0 { POISON } else { random.below(10) as i64 };
            steps.push(match random.below(3) {
                0 => Step::Login(Login { id, user, at, covered }),
                _ => Step::Pay(Payment { id, user, to, cents, at, covered }),
            });
        }
        match random.below(12) {
            0 => {
                let (subject, stands) = (format!("u{}", random.below(USERS)), random.below(2) == 0);
                for step in &mut steps {
                    match step {
                        Step::Pay(Payment { user, covered, .. }) | Step::Login(Login { user, covered, .. })
                            if *user == subject =>
                        {
                            *covered = true;
                        }
                        _ => {}
                    }
                }
                if stands {
                    standing.push(subject.clone());
                }
                steps.push(Step::Delete { subject, standing: stands });
            }
            1 => steps.push(Step::Restart { workers: 1 + random.below(3) as u32, in_order: random.below(2) == 0 }),
            2..8 => {
                now_s += random.below(12);
                steps.push(Step::Advance(now_s));
            }
            _ => {}
        }
    }
    steps
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    UnderTest,
    Oracle,
}

fn run(who: Who, steps: &[Step]) -> Vec<(&'static str, Vec<String>)> {
    let mut t = TestJob::with(everything, Settings::default());
    for step in steps.iter().cloned() {
        match (who, step) {
            (Who::UnderTest, Step::Pay(payment)) => drop(t.push(Payment { covered: false, ..payment })),
            (Who::UnderTest, Step::Login(login)) => drop(t.push(Login { covered: false, ..login })),
            (Who::Oracle, Step::Pay(payment)) => drop(t.push(payment)),
            (Who::Oracle, Step::Login(login)) => drop(t.push(login)),
            (_, Step::Advance(to)) => drop(t.advance_to(secs(to))),
            (Who::UnderTest, Step::Delete { subject, standing: true }) => {
                t.request(&Request { subjects: vec![subject], cut: Cut::Standing });
            }
            (Who::UnderTest, Step::Delete { subject, standing: false }) => drop(t.delete(subject)),
            (Who::UnderTest, Step::Restart { workers, in_order }) => {
                if in_order {
                    t.stop();
                }
                t.restart_with(workers);
            }
            (Who::Oracle, Step::Delete { .. } | Step::Restart { .. }) => {}
        }
    }
    t.advance_to(mins(20));
    SINKS.map(|sink| (sink, t.rows(sink).iter().map(|row| format!("{:?} {}", row.key, row.value)).collect())).into()
}

#[test]
fn what_is_forgotten_was_never_there() {
    let one = std::env::var("DISTRIBUTARY_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(1..=SEEDS, |seed| seed..=seed) {
        println!("seed {seed}");
        let steps = scenario(seed);
        for ((sink, is), (_, expected)) in run(Who::UnderTest, &steps).into_iter().zip(run(Who::Oracle, &steps)) {
            assert_eq!(is, expected, "seed {seed}, sink {sink}");
        }
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "rates", id = "id", time = "at", no_personal_data)]
struct Rate {
    id: u64,
    at: Timestamp,
}

#[job(team = "d")]
fn counts(flow: &Flow) -> Result<()> {
    flow.read::<Rate>()?.map(|rate| rate.id).to(topic("d.rates"));
    flow.read::<Login>()?.key_by(|_| "all".to_string()).aggregate("count", count()).to(upsert("d.count"));
    Ok(())
}

fn login(id: u64, user: &str) -> Login {
    Login { id, user: user.into(), at: Timestamp::EPOCH + Duration::from_secs(id), covered: false }
}

/// Behind a checkpoint that was made when the request was bound and nothing of what it covers was taken back.
#[test]
fn nothing_is_taken_back_twice_and_a_request_that_cannot_be_read_stops_nobody() {
    let mut t = TestJob::new(counts);
    t.push(Rate { id: 1, at: Timestamp::EPOCH });
    t.push(login(1, "u1")).push(login(2, "u2")).push(login(3, "u1")).settle();
    let bad = NewRecord { partition: None, timestamp: WallTime(0), key: None, value: Some("{}".into()), headers: Vec::new() };
    t.push_raw(deletion::TOPIC, bad).delete("u1").delete("u1").delete("nobody");
    assert_eq!(t.rows("d.count").json()[0]["value"], 1);
    t.stop().restart_with(2).delete("u1").push(login(4, "u1")).push(login(5, "u3"));
    assert_eq!(t.rows("d.count").json()[0]["value"], 3, "what comes behind its cut is covered by no request");
    t.request(&Request { subjects: vec!["u1".into(), "u2".into()], cut: Cut::Standing }).restart();
    t.push(login(6, "u2"));
    assert_eq!(t.rows("d.count").json()[0]["value"], 1);
}

/// What each user has paid for.
#[job(team = "fraud")]
fn totals(flow: &Flow) -> Result<()> {
    flow.read::<rig::Payment>()?.key_by(|p| p.user.clone()).aggregate("totals", count()).to(upsert("fraud.totals"));
    Ok(())
}

/// Names that no other scenario on the same broker has.
const PAYERS: [&str; 3] = ["ada who is forgotten", "bob who is forgotten", "eve who stays"];

fn paid(ids: std::ops::Range<u64>) -> Vec<NewRecord> {
    let paid = |id: u64| {
        let user = PAYERS[(id % 3) as usize];
        let value = format!(r#"{{"id":{id},"user":"{user}","cents":1,"at":{}}}"#, id * 1_000);
        NewRecord { key: Some(user.into()), value: Some(value.into()), ..rig::payment(id) }
    };
    ids.map(paid).collect()
}

/// Waits until so many payments of each stand.
fn await_totals(rig: &Rig, expected: [u64; 3]) {
    rig.read_until("fraud.totals", |records| {
        let mut said = BTreeMap::new();
        for record in records {
            let total = record.value.as_ref().map(|value| serde_json::from_slice::<PerKey<String, u64>>(value).unwrap().value);
            said.insert(record.key.clone().unwrap(), total.unwrap_or_default());
        }
        PAYERS.map(|payer| said.get(payer.as_bytes()).copied().unwrap_or_default()) == expected
    });
}

fn ask(rig: &Rig, subject: &str, cut: Cut) {
    let request = Request { subjects: vec![subject.into()], cut };
    rig.calm.create_topic(&deletion::topic()).unwrap();
    rig.publish(deletion::TOPIC, vec![request.record(WallTime(0)).unwrap()]);
}

#[test]
fn a_running_pipeline_forgets_and_so_does_one_that_was_away() {
    on_each_bus(|rig| {
        rig.topic("payments", 3);
        rig.publish("payments", paid(0..30));
        let running = rig.start(totals);
        await_totals(&rig, [10, 10, 10]);
        ask(&rig, PAYERS[0], Cut::Standing);
        await_totals(&rig, [0, 10, 10]);
        rig.publish("payments", paid(30..60));
        await_totals(&rig, [0, 20, 20]);

        running.crash();
        ask(&rig, PAYERS[1], Cut::now(&*rig.calm, ["payments"]).unwrap());
        rig.publish("payments", paid(60..90));
        let running = rig.start(totals);
        await_totals(&rig, [0, 10, 30]);

        // Behind a checkpoint, and once more from nothing.
        running.stop();
        rig.publish("payments", paid(90..120));
        let running = rig.start(totals);
        await_totals(&rig, [0, 20, 40]);
        running.stop();
        let running = rig.start_with(totals, |options| options.request = StartRequest::FromZero);
        rig.publish("payments", paid(120..123));
        await_totals(&rig, [0, 21, 41]);
        running.stop();
        rig.calm.delete_topic(deletion::TOPIC).unwrap();
    });
}
