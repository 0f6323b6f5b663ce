//! A crate outside the workspace, as a team has one: built, tested and run as its team would.
//! Method: with cargo, into the workspace's own target folder and with its profile, so that most of it is built already.

use crate::rig::{PATIENCE, Rig, brokers, header};
use distributary_runtime::bus::{Bus, Offset, Record};
use distributary_runtime::time::monotonic;
use harness::outside;
use harness::process::{Launch, Signal};
use harness::teams::Teams;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CANARY: &str = "canary-9e2d";
/// That of the workspace, so that registry crates are not built again; our own are, and then quickly.
const PROFILE: [&str; 8] = [
    "opt-level=1",
    "debug='line-tables-only'",
    "package.'*'.opt-level=2",
    "package.'*'.debug=false",
    "package.distributary.opt-level=0",
    "package.distributary-connectors.opt-level=0",
    "package.distributary-operators.opt-level=0",
    "package.distributary-runtime.opt-level=0",
];

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder").to_path_buf()
}

fn cargo(command: &str) {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/team_crate");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--offline", "--quiet", "--manifest-path"]).arg(crate_dir.join("Cargo.toml"));
    if cfg!(feature = "kafka-tls") {
        // So that librdkafka is not built again.
        cargo.args(["--features", "kafka-tls"]);
    }
    for setting in PROFILE {
        cargo.args(["--config", &format!("profile.dev.{setting}")]);
    }
    if std::env::var_os("CI").is_some() {
        cargo.arg("--locked");
    }
    let began = monotonic();
    let done = cargo.env("CARGO_TARGET_DIR", target()).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "cargo {command}: {said}");
    println!("cargo {command}: {:.1?}", began.elapsed());
}

/// Runs a command of the team's binary, and gives what it prints.
fn command(dir: &Path, args: &[&str], input: &str) -> String {
    let mut command = Command::new(binary());
    command.args(args).arg("--data-dir").arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

fn binary() -> PathBuf {
    target().join("debug/team_crate")
}

fn payment(number: u32, user: &str, cents: u32, second: u32) -> String {
    let id = format!("00000000-0000-0000-0000-{number:012}");
    format!("{{\"payment_id\":\"{id}\",\"user_id\":\"{user}\",\"amount_cents\":{cents},\"at\":{}}}\n", second * 1_000)
}

#[test]
fn a_team_builds_tests_and_runs_its_own_binary() {
    cargo("test");
    cargo("build");
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(command(dir, &["plan", "spend"], "").contains("fraud.spend"));
    command(dir, &["topic", "create", "payments", "--partitions", "1"], "");
    let produce = |lines: String| drop(command(dir, &["topic", "produce", "payments", "--key-field", "user_id"], &lines));
    produce([payment(1, "u1", 5, 1), payment(2, "u2", 7, 2), payment(3, "u1", 8, 3)].concat());
    produce(format!("{{\"user_id\":\"{CANARY}\"}}\n"));
    produce(payment(4, "u3", 1, 20));

    let mut running = Launch::new(binary(), "spend", dir, "team").start(Stdio::null()).unwrap();
    let spend = read(dir, "fraud.spend", 2);
    let mut values: Vec<_> =
        spend.iter().map(|r| serde_json::from_slice::<serde_json::Value>(r.value.as_ref().unwrap()).unwrap()).collect();
    values.sort_by_key(|v| v["key"].to_string());
    assert_eq!((&values[0]["key"], &values[0]["value"]), (&"u1".into(), &serde_json::json!([2, 13])));
    assert_eq!((&values[1]["key"], &values[1]["value"]), (&"u2".into(), &serde_json::json!([1, 7])));
    let letters = read(dir, "fraud.spend.dead-letters", 1);
    assert_eq!(header(&letters[0], "source-offset"), "3");

    running.signal(Signal::Terminate);
    let status = running.end_within(PATIENCE).unwrap();
    let log = std::fs::read_to_string(dir.join("team.log")).unwrap();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("stopped"), "{log}");
    assert!(!log.contains(CANARY), "the log holds payload");

    // It goes on where it stopped: what is there is not there twice.
    produce(payment(5, "u3", 1, 40));
    let mut running = Launch::new(binary(), "spend", dir, "again").start(Stdio::null()).unwrap();
    assert_eq!(read(dir, "fraud.spend", 3)[..2], spend);
    running.signal(Signal::Terminate);
    assert!(running.end_within(PATIENCE).unwrap().success());
}

/// That it does not feel it is measured by `./dev bench teams`: here other tests run beside it.
#[test]
fn a_team_loses_and_repeats_nothing_while_another_is_killed_on_kafka() {
    let (Some(brokers), Some(_alone)) = (brokers(), Rig::on_kafka()) else { return };
    cargo("build");
    let dir = tempfile::tempdir().unwrap();
    let (warm_up, phase) = (Duration::from_secs(3), Duration::from_secs(9));
    let teams = Teams { binary: binary(), dir: dir.path().into(), brokers, rate: 500, warm_up, phase, rounds: 1 };
    let rounds = teams.run().unwrap();
    println!("latency of a team: {rounds:?}");
    assert!(rounds.iter().all(|round| round.dead.p99_us < round.both.p99_us + 1_000_000), "{rounds:?}");
}

/// Waits until a topic of one partition holds so many records; it must not hold more.
fn read(dir: &Path, topic: &str, count: usize) -> Vec<Record> {
    let bus = outside::bus(dir).unwrap();
    let began = monotonic();
    loop {
        let mut records = Vec::new();
        if let Some(found) = bus.topic(topic).unwrap() {
            let from: BTreeMap<u32, Offset> = BTreeMap::new();
            outside::read(&bus, found.id, &from, |_, record| {
                records.push(record.clone());
                Ok(())
            })
            .unwrap();
        }
        if records.len() >= count {
            assert_eq!(records.len(), count, "`{topic}`");
            return records;
        }
        assert!(began.elapsed() < PATIENCE, "`{topic}` holds {} records", records.len());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
