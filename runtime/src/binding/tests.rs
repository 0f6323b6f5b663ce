//! Goal: a worker's bindings stay as long as somebody may still ask for them; positions are a fold that a checkpoint may cut anywhere.

use super::*;

fn binding(epoch: u64) -> Binding {
    let feed = Feed { source: 0, partition: SourcePartition::Archive { slice: (epoch % 3) as u32 } };
    let (from, upto) = (Offset(epoch * 10), Offset(epoch * 10 + 10));
    Binding {
        epoch: Epoch(epoch),
        closed_at: WallTime(epoch as i64 * 7),
        watermark: EventTime(epoch as i64),
        ranges: vec![Range { feed, from, upto, records: 10, max_time: EventTime(epoch as i64 * 5) }],
        lifts: if epoch.is_multiple_of(4) { vec![Lift { feed, to: EventTime(epoch as i64) }] } else { Vec::new() },
        controls: Vec::new(),
    }
}

#[test]
fn bindings_stay_until_their_epoch_is_closed() {
    let log = BindingLog::default();
    (1..=5).for_each(|epoch| log.insert(Rc::new(binding(epoch))));
    log.forget_before(Epoch(1));
    log.forget_before(Epoch(3));
    let there: Vec<bool> = (0..=6).map(|epoch| log.get(Epoch(epoch)).is_some()).collect();
    assert_eq!(there, [false, false, false, true, true, true, false]);
}

#[test]
fn positions_are_the_same_wherever_a_checkpoint_cuts_the_fold() {
    let mut whole = Positions::default();
    (1..=20).for_each(|epoch| whole.apply(&binding(epoch), &[3]));
    for cut in 0..=20 {
        let mut before = Positions::default();
        (1..=cut).for_each(|epoch| before.apply(&binding(epoch), &[3]));
        let bytes = crate::key::encode(&before).unwrap();
        let mut after: Positions = crate::key::decode(&bytes).unwrap();
        (cut + 1..=20).for_each(|epoch| after.apply(&binding(epoch), &[3]));
        assert_eq!(after, whole);
    }
}

#[test]
fn a_range_of_dead_letters_claims_nothing() {
    let mut positions = Positions::default();
    let mut poison = binding(1);
    poison.ranges[0].max_time = EventTime::MIN;
    positions.apply(&poison, &[3]);
    let at = positions.of(poison.ranges[0].feed);
    assert_eq!((at.resume, at.watermark), (Offset(20), EventTime::MIN));
}
