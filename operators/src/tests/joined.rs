//! Goal: what a join has said after each epoch is what all records give that it has taken so far. Method: random histories of
//! two sides with copies, corrections under one origin, retractions before and after their record, and poison; the model
//! counts copies and looks at every pair.

use super::{Multiset, POISON, epochs, results_of};
use crate::{Keyed, Side, filter, key_by};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::stable_hash;
use distributary_runtime::testing::{Observed, Step, update};
use distributary_runtime::time::{Epoch, EventTime};
use distributary_runtime::update::{Diff, Origin, Stamp, Update};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// A key, and a value on one of the sides.
pub(super) type Event = (u8, Side<i64, i64>);
/// The key, and the values that meet.
pub(super) type Pair = (u8, i64, Option<i64>);

/// The node of a join in the plans below.
pub(super) const NODE: u32 = 4;

pub(super) fn value((_, value): &Event) -> i64 {
    match value {
        Side::Left(value) | Side::Right(value) => *value,
    }
}

/// What the joins below give: poison on the right, or alone on the left, has no result.
pub(super) fn pair(key: &u8, left: &Event, right: Option<&Event>) -> Pair {
    let right = right.map(value);
    assert_ne!(right.unwrap_or(value(left)), POISON, "poison");
    (*key, value(left), right)
}

pub(super) type Sides<'s> = (Collection<'s, Keyed<u8, Event>>, Collection<'s, Keyed<u8, Event>>);

/// Both sides of the input, which is all one collection.
pub(super) fn sides<'s>(graph: &Graph<'s>, input: &Collection<'s, Event>) -> Sides<'s> {
    let left = key_by(graph, &filter(graph, input, |(_, side): &Event| matches!(side, Side::Left(_))), |(key, _)| *key);
    let right = key_by(graph, &filter(graph, input, |(_, side): &Event| matches!(side, Side::Right(_))), |(key, _)| *key);
    (left, right)
}

#[derive(Clone, Debug)]
enum Act {
    Comes {
        event: Event,
        time: i64,
        ahead: i64,
    },
    /// Another copy of what has come.
    Again(Index),
    /// What has come goes; it may have gone before.
    Goes(Index),
    /// What has come gets another value.
    Changes(Index, i64),
}

/// Epochs of two sides, with times around the watermark.
pub(super) fn history() -> impl Strategy<Value = Vec<Step<Event>>> {
    let value = || prop_oneof![4 => 0_i64..3, 1 => Just(POISON)];
    let side = (any::<bool>(), value()).prop_map(|(left, value)| if left { Side::Left(value) } else { Side::Right(value) });
    let comes = ((0_u8..2, side), -20_i64..15, 0_i64..8).prop_map(|(event, time, ahead)| Act::Comes { event, time, ahead });
    let act = prop_oneof![
        6 => comes,
        1 => any::<Index>().prop_map(Act::Again),
        3 => any::<Index>().prop_map(Act::Goes),
        1 => (any::<Index>(), value()).prop_map(|(index, value)| Act::Changes(index, value)),
    ];
    let epoch = (prop::collection::vec(act, 0..6), 0_i64..12, any::<bool>());
    prop::collection::vec(epoch, 1..12).prop_map(|epochs| {
        let (mut before, mut come) = (0, Vec::new());
        let epochs = epochs.into_iter().map(|(acts, step, reverse)| {
            let mut updates = Vec::new();
            for act in acts {
                act.add(before, &mut come, &mut updates);
            }
            if reverse {
                updates.reverse();
            }
            before += step;
            Step { updates, watermark: EventTime(before) }
        });
        epochs.collect()
    })
}

impl Act {
    fn add(self, before: i64, come: &mut Vec<Update<Event>>, updates: &mut Vec<Update<Event>>) {
        let of = |index: Index| come.get(index.index(come.len().max(1))).copied();
        // What comes in a later epoch has seen at least what the epoch before had claimed.
        match self {
            Self::Comes { event, time, ahead } => {
                come.push(update(event, come.len() as u64, before + time, before + ahead));
                updates.extend(come.last());
            }
            Self::Again(index) => updates.extend(of(index)),
            Self::Goes(index) => updates.extend(of(index).map(|(event, stamp, _)| (event, stamp, -1))),
            Self::Changes(index, new) => {
                let Some((event, stamp, _)) = of(index) else { return };
                let side = match event.1 {
                    Side::Left(_) => Side::Left(new),
                    Side::Right(_) => Side::Right(new),
                };
                let changed = ((event.0, side), stamp, 1);
                updates.extend([(event, stamp, -1), changed]);
                come.push(changed);
            }
        }
    }
}

/// Whether a change is refused that comes too late from `bound` on, when corrections are taken for this much longer.
pub(super) fn is_over(stamp: Stamp, before: EventTime, bound: i64, horizon: i64) -> bool {
    stamp.seen.0 >= bound || before.0 >= bound + horizon
}

/// How much longer corrections are taken: mostly not at all, or for longer than any history.
pub(super) fn horizon() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 2 => 1_i64..40, 1 => Just(1_000)]
}

/// What a join has taken.
#[derive(Default)]
pub(super) struct Taken {
    copies: BTreeMap<(Event, EventTime, Origin), Diff>,
}

/// What stands: results, and dead letters (without a result), each with event time and origin.
pub(super) type Standing = Multiset<(Option<Pair>, Option<EventTime>, Origin)>;

impl Taken {
    pub(super) fn take(&mut self, (event, stamp, diff): &Update<Event>) {
        *self.copies.entry((*event, stamp.time, stamp.origin)).or_default() += diff;
    }

    pub(super) fn lefts(&self) -> impl Iterator<Item = (&Event, EventTime, Origin, Diff)> {
        self.on(|side| matches!(side, Side::Left(_)))
    }

    pub(super) fn rights(&self) -> impl Iterator<Item = (&Event, EventTime, Origin, Diff)> {
        self.on(|side| matches!(side, Side::Right(_)))
    }

    fn on(&self, of: impl Fn(&Side<i64, i64>) -> bool) -> impl Iterator<Item = (&Event, EventTime, Origin, Diff)> {
        let standing = self.copies.iter().filter(|(_, copies)| **copies > 0);
        standing.map(|((event, time, origin), copies)| (event, *time, *origin, *copies)).filter(move |(event, ..)| of(&event.1))
    }

    /// What must stand: pairs that `meet` by their times, and left records without any that are `alone` by theirs.
    pub(super) fn expected(&self, meet: impl Fn(i64, i64) -> bool, alone: impl Fn(i64) -> bool) -> Standing {
        let mut standing = Standing::default();
        for (left, l_time, l_origin, l_copies) in self.lefts() {
            let rights = self.rights().filter(|(right, time, ..)| right.0 == left.0 && meet(l_time.0, time.0));
            let mut met = false;
            for (right, r_time, r_origin, r_copies) in rights {
                met = true;
                let time = l_time.max(r_time);
                let origin = Origin::group(NODE, stable_hash(&(l_origin, r_origin)), time.0);
                add(&mut standing, left, Some(right), time, origin, l_copies * r_copies);
            }
            if !met && alone(l_time.0) {
                let origin = Origin::group(NODE, stable_hash(&l_origin), l_time.0);
                add(&mut standing, left, None, l_time, origin, l_copies);
            }
        }
        standing
    }
}

pub(super) fn add(standing: &mut Standing, left: &Event, right: Option<&Event>, time: EventTime, origin: Origin, copies: Diff) {
    if value(right.unwrap_or(left)) == POISON {
        standing.add((None, None, origin), copies);
    } else {
        standing.add((Some((left.0, value(left), right.map(value))), Some(time), origin), copies);
    }
}

/// Checks every epoch: what is refused is what `is_late` says (of an update, and the watermark before its epoch), and what stands is what
/// `expected` says of what has been taken (at a watermark). No result comes and goes in one epoch.
pub(super) fn check(
    steps: &[Step<Event>],
    observed: &Observed<Pair>,
    late: &Observed<Keyed<u8, Side<Event, Event>>>,
    is_late: impl Fn(&Update<Event>, EventTime) -> bool,
    expected: impl Fn(&Taken, EventTime) -> Standing,
) -> Result<(), TestCaseError> {
    let (mut taken, mut said) = (Taken::default(), Standing::default());
    for (epoch, updates, before, watermark) in epochs(steps) {
        let (refused, accepted): (Vec<_>, Vec<_>) = updates.iter().partition(|u| is_late(u, before));
        accepted.into_iter().for_each(|update| taken.take(update));
        prop_assert_eq!(sorted(refused.into_iter().cloned()), late_of(late, epoch), "late in epoch {}", epoch);
        let results = results_of(observed, epoch);
        prop_assert!(results.iter().all(|(_, stamp, _)| stamp.seen == EventTime::MIN));
        let mut once: Vec<_> = results.iter().map(|(pair, stamp, _)| (*pair, *stamp)).collect();
        let many = once.len();
        once.sort();
        once.dedup();
        prop_assert_eq!(many, once.len(), "something comes and goes in epoch {}", epoch);
        results.into_iter().for_each(|(pair, stamp, diff)| said.add((Some(pair), Some(stamp.time), stamp.origin), diff));
        let dead = observed.dead.iter().filter(|(e, _)| *e == epoch);
        dead.for_each(|(_, letter)| said.add((None, None, letter.origin), letter.diff));
        prop_assert_eq!(&said, &expected(&taken, watermark), "after epoch {}", epoch);
    }
    Ok(())
}

fn sorted(updates: impl Iterator<Item = Update<Event>>) -> Vec<(Stamp, Diff, Event)> {
    let mut all: Vec<_> = updates.map(|(event, stamp, diff)| (stamp, diff, event)).collect();
    all.sort();
    all
}

fn late_of(late: &Observed<Keyed<u8, Side<Event, Event>>>, epoch: Epoch) -> Vec<(Stamp, Diff, Event)> {
    let event = |side| match side {
        Side::Left(event) | Side::Right(event) => event,
    };
    sorted(results_of(late, epoch).into_iter().map(|(keyed, stamp, diff)| (event(keyed.value), stamp, diff)))
}
