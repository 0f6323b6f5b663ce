//! Goal: a listener that wants TLS and a password gets both, and whoever has the wrong ones learns so soon, and what was wrong.
//! Method: the second listener of the Kafka that `./dev` starts, in the folder that `DISTRIBUTARY_TEST_KAFKA_TLS` names.

use distributary_connectors::kafka::{KafkaBus, KafkaSettings, Login, Security};
use distributary_runtime::bus::{Bus, BusError, LaneCommit, Marker, NewRecord, Offset, Token, TopicSpec};
use distributary_runtime::settings::{SaslMechanism, Secret};
use distributary_runtime::time::{Clock, Epoch, SystemClock, WallTime, monotonic};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where certificates, password and address are.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("DISTRIBUTARY_TEST_KAFKA_TLS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: DISTRIBUTARY_TEST_KAFKA_TLS names no folder (`./dev kafka start`)");
    }
    folder
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap().trim().to_string()
}

/// What lets `alice` in.
fn settings(folder: &Path, mechanism: SaslMechanism) -> KafkaSettings {
    let login = Login { mechanism, username: "alice".into(), password: Secret::from(read(folder, "password")) };
    let security = Security { tls: true, ca_file: Some(folder.join("ca.pem")), login: Some(login) };
    KafkaSettings { security, ..KafkaSettings::new(read(folder, "tls_address")) }
}

#[test]
fn who_has_the_password_reads_and_writes() {
    let Some(folder) = folder() else { return };
    for (n, mechanism) in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512].into_iter().enumerate() {
        let bus = KafkaBus::connect(settings(&folder, mechanism), Arc::new(SystemClock)).unwrap();
        let name = format!("tls-{n}-{}-{}", SystemClock.now().0, std::process::id());
        bus.create_topic(&TopicSpec { retention_ms: None, ..TopicSpec::new(&name, 1) }).unwrap();
        let id = bus.topic(&name).unwrap().unwrap().id;
        let record = |value: &'static str| NewRecord {
            partition: Some(0),
            timestamp: WallTime(1),
            key: None,
            value: Some(value.into()),
            headers: vec![],
        };
        assert_eq!(bus.produce(id, vec![record("appended")]).unwrap(), [(0, Offset(0))]);
        bus.fence_lane(&name, Token(1)).unwrap();
        let marker = Marker { generation: 1, epoch: Epoch(1) };
        let records = vec![(id, record("committed"))];
        bus.commit_lane(&LaneCommit { lane: name.clone(), token: Token(1), previous: None, marker, records }).unwrap();
        let mut consumer = bus.consumer(id, &[(0, Offset(0))]).unwrap();
        let (start, mut values) = (monotonic(), Vec::new());
        while values.len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing more behind {values:?}");
            let batches = consumer.poll(Duration::from_millis(100)).unwrap();
            values.extend(batches.into_iter().flat_map(|batch| batch.records).map(|record| record.value.unwrap()));
        }
        assert_eq!(values, ["appended", "committed"]);
    }
}

/// What is said to who is not let in, and that it is said soon and without the password.
#[track_caller]
fn assert_refused(settings: KafkaSettings, says: &str) {
    let (start, password) = (monotonic(), settings.security.login.clone().map(|login| login.password));
    let error = KafkaBus::connect(settings.clone(), Arc::new(SystemClock)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(8), "after {:?}", start.elapsed());
    let shown = format!("{error} {error:?} {settings:?}");
    assert!(matches!(error, BusError::Invalid(_)) && shown.contains(says), "{shown}");
    assert!(password.is_none_or(|password| !shown.contains(password.reveal())), "{shown}");
}

#[test]
fn who_has_not_is_told_why() {
    let Some(folder) = folder() else { return };
    let right = settings(&folder, SaslMechanism::ScramSha512);
    let mut wrong = right.clone();
    wrong.security.login.as_mut().unwrap().password = Secret::from("open-sesame".to_string());
    assert_refused(wrong, "SASL authentication error");
    let mut unknown = right.clone();
    unknown.security.ca_file = None;
    assert_refused(unknown, "certificate verify failed");
    let other = KafkaSettings { brokers: right.brokers.replace("localhost", "127.0.0.1"), ..right };
    assert_refused(other, "certificate verify failed");
}
