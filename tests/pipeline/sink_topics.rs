//! Sink topics that are deleted, created again, or widened: what stands in them is never taken for more than it is.

use crate::rig::{Rig, assert_says, by_generation, copies, copying, ids, ids_of, payment, payments};
use distributary_runtime::bus::{BusError, LaneCommit, Marker, NewRecord, Token};
use distributary_runtime::journal::StartRequest;
use distributary_runtime::time::Epoch;

/// A rig on which `copies` has copied payments 0 to 9 with two lanes, and was stopped in order.
fn copied_in_two_lanes() -> Rig {
    let mut rig = Rig::new();
    rig.settings.lanes = 2;
    rig.topic("payments", 2);
    rig.publish("payments", payments(0..10));
    let running = rig.start(copies);
    rig.read("fraud.copies", 10);
    running.stop();
    rig
}

#[test]
fn one_deleted_under_a_running_job_stops_it() {
    let (rig, running) = copying(1, 5);
    rig.calm.delete_topic("fraud.copies").unwrap();
    rig.publish("payments", payments(5..10));
    assert_says(&running.end(), "was deleted or re-created", "run --from-zero");
}

#[test]
fn one_deleted_while_the_job_was_stopped_takes_a_new_generation() {
    let (rig, running) = copying(1, 10);
    running.stop();
    rig.calm.delete_topic("fraud.copies").unwrap();
    assert_says(&rig.refusal(copies), "sink topic `fraud.copies` was deleted,", "run --from-zero");

    // Somebody helps out with an empty topic: the results are gone all the same.
    rig.topic("fraud.copies", 1);
    assert_says(&rig.refusal(copies), "sink topic `fraud.copies` was deleted and created again", "run --from-zero");

    let running = rig.start_with(copies, |options| options.request = StartRequest::FromZero);
    assert_eq!(ids(&rig.read("fraud.copies", 10)), ids_of(0..10));
    running.stop();
}

/// A key that moved to another partition would stand in two, and a record that moved to another lane would be written twice or not at all.
#[test]
fn added_partitions_are_written_from_the_next_generation_on() {
    let rig = copied_in_two_lanes();
    rig.calm.add_partitions("fraud.copies", 5).unwrap();
    rig.publish("payments", payments(10..40));
    let running = rig.start(copies);
    rig.read("fraud.copies", 40);
    running.crash();
    let written = |rig: &Rig| -> Vec<u32> {
        rig.by_partition("fraud.copies").into_iter().filter(|(_, r)| !r.is_empty()).map(|(partition, _)| partition).collect()
    };
    assert!(written(&rig).iter().all(|partition| *partition < 2), "{:?}", written(&rig));

    let running = rig.start_with(copies, |options| options.request = StartRequest::FromZero);
    let (first, second) = by_generation(rig.read("fraud.copies", 80));
    assert_eq!((ids(&first), ids(&second)), (ids_of(0..40), ids_of(0..40)));
    running.stop();
    assert!(written(&rig).iter().any(|partition| *partition >= 2), "{:?}", written(&rig));
}

/// A process that was paused with more lanes wakes up behind a start with fewer: none of its lanes writes any more.
#[test]
fn a_lane_that_is_no_longer_there_is_fenced() {
    let mut rig = copied_in_two_lanes();
    let (lane, token) = ("fraud.copies/topics/1".to_string(), Token(0));
    let previous = rig.calm.fence_lane(&lane, token).unwrap();
    rig.settings.lanes = 1;
    assert_says(&rig.refusal(copies), "- lanes 2\n  + lanes 1", "run --from-zero");
    let running = rig.start_with(copies, |options| options.request = StartRequest::FromZero);
    rig.read("fraud.copies", 20);
    running.stop();

    let record = NewRecord { partition: Some(1), ..payment(99) };
    let marker = Marker { generation: 1, epoch: Epoch(1_000_000) };
    let commit = LaneCommit { lane, token, previous, marker, records: vec![(rig.id("fraud.copies"), record)] };
    let refused = rig.calm.commit_lane(&commit).unwrap_err();
    assert!(matches!(refused, BusError::Fenced { .. }), "{refused}");
}
