//! Goal: every command of the real binary does what its help says, and every refusal says what to do.
//! Method: the binary in a folder of its own; conditions are polled with a deadline, never slept for.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Far longer than anything here takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary, with its data in a folder of the test's own.
struct Cli(tempfile::TempDir);

impl Cli {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distributary"));
        command.args(args.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        // Nothing comes to be by itself, unless a test asks for it.
        command.env("DISTRIBUTARY_KEEP_ARCHIVES", "false");
        command
    }

    fn output(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command prints when all goes well.
    fn ok(&self, args: &str) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "`{args}`: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    fn lines(&self, args: &str) -> Vec<Value> {
        self.ok(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The exit status and the message of a command that refuses.
    fn refused(&self, args: &str) -> (i32, String) {
        let output = self.output(args);
        assert!(!output.status.success(), "`{args}` did not refuse");
        (output.status.code().unwrap(), text(&output.stderr).trim().to_string())
    }

    fn write(&self, args: &str, input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn start(&self, args: &str) -> Running {
        Running(Some(self.command(args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()))
    }

    /// Waits until a job has taken in everything that is on the bus.
    fn caught_up(&self, job: &str) {
        until(&format!("{job} has caught up"), || {
            let lags = self.json(&format!("lag {job} --json"));
            lags.as_array().unwrap().iter().all(|lag| lag["records"] == 0 && lag["end"] != 0)
        });
    }
}

/// A running job, killed when the test ends.
struct Running(Option<Child>);

impl Running {
    fn signal(&self, signal: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// How it ends, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        (output.status.code(), text(&output.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[allow(clippy::disallowed_methods, reason = "a deadline of a test")]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn help_and_completion_know_every_command() {
    let cli = Cli::new();
    let help = cli.ok("--help");
    for command in
        ["run", "plan", "topic", "lag", "why", "journal", "checkpoint", "dead-letter", "payments", "demo", "completion"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        assert!(cli.ok(&format!("{command} --help")).contains("Usage: distributary"));
    }
    for job in ["velocity", "spend", "balance"] {
        assert!(help.contains(&format!("\n  {job} ")), "{job} is not in\n{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(cli.ok(&format!("completion {shell}")).contains("dead-letter"), "{shell}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let cli = Cli::new();
    for (args, message) in [
        ("run velocty", "error: there is no job `velocty`; did you mean `velocity`?"),
        ("plan zzz", "error: there is no job `zzz`; the jobs here are velocity, spend, balance, purchases, archive.payments"),
        ("run spend", "error: topic `payments` does not exist; create it: `topic create payments`"),
        ("run velocity --set worker=2", "error: setting worker (flag --set): there is no such setting; did you mean `workers`?"),
        ("run velocity --workers 0", "error: setting workers (flag --set): expected a whole number from 1 to 256, found 0"),
        ("run velocity --config no.toml", "error: reading settings from no.toml: No such file or directory (os error 2)"),
        (
            "run velocity --log inf",
            "error: setting log: `inf`: expected off, error, warn, info, debug, trace, epoch, or a list of target=level",
        ),
        ("topic tail payments", "error: there is no topic `payments`; create it: `topic create payments`"),
        ("journal show velocity", "error: demo.velocity has no journal: it was never started; start it: `run velocity`"),
        ("checkpoint list velocity", "error: demo.velocity has never been started; start it: `run velocity`"),
        ("dead-letter list velocity", "error: demo.velocity was never started; start it: `run velocity`"),
        ("payments generate --rate 0", "error: payments without users or without a rate; both are at least 1"),
    ] {
        assert_eq!(cli.refused(args), (2, message.to_string()), "`{args}`");
    }
    cli.ok("topic create payments");
    let (_, nearest) = cli.refused("topic tail paymets");
    assert_eq!(nearest, "error: there is no topic `paymets`; did you mean `payments`?");
    let (status, usage) = cli.refused("topic tail payments --from yesterday");
    assert_eq!(status, 2);
    assert!(usage.contains("an offset, or a time such as"), "{usage}");
}

#[test]
fn topics_are_created_written_read_and_deleted() {
    let cli = Cli::new();
    assert_eq!(cli.ok("topic create orders --partitions 2"), "created orders with 2 partitions\n");
    assert!(cli.refused("topic create orders").1.contains("`orders` exists already"));
    assert_eq!(cli.ok("topic create orders --if-missing"), "orders exists\n");
    assert!(cli.refused("topic create rows --form upsert --retention-hours 2").1.contains("newest record of each key"));
    cli.ok("topic create rows --form upsert --partitions 1");

    let written =
        cli.write("topic produce orders --key-field user", "{\"user\":\"u1\",\"n\":1}\n\n{\"user\":\"u2\",\"n\":2.50}\n");
    assert!(text(&written.stdout).starts_with("wrote 2 records to orders in "), "{}", text(&written.stderr));
    let records = cli.lines("topic tail orders --from oldest");
    let mut keys: Vec<_> = records.iter().map(|r| r["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["u1", "u2"]);
    assert!(cli.ok("topic tail orders --from oldest").contains("2.50"), "no number loses digits");
    assert_eq!(cli.lines("topic tail orders -n 1").len(), 1);

    let refused = cli.write("topic produce orders --key-field user", "{\"user\":\"u3\"}\n{\"n\":3}\n");
    let message = text(&refused.stderr);
    assert!(
        message.contains("standard input, line 2: there is no field `user`; the 1 records before it are written"),
        "{message}"
    );
    let refused = cli.write("topic produce orders", "plain\n");
    assert!(text(&refused.stderr).contains("`--raw` writes lines as they are"));
    assert!(cli.write("topic produce orders --raw --partition 1", "plain\n").status.success());
    assert_eq!(cli.lines("topic tail orders -n 1 --partition 1")[0]["value"], "plain");
    assert!(cli.refused("topic tail orders --partition 7").1.contains("has no partition 7; it has 2, from 0 on"));

    assert_eq!(cli.ok("topic add-partitions orders 3"), "orders had 2 partitions and has 3 now\n");
    let list = cli.json("topic list --json");
    assert_eq!((&list[0]["name"], &list[0]["partitions"], &list[1]["form"]), (&"orders".into(), &3.into(), &"upsert".into()));
    assert!(cli.ok("topic list").contains("orders"));
    let (_, refused) = cli.refused("topic delete orders");
    assert_eq!(refused, "error: topic `orders` holds 4 records, which would be lost; say `--yes` to delete it");
    assert_eq!(cli.ok("topic delete orders --yes"), "deleted orders with 4 records\n");
}

#[test]
fn tail_follows() {
    let cli = Cli::new();
    cli.ok("topic create orders --partitions 2");
    let mut tail = cli.command("topic tail orders --follow --from oldest -n 3").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for n in 0..3 {
        assert!(cli.write("topic produce orders", &format!("{n}\n")).status.success());
        let record: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(record["value"], n);
    }
    assert!(tail.wait().unwrap().success());
}

#[test]
fn the_plan_shows_what_each_sink_promises() {
    let cli = Cli::new();
    let plan = cli.ok("plan velocity");
    for line in [
        "demo.velocity  (stream tier, an epoch every 10 ms)\n",
        "demo.velocity.batch  (batch tier, an epoch every 10 s)\n",
        "results -> table alerts (4 columns), exactly-once",
        "tumbling 10000 ms, lateness 2000 ms: count  [state payments_in_window]",
        "results -> topic demo.alerts (append), exactly-once",
        "late records  topic demo.velocity.late (append)",
        "dead letters  topic demo.velocity.dead-letters (append)  exactly-once",
    ] {
        assert!(plan.contains(line), "{line} is not in\n{plan}");
    }
    let json = cli.json("plan balance --json");
    assert_eq!(json["pipeline"], "demo.balance");
    assert!(json["nodes"].as_array().unwrap().iter().any(|n| n["sink"]["target"]["topic"]["form"] == "upsert"), "{json}");
}

#[test]
fn a_job_is_stopped_killed_and_resumed_and_can_be_looked_into() {
    let cli = Cli::new();
    let summary = cli.json("payments generate --events 5000 --rate 500 --users 100 --json");
    assert_eq!((&summary["events"], &summary["bad"]), (&5000.into(), &50.into()));
    assert_eq!(cli.ok("why balance"), "demo.balance: it was never started: `run balance`\n");
    assert_eq!(
        cli.json("lag balance --json").as_array().unwrap().iter().map(|l| l["records"].as_u64().unwrap()).sum::<u64>(),
        5_000
    );

    let run = cli.start("run balance --log epoch");
    cli.caught_up("balance");
    until("`why` knows", || cli.ok("why balance").starts_with("demo.balance: nothing does: it has caught up, at epoch "));
    run.signal("-TERM");
    let (status, log) = run.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("stopping with a last checkpoint") && log.contains("epoch{epoch=1 "), "{log}");
    assert_eq!(cli.ok("why balance"), "demo.balance: it is not running, and nothing waits\n");

    assert!(cli.ok("checkpoint list balance").contains("state/demo.balance/1/"));
    assert!(cli.ok("checkpoint verify balance").trim_end().ends_with(": whole"));
    assert_eq!(cli.json("checkpoint list balance --json").as_array().unwrap().len(), 1);
    let journal = cli.lines("journal show balance --json -n 0");
    assert!(journal.iter().any(|e| e["fact"]["checkpoint"]["generation"] == 1), "{journal:?}");
    assert!(cli.ok("journal show balance -n 3").contains("checkpoint  epoch "));

    cli.ok("payments generate --events 5000 --rate 500 --users 100 --seed 2");
    assert_eq!(cli.ok("why balance"), "demo.balance: it is not running, and 5,000 records wait: `run balance`\n");
    let run = cli.start("run balance --set epoch_interval_ms=1 --workers 2");
    cli.caught_up("balance");
    run.signal("-KILL");
    assert_eq!(run.end().0, None);
    let run = cli.start("run balance");
    until("it goes on", || cli.ok("why balance").contains("it has caught up"));
    run.signal("-INT");
    assert_eq!(run.end().0, Some(0));

    let causes = cli.json("dead-letter list balance --by-cause --json");
    assert_eq!(causes.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 100, "{causes}");
    let letters = cli.lines("dead-letter list balance -n 0 --json");
    assert_eq!(letters.len(), 100);
    let wrong = letters.iter().find(|l| l["cause"].as_str().unwrap().contains("found text in field amount_cents")).unwrap();
    let position = wrong["position"].as_str().unwrap();
    assert!(wrong["source"].as_str().unwrap().starts_with("payments["), "{wrong}");
    assert!(cli.ok(&format!("dead-letter show balance {position}")).contains("\"amount_cents\":\"many\""));
    let raw: Value = serde_json::from_str(&cli.ok(&format!("dead-letter show balance {position} --raw"))).unwrap();
    assert_eq!(raw["amount_cents"], "many");
    assert!(cli.refused("dead-letter show balance 0@999999").1.contains("no dead letter at 0@999999; see `dead-letter list`"));
    assert!(cli.refused("dead-letter show balance 17").1.contains("write PARTITION@OFFSET"));
}

#[test]
fn a_job_with_tables_runs_as_two_processes() {
    let cli = Cli::new();
    cli.ok("payments generate --events 20000 --rate 500 --users 20");
    let of = |pipeline: &str| {
        let told = std::fs::read(cli.0.path().join(format!(".distributary/run/{pipeline}.json"))).unwrap_or_default();
        serde_json::from_slice::<Value>(&told).map_or(Value::Null, |told| told["pid"].clone())
    };
    let pids = || [of("demo.velocity"), of("demo.velocity.batch")];
    let start = "run velocity --set batch.epoch_interval_ms=100 --set batch.idle_epoch_ms=100";
    let run = cli.start(start);
    cli.caught_up("velocity");
    until("both say how they stand", || pids().iter().all(Value::is_u64));
    let [stream, batch] = pids();
    assert_ne!(stream, batch);

    // One dies, and comes back; the other does not notice.
    assert!(Command::new("kill").args(["-KILL", &batch.to_string()]).status().unwrap().success());
    until("it comes back", || of("demo.velocity.batch").is_u64() && of("demo.velocity.batch") != batch);
    assert_eq!(of("demo.velocity"), stream);
    until("it goes on", || cli.ok("why velocity.batch").contains("it has caught up"));
    assert!(cli.refused("table show nix").1.contains("there is no table at file://"));

    // Who started them is gone: they stop in order.
    run.signal("-KILL");
    drop(run);
    let is_gone = |pipeline: &str| cli.ok(&format!("why {pipeline}")).contains("it is not running, and nothing waits");
    until("both have stopped", || is_gone("velocity") && is_gone("velocity.batch"));
    let alerts = cli.json("table show alerts --json")["rows"].as_u64().unwrap();
    assert_eq!(cli.ok("table show alerts --rows").lines().count() as u64, alerts);
    assert!(alerts > 0 && cli.ok("table list").contains("alerts"), "{}", cli.ok("table list"));
    let run = cli.start(start);
    until("both run again", || {
        cli.ok("why velocity").contains("caught up") && cli.ok("why velocity.batch").contains("caught up")
    });
    run.signal("-TERM");
    let (status, log) = run.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(is_gone("velocity") && is_gone("velocity.batch"));
    assert_eq!(cli.json("table show alerts --json")["rows"], alerts);
    let versions = cli.json("table history alerts --json -n 0");
    assert_eq!((&versions[0]["operation"], versions.as_array().unwrap().len() > 2), (&"CREATE TABLE".into(), true), "{versions}");
    let corrected = cli.json("table corrected alerts --json --days 0");
    assert_eq!((&corrected["since_version"], corrected["days"].is_array()), (&0.into(), true), "{corrected}");
    assert!(cli.ok("table corrected alerts").starts_with("alerts: the log reaches back to version 0, of 2"));
    assert!(cli.refused("table corrected nix").1.contains("there is no table at file://"));
    assert!(cli.ok("table verify alerts").trim_end().ends_with(": whole"));
    let rows = cli.lines("table show alerts --rows");
    let of = |user: &Value| rows.iter().filter(|row| row["user_id"] == *user).count();
    let user = &rows[0]["user_id"];
    let output = cli.write("table find alerts --json", &format!("{}\n", user.as_str().unwrap()));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["rows"], &found["files_unknown"]), (&of(user).into(), &0.into()), "{found}");
    let output = cli.write("table find alerts", "nobody");
    assert!(text(&output.stdout).contains(": 0 rows in 0 files hold it\n"), "{output:?}");
    assert!(cli.refused("table find alerts").1.contains("standard input is empty"));
    assert!(cli.ok("table vacuum alerts").starts_with("alerts: deleted 0 files, 0 indexes and 0 objects of the log"));
    assert!(cli.refused("table vacuum alerts --grace 5m").1.contains("at least an hour"));
    let (status, refused) = cli.refused("run spend --tier batch");
    assert_eq!(
        (status, refused.contains("demo.spend has no batch tier; all its sinks are in the stream tier")),
        (2, true),
        "{refused}"
    );
}

#[test]
fn a_newer_start_takes_over() {
    let cli = Cli::new();
    cli.ok("payments generate --events 1000");
    let old = cli.start("run spend");
    cli.caught_up("spend");
    let new = cli.start("run spend");
    let (status, log) = old.end();
    assert_eq!(status, Some(3), "{log}");
    assert!(log.contains("fenced: a newer incarnation owns the pipeline"), "{log}");
    until("the new one runs", || cli.ok("why spend").contains("it has caught up"));
    new.signal("-TERM");
    assert_eq!(new.end().0, Some(0));

    // Other results than those that were begun need a generation of their own.
    let (status, refused) = cli.refused("run spend --set lanes=2");
    assert_eq!(status, 2);
    assert!(refused.contains("as a new generation (`run --from-zero`)"), "{refused}");
    assert!(refused.contains("- lanes 1\n  + lanes 2"), "{refused}");
    let run = cli.start("run spend --set lanes=2 --from-zero");
    until("generation 2", || cli.ok("journal show spend -n 0").contains("generation 2 at "));
    drop(run);
}

#[test]
fn a_job_that_counts_the_states_of_keys_as_records_is_warned() {
    let cli = Cli::new();
    cli.ok("topic create payments --form upsert");
    cli.ok("payments generate --events 100");
    let run = cli.start("run spend");
    cli.caught_up("spend");
    run.signal("-TERM");
    let (status, log) = run.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("each record replaces another of its key") && log.contains("`Flow::read_upsert`"), "{log}");
}

#[test]
fn a_damaged_checkpoint_is_found() {
    let cli = Cli::new();
    cli.ok("payments generate --events 1000");
    let run = cli.start("run balance");
    cli.caught_up("balance");
    run.signal("-TERM");
    assert_eq!(run.end().0, Some(0));
    let epoch = cli.json("checkpoint list balance --json")[0]["epoch"].as_u64().unwrap();
    let folder = cli.0.path().join(".distributary/checkpoints/state/demo.balance/1").join(format!("{epoch:020}"));
    let object = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let output = cli.output("checkpoint verify balance");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("DAMAGED: a restart uses the one before"), "{}", text(&output.stdout));
}

#[test]
fn metrics_are_served_while_a_job_runs() {
    let cli = Cli::new();
    cli.ok("payments generate --events 100");
    let _run = cli.start("run balance --metrics 127.0.0.1:0");
    let status = cli.0.path().join(".distributary/run/demo.balance.json");
    let mut address = String::new();
    until("the address is known", || {
        let told: Value = serde_json::from_slice(&std::fs::read(&status).unwrap_or_default()).unwrap_or_default();
        address = told["metrics"].as_str().unwrap_or_default().to_string();
        !address.is_empty()
    });
    let get = |request: &str| {
        let mut client = std::net::TcpStream::connect(&address).unwrap();
        write!(client, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = get("GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"), "{answer}");
    assert!(answer.contains("distributary_epochs_closed_total{pipeline=\"demo.balance\"}"), "{answer}");
    assert!(get("GET /").starts_with("HTTP/1.1 404"));
    assert!(get("POST /metrics").starts_with("HTTP/1.1 405"));
    let (status, refused) = cli.refused(&format!("run spend --metrics {address}"));
    assert_eq!(status, 2);
    assert!(refused.contains(&format!("listening for metrics on {address}")), "{refused}");
}

#[test]
fn an_archive_is_run_like_a_job_and_a_backfill_reads_it() {
    let cli = Cli::new();
    cli.ok("payments generate --events 300");
    assert!(cli.ok("--help").contains("archive.TOPIC"));
    assert!(cli.ok("plan archive.payments").contains("table archive.payments"));
    assert!(!cli.ok("lag").contains("archive.payments"), "it has not been started");
    let short = "--set batch.epoch_interval_ms=100 --set batch.idle_epoch_ms=100";
    let archive = cli.start(&format!("run archive.payments {short}"));
    until("it has a journal", || cli.ok("topic list").contains("archive.payments.batch.journal"));
    cli.caught_up("archive.payments");
    archive.signal("-TERM");
    assert_eq!(archive.end().0, Some(0));
    assert!(cli.ok("lag").contains("archive.payments.batch"));
    assert_eq!(cli.json("table show archive.payments --json")["rows"], 300);
    let (status, refused) = cli.refused("run archive.payments --from-zero");
    assert!(status == 2 && refused.contains("which holds what the bus no longer has"), "{refused}");
    assert!(cli.refused("backfill archive.payments --from 2026-01-01").1.contains("which holds what the bus no longer has"));
    assert!(cli.refused("backfill purchases --from yesterday").1.contains("write a day as 2026-01-31"));

    cli.ok(&format!("backfill purchases --from 2020-01-01 --to 2100-01-01 {short}"));
    let rows = cli.json("table show purchases --json")["rows"].as_u64().unwrap();
    assert!(rows > 200, "{rows}");
    cli.ok(&format!("backfill purchases --from 2020-01-01 --to 2100-01-01 {short}"));
    assert_eq!(cli.json("table show purchases --json")["rows"], rows, "a new generation takes the place of the one before");
    cli.ok(&format!("run purchases --to 2100-01-01 {short}"));
    assert_eq!(cli.json("table show purchases --json")["rows"], rows);
}

/// Nobody has said a word of an archive. A second job that reads the topic finds that it is kept.
#[test]
fn what_jobs_read_is_archived_as_long_as_nobody_else_does() {
    let cli = Cli::new();
    cli.ok("payments generate --events 300");
    let run = |job: &str| {
        let short = "--set batch.epoch_interval_ms=100 --set batch.idle_epoch_ms=100";
        let mut command = cli.command(&format!("run {job} {short}"));
        command.env("DISTRIBUTARY_KEEP_ARCHIVES", "true").stderr(Stdio::piped()).stdout(Stdio::null());
        Running(Some(command.spawn().unwrap()))
    };
    let (velocity, spend) = (run("velocity"), run("spend"));
    until("it has a journal", || cli.ok("topic list").contains("archive.payments.batch.journal"));
    cli.caught_up("archive.payments");
    let told = |running: Running| {
        running.signal("-TERM");
        let (status, said) = running.end();
        assert_eq!(status, Some(0), "{said}");
        said.matches("is kept from here").count()
    };
    assert!(told(velocity) + told(spend) >= 1, "one of them has begun it, and stopped it in order");
    assert_eq!(cli.json("table show archive.payments --json")["rows"], 300);
}

#[test]
fn all_jobs_of_a_team_run_at_once() {
    let cli = Cli::new();
    cli.ok("payments generate --events 300");
    let to_the_end = "--to 2100-01-01 --set batch.epoch_interval_ms=100 --set batch.idle_epoch_ms=100";
    cli.ok(&format!("run demo.* {to_the_end}"));
    for job in ["velocity", "spend", "balance", "purchases"] {
        cli.caught_up(job);
    }
    cli.ok(&format!("run archive.* {to_the_end}"));
    assert_eq!(cli.json("table show archive.payments --json")["rows"], 300);
    cli.ok(&format!("run demo.* --tier stream {to_the_end}"));
    let twice = cli.refused("run demo.* --metrics 127.0.0.1:9").1;
    assert!(twice.contains("127.0.0.1:9 for several pipelines") && twice.contains("port 0"), "{twice}");
    let (status, refused) = cli.refused("run ghost.*");
    assert!(status == 2 && refused.contains("team `ghost` has nothing to run here"), "{refused}");
}

#[test]
fn the_demo_ends_exactly() {
    let cli = Cli::new();
    let shown = cli.ok("demo --seconds 6 --rate 1000 --seed 3");
    assert!(shown.contains("kill -9") && shown.contains("restart"), "{shown}");
    assert!(shown.ends_with("lost=0 duplicated=0 kills=4 seed=3\n"), "{shown}");
    let (_, refused) = (cli.ok("demo --seconds 4 --rate 200 --data-dir d"), cli.refused("demo --data-dir d"));
    assert!(refused.1.contains("give the demo an empty folder (or none), and a bus of its own"), "{}", refused.1);
}
