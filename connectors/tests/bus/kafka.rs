//! Goal: Kafka behaves as every bus must, and what is its own (transactions, ids, keys of Java clients) holds. Method: the
//! conformance suite against a real broker, then scenarios. They run when `DISTRIBUTARY_TEST_KAFKA` names one (`./dev test`
//! starts it, `./dev kafka start` another), and say so when they do not.

use distributary_connectors::conformance;
use distributary_connectors::kafka::{KafkaBus, KafkaSettings};
use distributary_runtime::bus::Bus;
use distributary_runtime::time::{Clock, SystemClock};
use std::sync::Arc;

/// The broker of this run, if there is one.
fn brokers() -> Option<String> {
    let brokers = std::env::var("DISTRIBUTARY_TEST_KAFKA").ok();
    if brokers.is_none() {
        println!("skipped: DISTRIBUTARY_TEST_KAFKA names no broker (`./dev kafka start`)");
    }
    brokers
}

fn connect(brokers: &str) -> KafkaBus {
    KafkaBus::connect(KafkaSettings::new(brokers), Arc::new(SystemClock)).unwrap()
}

/// What names begin with: a broker may have seen earlier runs.
fn prefix(of: &str) -> String {
    format!("{of}-{}-{}", SystemClock.now().0, std::process::id())
}

#[test]
fn a_broker_conforms() {
    let Some(brokers) = brokers() else { return };
    let report = conformance::run(&|| Arc::new(connect(&brokers)) as Arc<dyn Bus>, &prefix("suite"));
    assert_eq!(report.missing, ["conditional_append", "upkeep_on_call"], "what Kafka lacks");
    println!("{} of {} cases shown; lacking: {:?}", report.shown.len(), conformance::cases().len(), report.missing);
}
