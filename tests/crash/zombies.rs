//! An old process that wakes up changes nothing: not the journal, not the objects a newer one needs, not a sink.

use crate::world::{PATIENCE, World, brokers, stop, wait_until};
use distributary_runtime::bus::Token;
use distributary_runtime::failpoint::Step;
use distributary_runtime::journal::{Entry, History, Incarnation};
use distributary_runtime::plan::TopicLane;
use distributary_runtime::state::CheckpointStore;
use harness::process::{FENCED, Process, Signal};
use harness::tables;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// A process may be paused while it holds the one write lock of the embedded bus. Then nobody gets on, and the scene is
/// set up again.
const SCENES_MAX: usize = 50;

#[test]
fn a_process_paused_before_any_durable_step_changes_nothing_when_it_wakes() {
    Step::ALL.into_iter().for_each(|step| wake_at(World::new, step, "before"));
}

#[test]
fn a_process_paused_behind_any_durable_step_changes_nothing_when_it_wakes() {
    Step::ALL.into_iter().for_each(|step| wake_at(World::new, step, "after"));
}

#[test]
fn a_process_of_a_tail_lane_paused_at_any_durable_step_repeats_at_most_what_clients_drop() {
    let steps = Step::ALL.into_iter();
    steps.for_each(|step| {
        ["before", "after"].into_iter().for_each(|side| wake_at(|| World::embedded(TopicLane::Tail), step, side))
    });
}

/// Neither does it add a version to a table.
#[test]
fn a_process_paused_at_any_durable_step_changes_no_table_when_it_wakes() {
    if !tables::has_reader() {
        return;
    }
    let steps = Step::ALL.into_iter();
    steps.for_each(|step| ["before", "after"].into_iter().for_each(|side| wake_at(World::of_tables, step, side)));
}

/// On a real broker the old process's journal entry does stand, and does not count. Every start takes a second there, so each step has
/// one side and one kind of lane; `DISTRIBUTARY_SEED` chooses another of the four, and `DISTRIBUTARY_ZOMBIES=all` takes all.
#[test]
fn a_process_paused_at_any_durable_step_on_kafka_changes_nothing_when_it_wakes() {
    let Some(brokers) = brokers() else { return };
    let scenes = [TopicLane::Tail, TopicLane::Transactional].map(|lane| ["before", "after"].map(|side| (lane, side)));
    let scenes = scenes.as_flattened();
    let seed = std::env::var("DISTRIBUTARY_SEED").map_or(0, |seed| seed.parse::<usize>().unwrap());
    let all = std::env::var("DISTRIBUTARY_ZOMBIES").is_ok_and(|which| which == "all");
    for (i, step) in Step::ALL.into_iter().enumerate() {
        let of_step = scenes.iter().cycle().skip((i + seed) % scenes.len()).take(if all { scenes.len() } else { 1 });
        for (lane, side) in of_step {
            println!("{lane:?} {}.{side}", step.name());
            wake_at(|| World::on_kafka(&brokers, *lane), step, side);
        }
    }
}

/// The table's pipeline has its input and its journal on a real broker. Each step has one side here, as above.
#[test]
fn a_process_paused_at_any_durable_step_on_kafka_changes_no_table_when_it_wakes() {
    let Some(brokers) = brokers().filter(|_| tables::has_reader()) else { return };
    let seed = std::env::var("DISTRIBUTARY_SEED").map_or(0, |seed| seed.parse::<usize>().unwrap());
    let all = std::env::var("DISTRIBUTARY_ZOMBIES").is_ok_and(|which| which == "all");
    for (i, step) in Step::ALL.into_iter().enumerate() {
        let sides = ["before", "after"].into_iter().cycle().skip((i + seed) % 2).take(if all { 2 } else { 1 });
        for side in sides {
            println!("{}.{side}", step.name());
            wake_at(|| World::of_tables_on_kafka(&brokers), step, side);
        }
    }
}

/// Three workers are paused while they commit, one takes over, and the three wake up while it works.
#[test]
fn three_workers_that_wake_beside_the_one_that_replaced_them_change_nothing_on_kafka() {
    let Some(brokers) = brokers() else { return };
    for lane in [TopicLane::Transactional, TopicLane::Tail] {
        for point in ["lane_prepare.after:2", "lane_commit.before:2", "lane_commit.after:2"] {
            rescaled(&World::on_kafka(&brokers, lane), point);
        }
    }
}

fn rescaled(world: &World, point: &str) {
    world.produce(0);
    // Lanes stay what they were: one of a worker that there is no more of.
    let launch = |name| world.launch(name).set("lanes", 2);
    let mut three = launch("three").set("workers", 3).failpoint(format!("{point}:stop")).start(Stdio::null()).unwrap();
    assert!(three.wait_until(PATIENCE, Process::is_paused).unwrap(), "{point} was not reached{}", three.said());
    world.produce(1);
    let before = world.owner();
    let mut one = launch("one").set("workers", 1).start(Stdio::null()).unwrap();
    wait_until("the one worker is live", || world.owner() != before && !one.phase().recovering);
    three.signal(Signal::Continue);
    world.produce(2);
    let status = three.end_within(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(FENCED), "{point}: {status}{}", three.said());
    world.catch_up(&mut one);
    stop(&mut one);
    world.assert_exact(point);
}

fn wake_at(make: impl Fn() -> World, step: Step, side: &str) {
    let point = format!("{}.{side}", step.name());
    let scene = (0..SCENES_MAX).find_map(|_| paused_at(make(), &point));
    let (world, mut old) = scene.unwrap_or_else(|| panic!("{point}: the paused process always holds the bus's lock"));
    world.produce(1);
    world.run_to_end(&world.launch("new"));
    let before = Everything::of(&world);
    old.signal(Signal::Continue);
    let has_entered = !matches!((step, side), (Step::TopicCreate, _) | (Step::JournalStart, "before"));
    if has_entered {
        let status = old.end_within(PATIENCE).unwrap();
        assert_eq!(status.code(), Some(FENCED), "{point}: {status}{}", old.said());
        before.assert_untouched(&Everything::of(&world), &point);
    } else {
        // It had not entered the journal: it is the newest process now, and its pipeline is its own.
        wait_until("the woken process has entered", || world.owner() != before.owner);
    }
    world.produce(2);
    if has_entered {
        world.run_to_end(&world.launch("newest"));
    } else {
        world.catch_up(&mut old);
        stop(&mut old);
    }
    world.assert_exact(&point);
}

/// A process that stands still at this point; `None` if it holds the bus's lock.
fn paused_at(world: World, point: &str) -> Option<(World, Process)> {
    world.produce(0);
    let launch = world.launch("old").failpoint(format!("{point}:1:stop"));
    let mut old = launch.start(Stdio::null()).unwrap();
    let paused = old.wait_until(PATIENCE, Process::is_paused).unwrap();
    assert!(paused, "{point} was not reached{}", old.said());
    if world.is_on_kafka() {
        return Some((world, old));
    }
    let bus = Connection::open(world.dir.path().join("bus.sqlite")).unwrap();
    bus.busy_timeout(Duration::ZERO).unwrap();
    bus.execute_batch("BEGIN IMMEDIATE; ROLLBACK").ok()?;
    Some((world, old))
}

/// Everything that an old process could harm.
struct Everything {
    owner: Option<(Incarnation, Token)>,
    journal: Vec<(u64, Entry)>,
    history: History,
    logs: Vec<String>,
    versions: BTreeMap<PathBuf, Vec<u8>>,
    marker: Option<(u32, u64)>,
    objects: BTreeMap<String, Vec<u8>>,
}

impl Everything {
    fn of(world: &World) -> Self {
        let mut objects = BTreeMap::new();
        let store = CheckpointStore::open(&format!("file://{}", world.object("").display())).unwrap();
        for stored in store.list(&format!("state/{}", world.pipeline())).unwrap() {
            objects.insert(stored.name.clone(), store.get(&stored.name).unwrap().to_vec());
        }
        let mut history = world.history();
        history.ignored = 0;
        Self {
            owner: world.owner(),
            // Only a conditional append keeps out what does not count.
            journal: if world.is_on_kafka() { Vec::new() } else { world.journal() },
            history,
            logs: world.logs(),
            versions: world.versions(),
            marker: world.marker(),
            objects,
        }
    }

    /// What the old process leaves behind in objects of its own is garbage that the next checkpoint takes away.
    fn assert_untouched(&self, after: &Self, point: &str) {
        assert!(self.journal == after.journal, "{point}: the journal has changed");
        assert!(self.history == after.history, "{point}: what the journal says has changed");
        assert!(self.logs == after.logs, "{point}: an output has changed");
        let (names, now): (Vec<_>, Vec<_>) = (self.versions.keys().collect(), after.versions.keys().collect());
        assert!(self.versions == after.versions, "{point}: the log of a table has changed: {names:?} and then {now:?}");
        assert_eq!(self.marker, after.marker, "{point}: a marker has changed");
        for (name, bytes) in &self.objects {
            assert!(after.objects.get(name) == Some(bytes), "{point}: {name} has changed");
        }
    }
}

#[test]
fn of_two_starts_at_once_the_journal_chooses_one() {
    two_starts_at_once(&World::new());
}

#[test]
fn of_two_starts_at_once_the_journal_chooses_one_on_kafka() {
    let Some(brokers) = brokers() else { return };
    two_starts_at_once(&World::on_kafka(&brokers, TopicLane::Transactional));
}

fn two_starts_at_once(world: &World) {
    for part in 0..3 {
        world.produce(part);
        let mut both = ["one", "other"].map(|name| world.launch(&format!("{name}{part}")).start(Stdio::null()).unwrap());
        let mut ended = None;
        wait_until("one of the two gives way", || {
            ended = both.iter_mut().position(|process| process.ended().unwrap().is_some());
            ended.is_some()
        });
        let loser = ended.unwrap();
        let status = both[loser].ended().unwrap().unwrap();
        assert_eq!(status.code(), Some(FENCED), "{status}{}", both[loser].said());
        let winner = &mut both[1 - loser];
        world.catch_up(winner);
        stop(winner);
    }
    world.assert_exact("two starts at once");
}
