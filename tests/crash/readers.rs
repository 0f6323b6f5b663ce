//! Readers of tables while a job writes them, and SQL over what stands in the end.

use crate::world::{EVENTS, PARTS, World, stop, wait_until};
use harness::ledger::{LAKE_RELAY, LAKE_WINDOWS};
use harness::tables;
use serde_json::Value;
use std::process::{Command, Stdio};

const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tables/sql.py");

/// A row for each line that the example prints.
fn sql(world: &World, query: &str) -> Vec<Value> {
    let mut command = Command::new(std::env::var_os(tables::PYTHON).unwrap());
    let output = command.arg(SQL).arg(world.dir.path().join("lake")).arg(query).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whatever epoch a reader comes in, it sees whole ones: of each partition a beginning without a hole, and one row for each window.
#[test]
fn sql_sees_whole_epochs_while_a_job_writes() {
    if !tables::has_reader() {
        return;
    }
    let world = World::of_tables();
    world.produce(0);
    let before = world.owner();
    let mut process = world.launch("writer").start(Stdio::null()).unwrap();
    wait_until("the writer is live", || world.owner() != before && !process.phase().recovering);
    let relay = format!("SELECT CAST(COUNT(*) AS BIGINT) AS rows, MAX(_origin.epoch) AS epoch FROM {LAKE_RELAY}");
    let windows = format!(
        "SELECT key, window.start AS at, COUNT(*) AS n FROM {LAKE_WINDOWS} GROUP BY key, window.start HAVING COUNT(*) > 1"
    );
    let mut seen = Vec::new();
    for part in 1..PARTS {
        seen.push(sql(&world, &relay).remove(0));
        world.produce(part);
        assert_eq!(sql(&world, &windows), Vec::<Value>::new());
    }
    world.catch_up(&mut process);
    stop(&mut process);
    seen.push(sql(&world, &relay).remove(0));
    for answer in &seen {
        let (rows, epoch) = (answer["rows"].as_u64().unwrap(), answer["epoch"].as_u64().unwrap_or(0));
        let whole = format!("SELECT COUNT(*) AS rows FROM {LAKE_RELAY} WHERE _origin.epoch <= {epoch}");
        assert_eq!(sql(&world, &whole)[0]["rows"], rows, "{answer}");
    }
    let last = seen[seen.len() - 1]["rows"].as_u64().unwrap();
    assert!(last > EVENTS * 9 / 10, "{seen:?}");
    world.assert_exact("read while it was written");
}
