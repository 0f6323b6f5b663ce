//! What another pipeline writes, with late repeats of stretches of it, against the state and the records that it wrote once.

use super::{Multiset, restart, restart::stop, seeded};
use crate::{Keyed, Row, Written, in_sequence, newest};
use distributary_runtime::testing::{Step, run, update};
use distributary_runtime::time::EventTime;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// A record of the topic: its number in the sequence (its place), its key, and its value if it has one.
type Of = (u64, u8, Option<i64>);

/// The sequence that is written once; the log, in which stretches of it that stand already come again; where epochs end in the log.
fn history() -> impl Strategy<Value = (Vec<Of>, Vec<Vec<Of>>)> {
    let record =
        (0_u8..4, prop_oneof![3 => (0_i64..4).prop_map(Some), 1 => Just(None)], any::<Option<(Index, Index)>>(), 0_u8..3);
    prop::collection::vec(record, 1..25).prop_map(|records| {
        let (mut sequence, mut epochs) = (Vec::new(), vec![Vec::new()]);
        for (place, (key, value, repeat, closes)) in (0..).zip(records) {
            sequence.push((place, key, value));
            let epoch = epochs.last_mut().unwrap();
            epoch.push((place, key, value));
            if let Some((from, to)) = repeat {
                let (from, to) = (from.index(sequence.len()), to.index(sequence.len()));
                epoch.extend_from_slice(&sequence[from.min(to)..=from.max(to)]);
            }
            if closes == 0 {
                epochs.push(Vec::new());
            }
        }
        (sequence, epochs)
    })
}

fn steps<D>(epochs: &[Vec<Of>], record: impl Fn(Written, u8, Option<i64>) -> D) -> Vec<Step<D>> {
    let mut offset = 0;
    let step = |epoch: &Vec<Of>| {
        let updates = epoch.iter().map(|(place, key, value)| {
            offset += 1;
            let written = Written { pipeline: "fraud.spend".into(), place: (1, *place, 0) };
            update(record(written, *key, *value), offset, offset as i64, 0)
        });
        Step { updates: updates.collect(), watermark: EventTime(0) }
    };
    epochs.iter().map(step).collect()
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn the_newest_of_each_key_stands((sequence, epochs) in history(), stop in stop()) {
        let steps = steps(&epochs, |written, key, value| Keyed::new(vec![key], Row { written: Some(written), value: value.map(|v| (key, v)) }));
        let straight = run(steps.clone(), |graph, input| newest(graph, &input, "rows", 60_000));
        restart::check(steps, stop, |graph, input| newest(graph, &input, "rows", 60_000))?;
        let rows: BTreeMap<u8, Option<i64>> = sequence.iter().map(|(_, key, value)| (*key, *value)).collect();
        let (mut said, mut expected) = (Multiset::default(), Multiset::default());
        straight.results.into_iter().for_each(|(_, (row, _, diff))| said.add(row, diff));
        rows.into_iter().filter_map(|(key, value)| Some((key, value?))).for_each(|row| expected.add(row, 1));
        prop_assert_eq!(said, expected);
    }

    #[test]
    fn each_record_of_the_sequence_passes_once((sequence, epochs) in history(), stop in stop()) {
        let steps = steps(&epochs, |written, key, value| (Some(written.clone()), (written.place.1, key, value)));
        let straight = run(steps.clone(), |graph, input| in_sequence(graph, &input, "places"));
        restart::check(steps, stop, |graph, input| in_sequence(graph, &input, "places"))?;
        let passed: Vec<Of> = straight.results.into_iter().map(|(_, (record, _, _))| record).collect();
        prop_assert_eq!(passed, sequence);
    }
}

/// What was deleted is forgotten some time later: until then no repeat brings it back.
#[test]
fn a_deleted_row_is_not_remembered_for_ever() {
    let row = |place, value: Option<i64>| {
        let written = Written { pipeline: "fraud.spend".into(), place: (1, place, 0) };
        Keyed::new(b"u1".to_vec(), Row { written: Some(written), value })
    };
    let step = |row: Keyed<Vec<u8>, Row<i64>>, offset| Step { updates: vec![update(row, offset, 0, 0)], watermark: EventTime(0) };
    let idle = Step { updates: Vec::new(), watermark: EventTime(0) };
    let said = |idle_epochs: usize| {
        let mut steps = vec![step(row(1, Some(5)), 0), step(row(2, None), 1)];
        steps.extend(std::iter::repeat_n(idle.clone(), idle_epochs));
        steps.push(step(row(1, Some(5)), 2));
        let seen = run(steps, |graph, input| newest(graph, &input, "rows", 5));
        seen.results.into_iter().map(|(_, (_, _, diff))| diff).collect::<Vec<_>>()
    };
    assert_eq!((said(1), said(10)), (vec![1, -1], vec![1, -1, 1]));
}
