//! Goal: each thing that can hold a pipeline back is named. Method: one thing is made wrong in a picture where all is well.

use super::verdict::{Seen, Verdict, decide};
use crate::cli::standing::Lag;
use crate::cli::status::Told;
use distributary_runtime::bus::Offset;
use distributary_runtime::status::{BlockedPartition, Status};
use distributary_runtime::time::{Epoch, WallTime};

fn lag(partition: u32, watermark_ms: i64) -> Lag {
    Lag {
        pipeline: "t.j".into(),
        topic: "payments".into(),
        partition,
        bound: Offset(100),
        end: Offset(100),
        records: 0,
        waiting_ms: None,
        watermark_ms: Some(watermark_ms),
    }
}

fn well() -> Seen {
    let status = Status {
        closed: Epoch(100),
        worked: Epoch(99),
        durable: Epoch(98),
        applied: [("topics/0".to_string(), Epoch(97)), ("stdout/0".to_string(), Epoch(97))].into(),
        ..Status::default()
    };
    Seen {
        job: "j".into(),
        started: true,
        running: true,
        told: Some(Told { pid: 7, at: WallTime(1_000), metrics: None, status }),
        now: WallTime(1_500),
        watermark_ms: Some(50_000),
        lags: vec![lag(0, 50_000), lag(1, 50_400)],
        brokers: Some("b:9092".into()),
    }
}

fn line(change: impl FnOnce(&mut Seen)) -> String {
    let mut seen = well();
    change(&mut seen);
    decide(&seen).to_string()
}

fn status(change: impl FnOnce(&mut Status)) -> String {
    line(|seen| change(&mut seen.told.as_mut().unwrap().status))
}

#[test]
fn all_is_well() {
    assert_eq!(decide(&well()), Verdict::CaughtUp { epoch: Epoch(100) });
    assert_eq!(line(|_| ()), "nothing does: it has caught up, at epoch 100");
}

#[test]
fn no_process() {
    let off = |records, started| {
        line(|seen| {
            (seen.running, seen.started) = (false, started);
            seen.lags[0].records = records;
        })
    };
    assert_eq!(off(0, true), "it is not running, and nothing waits");
    assert_eq!(off(12_345, true), "it is not running, and 12,345 records wait: `run j`");
    assert_eq!(off(5, false), "it was never started: `run j`");
    assert_eq!(line(|seen| seen.told = None), "it is starting");
    let silent = line(|seen| seen.now = WallTime(8_000));
    assert_eq!(silent, "process 7 has not said anything for 7.0 s: it is stopped, or starved of CPU or disk");
}

#[test]
fn a_stage_of_the_pipeline() {
    let recovering = status(|s| (s.recovering, s.worked) = (true, Epoch(40)));
    assert_eq!(recovering, "it is recovering: epoch 40 of 100");
    let sink = status(|s| s.applied = [("topics/0".to_string(), Epoch(60)), ("stdout/0".to_string(), Epoch(97))].into());
    assert_eq!(sink, "sink topics/0 holds it back: 38 epochs behind; the sink answers slowly");
    let journal = status(|s| {
        s.durable = Epoch(50);
        s.applied.values_mut().for_each(|at| *at = Epoch(50));
    });
    assert_eq!(journal, "the journal holds it back: 50 epochs behind; the bus answers slowly");
    let operators = status(|s| {
        s.worked = Epoch(30);
        s.applied.values_mut().for_each(|at| *at = Epoch(30));
    });
    assert_eq!(operators, "the operators hold it back: 70 epochs behind; more `workers` may help");
    let answers = status(|s| s.questions = (10_000, 10_000));
    assert_eq!(
        answers,
        "a look-up holds it back: 10,000 questions wait for an answer; the service answers slowly, or not at all"
    );
    let full = status(|s| {
        s.full = true;
        s.applied.values_mut().for_each(|at| *at = Epoch(95));
    });
    assert_eq!(full, "sink stdout/0 holds it back: 3 epochs behind; the sink answers slowly");
}

#[test]
fn a_partition() {
    let reading = line(|seen| (seen.lags[1].records, seen.lags[1].waiting_ms) = (4_000, Some(9_000)));
    assert_eq!(reading, "it is behind: 4,000 records wait, the oldest for 9.0 s in payments[1]; it catches up if `lag` falls");
    assert!(line(|seen| (seen.lags[1].records, seen.lags[1].waiting_ms) = (4, Some(20))).starts_with("nothing does"));
    let held = line(|seen| seen.lags[1].watermark_ms = Some(90_000));
    assert_eq!(held, "partition payments[0] holds the watermark back: 40.0 s behind the others in event time");
    let idle = line(|seen| (seen.lags[1].watermark_ms, seen.watermark_ms) = (Some(90_000), Some(90_000)));
    assert!(idle.starts_with("nothing does"), "an idle partition does not count: {idle}");
    let never = line(|seen| (seen.lags[0].watermark_ms, seen.watermark_ms) = (None, None));
    assert_eq!(never, "partition payments[0] holds the watermark back: it has brought nothing yet");
    let empty = line(|seen| seen.lags.iter_mut().for_each(|lag| (lag.end, lag.bound) = (Offset(0), Offset(0))));
    assert_eq!(empty, "it waits for data: payments is empty");
}

#[test]
fn an_open_transaction() {
    let blocked = |ms: i64, end: u64| {
        line(|seen| {
            let at = BlockedPartition {
                topic: "payments".into(),
                partition: 1,
                position: Offset(100),
                end: Offset(1_104),
                since: WallTime(1_500 - ms),
            };
            seen.told.as_mut().unwrap().status.blocked.push(at);
            seen.lags[1].end = Offset(end);
        })
    };
    assert_eq!(
        blocked(9_000, 100),
        "an open transaction blocks payments[1] at offset 100 since 1969-12-31T23:59:52.500Z (9.0 s): 1,004 offsets wait behind \
         it; its producer must end it: `kafka-transactions.sh --bootstrap-server b:9092 describe-producers --topic payments \
         --partition 1` shows who that is, `kafka-transactions.sh --bootstrap-server b:9092 find-hanging --topic payments \
         --partition 1` whether nobody will"
    );
    assert!(blocked(500, 100).starts_with("nothing does"), "a commit on its way is nothing to tell");
    assert!(blocked(9_000, 110).starts_with("nothing does"), "it has ended, and the process has not said so yet");
}
