//! The oracle finds what it is there to find: one record too few, too many, changed or misplaced, in each output.

use crate::world::{PARTS, World};
use distributary_runtime::plan::TopicLane;
use harness::cuts::Cuts;
use harness::findings::Findings;
use harness::ledger::{LAKE_RELAY, LAKE_WINDOWS, LAKE_WINDOWS_LATE, OUTPUTS};
use harness::tables;
use harness::verdict;
use rusqlite::Connection;
use serde_json::{Value, json};

#[test]
fn every_record_that_is_missing_or_repeated_is_found() {
    let world = finished();
    world.assert_exact("a run that nothing happened to");
    for name in OUTPUTS {
        let newest = "offset = (SELECT max(offset) FROM records r WHERE r.log = records.log)";
        let missing = tampered(&world, name, &format!("DELETE FROM records WHERE {newest} AND log IN"));
        assert!(missing.lost > 0, "{name} without its newest records: {missing:?}");
        let columns = "log, timestamp, key, headers, value";
        let again = format!(
            "INSERT INTO records ({columns}, offset) SELECT {columns}, offset + 1 FROM records WHERE {newest} AND log IN"
        );
        let repeated = tampered(&world, name, &again);
        assert!(repeated.duplicated > 0, "{name} with its newest records repeated: {repeated:?}");
    }
}

#[test]
fn a_log_that_is_not_what_it_was_behind_a_kill_is_torn() {
    let world = finished();
    let path = world.dir.path();
    let judge = |cuts: &Cuts| {
        let mut findings = Findings::default();
        verdict::judge(&*world.bus, world.payments.id, cuts, &mut findings).unwrap();
        findings
    };
    let cut = |marker: u64| {
        Connection::open(path.join("bus.sqlite")).unwrap().execute("UPDATE lanes SET epoch = ?", [marker]).unwrap();
        let (mut cuts, mut findings) = (Cuts::new(1, TopicLane::Transactional), Findings::default());
        cuts.cut(&*world.bus, 1, &mut findings).unwrap();
        (cuts, findings)
    };
    let last = world.history().last_epoch.0;
    assert!(cut(1).1.torn > 0, "outputs behind the marker");
    let (cuts, findings) = cut(last);
    assert!(findings.is_empty() && judge(&cuts).is_empty());
    // Something of an epoch that was committed at the cut comes after it; then the beginning changes.
    let file = Connection::open(path.join("bus.sqlite")).unwrap();
    let newest = "SELECT log, max(offset) AS newest FROM records WHERE log IN (SELECT log FROM logs JOIN topics USING (topic) \
                  WHERE name = 'chaos.relay') GROUP BY log";
    file.execute_batch(&format!(
        "INSERT INTO records SELECT r.log, r.offset + 1, r.timestamp, r.key, r.headers, r.value FROM records r \
         JOIN ({newest}) n ON r.log = n.log AND r.offset = n.newest; \
         UPDATE logs SET log_end = log_end + 1 WHERE log IN (SELECT log FROM ({newest}))"
    ))
    .unwrap();
    assert!(judge(&cuts).torn > 0, "an output that was missing at the cut");
    file.execute("UPDATE records SET timestamp = timestamp + 1 WHERE offset = 0", []).unwrap();
    assert!(judge(&cuts).torn > 0, "a changed beginning");
}

/// A version by somebody else, in which a file of ours is gone, or stands under another name too.
#[test]
fn every_row_that_is_missing_or_repeated_is_found() {
    if !tables::has_reader() {
        return;
    }
    let world = World::of_tables();
    (0..PARTS).for_each(|part| world.produce(part));
    world.run_to_end(&world.launch("all"));
    world.assert_exact("a run that nothing happened to");
    for name in [LAKE_RELAY, LAKE_WINDOWS, LAKE_WINDOWS_LATE] {
        let folder = world.dir.path().join("lake").join(name);
        let log = |version: usize| folder.join(format!("_delta_log/{version:020}.json"));
        let next = (0..).find(|version| !log(*version).exists()).unwrap();
        let actions = (0..next).rev().flat_map(|version| {
            let text = std::fs::read_to_string(log(version)).unwrap();
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
        });
        let add = actions.filter_map(|action| action.get("add").cloned()).next().unwrap();
        let findings = |action: Value| {
            std::fs::write(log(next), action.to_string()).unwrap();
            let findings = world.findings();
            std::fs::remove_file(log(next)).unwrap();
            findings
        };
        let path = add["path"].as_str().unwrap();
        let missing = findings(json!({"remove": {"path": path, "dataChange": true, "deletionTimestamp": 0}}));
        assert!(missing.lost > 0, "{name} without a file: {missing:?}");
        let copy = path.replace("part-", "copy-");
        std::fs::copy(folder.join(path), folder.join(&copy)).unwrap();
        let mut again = add.clone();
        again["path"] = Value::from(copy);
        let repeated = findings(json!({"add": again}));
        assert!(repeated.duplicated > 0, "{name} with a file repeated: {repeated:?}");
        if name == LAKE_RELAY {
            assert!(missing.torn > 0 && repeated.torn > 0, "versions that show something else than their marker says");
        }
    }
}

fn finished() -> World {
    let world = World::new();
    (0..PARTS).for_each(|part| world.produce(part));
    world.run_to_end(&world.launch("all"));
    world
}

/// What the oracle finds when the records of a topic are changed, which is undone again.
fn tampered(world: &World, topic: &str, change: &str) -> Findings {
    let file = Connection::open(world.dir.path().join("bus.sqlite")).unwrap();
    let logs = format!("(SELECT log FROM logs JOIN topics USING (topic) WHERE name = '{topic}')");
    let ends = format!(
        "UPDATE logs SET log_end = coalesce((SELECT max(offset) + 1 FROM records WHERE records.log = logs.log), 0) WHERE log IN {logs}"
    );
    file.execute_batch(&format!("CREATE TABLE saved AS SELECT * FROM records WHERE log IN {logs}; {change} {logs}; {ends}"))
        .unwrap();
    let findings = world.findings();
    file.execute_batch(&format!(
        "DELETE FROM records WHERE log IN {logs}; INSERT INTO records SELECT * FROM saved; DROP TABLE saved; {ends}"
    ))
    .unwrap();
    findings
}
