//! What the bus has forgotten is read from the archive of its topic, as it stood there, and behind it the bus goes on: a job that comes later
//! gives the results of one that was there all the time.

use crate::backfill::{END, PARTITIONS, SECONDS, late, seconds, tallies, tally};
use crate::rig::{Payment, Rig, assert_says, by_generation, copies, header, ids, on_each_bus, payment_in};
use distributary::job::TierOf;
use distributary::{Flow, Result, job};
use distributary_connectors::lake::TableView;
use distributary_runtime::bus::{Bus as _, BusError, NewRecord, Offset, Record};
use distributary_runtime::journal::StartRequest;
use distributary_runtime::plan::Tier;
use distributary_runtime::time::WallTime;
use serde_json::Value;

/// Archives all payments.
#[job(team = "fraud")]
fn keeps(flow: &Flow) -> Result<()> {
    flow.archive::<Payment>()
}

pub(crate) const KEEPS: TierOf = TierOf { job: keeps, tier: Tier::Batch };
const KEPT: &str = "fraud.keeps.batch";

/// What is no payment, in every way there is.
fn strangers(second: i64) -> Vec<NewRecord> {
    let record = |value: Option<&'static str>| NewRecord {
        partition: Some(1),
        timestamp: WallTime(second * 1_000),
        key: None,
        value: value.map(Into::into),
        headers: vec![("trace".into(), "a".into()), ("op".into(), "-".into()), ("trace".into(), vec![0xff].into())],
    };
    vec![
        record(None),
        record(Some("")),
        record(Some("{\"id\": 1}")),
        record(Some(r#"{"id":1,"user":"u1","cents":1,"at":1e300}"#)),
    ]
}

/// The payments of some seconds, a little of each partition, again and again, with strangers between them.
fn publish(rig: &Rig, of: std::ops::Range<usize>) {
    let mut payments: Vec<_> = (0..PARTITIONS).map(|p| (p, seconds(p).skip(of.start).take(of.len()))).collect();
    for at in of.step_by(10) {
        let pieces =
            payments.iter_mut().flat_map(|(p, ids)| ids.by_ref().take(10).map(|id| payment_in(*p, id)).collect::<Vec<_>>());
        rig.publish("payments", pieces.chain(strangers(at as i64)).collect());
    }
}

fn rows(rig: &Rig) -> Vec<Value> {
    let (store, lake) = distributary::run::open_lake(&rig.settings).unwrap();
    let mut lines = Vec::new();
    let view = TableView::open(&store, &lake.join("archive.payments/").unwrap()).unwrap().unwrap();
    view.write_rows(&mut lines).unwrap();
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

pub(crate) fn wait_until(what: &str, until: impl Fn() -> bool) {
    let began = distributary_runtime::time::monotonic();
    while !until() {
        assert!(began.elapsed() < crate::rig::PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_job_that_comes_late_gives_what_one_gives_that_was_always_there() {
    on_each_bus(|mut rig| {
        (rig.settings.epoch_records_max, rig.settings.workers) = (50, 1);
        rig.forgetful("payments", PARTITIONS);
        let (keeping, running) = (rig.start(KEEPS), rig.start(tally));
        let (half, all) = (SECONDS as usize / 2, SECONDS as usize);
        publish(&rig, 0..half);
        wait_until("the first half is archived", || rig.has_read(KEPT, "payments"));
        keeping.crash();
        let keeping = rig.start(KEEPS);
        publish(&rig, half..all);
        rig.publish("payments", (0..PARTITIONS).map(|p| payment_in(p, END)).collect());
        wait_until("all is read", || rig.has_read(KEPT, "payments") && rig.has_read("fraud.tally", "payments"));
        running.stop();
        let (live, live_late, live_dead) =
            (rig.all("fraud.tallies"), late(&rig.all("fraud.tally.late")), rig.all("fraud.tally.dead-letters").len());
        assert!(live_late.len() > 20 && live_dead > 20, "late: {}, dead: {live_dead}", live_late.len());
        let published = rig.by_partition("payments");

        rig.forgets("payments", WallTime(half as i64 * 1_000));
        assert_eq!(rig.by_partition_of(&rig.archived(), "payments"), published, "as it stood on the bus");
        assert_ne!(rig.by_partition("payments"), published);
        for (generation, workers, epoch_records_max) in [("2", 2, 1_000), ("3", 3, 7)] {
            (rig.settings.workers, rig.settings.epoch_records_max) = (workers, epoch_records_max);
            let of = |records: &[Record]| -> Vec<Record> {
                records.iter().filter(|r| header(r, "generation") == generation).cloned().collect()
            };
            let running = rig.start_with(tally, |options| options.request = StartRequest::From(WallTime(0)));
            rig.read_until("fraud.tallies", |records| of(records).len() > 10);
            running.crash();
            // In the middle of the archive, or behind it: it goes on where it was.
            let running = rig.start(tally);
            rig.read_until("fraud.tallies", |records| tallies(&of(records)) == tallies(&live));
            wait_until("all is read", || rig.has_read("fraud.tally", "payments"));
            running.stop();
            assert_eq!(tallies(&of(&rig.all("fraud.tallies"))), tallies(&live), "{workers} workers");
            assert_eq!(late(&of(&rig.all("fraud.tally.late"))), live_late, "{workers} workers");
            assert_eq!(of(&rig.all("fraud.tally.dead-letters")).len(), live_dead, "{workers} workers");
        }
        keeping.stop();
    });
}

/// What is late by what came before the time from which a backfill reads is late in it too; and it can end where it is told to.
#[test]
fn a_backfill_begins_and_ends_where_it_is_told_to() {
    let mut rig = Rig::new();
    rig.settings.idle_after_ms = 100;
    rig.forgetful("payments", PARTITIONS);
    let (keeping, running) = (rig.start(KEEPS), rig.start(tally));
    // The first of partition 0 is ahead of all: what comes then is late, up to its second.
    let ahead = |id, second: i64| NewRecord { timestamp: WallTime(second * 1_000), ..payment_in(0, id) };
    rig.publish("payments", vec![ahead(50, 10), ahead(20, 11), ahead(30, 12), ahead(60, 13), ahead(70, 14)]);
    rig.publish("payments", (10..20).map(|id| payment_in(1, id)).collect());
    wait_until("all is read", || rig.has_read(KEPT, "payments") && rig.has_read("fraud.tally", "payments"));
    running.stop();
    keeping.stop();
    assert_eq!(late(&rig.all("fraud.tally.late")).len(), 2);
    rig.forgets("payments", WallTime(16_000));
    assert_eq!(rig.by_partition("payments")[0].1.len(), 0);

    let running = rig.start_with(tally, |options| {
        (options.request, options.until) = (StartRequest::From(WallTime(11_000)), Some(WallTime(14_000)));
    });
    running.ends();
    let second = |records: Vec<Record>| by_generation(records).1;
    assert_eq!(second(rig.all("fraud.tally.late")).len(), 2, "the first record is not read, but what it claimed is known");

    // Each record once, whatever the pieces are that it is read in.
    let read = |from: Option<i64>, until: i64| {
        let running = rig.start_with(copies, |options| {
            options.request = from.map_or(StartRequest::Resume, |from| StartRequest::From(WallTime(from)));
            options.until = Some(WallTime(until));
        });
        running.ends();
        ids(&rig.all("fraud.copies"))
    };
    assert_eq!(read(Some(11_000), 14_000), [11, 12, 13, 20, 30, 60]);
    assert_eq!(read(None, 15_000), [11, 12, 13, 14, 20, 30, 60, 70]);
    assert_eq!(read(None, 15_000), [11, 12, 13, 14, 20, 30, 60, 70]);
    assert_eq!(read(None, 99_000), [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 30, 60, 70]);
}

/// In what one commit has archived, the partitions stand one behind the other: one that has been read to its end holds up none.
#[test]
fn a_backfill_of_one_large_commit_ends() {
    let mut rig = Rig::new();
    rig.settings.epoch_interval_ms = 3_000;
    rig.forgetful("payments", 2);
    rig.publish("payments", (0..5_000).map(|id| payment_in(0, id)).collect());
    rig.publish("payments", (5_000..5_010).map(|id| payment_in(1, id)).collect());
    rig.start_with(KEEPS, |options| options.until = Some(WallTime(i64::MAX))).ends();
    assert_eq!(rows(&rig).iter().map(|row| row["_origin"]["epoch"].as_u64()).max(), Some(Some(1)), "one commit");
    rig.forgets("payments", WallTime(i64::MAX / 2));
    rig.settings.epoch_interval_ms = 5;
    let running = rig.start_with(copies, |options| {
        (options.request, options.until) = (StartRequest::From(WallTime(0)), Some(WallTime(i64::MAX)));
    });
    running.ends();
    assert_eq!(ids(&rig.all("fraud.copies")), (0..5_010).collect::<Vec<_>>());
}

#[test]
fn a_row_is_the_record_and_what_it_was_decoded_to() {
    let rig = Rig::new();
    rig.topic("payments", 2);
    let keeping = rig.start(KEEPS);
    rig.publish("payments", vec![payment_in(0, 7), payment_in(0, 5)]);
    rig.publish("payments", strangers(9));
    wait_until("all is archived", || rig.has_read(KEPT, "payments"));
    keeping.stop();
    let mut rows = rows(&rig);
    rows.sort_by_key(|row| (row["record"]["partition"].as_i64(), row["record"]["offset"].as_i64()));
    assert_eq!(rows.len(), 6);
    let (first, second, stranger) = (&rows[0], &rows[1], &rows[4]);
    assert_eq!((&first["id"], &first["user"], &first["cents"]), (&7.into(), &"u1".into(), &1.into()));
    assert_eq!((&first["record"]["timestamp_ms"], &first["record"]["watermark_ms"]), (&7_000.into(), &Value::Null));
    assert_eq!((&second["record"]["offset"], &second["record"]["watermark_ms"]), (&1.into(), &7_000.into()));
    assert!(stranger.get("id").is_none() && stranger["record"]["headers"].as_array().unwrap().len() == 3, "{stranger}");
}

fn archive_ten(rig: &Rig) {
    rig.forgetful("payments", 1);
    let keeping = rig.start(KEEPS);
    rig.publish("payments", (0..10).map(|id| payment_in(0, id)).collect());
    wait_until("they are archived", || rig.has_read(KEPT, "payments"));
    keeping.stop();
}

#[test]
fn an_archive_that_has_fallen_behind_leaves_a_gap_and_says_so() {
    let rig = Rig::new();
    archive_ten(&rig);
    let running = rig.start(tally);
    wait_until("it is read", || rig.has_read("fraud.tally", "payments"));
    running.stop();
    // Nobody keeps these.
    rig.publish("payments", (10..20).map(|id| payment_in(0, id)).collect());
    rig.forgets("payments", WallTime(15_000));
    assert_says(&rig.refusal(tally), "out of range, the log holds 15..20", "--accept-gap");
    // The archive itself is refused alike; and what it holds is of no use to anybody who wants what lies behind the gap too.
    assert_says(&rig.refusal(KEEPS), "out of range", "--accept-gap");
    let running = rig.start_with(KEEPS, |options| options.accept_gap = true);
    wait_until("it goes on", || rig.has_read(KEPT, "payments"));
    running.stop();
    rig.forgets("payments", WallTime(18_000));
    let found = rig.by_partition_of(&rig.archived(), "payments");
    assert_eq!(found[0].1.first().map(|record| record.offset.0), Some(15), "behind the gap it is whole again");
}

#[test]
fn the_archive_of_a_topic_that_was_there_before_is_none() {
    let rig = Rig::new();
    archive_ten(&rig);
    rig.calm.delete_topic("payments").unwrap();
    rig.forgetful("payments", 1);
    rig.publish("payments", (0..10).map(|id| payment_in(0, id)).collect());
    rig.forgets("payments", WallTime(5_000));
    let found = rig.archived().consumer(rig.id("payments"), &[(0, Offset(0))]).err().unwrap();
    assert!(matches!(found, BusError::OutOfRange { log_start, .. } if log_start == Offset(5)), "{found}");
}
