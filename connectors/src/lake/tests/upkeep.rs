//! What cleaning up leaves, and what the log tells of the past.

use super::*;
use crate::lake::subjects::index_of;
use crate::lake::{TableView, Vacuumed, Verified, Verifier, history, vacuum};

const FOREVER: WallTime = WallTime(i64::MAX);

fn filled(epochs: u64) -> (Stage, Box<dyn LaneSink>) {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=epochs {
        // Every row is corrected by the next one: each version replaces a file.
        let mut changes = vec![payment(epoch, THREE)];
        changes.extend((epoch > 1).then(|| OutRecord { diff: -1, ..payment(epoch - 1, THREE) }));
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, changes)])).unwrap();
    }
    (stage, lane)
}

#[test]
fn what_no_reader_needs_goes_and_the_table_goes_on() {
    let (stage, mut lane) = filled(60);
    for garbage in ["event_date=2026-01-02/event_hour=03/part-9-0-x.parquet", "_subjects/part-8-0-x.idx", "_subjects/note"] {
        block_on(stage.objects.put(&stage.path(garbage), "never committed".into())).unwrap();
    }
    let before = stage.objects();
    let all = vacuum(&stage.store, stage.spec.url(), FOREVER, true).unwrap();
    assert_eq!(stage.objects(), before, "a dry run deletes nothing");
    // 59 rows were taken back with their files, and one was never committed; the log goes up to the checkpoint of version 50.
    assert_eq!(all, Vacuumed { files: 60, indexes: 60, log_objects: 50, bytes: all.bytes });
    assert_eq!(vacuum(&stage.store, stage.spec.url(), FOREVER, false).unwrap(), all);
    assert_eq!(vacuum(&stage.store, stage.spec.url(), FOREVER, false).unwrap(), Default::default());
    assert_eq!(stage.ids(), [60]);
    let (files, left) = (stage.snapshot().files, stage.objects());
    let left: Vec<_> = left.iter().filter(|name| name.starts_with("_subjects/")).map(String::as_str).collect();
    assert_eq!(left, ["_subjects/key", "_subjects/note", &index_of(&files[0].path)], "what is not ours stays, and the key");

    // The markers stand in the checkpoint: the lane goes on, and a new incarnation finds them.
    lane.commit(&run(Some(60), vec![(61, vec![payment(61, THREE)])])).unwrap();
    assert_eq!(stage.lane(0).fence(Token(2)).unwrap(), Some(marker(61)));
    assert_eq!(stage.ids(), [60, 61]);
}

#[test]
fn within_the_grace_nothing_goes() {
    let (stage, _lane) = filled(60);
    let before = stage.objects();
    assert_eq!(vacuum(&stage.store, stage.spec.url(), WallTime(0), false).unwrap(), Default::default());
    assert_eq!(stage.objects(), before);
}

#[test]
fn the_history_tells_what_each_version_did() {
    let (stage, _lane) = filled(3);
    let all = history(&stage.store, stage.spec.url(), usize::MAX).unwrap();
    let told: Vec<_> =
        all.iter().map(|v| (v.version, v.operation.as_str(), v.epoch, v.files_added, v.files_removed, v.rows_added)).collect();
    assert_eq!(
        told,
        [
            (0, "CREATE TABLE", None, 0, 0, 0),
            (1, "STREAMING UPDATE", None, 0, 0, 0),
            (2, "STREAMING UPDATE", Some(1), 1, 0, 1),
            (3, "STREAMING UPDATE", Some(2), 1, 1, 1),
            (4, "STREAMING UPDATE", Some(3), 1, 1, 1),
        ]
    );
    assert_eq!(history(&stage.store, stage.spec.url(), 2).unwrap(), all[3..]);
}

#[test]
fn a_damaged_file_is_found() {
    let (stage, mut lane) = filled(1);
    lane.commit(&run(Some(1), vec![(2, vec![payment(2, THREE)])])).unwrap();
    let view = TableView::open(&stage.store, stage.spec.url()).unwrap().unwrap();
    let verify = |file: usize| Verifier::new(&view).unwrap().verify(&view.files[file]).unwrap();
    assert_eq!((view.rows(), verify(0)), (2, Verified::Whole));
    assert_eq!(view.complete_through, Some(EventTime(THREE + 2)));
    let path = stage.path(&view.files[0].path);
    let mut bytes = stage.object(&view.files[0].path);
    let end = bytes.len() - 20;
    bytes[end] ^= 1;
    block_on(stage.objects.put(&path, bytes.into())).unwrap();
    assert!(matches!(verify(0), Verified::Damaged(_)));
    block_on(stage.objects.put(&path, "short".into())).unwrap();
    let Verified::Damaged(what) = verify(0) else { panic!("it is short") };
    assert!(what.starts_with("it has 5 bytes, the log says"), "{what}");
    block_on(stage.objects.delete(&path)).unwrap();
    assert_eq!(verify(0), Verified::Damaged("it is not there".into()));
    assert_eq!(verify(1), Verified::Whole);
}
