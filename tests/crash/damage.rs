//! Checkpoints that no longer read back: the one before is used; without one, the process says so and does not start.

use crate::world::{PATIENCE, World, stop, wait_until};
use distributary_runtime::journal::Checkpoint;
use distributary_runtime::state::Manifest;
use harness::ledger::RELAY;
use std::path::Path;
use std::process::Stdio;

#[test]
fn a_flipped_bit_in_a_state_object_is_found_and_the_checkpoint_before_is_used() {
    survives(|newest| newest.object.clone(), flip);
}

#[test]
fn a_state_object_that_is_cut_off_is_found_and_the_checkpoint_before_is_used() {
    survives(|newest| newest.object.clone(), cut_off);
}

#[test]
fn a_missing_state_object_is_found_and_the_checkpoint_before_is_used() {
    survives(|newest| newest.object.clone(), |path| std::fs::remove_file(path).unwrap());
}

#[test]
fn a_flipped_bit_in_a_manifest_is_found_and_the_checkpoint_before_is_used() {
    survives(|newest| newest.manifest.clone(), flip);
}

#[test]
fn a_manifest_that_is_cut_off_is_found_and_the_checkpoint_before_is_used() {
    survives(|newest| newest.manifest.clone(), cut_off);
}

#[test]
fn without_a_whole_checkpoint_nothing_starts_and_the_log_says_why() {
    let (world, _) = two_checkpoints();
    let checkpoints = world.history().checkpoints;
    assert!(world.history().positions.is_none(), "the journal is truncated");
    checkpoints.iter().for_each(|checkpoint| cut_off(&world.object(&checkpoint.manifest)));
    let logs = world.logs();
    let mut process = world.launch("refused").start(Stdio::null()).unwrap();
    let status = process.end_within(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(2), "{status}{}", process.said());
    assert!(process.said().contains("no checkpoint is whole"), "{}", process.said());
    assert_eq!(world.logs(), logs);
}

/// Files of the newest checkpoint that the one before does not need.
struct Newest {
    manifest: String,
    object: String,
}

fn survives(file: impl Fn(&Newest) -> String, damage: impl Fn(&Path)) {
    let (world, newest) = two_checkpoints();
    damage(&world.object(&file(&newest)));
    world.produce(2);
    let launch = world.launch("restored");
    world.run_to_end(&launch);
    let log = std::fs::read_to_string(launch.log()).unwrap();
    assert!(log.contains("checkpoint is damaged"), "{log}");
    world.assert_exact("restored from the checkpoint before");
    // What took the place of the damaged one is whole.
    world.run_to_end(&world.launch("again"));
}

/// A pipeline that has stopped, with two checkpoints; the newer one has state of its own.
fn two_checkpoints() -> (World, Newest) {
    let world = World::new();
    world.produce(0);
    world.run_to_end(&world.launch("first"));
    let before = world.history().checkpoints.last().unwrap().epoch;
    world.produce(1);
    // No checkpoint but the last one of an orderly stop.
    let mut second = world.launch("second").set("checkpoint_interval_ms", 3_600_000).start(Stdio::null()).unwrap();
    let relay = world.bus.topic(RELAY).unwrap().unwrap().id;
    let written = || world.bus.offsets(relay).unwrap().iter().map(|o| o.end.0).sum::<u64>();
    let at_first = written();
    wait_until("something of the second part is relayed", || written() > at_first);
    stop(&mut second);
    let checkpoints = world.history().checkpoints;
    assert!(checkpoints.len() >= 2 && checkpoints[checkpoints.len() - 2].epoch == before, "{checkpoints:?}");
    let [older, newer] = [&checkpoints[checkpoints.len() - 2], &checkpoints[checkpoints.len() - 1]].map(|c| manifest(&world, c));
    let own = newer.objects().into_iter().find(|object| !older.objects().contains(object)).unwrap().to_string();
    let manifest = checkpoints[checkpoints.len() - 1].manifest.clone();
    (world, Newest { manifest, object: own })
}

fn manifest(world: &World, checkpoint: &Checkpoint) -> Manifest {
    let bytes = std::fs::read(world.object(&checkpoint.manifest)).unwrap();
    Manifest::decode(&checkpoint.manifest, &bytes).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn cut_off(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}
