//! Goal: a worker's bindings stay as long as somebody may still ask for them; positions are a fold that a checkpoint may cut anywhere.

use super::*;

/// At 5 and 9 there are requests to delete. What is recalled for the first comes at 11, 12 and 13: all of two partitions, some of the third.
fn binding(epoch: u64) -> Binding {
    let bus = |partition| SourcePartition::Bus { topic: TopicId([1; 16]), partition };
    let feed = Feed { source: 0, partition: bus((epoch % 3) as u32) };
    let (from, upto) = (Offset(epoch * 10), Offset(epoch * 10 + 10));
    let range = |feed, upto| Range { feed, from: Offset(0), upto, records: 1, max_time: EventTime::MIN };
    let more = match epoch {
        5 => Some(Range { from: Offset(3), ..range(Feed::REQUESTS, Offset(7)) }),
        9 => Some(Range { from: Offset(7), ..range(Feed::REQUESTS, Offset(8)) }),
        11 | 12 => Some(range(recalled(feed, 3), SourcePartition::RECALLED)),
        13 => Some(range(recalled(feed, 3), Offset(1))),
        _ => None,
    };
    Binding {
        epoch: Epoch(epoch),
        closed_at: WallTime(epoch as i64 * 7),
        watermark: EventTime(epoch as i64),
        ranges: [Range { feed, from, upto, records: 10, max_time: EventTime(epoch as i64 * 5) }]
            .into_iter()
            .chain(more)
            .collect(),
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
        let mut after = Positions::decode(&before.encode()).unwrap();
        (cut + 1..=20).for_each(|epoch| after.apply(&binding(epoch), &[3]));
        assert_eq!(after, whole);
    }
    let open: Vec<(u32, Vec<u32>)> =
        whole.recalls.open.iter().map(|(d, recall)| (*d, recall.bound.keys().map(|f| f.partition.number()).collect())).collect();
    assert_eq!(open, [(3, vec![1]), (7, vec![0, 1, 2])], "of the first, a part of one partition is still to come");
    let lift = whole.recalls.lifts.values().flatten().next();
    assert_eq!(lift, Some(&(Offset(20), EventTime(4))), "in front of what comes behind it");
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
