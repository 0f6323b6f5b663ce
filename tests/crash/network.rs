//! Single requests that are held, cut off, repeated or come late on their way to Kafka, and a broker out of reach.
//!
//! `./dev chaos --bus kafka --disturb 500` does the same for longer.

use crate::world::{alone_on_kafka, brokers};
use std::process::Command;

/// One story, so that the run takes what it takes; `DISTRIBUTARY_SEED` tells another.
const SEED: &str = "1";

#[test]
fn what_happens_to_single_requests_on_their_way_to_kafka_changes_no_result() {
    attack(&["--disturb", "12"]);
}

/// Ten seconds: longer than any question waits for its answer, and than a transaction stays open.
#[test]
fn a_kafka_that_is_out_of_reach_for_a_while_costs_nothing_but_time() {
    attack(&["--disturb", "0", "--away", "11"]);
}

fn attack(what: &[&str]) {
    let Some(brokers) = brokers() else { return };
    let Ok(route) = std::env::var("TEST_KAFKA_ROUTE") else {
        println!("skipped: TEST_KAFKA_ROUTE names no way through a proxy (`./dev kafka start`)");
        return;
    };
    let _alone = alone_on_kafka();
    let seed = std::env::var("DISTRIBUTARY_SEED").unwrap_or_else(|_| SEED.to_string());
    let dir = tempfile::tempdir().unwrap();
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_chaos"));
    chaos.args(["--bus", "kafka", "--brokers", &brokers, "--route", &route, "--seed", &seed, "--dir"]).arg(dir.path()).args(what);
    // To the job, whatever begins like this is a setting.
    let output = chaos.env_remove("DISTRIBUTARY_SEED").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}
