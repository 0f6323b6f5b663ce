//! A crash before and behind every durable step; again at the same one; again in the recovery from that.

use crate::world::{PARTS, PATIENCE, World, brokers, input, wait_until};
use distributary_runtime::bus::NewRecord;
use distributary_runtime::failpoint::Step;
use distributary_runtime::plan::TopicLane;
use harness::process::was_killed;
use harness::tables;
use std::process::Stdio;

#[test]
fn a_crash_before_any_durable_step_changes_no_result() {
    Step::ALL.into_iter().enumerate().for_each(|(i, step)| crash_at(&World::new(), step, "before", i));
}

#[test]
fn a_crash_behind_any_durable_step_changes_no_result() {
    Step::ALL.into_iter().enumerate().for_each(|(i, step)| crash_at(&World::new(), step, "after", i));
}

#[test]
fn a_crash_at_any_durable_step_changes_no_result_of_a_tail_lane() {
    for (i, step) in Step::ALL.into_iter().enumerate() {
        ["before", "after"].into_iter().for_each(|side| crash_at(&World::embedded(TopicLane::Tail), step, side, i));
    }
}

/// Of what a table has shown, every version is judged.
#[test]
fn a_crash_at_any_durable_step_changes_no_row_of_a_table() {
    if !tables::has_reader() {
        return;
    }
    for (i, step) in Step::ALL.into_iter().enumerate() {
        ["before", "after"].into_iter().for_each(|side| crash_at(&World::of_tables(), step, side, i));
    }
}

/// The same on a real S3 server, at the steps that reach it. Checkpoints lie there too.
#[test]
fn a_crash_at_any_step_of_a_table_on_s3_changes_no_row() {
    let Some(bucket) = tables::s3("crashes").filter(|_| tables::has_reader()) else { return };
    let steps = [Step::LaneFence, Step::LanePrepare, Step::LaneCommit, Step::StatePut, Step::ManifestPut];
    for (i, step) in steps.into_iter().enumerate() {
        for side in ["before", "after"] {
            crash_at(&World::of_tables_in(format!("{bucket}/{}-{side}-{}", step.name(), std::process::id())), step, side, i);
        }
    }
}

/// On a real broker, where every start takes a second, each step has one of the two sides.
#[test]
fn a_crash_at_any_durable_step_changes_no_result_on_kafka() {
    let Some(brokers) = brokers() else { return };
    for (i, step) in Step::ALL.into_iter().enumerate() {
        let side = if i % 2 == 0 { "after" } else { "before" };
        crash_at(&World::on_kafka(&brokers, TopicLane::Transactional), step, side, i);
    }
}

/// Only the steps that say what a tail lane goes on behind.
#[test]
fn a_crash_at_a_step_of_a_tail_lane_changes_no_result_on_kafka() {
    let Some(brokers) = brokers() else { return };
    let steps = [Step::JournalAppend, Step::LaneFence, Step::LanePrepare, Step::LaneCommit, Step::JournalCheckpoint];
    for (i, step) in steps.into_iter().enumerate() {
        let side = if i % 2 == 0 { "before" } else { "after" };
        crash_at(&World::on_kafka(&brokers, TopicLane::Tail), step, side, i);
    }
}

/// Who is killed again and again before its recovery ends gets on all the same.
#[test]
fn a_checkpoint_that_a_crash_cut_off_is_completed_in_the_replay() {
    let world = World::new();
    (0..PARTS).for_each(|part| world.produce(part));
    let mut process = world.launch("cut").failpoint("manifest_put.before:1:crash").start(Stdio::null()).unwrap();
    assert!(was_killed(process.end_within(PATIENCE).unwrap()), "no checkpoint was begun{}", process.said());
    let bound = world.history().last_epoch;
    world.run_to_end(&world.launch("again").set("checkpoint_interval_ms", 24 * 3_600_000));
    let saved: Vec<_> = world.history().checkpoints.iter().map(|c| c.epoch).collect();
    assert!(saved.iter().any(|epoch| *epoch <= bound), "of the epochs up to {bound} none was saved, only {saved:?}");
    world.assert_exact("a checkpoint in a replay");
}

/// Steps of every recovery.
const IN_RECOVERY: [&str; 4] = ["journal_start.before", "journal_start.after", "lane_fence.before", "lane_fence.after"];

/// A failpoint stands before or behind a transaction; a kill among commits that follow each other lands within one.
#[test]
fn kills_within_transactions_of_kafka_change_no_result() {
    const KILLS: usize = 10;
    let Some(brokers) = brokers() else { return };
    let world = World::on_kafka(&brokers, TopicLane::Transactional);
    let input: Vec<NewRecord> = input().map(NewRecord::from).collect();
    for (round, part) in input.chunks(input.len().div_ceil(KILLS)).enumerate() {
        let before = world.owner();
        let mut process = world.launch(&round.to_string()).start(Stdio::null()).unwrap();
        wait_until("the process is live", || world.owner() != before && !process.phase().recovering);
        for record in part {
            world.bus.produce(world.payments.id, vec![record.clone()]).unwrap();
        }
        assert!(was_killed(process.kill().unwrap()), "{}", process.said());
    }
    world.run_to_end(&world.launch("end"));
    world.assert_exact("kills within transactions");
}

fn crash_at(world: &World, step: Step, side: &str, turn: usize) {
    let point = format!("{}.{side}", step.name());
    // A later pass may be another path through the code; these two steps have only one in each life.
    let again = if matches!(step, Step::JournalStart | Step::LaneFence) { 1 } else { 2 };
    let crashes = [(point.as_str(), 1), (point.as_str(), again), (IN_RECOVERY[turn % IN_RECOVERY.len()], 1)];
    for (part, (point, pass)) in crashes.into_iter().enumerate() {
        world.produce(part as u64 % PARTS);
        let launch = world.launch(&format!("{part}")).set("workers", 1 + part % 2).failpoint(format!("{point}:{pass}:crash"));
        let mut process = launch.start(Stdio::null()).unwrap();
        let status = process.end_within(PATIENCE).unwrap_or_else(|e| panic!("{point} was not reached {pass} times: {e}"));
        assert!(was_killed(status), "{point}, pass {pass}: {status}{}", process.said());
    }
    world.run_to_end(&world.launch("end"));
    world.assert_exact(&point);
}
