//! Topics that are missing, deleted, re-created, cut short by retention or widened, before a start and under a running job.

use crate::rig::{
    Payment, Rig, assert_says, by_generation, copies, copying, copying_on, ids, ids_of, on_each_bus, payment, payment_in,
    payments,
};
use distributary::{Flow, Result, count, job, secs, topic, tumbling, upsert};
use distributary_runtime::binding::Lift;
use distributary_runtime::bus::{Offset, TopicSpec};
use distributary_runtime::journal::{Fact, StartRequest};
use distributary_runtime::settings::IdleWatermark;
use distributary_runtime::time::{EventTime, monotonic};
use std::time::Duration;

#[test]
fn a_missing_source_topic_is_refused_at_start() {
    let rig = Rig::new();
    assert_says(&rig.refusal(copies), "topic `payments` does not exist", "topic create payments");
}

#[test]
fn a_job_that_appends_is_refused_a_compacted_topic() {
    let rig = Rig::new();
    rig.topic("payments", 1);
    rig.create(&TopicSpec::upsert("fraud.copies", 1));
    assert_says(&rig.refusal(copies), "sink topic `fraud.copies` has the form", "write to another topic");
}

/// Its readers see every state of a key, not only the newest: more than they need, and nothing wrong.
#[test]
fn a_job_that_upserts_may_write_to_a_topic_that_is_not_compacted() {
    #[job(team = "fraud")]
    fn newest(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.to(upsert("fraud.newest"));
        Ok(())
    }
    let rig = Rig::new();
    rig.topic("payments", 1);
    rig.topic("fraud.newest", 1);
    rig.publish("payments", payments(0..3));
    let running = rig.start(newest);
    assert_eq!(ids(&rig.read("fraud.newest", 3)), ids_of(0..3));
    running.stop();
}

#[test]
fn a_missing_partition_is_refused_at_start() {
    let (rig, running) = copying(2, 10);
    running.stop();
    rig.bus.hides_partitions_from(1);
    assert_says(&rig.refusal(copies), "partition payments[1] is missing", "restore the topic");
}

#[test]
fn a_bus_that_lacks_what_the_job_needs_is_refused_at_start() {
    #[job(team = "fraud")]
    fn newest(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.to(upsert("fraud.newest"));
        Ok(())
    }
    let lacking = |change: fn(&mut distributary_runtime::bus::Features), job| {
        let rig = Rig::new();
        rig.topic("payments", 1);
        rig.bus.lacks(change);
        let error = rig.refusal(job);
        assert_eq!(rig.calm.topics().unwrap().len(), 1, "nothing is created for a job that cannot run");
        error
    };
    let remedy = "run the job on a bus that can";
    assert_says(&lacking(|f| f.atomic_lanes = false, copies), "which sink topic `fraud.copies` needs", remedy);
    assert_says(&lacking(|f| f.compaction = false, newest), "which upsert topic `fraud.newest` needs", remedy);

    let rig = Rig::new();
    rig.topic("payments", 1);
    rig.bus.lacks(|f| f.compaction = false);
    rig.publish("payments", payments(0..3));
    let running = rig.start(copies);
    assert_eq!(ids(&rig.read("fraud.copies", 3)), [0, 1, 2], "what a job does not need may be missing");
    running.stop();
}

#[test]
fn a_topic_deleted_under_a_running_job_stops_it() {
    on_each_bus(|rig| {
        let (rig, running) = copying_on(rig, 2, 10);
        rig.calm.delete_topic("payments").unwrap();
        assert_says(&running.end(), "was deleted or re-created under", "run --from-zero");
    });
}

#[test]
fn a_topic_recreated_under_a_running_job_stops_it() {
    on_each_bus(|rig| {
        let (rig, running) = copying_on(rig, 2, 10);
        rig.calm.delete_topic("payments").unwrap();
        rig.topic("payments", 2);
        rig.publish("payments", payments(10..20));
        assert_says(&running.end(), "was deleted or re-created under", "run --from-zero");
        assert_eq!(ids(&rig.all("fraud.copies")), ids_of(0..10), "nothing of the new topic was taken for the old one's");
    });
}

#[test]
fn a_topic_recreated_while_the_job_was_stopped_takes_a_new_generation() {
    on_each_bus(|rig| {
        let (rig, running) = copying_on(rig, 2, 10);
        running.stop();
        rig.calm.delete_topic("payments").unwrap();
        rig.topic("payments", 2);
        rig.publish("payments", payments(10..20));
        assert_says(&rig.refusal(copies), "topic `payments` was deleted and re-created", "run --from-zero");

        let running = rig.start_with(copies, |options| options.request = StartRequest::FromZero);
        let (first, second) = by_generation(rig.read("fraud.copies", 20));
        assert_eq!((ids(&first), ids(&second)), (ids_of(0..10), ids_of(10..20)));
        running.stop();
    });
}

#[test]
fn records_lost_to_retention_while_the_job_was_stopped_are_never_a_silent_gap() {
    on_each_bus(|rig| {
        rig.losable("payments");
        rig.publish("payments", payments(0..10));
        let running = rig.start(copies);
        rig.read("fraud.copies", 10);
        running.stop();
        rig.publish("payments", payments(10..20));
        rig.loses_all("payments");
        rig.publish("payments", payments(20..30));
        let says = "payments[0]: offset 10 is out of range, the log holds 20..30";
        assert_says(&rig.refusal(copies), says, "--accept-gap");
        assert_says(&rig.refusal(copies), says, "--accept-gap");

        let running = rig.start_with(copies, |options| options.accept_gap = true);
        let taken: Vec<u64> = (0..10).chain(20..30).collect();
        assert_eq!(ids(&rig.read("fraud.copies", 20)), taken);
        running.crash();
        let gaps: Vec<_> = rig.journal(copies).into_iter().filter_map(accepted_gaps).flatten().collect();
        assert_eq!(gaps, [(0, Offset(10), Offset(20))], "the gap stands in the journal, once");

        let running = rig.start(copies);
        rig.publish("payments", payments(30..33));
        assert_eq!(ids(&rig.read("fraud.copies", 23)), taken.into_iter().chain(30..33).collect::<Vec<_>>());
        running.stop();
    });
}

#[test]
fn records_lost_to_retention_under_a_running_job_stop_it() {
    on_each_bus(|rig| {
        rig.losable("payments");
        rig.publish("payments", payments(0..10));
        let running = rig.start(copies);
        rig.read("fraud.copies", 10);
        rig.bus.goes_away();
        rig.bus.wait_failed(20); // whoever else asks: by then the reader has too
        rig.publish("payments", payments(10..20));
        rig.loses_all("payments");
        rig.publish("payments", payments(20..30));
        rig.bus.returns();
        assert_says(&running.end(), "payments[0]: offset 10 is out of range", "--accept-gap");
        assert_eq!(ids(&rig.all("fraud.copies")), ids_of(0..10));

        let running = rig.start_with(copies, |options| options.accept_gap = true);
        assert_eq!(ids(&rig.read("fraud.copies", 20)), (0..10).chain(20..30).collect::<Vec<_>>());
        running.stop();
    });
}

/// What was bound but not saved has to be read again; when it is gone, no gap can stand for it.
#[test]
fn records_that_a_replay_needs_and_retention_took_leave_only_a_new_generation() {
    on_each_bus(|rig| {
        let mut rig = rig;
        rig.settings.checkpoint_interval_ms = 3_600_000;
        rig.losable("payments");
        rig.publish("payments", payments(0..10));
        let running = rig.start(copies);
        rig.read("fraud.copies", 10);
        running.crash();
        rig.loses_all("payments");
        rig.publish("payments", payments(10..20));
        let says = "payments[0]: the records from offset 0 on, which a replay needs, are gone";
        assert_says(&rig.refusal(copies), says, "run --from-zero");
        let accepting = rig.start_with(copies, |options| options.accept_gap = true);
        assert_says(&accepting.end(), says, "run --from-zero");

        let running = rig.start_with(copies, |options| options.request = StartRequest::FromZero);
        let (first, second) = by_generation(rig.read("fraud.copies", 20));
        assert_eq!((ids(&first), ids(&second)), (ids_of(0..10), ids_of(10..20)));
        running.stop();
    });
}

/// Spend per user and ten seconds; windows take nothing after their end.
#[job(team = "fraud")]
fn windows(flow: &Flow) -> Result<()> {
    let spend = flow.read::<Payment>()?.key_by(|p| p.user.clone()).window(tumbling(secs(10)));
    spend.aggregate("spend", count()).to(topic("fraud.windows"));
    Ok(())
}

/// Nobody publishes any more, and the last window closes all the same, when its time has come on the clock; what comes later is late, also
/// when the job was replaced in between.
#[test]
fn the_last_window_of_a_topic_that_falls_silent_closes_by_the_clock() {
    let mut rig = Rig::new();
    rig.settings.idle_after_ms = 100;
    rig.settings.idle_watermark = IdleWatermark::Clock;
    rig.topic("payments", 2);
    // The last window is that of the seconds 20 to 29, and it is still second 28.
    rig.publish("payments", payments(0..29));
    let running = rig.start(windows);
    assert_eq!(rig.read("fraud.windows", 9).len(), 9, "three users in three windows");
    running.crash();
    let running = rig.start(windows);
    rig.publish("payments", vec![payment(29)]);
    assert_eq!(ids(&rig.read("fraud.windows.late", 1)), [29]);
    running.stop();
    assert_eq!(rig.all("fraud.windows").len(), 9);
}

#[test]
fn added_partitions_are_read_from_their_beginning_and_do_not_tear_the_watermark() {
    on_each_bus(|rig| {
        let mut rig = rig;
        // No checkpoint, so that the journal keeps everything.
        rig.settings.checkpoint_interval_ms = 3_600_000;
        rig.settings.metadata_interval_ms = distributary_runtime::settings::Settings::default().metadata_interval_ms;
        rig.topic("payments", 1);
        rig.publish("payments", payments(0..25));
        let running = rig.start(windows);
        rig.read("fraud.windows", 6); // three users in the windows from second 0 and from second 10

        rig.calm.add_partitions("payments", 3).unwrap();
        let began = monotonic();
        // Second 5 is long over for everybody else: the new partition starts at the pipeline's watermark.
        rig.publish("payments", vec![payment_in(1, 5), payment_in(1, 31), payment_in(2, 32)]);
        let late = rig.read("fraud.windows.late", 1);
        assert!(began.elapsed() < Duration::from_secs(10), "read after {:?}", began.elapsed());
        assert_eq!(ids(&late), [5]);

        rig.publish("payments", vec![payment_in(0, 41), payment_in(1, 42), payment_in(2, 43)]);
        let before = rig.read("fraud.windows", 11); // three users from second 20, two from second 30
        running.crash();

        let bindings: Vec<_> = rig.journal(windows).into_iter().filter_map(binding).collect();
        assert!(bindings.windows(2).all(|w| w[0].watermark <= w[1].watermark), "the watermark fell");
        let lifts: Vec<&Lift> = bindings.iter().flat_map(|b| &b.lifts).collect();
        let partitions: Vec<u32> = lifts.iter().map(|lift| lift.feed.partition.number()).collect();
        assert_eq!(partitions, [1, 2], "the lifts stand in the journal");
        assert!(lifts.iter().all(|lift| lift.to == EventTime(24_000)), "{lifts:?}");

        let running = rig.start(windows);
        rig.publish("payments", vec![payment_in(0, 51), payment_in(1, 52), payment_in(2, 53)]);
        let after = rig.read("fraud.windows", 14);
        assert_eq!(before, after[..11], "what was there is there, once");
        assert_eq!(after.len(), 14);
        running.stop();
    });
}

#[test]
fn partitions_added_while_the_job_was_stopped_are_read_from_their_beginning() {
    on_each_bus(|rig| {
        let (rig, running) = copying_on(rig, 1, 5);
        running.stop();
        rig.calm.add_partitions("payments", 2).unwrap();
        rig.publish("payments", (5..10).map(|id| payment_in(1, id)).collect());
        let running = rig.start(copies);
        assert_eq!(ids(&rig.read("fraud.copies", 10)), ids_of(0..10));
        running.stop();
    });
}

#[test]
fn a_journal_deleted_under_a_running_job_stops_it() {
    let (rig, running) = copying(1, 5);
    rig.calm.delete_topic("fraud.copies.journal").unwrap();
    rig.publish("payments", payments(5..10));
    assert_says(&running.end(), "was deleted or re-created", "run --from-zero");
    assert_eq!(ids(&rig.all("fraud.copies")), ids_of(0..5), "nothing is shown that no journal holds");
}

fn accepted_gaps(fact: Fact) -> Option<Vec<(u32, Offset, Offset)>> {
    let Fact::Start(start) = fact else { return None };
    Some(start.accepted_gaps.into_iter().map(|(feed, from, to)| (feed.partition.number(), from, to)).collect())
}

fn binding(fact: Fact) -> Option<distributary_runtime::binding::Binding> {
    let Fact::Binding(binding) = fact else { return None };
    Some(binding)
}
