//! Goal: a start goes on from the newest checkpoint that is whole, and loses no other one on the way.
//! Method: a store in memory with three checkpoints, damaged one after the other.

use super::*;
use crate::bus::Token;
use crate::failpoint::Step;
use crate::journal::{Entry, Fact, Incarnation, Start};
use crate::layout::Layout;
use crate::state::ManifestHead;
use crate::time::{EventTime, WallTime};

fn feed() -> Feed {
    Feed { source: 0, partition: SourcePartition::Bus { topic: crate::bus::TopicId([1; 16]), partition: 0 } }
}

fn positions(epoch: u64) -> Positions {
    let at =
        crate::binding::PartitionPosition { resume: Offset(epoch * 10), watermark: EventTime::MIN, last_data_at: WallTime(0) };
    Positions { epoch: Epoch(epoch), feeds: [(feed(), at)].into(), ..Positions::default() }
}

/// A store with the checkpoints of these epochs, and the journal that names them.
fn saved(epochs: &[u64]) -> (CheckpointStore, Vec<(Offset, Vec<u8>)>) {
    let store = CheckpointStore::open("memory:///").unwrap();
    let start = Start {
        generation: 1,
        layout: Layout::default(),
        at: WallTime(0),
        positions: vec![(feed(), Offset(4))],
        accepted_gaps: Vec::new(),
    };
    let mut facts = vec![Fact::Start(start)];
    for epoch in epochs {
        let head = ManifestHead {
            pipeline: "team.job".into(),
            generation: 1,
            epoch: Epoch(*epoch),
            fingerprint: 7,
            token: Token(0),
            positions: key::encode(&positions(*epoch)).unwrap(),
        };
        let manifest = Manifest::merge(None, head, []).unwrap();
        let (name, bytes) = (manifest.name(), manifest.encode());
        let checksum = key::hash_bytes(&bytes);
        store.put(Step::ManifestPut, &name, bytes).unwrap();
        let epoch = Epoch(*epoch);
        facts.push(Fact::Checkpoint(Checkpoint { epoch, generation: 1, layout: Layout::default(), manifest: name, checksum }));
    }
    let entry = |(at, fact)| (Offset(at), Entry { incarnation: Incarnation(1), fact }.encode());
    (store, (0..).zip(facts).map(entry).collect())
}

fn damage(store: &CheckpointStore, history: &History, at: usize) {
    store.put(Step::ManifestPut, &history.checkpoints[at].manifest, "damaged".into()).unwrap();
}

fn epochs(restored: &Restored) -> (u64, Vec<u64>, Vec<u64>) {
    let mut damaged: Vec<u64> = restored.damaged.iter().map(|e| e.0).collect();
    damaged.sort_unstable();
    (restored.epoch.0, restored.kept.iter().map(|(c, _)| c.epoch.0).collect(), damaged)
}

#[test]
fn the_newest_whole_checkpoint_is_restored() {
    let (store, entries) = saved(&[3, 5, 9]);
    let history = History::read(&entries).unwrap();
    let restore = || restore(&store, &history, &Plan::default());
    let restored = restore().unwrap();
    assert_eq!(epochs(&restored), (9, vec![3, 5, 9], vec![]));
    assert_eq!(restored.positions, positions(9));
    damage(&store, &history, 2);
    assert_eq!(epochs(&restore().unwrap()), (5, vec![3, 5], vec![9]));
    // One that nobody restores is retired like one that was tried: it is not forgotten with its objects lying about.
    damage(&store, &history, 0);
    assert_eq!(epochs(&restore().unwrap()), (5, vec![5], vec![3, 9]));
    damage(&store, &history, 1);
    let restored = restore().unwrap();
    assert_eq!(epochs(&restored), (0, vec![], vec![3, 5, 9]));
    assert_eq!(restored.positions.of(feed()).resume, Offset(4));
}

#[test]
fn without_a_checkpoint_and_without_the_beginning_there_is_nothing_to_restore() {
    let (store, entries) = saved(&[3]);
    let history = History::read(&entries[1..]).unwrap();
    damage(&store, &history, 0);
    assert!(matches!(restore(&store, &history, &Plan::default()), Err(Error::Damaged { .. })));
}

#[test]
fn an_accepted_gap_is_skipped_where_it_was_found() {
    let mut positions = positions(3);
    skip_gaps(&mut positions, &[(feed(), Offset(30), Offset(70)), (feed(), Offset(50), Offset(60))]);
    assert_eq!(positions.of(feed()).resume, Offset(70));
}
