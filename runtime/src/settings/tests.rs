//! Goal: every layer counts, in its order, and every refusal tells what to write instead, and where.

use super::{Durability, RANGES, Settings};
use crate::plan::Tier;

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The error of a file, an environment and flags that must be refused.
fn refused(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    Settings::load(Some(("distributary.toml", file)), pairs(env), &pairs(flags)).unwrap_err().to_string()
}

#[test]
fn without_layers_the_defaults_hold() {
    let settings = Settings::load(None, [], &[]).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.bus_url(), "sqlite://.distributary/bus.sqlite");
    assert_eq!(settings.checkpoints_url(), "file://.distributary/checkpoints");
}

#[test]
fn a_later_layer_wins() {
    let file = "workers = 2\nlanes = 2\nlog = 'warn'\nmetrics_listen = '127.0.0.1:0'\nbus_durability = 'full'";
    let env = pairs(&[("DISTRIBUTARY_LANES", "3"), ("DISTRIBUTARY_LOG", "debug"), ("DISTRIBUTARY_METRICS_LISTEN", "")]);
    let flags = pairs(&[("log", "trace"), ("data_dir", "/tmp/d"), ("epoch_bytes_max", "1_000_000")]);
    let settings = Settings::load(Some(("distributary.toml", file)), env, &flags).unwrap();
    assert_eq!((settings.workers, settings.lanes, settings.log.as_str()), (2, 3, "trace"));
    assert_eq!((settings.metrics_listen, settings.bus_durability), (None, Durability::Full));
    assert_eq!((settings.epoch_bytes_max, settings.bus_url().as_str()), (1_000_000, "sqlite:///tmp/d/bus.sqlite"));
}

#[test]
fn what_is_no_setting_in_the_environment_is_left_alone() {
    let env = [("PATH", "/bin"), ("DISTRIBUTARY_CONFIG", "x"), ("DISTRIBUTARY_FAILPOINT", "y"), ("DISTRIBUTARY_PHASE_FILE", "z")];
    assert_eq!(Settings::load(None, pairs(&env), &[]).unwrap(), Settings::default());
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    assert_eq!(
        refused("workers = 1\nepoch_intervall_ms = 5", &[], &[]),
        "setting epoch_intervall_ms (distributary.toml, line 2): there is no such setting; did you mean `epoch_interval_ms`?"
    );
    assert_eq!(
        refused("", &[("DISTRIBUTARY_WORKER", "1")], &[]),
        "setting worker (environment variable DISTRIBUTARY_WORKER): there is no such setting; did you mean `workers`?"
    );
    let far = refused("", &[], &[("zzz", "1")]);
    assert!(far.starts_with("setting zzz (flag --set): there is no such setting; there are bus, bus_durability, "), "{far}");
    assert!(refused("[bus]\npath = 'x'", &[], &[]).contains("expected text"));
    assert!(refused("[epochs]\ninterval = 5", &[], &[]).contains("there is no such setting"));
}

#[test]
fn a_wrong_value_is_refused_with_what_is_expected() {
    for (name, value, expected) in [
        ("epoch_interval_ms", "ten", "expected a whole number, found \"ten\""),
        ("epoch_interval_ms", "-1", "expected a whole number, found \"-1\""),
        ("epoch_interval_ms", "0", "expected a whole number from 1 to 86400000, found 0"),
        ("workers", "257", "expected a whole number from 1 to 256, found 257"),
        ("workers", "99999999999", "expected a whole number from 1 to 256, found 99999999999"),
        ("bus_durability", "fast", "unknown variant `fast`, expected `normal` or `full`, found \"fast\""),
        ("metrics_listen", "here", "invalid socket address syntax, found \"here\""),
        ("bus", "postgres://localhost", "expected `sqlite://` and a path, or `kafka://` and `host:port` of brokers"),
        ("kafka_replication_factor", "99", "expected a whole number from 0 to 32, found 99"),
        ("kafka_tls", "yes", "expected `true` or `false`, found \"yes\""),
        ("kafka_ca_file", "ca.pem", "is of no use without `kafka_tls = true`"),
        (
            "kafka_sasl_mechanism",
            "plain",
            "unknown variant `plain`, expected `scram-sha-256` or `scram-sha-512`, found \"plain\"",
        ),
        ("checkpoints", "/var/lib", "expected a URL such as `file:///var/lib/distributary`"),
        ("bytes_in_flight_max", "1000", "must not be more than bytes_in_flight_max (1000)"),
    ] {
        let error = refused("", &[], &[(name, value)]);
        let at = if name == "bytes_in_flight_max" { "epoch_bytes_max (default)".into() } else { format!("{name} (flag --set)") };
        assert_eq!(error, format!("setting {at}: {expected}"));
    }
    assert_eq!(refused("\n\nlog = 5", &[], &[]), "setting log (distributary.toml, line 3): expected text, found 5");
}

/// A job's batch tier: epochs of its own, and the same bus.
#[test]
fn the_batch_tier_has_settings_of_its_own() {
    let file = "epoch_interval_ms = 5\nworkers = 2\nlog = 'warn'\n[batch]\nepoch_interval_ms = 60000\nworkers = 1";
    let env = pairs(&[("DISTRIBUTARY_BATCH_LOG", "debug"), ("DISTRIBUTARY_LOG", "error")]);
    let flags = pairs(&[("batch.epoch_bytes_max", "1000"), ("metrics_listen", "127.0.0.1:9"), ("lake", "s3://bucket/lake")]);
    let load = |tier| Settings::load_of(tier, Some(("distributary.toml", file)), env.clone(), &flags).unwrap();
    let (stream, batch) = (load(Tier::Stream), load(Tier::Batch));
    assert_eq!((stream.epoch_interval_ms, stream.workers, stream.log.as_str()), (5, 2, "error"));
    assert_eq!((batch.epoch_interval_ms, batch.workers, batch.log.as_str()), (60_000, 1, "debug"));
    assert_eq!((stream.epoch_bytes_max, batch.epoch_bytes_max), (4 << 20, 1_000));
    assert_eq!((stream.metrics_listen.is_some(), batch.metrics_listen), (true, None));
    assert_eq!((stream.lake_url(), batch.lake_url()), ("s3://bucket/lake".into(), "s3://bucket/lake".into()));
    assert_eq!(Settings::load_of(Tier::Batch, None, [], &[]).unwrap(), Settings::of(Tier::Batch));

    let refused = |file: &str| Settings::load_of(Tier::Batch, Some(("f", file)), [], &[]).unwrap_err().to_string();
    for (file, says) in [
        ("[batch]\nlanez = 1", "setting batch.lanez (f, line 2): there is no such setting; did you mean `lanes`?"),
        ("\n[batch]\nlanes = 'x'", "setting batch.lanes (f, line 3): expected a whole number, found \"x\""),
        ("[batch]\nepoch_interval_ms = 0", "setting batch.epoch_interval_ms (f, line 2): expected a whole number from 1 to"),
        ("batch = 1", "setting batch (f, line 1): there is no such setting"),
    ] {
        assert!(refused(file).starts_with(says), "{}", refused(file));
    }
}

#[test]
fn a_broken_file_is_refused_with_its_line() {
    let error = refused("workers = 1\nlanes = = 2", &[], &[]);
    assert!(error.starts_with("setting file (distributary.toml, line 2): not TOML: "), "{error}");
}

#[test]
fn every_number_has_a_range_that_holds_its_default() {
    let numbers: Vec<_> = serde_json::to_value(Settings::default()).unwrap().as_object().unwrap().clone().into_iter().collect();
    for (name, value) in numbers {
        let Some(default) = value.as_u64() else { continue };
        let (_, min, max) = *RANGES.iter().find(|r| r.0 == name).expect("a range");
        assert!((min..=max).contains(&default), "{name}");
    }
}

#[test]
fn a_login_is_whole_and_shows_no_password() {
    const PASSWORD: &str = "open-sesame";
    let user = [("kafka_sasl_mechanism", "scram-sha-512"), ("kafka_sasl_username", "alice")];
    let env = [("DISTRIBUTARY_KAFKA_SASL_PASSWORD", PASSWORD)];
    let settings = Settings::load(None, pairs(&env), &pairs(&user)).unwrap();
    assert_eq!(settings.kafka_sasl_password.as_ref().unwrap().reveal(), PASSWORD);
    let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
    assert!(shown.contains("alice") && !shown.contains(PASSWORD), "{shown}");

    let file = ("kafka_sasl_password_file", "/run/secret");
    assert!(Settings::load(None, [], &pairs(&[user[0], user[1], file])).is_ok());
    for (file, env, flags, says) in [
        ("", &[][..], &user[..1], "kafka_sasl_username (default): expected a user, as there is a kafka_sasl_mechanism"),
        ("", &[], &user, "kafka_sasl_password_file (default): expected a file, or a password in the environment variable"),
        ("", &env, &user[1..], "kafka_sasl_mechanism (default): expected `scram-sha-256` or `scram-sha-512`, as there is"),
        ("", &env, &[user[0], user[1], file], "kafka_sasl_password_file (flag --set): there is a kafka_sasl_password already"),
        ("", &[], &[("kafka_sasl_password", PASSWORD)], "kafka_sasl_password (flag --set): a password is taken from"),
        ("kafka_sasl_password = 'open-sesame'", &[], &[], "kafka_sasl_password (distributary.toml, line 1): a password is taken"),
    ] {
        let error = refused(file, env, flags);
        assert!(error.contains(says) && !error.contains(PASSWORD), "{error}");
    }
}
