//! Goal: a look-up is exact, whatever the service says the second time: each record has one answer, once, through crashes with other numbers
//! of workers; a deletion takes back exactly what was said; a service that fails makes dead letters. Calls on threads keep the order of a key.
//! Method: a service that never gives the same answer twice, random scenarios in which every raw record of the sink is looked at (the seeds
//! are printed; `DISTRIBUTARY_SEED` runs one), and the live path with the timed minter on both buses.

use crate::rig::{self, Rig, on_each_bus};
use distributary::{Event, Flow, Result, TestJob, Timestamp, ask, days, job, mins, secs, topic};
use distributary_runtime::journal::StartRequest;
use distributary_runtime::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SEEDS: u64 = 8;
const STEPS: u64 = 40;
const USERS: u64 = 4;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "logins", id = "id", time = "at", subject = "user")]
struct Login {
    id: u64,
    user: String,
    ip: String,
    at: Timestamp,
}

/// A login and the answer that it got.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Seen {
    id: u64,
    user: String,
    ip: String,
    answer: u64,
}

/// Another answer for each call; none for one address.
fn other_each_time(ip: &str) -> Result<u64, &'static str> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::SeqCst);
    if ip == "nowhere" { Err("no such address") } else { Ok(call) }
}

fn seen(login: &Login, answer: &u64) -> Seen {
    Seen { id: login.id, user: login.user.clone(), ip: login.ip.clone(), answer: *answer }
}

#[job(team = "l")]
fn answered(flow: &Flow) -> Result<()> {
    flow.correct_for(days(1));
    let logins = flow.read::<Login>()?.key_by(|l| l.ip.clone());
    logins.clone().look_up("once", ask(|ip: &String| other_each_time(ip)).attempts(1), seen).to(topic("l.once"));
    logins.look_up("fresh", ask(|ip: &String| other_each_time(ip)).attempts(1).fresh_for(mins(1)), seen).to(topic("l.fresh"));
    Ok(())
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(&self.0.to_le_bytes(), 7);
        self.0 % n
    }
}

/// Everything a topic holds, in which a row may come once and go once: what stands in the end.
fn standing(t: &mut TestJob, topic: &str) -> Vec<Seen> {
    let mut rows: BTreeMap<u64, Vec<(bool, Seen)>> = BTreeMap::new();
    for record in t.records(topic).into_iter().flat_map(|(_, records)| records) {
        let row: Seen = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        rows.entry(row.id).or_default().push((record.is_retraction(), row));
    }
    let mut standing = Vec::new();
    for (id, said) in rows {
        match &said[..] {
            [(false, row)] => standing.push(row.clone()),
            [(false, row), (true, back)] => assert_eq!(row, back, "{topic}: {id} is taken back with another answer"),
            other => panic!("{topic}: {id} was said more than once: {other:?}"),
        }
    }
    standing
}

#[test]
fn each_record_has_one_answer_through_crashes_and_deletions() {
    let seeds = std::env::var("DISTRIBUTARY_SEED").map_or((0..SEEDS).collect(), |seed| vec![seed.parse().unwrap()]);
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut t = TestJob::with(answered, Settings { workers: 1 + random.below(3) as u32, ..Settings::default() });
        let (mut logins, mut id): (BTreeMap<u64, Login>, u64) = (BTreeMap::new(), 0);
        for _ in 0..STEPS {
            for _ in 0..random.below(5) {
                id += 1;
                let ip = match random.below(8) {
                    0 => "nowhere".to_string(),
                    n => format!("10.0.0.{n}"),
                };
                let login = Login { id, user: format!("u{}", random.below(USERS)), ip, at: secs(random.below(1_000)).into() };
                t.push(login.clone());
                logins.insert(id, login);
            }
            match random.below(8) {
                0 => drop(t.advance_to(secs(random.below(2_000)))),
                1 => drop(t.restart_with(1 + random.below(3) as u32)),
                2 => drop(t.stop().restart_with(1 + random.below(3) as u32)),
                3 => {
                    let user = format!("u{}", random.below(USERS));
                    t.delete(user.as_str());
                    logins.retain(|_, login| login.user != user);
                }
                _ => drop(t.settle()),
            }
        }
        t.settle();
        let expected: Vec<u64> = logins.values().filter(|l| l.ip != "nowhere").map(|l| l.id).collect();
        for topic in ["l.once", "l.fresh"] {
            let rows = standing(&mut t, topic);
            assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{topic}, seed {seed}");
            assert!(rows.iter().all(|row| logins[&row.id].ip == row.ip));
        }
        let refused = logins.values().filter(|l| l.ip == "nowhere").count();
        let dead = t.records("l.answered.dead-letters").into_iter().flat_map(|(_, records)| records);
        let net: i64 = dead.map(|record| if record.header("op") == Some("-") { -1 } else { 1 }).sum();
        assert_eq!(net, 2 * refused as i64, "dead letters, seed {seed}");
    }
}

#[test]
fn a_fresh_answer_serves_many_and_others_are_asked_for_again() {
    let mut t = TestJob::new(answered);
    let login = |id| Login { id, user: "u1".into(), ip: "10.0.0.1".into(), at: secs(1).into() };
    for id in 0..3 {
        t.push(login(id)).settle();
    }
    let answers = |rows: Vec<Seen>| rows.into_iter().map(|row| row.answer).collect::<BTreeSet<_>>().len();
    assert_eq!((answers(standing(&mut t, "l.once")), answers(standing(&mut t, "l.fresh"))), (3, 1));
}

/// Two calls at once at most, which take a while.
fn slow(user: &str) -> Result<u64, &'static str> {
    static UNDER_WAY: AtomicU64 = AtomicU64::new(0);
    let now = UNDER_WAY.fetch_add(1, Ordering::SeqCst);
    std::thread::park_timeout(std::time::Duration::from_millis(2));
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    if now < 2 { Ok(user.len() as u64) } else { Err("more than two at once") }
}

#[job(team = "l")]
fn scores(flow: &Flow) -> Result<()> {
    flow.read::<rig::Payment>()?
        .key_by(|p| format!("{} {}", p.user, p.id))
        .look_up("score", ask(|user: &String| slow(user)).at_once(2), |p, score| (p.id, *score))
        .to(topic("l.scores"));
    Ok(())
}

/// Ids of the rows that a topic holds, each of which must be there once.
fn await_scores(rig: &Rig, count: usize) {
    let records = rig.read("l.scores", count);
    let ids: BTreeSet<u64> =
        records.iter().map(|r| serde_json::from_slice::<(u64, u64)>(r.value.as_ref().unwrap()).unwrap().0).collect();
    assert_eq!((ids.len(), records.len()), (count, count), "each once");
}

#[test]
fn a_running_pipeline_asks_goes_on_after_a_crash_and_holds_back_what_is_too_much() {
    on_each_bus(|mut rig| {
        // As many questions as this wait: the rest of the input does.
        rig.settings.questions_max = 8;
        rig.topic("payments", 3);
        rig.publish("payments", rig::payments(0..200));
        let running = rig.start(scores);
        rig.read("l.scores", 20);
        running.crash();
        let running = rig.start(scores);
        await_scores(&rig, 200);
        running.stop();
        let answers = rig.all("l.scores.answers.score").len();
        // Another generation asks anew, and has all answers when it has read up to a time.
        rig.start_with(scores, |options| {
            options.request = StartRequest::FromZero;
            options.until = Some(distributary_runtime::time::WallTime(i64::MAX));
        })
        .ends();
        assert_eq!(rig.all("l.scores").len(), 400);
        assert!(rig.all("l.scores.answers.score").len() >= answers + 200);
    });
}

static CALLED: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());
static OVERLAPPED: AtomicBool = AtomicBool::new(false);

#[job(team = "l")]
fn checked(flow: &Flow) -> Result<()> {
    flow.read::<Login>()?
        .key_by(|l| l.user.clone())
        .try_map_blocking(3, |user, login| {
            static UNDER_WAY: AtomicU64 = AtomicU64::new(0);
            OVERLAPPED.fetch_or(UNDER_WAY.fetch_add(1, Ordering::SeqCst) > 0, Ordering::SeqCst);
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            CALLED.lock().unwrap().push((user.clone(), login.id));
            UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            assert_ne!(login.ip, "bad", "a call that panics");
            if login.ip == "nowhere" { Err("no such address") } else { Ok(login.id) }
        })
        .to(topic("l.checked"));
    Ok(())
}

#[test]
fn calls_on_threads_keep_the_order_of_a_key() {
    let mut t = TestJob::new(checked);
    let ips = ["10.0.0.1", "bad", "nowhere"];
    for id in 0..60 {
        let (user, ip) = (format!("u{}", id % 5), ips[usize::from(id % 20 == 7) + 2 * usize::from(id % 20 == 13)].to_string());
        t.push(Login { id, user, ip, at: secs(1).into() });
    }
    assert_eq!((t.rows("l.checked").len(), t.dead_letters().len()), (54, 6));
    let called = CALLED.lock().unwrap().clone();
    for user in called.iter().map(|(user, _)| user.clone()).collect::<BTreeSet<_>>() {
        let ids: Vec<u64> = called.iter().filter(|(of, _)| *of == user).map(|(_, id)| *id).collect();
        assert!(ids.is_sorted(), "{user}: {ids:?}");
    }
    assert!(OVERLAPPED.load(Ordering::SeqCst), "calls of different keys run beside each other");
    t.delete("u1");
    assert_eq!(t.rows("l.checked").len(), 54 - 12);
}
