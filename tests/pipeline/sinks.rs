//! Sinks that are slow, refuse, or forget to answer.

use crate::rig::{PATIENCE, Payment, Rig, payments};
use distributary::{Flow, Result, job, memory};
use distributary_connectors::sinks::memory::{Failure, MemoryRow};

#[job(team = "fraud")]
fn copies(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?.to(memory("copies"));
    Ok(())
}

#[test]
fn a_sink_that_blocks_holds_the_pipeline_back_and_loses_nothing() {
    let mut rig = Rig::new();
    rig.settings.epochs_in_flight_max = 4;
    rig.settings.epoch_records_max = 100;
    rig.settings.epoch_bytes_max = 1 << 20;
    rig.settings.read_ahead_bytes = 64 << 10;
    rig.topic("payments", 1);
    rig.memory.hold();
    let running = rig.start(copies);
    rig.publish("payments", payments(0..100));
    assert!(rig.memory.wait_held(PATIENCE));
    rig.publish("payments", payments(100..20_000));

    let status = running.wait_status(|s| s.full);
    assert!(status.in_flight.0 <= 4, "{status:?}");
    let (read, stood) = (still(&rig, &running), status.closed);
    // In flight: 4 epochs, each with the pieces it took, a piece being at most 256 KiB; then the read-ahead and one piece.
    assert!(read <= (4 + 1) * (256 << 10) + (64 << 10), "{read} bytes were read");
    let later = running.next_status();
    assert_eq!((later.closed, later.in_flight.0 <= 4), (stood, true), "no epoch closes while nothing can be shown");
    assert!(rig.memory.rows().is_empty());

    rig.memory.release();
    assert!(rig.memory.wait_rows(PATIENCE, |rows| rows.len() >= 20_000));
    running.stop();
    assert_eq!(shown(&rig.memory.rows()), (0..20_000).collect::<Vec<_>>());
}

/// Bytes read from the bus, as soon as they do not grow from one status to the next.
fn still(rig: &Rig, running: &crate::rig::Running) -> u64 {
    let mut read = rig.bus.delivered();
    loop {
        running.next_status();
        let now = rig.bus.delivered();
        if now == read {
            return read;
        }
        read = now;
    }
}

#[test]
fn commits_that_are_refused_or_lose_their_answer_are_shown_once_and_in_order() {
    let rig = Rig::new();
    rig.topic("payments", 1);
    let running = rig.start(copies);
    for round in 0..6 {
        let failures = [Failure::AnswerLost, Failure::Refused, Failure::Refused, Failure::AnswerLost];
        failures.into_iter().cycle().skip(round).take(3).for_each(|failure| rig.memory.fail_next(failure));
        let count = (round as u64 + 1) * 20;
        rig.publish("payments", payments(count - 20..count));
        assert!(rig.memory.wait_rows(PATIENCE, |rows| rows.len() as u64 >= count));
    }
    running.stop();
    assert_eq!(shown(&rig.memory.rows()), (0..120).collect::<Vec<_>>());
}

#[test]
fn a_crash_behind_a_lost_answer_repeats_nothing() {
    let rig = Rig::new();
    rig.topic("payments", 1);
    for round in 0..5 {
        let running = rig.start(copies);
        rig.memory.fail_next(Failure::AnswerLost);
        rig.publish("payments", payments(round * 20..(round + 1) * 20));
        assert!(rig.memory.wait_rows(PATIENCE, |rows| rows.len() as u64 >= (round + 1) * 20));
        running.crash();
    }
    assert_eq!(shown(&rig.memory.rows()), (0..100).collect::<Vec<_>>());
}

/// The numbers of the payments, in the order in which they were shown.
fn shown(rows: &[MemoryRow]) -> Vec<u64> {
    let id = |row: &MemoryRow| serde_json::from_slice::<Payment>(row.record.value.as_ref().unwrap()).unwrap().id;
    rows.iter().map(id).collect()
}
