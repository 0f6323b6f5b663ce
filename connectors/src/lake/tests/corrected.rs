//! What the log tells of hours that were complete, and were changed.

use super::*;
use crate::lake::{CorrectedDay, Corrections, corrected, history, vacuum};

fn all(stage: &Stage) -> Corrections {
    corrected(&stage.store, stage.spec.url()).unwrap()
}

/// Day, rows that came, that went, and in files that were written again; the version of the last change.
fn days(stage: &Stage) -> Vec<(String, u64, u64, u64, u64)> {
    let told = |day: CorrectedDay| (day.day.to_string(), day.rows_added, day.rows_removed, day.rows_rewritten, day.version);
    all(stage).days.into_iter().map(told).collect()
}

fn day(day: &str, added: u64, removed: u64, rewritten: u64, version: u64) -> (String, u64, u64, u64, u64) {
    (day.to_string(), added, removed, rewritten, version)
}

fn gone(id: u64, at_ms: i64) -> OutRecord {
    OutRecord { diff: -1, ..payment(id, at_ms) }
}

/// One epoch, behind which the table is complete through this.
fn until(epoch: u64, through_ms: i64, records: Vec<OutRecord>) -> Run {
    let mut run = run((epoch > 1).then(|| epoch - 1), vec![(epoch, records)]);
    run.epochs[0].watermark = EventTime(through_ms);
    run
}

#[test]
fn only_what_changes_hours_that_were_complete_is_told() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let yesterday = THREE - 24 * HOUR_MS;
    let first = (1..=5).map(|id| payment(id, THREE - 1)).chain([payment(6, yesterday)]).collect();
    lane.commit(&until(1, THREE, first)).unwrap();
    assert_eq!(days(&stage), [], "nothing was complete before");

    // The hour before three is complete by now; the one that three begins is not, whatever the commit itself says.
    lane.commit(&until(2, THREE + HOUR_MS - 1, vec![payment(7, THREE - 1), payment(8, THREE)])).unwrap();
    let version = stage.snapshot().version;
    assert_eq!(days(&stage), [day("2026-01-02", 1, 0, 0, version)]);
    lane.commit(&until(3, THREE + HOUR_MS, vec![payment(9, THREE + HOUR_MS - 1), gone(8, THREE)])).unwrap();
    assert_eq!(days(&stage), [day("2026-01-02", 1, 0, 0, version)], "a millisecond was missing");

    // One of five goes; another takes the place of yesterday's only one.
    lane.commit(&until(4, THREE + HOUR_MS, vec![gone(5, THREE - 1), gone(6, yesterday), payment(10, yesterday)])).unwrap();
    assert_eq!(days(&stage), [day("2026-01-01", 0, 0, 1, version + 2), day("2026-01-02", 1, 1, 4, version + 2)]);
    lane.commit(&until(5, THREE + HOUR_MS, vec![payment(11, THREE), gone(10, yesterday)])).unwrap();
    assert_eq!(days(&stage), [day("2026-01-01", 0, 1, 1, version + 3), day("2026-01-02", 2, 1, 4, version + 3)]);

    let told = all(&stage);
    assert_eq!((told.since_version, told.since), (0, history(&stage.store, stage.spec.url(), usize::MAX).unwrap()[0].at));
    let last = history(&stage.store, stage.spec.url(), 1).unwrap().remove(0);
    assert_eq!((told.days[1].last_changed, told.days[1].version), (last.at, last.version));
}

/// Files are joined, and lanes are at different places: none of it changes what was complete.
#[test]
fn what_changes_no_row_and_what_another_lane_is_ahead_of_is_not_told() {
    let stage = stage(payments());
    let (mut lane, mut slow) = (stage.lane(0), stage.lane(1));
    lane.fence(Token(1)).unwrap();
    slow.fence(Token(1)).unwrap();
    for epoch in 1..=15 {
        lane.commit(&until(epoch, THREE, vec![payment(epoch, THREE)])).unwrap();
    }
    slow.commit(&until(1, THREE, vec![payment(101, THREE)])).unwrap();
    lane.commit(&until(16, THREE + 9 * HOUR_MS, vec![payment(16, THREE)])).unwrap();
    assert_eq!(history(&stage.store, stage.spec.url(), 1).unwrap()[0].operation, "OPTIMIZE");
    slow.commit(&until(2, THREE + 9 * HOUR_MS, vec![payment(102, THREE)])).unwrap();
    lane.fence(Token(2)).unwrap();
    lane.commit(&until(17, THREE + 9 * HOUR_MS, vec![])).unwrap();
    assert_eq!(days(&stage), []);
    slow.commit(&until(3, THREE + 9 * HOUR_MS, vec![payment(103, THREE)])).unwrap();
    assert_eq!(days(&stage), [day("2026-01-02", 1, 0, 0, stage.snapshot().version)]);
}

/// The rows of the generation before go from hours that were complete; those of the new one come while nothing is.
#[test]
fn a_new_generation_takes_rows_away_and_begins_again() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&until(1, THREE + 9 * HOUR_MS, vec![payment(1, THREE), payment(2, THREE), payment(3, THREE)])).unwrap();
    let previous = lane.fence(Token(2)).unwrap();
    let of_new = |run: Run, previous| Run { previous, marker: Marker { generation: 3, ..run.marker }, ..run };
    let first = of_new(until(1, THREE, vec![payment(1, THREE)]), previous);
    lane.commit(&first).unwrap();
    let told = [day("2026-01-02", 0, 2, 1, stage.snapshot().version)];
    assert_eq!(days(&stage), told);
    lane.commit(&of_new(until(2, THREE, vec![payment(2, THREE)]), Some(first.marker))).unwrap();
    assert_eq!(days(&stage), told, "it is not complete any more");
}

#[test]
fn behind_a_truncated_log_what_is_left_is_told() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=60 {
        lane.commit(&until(epoch, THREE + HOUR_MS, vec![payment(epoch, THREE)])).unwrap();
    }
    let before = all(&stage);
    assert_eq!((before.since_version, before.days[0].rows_added), (0, 59));
    vacuum(&stage.store, stage.spec.url(), WallTime(i64::MAX), false).unwrap();
    let after = all(&stage);
    assert_eq!(after.since_version, 50);
    let left = history(&stage.store, stage.spec.url(), usize::MAX).unwrap();
    let rows: u64 = left[1..].iter().filter(|version| version.operation != "OPTIMIZE").map(|version| version.rows_added).sum();
    assert_eq!((after.since, after.days[0].rows_added), (left[0].at, rows), "the first of them is known from the checkpoint");
    assert!(rows > 0 && rows < 20, "{rows}");
    let gone = corrected(&stage.store, &stage.spec.url().join("../nix/").unwrap()).unwrap_err().to_string();
    assert!(gone.contains("there is no table at memory:///lake/nix/"), "{gone}");
}
