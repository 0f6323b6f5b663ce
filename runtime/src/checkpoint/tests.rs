//! Goal: a checkpoint counts when everything is durable and every lane has caught up, two stay, and nothing is deleted
//! before its retirement stands.
//! Method: the bookkeeping against random orders in which workers, lanes, upkeep and journal get on.

use super::*;
use crate::bus::Token;
use proptest::prelude::*;

const STATES: usize = 3;

fn template() -> ManifestHead {
    ManifestHead {
        pipeline: "team.job".into(),
        generation: 1,
        epoch: Epoch(0),
        fingerprint: 7,
        token: Token(3),
        positions: Vec::new(),
    }
}

fn kept(epoch: u64) -> (Checkpoint, Manifest) {
    let positions = Positions::default().encode();
    let manifest = Manifest::merge(None, ManifestHead { epoch: Epoch(epoch), positions, ..template() }, []).unwrap();
    let name = manifest.name();
    (Checkpoint { epoch: Epoch(epoch), generation: 1, layout: Layout::default(), manifest: name, checksum: 0 }, manifest)
}

/// Everything around the bookkeeping.
struct World {
    books: Checkpoints,
    epoch: u64,
    /// Snapshots not yet written, of the epoch that is being saved.
    unsaved: Vec<usize>,
    lanes: Vec<u64>,
    upkeep: VecDeque<Job>,
    journal: VecDeque<Fact>,
    /// Effective and not retired, as the journal has it.
    standing: Vec<u64>,
    manifest_put: u64,
    retired: Vec<u64>,
    completed: u64,
}

impl World {
    fn new(found: &[u64], stale: &[u64], lanes: usize) -> Self {
        let last = found.last().copied().unwrap_or(0).max(stale.iter().copied().max().unwrap_or(0));
        let kept = found.iter().map(|e| kept(*e)).collect();
        let books = Checkpoints::new((template(), Layout::default()), STATES, vec![None; lanes], kept);
        let mut standing = [found, stale].concat();
        standing.sort_unstable();
        let mut world = Self {
            books,
            epoch: last,
            unsaved: Vec::new(),
            lanes: vec![0; lanes],
            upkeep: VecDeque::new(),
            journal: VecDeque::new(),
            standing,
            manifest_put: 0,
            retired: Vec::new(),
            completed: 0,
        };
        let next = world.books.retire(stale.iter().map(|e| Epoch(*e)).collect());
        world.act(next);
        world
    }

    fn act(&mut self, next: impl IntoIterator<Item = Next>) {
        for next in next {
            match next {
                Next::Write(fact) => self.journal.push_back(fact),
                Next::Upkeep(job) => {
                    if let Job::Manifest(manifest) = &job {
                        assert!(self.unsaved.is_empty(), "every snapshot is durable");
                        assert!(self.lanes.iter().all(|at| Epoch(*at) >= manifest.head.epoch), "every lane has caught up");
                    }
                    self.upkeep.push_back(job);
                }
            }
        }
    }

    /// One thing happens: whichever of those that can, `which` says.
    fn step(&mut self, which: usize) {
        let lanes = self.lanes.len();
        match which % (5 + lanes) {
            0 if self.books.is_idle() => {
                self.epoch += 1;
                self.unsaved = (0..STATES).collect();
                let next = self.books.begin(Positions { epoch: Epoch(self.epoch), ..Positions::default() }).unwrap();
                self.act(next);
            }
            // Epochs without a checkpoint.
            1 => self.epoch += u64::from(self.books.pending().is_none()),
            2 => {
                if let Some(state) = self.unsaved.pop() {
                    let written = Written { state: format!("s{state}"), type_fingerprint: 1, slices: Vec::new() };
                    let epoch = self.books.pending().unwrap();
                    let next = self.books.done(Done::Saved { epoch, written, bytes: 0 }).unwrap();
                    self.act(next);
                }
            }
            3 => {
                let done = match self.upkeep.pop_front() {
                    None => return,
                    Some(Job::Manifest(manifest)) => {
                        self.manifest_put = manifest.head.epoch.0;
                        Done::Manifest { epoch: manifest.head.epoch, name: manifest.name(), checksum: 1, bytes: 0 }
                    }
                    Some(Job::Clean { keep, retired, .. }) => {
                        let keep: Vec<u64> = keep.iter().map(|m| m.head.epoch.0).collect();
                        assert_eq!(keep, self.standing, "nothing is deleted that the journal still names");
                        assert!(retired.iter().all(|m| self.retired.contains(&m.head.epoch.0)));
                        Done::Cleaned
                    }
                    Some(Job::Save(_)) => unreachable!("workers ask for that"),
                };
                let next = self.books.done(done).unwrap();
                self.act(next);
            }
            4 => match self.journal.pop_front() {
                None => {}
                Some(Fact::Checkpoint(checkpoint)) => {
                    assert_eq!(self.manifest_put, checkpoint.epoch.0, "its manifest is durable");
                    self.standing.push(checkpoint.epoch.0);
                    self.completed += 1;
                    let next = self.books.checkpointed();
                    self.act(next);
                }
                Some(Fact::Retire { epoch }) => {
                    self.standing.retain(|e| *e != epoch.0);
                    self.retired.push(epoch.0);
                    let next = self.books.retired(epoch);
                    self.act(next);
                }
                Some(other) => panic!("not ours: {other:?}"),
            },
            lane if lane >= 5 => {
                let lane = lane - 5;
                self.lanes[lane] = self.epoch;
                let next = self.books.marked(lane, Epoch(self.epoch)).unwrap();
                self.act(next);
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn the_books_are_right_in_every_order(
        found in prop::collection::btree_set(1..9_u64, 0..4),
        stale in prop::collection::btree_set(10..15_u64, 0..3),
        lanes in 1..3_usize,
        steps in prop::collection::vec(any::<usize>(), 0..200),
    ) {
        let (found, stale): (Vec<_>, Vec<_>) = (found.into_iter().collect(), stale.into_iter().collect());
        let mut world = World::new(&found, &stale, lanes);
        for which in steps {
            world.step(which);
            prop_assert!(world.books.kept.len() <= KEPT.max(found.len()) + 1);
        }
        // Everything gets on in turn: one more checkpoint completes, and what is beyond two is gone.
        let completed = world.completed;
        (0..40 * (5 + lanes)).for_each(|which| world.step(which));
        prop_assert!(world.completed > completed, "stuck: {:?}", world.books);
        while !world.books.is_idle() {
            (1..5 + lanes).for_each(|which| world.step(which));
        }
        prop_assert_eq!(world.standing.len(), KEPT.min(found.len() + world.completed as usize));
        prop_assert_eq!(world.books.newest().map(|e| e.0), world.standing.last().copied());
        prop_assert!(stale.iter().all(|e| world.retired.contains(e)));
    }
}

/// A lane that is behind holds the checkpoint, however long; everything else is done meanwhile.
#[test]
fn a_lane_that_is_behind_holds_the_checkpoint() {
    let mut world = World::new(&[], &[], 2);
    world.step(0);
    (0..STATES).for_each(|_| world.step(2));
    world.step(5);
    assert!(world.upkeep.is_empty());
    world.step(6);
    assert!(matches!(world.upkeep.front(), Some(Job::Manifest(_))));
}

/// Both had a whole checkpoint of an earlier generation, say: the first one's retirement alone lets nothing go.
#[test]
fn nothing_is_deleted_before_every_retirement_stands() {
    let mut world = World::new(&[5], &[7, 9], 1);
    world.step(4);
    assert!(world.upkeep.is_empty() && !world.books.is_idle());
    world.step(4);
    assert!(matches!(world.upkeep.front(), Some(Job::Clean { .. })));
}
