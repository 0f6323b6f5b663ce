//! The records of a key along time, and what has been said of its sessions.

use super::super::{Window, result};
use super::rules::Rules;
use crate::aggregate::{Aggregate, Group};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::Diff;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// By what was there when: a session is a run of near blocks.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Line<S, O> {
    /// By its first millisecond. A block that can change is of one millisecond.
    blocks: BTreeMap<i64, Block<S>>,
    /// What stands of the sessions that are here, by their start. None touches another.
    said: BTreeMap<i64, (i64, Result<O, String>)>,
    /// What the open epoch did; nothing in a snapshot, which is between epochs.
    #[serde(skip, default = "Open::default")]
    open: Open<O>,
    /// The earliest time at which this is going to be looked at; unknown behind a restart.
    #[serde(skip)]
    due: Option<Watermark>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Block<S> {
    last: i64,
    group: Group<S>,
}

/// What the open epoch did to a line.
#[derive(Clone)]
struct Open<O> {
    is_touched: bool,
    /// What had been said of sessions that something came near to.
    taken_back: BTreeMap<i64, (i64, Result<O, String>)>,
    /// Times at which something happened and a session may have ended before the epoch.
    past: BTreeSet<i64>,
    /// Where the earliest new session may end.
    ends_from: Option<EventTime>,
}

impl<O> Default for Open<O> {
    fn default() -> Self {
        Self { is_touched: false, taken_back: BTreeMap::new(), past: BTreeSet::new(), ends_from: None }
    }
}

impl<S: Default, O> Default for Line<S, O> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), said: BTreeMap::new(), open: Open::default(), due: None }
    }
}

/// A result that comes or goes.
pub(super) struct Change<O> {
    pub(super) window: Window,
    pub(super) result: Result<O, String>,
    pub(super) diff: Diff,
}

impl<S: Default, O: Clone + PartialEq> Line<S, O> {
    /// Adds a record; whether it is the first of the epoch.
    pub(super) fn add<V, A: Aggregate<V, State = S, Output = O>>(
        &mut self,
        time: EventTime,
        input: A::Input,
        diff: Diff,
        rules: &Rules,
        aggregate: &A,
        watermark: Watermark,
    ) -> bool {
        let at = time.0;
        let block = self.blocks.entry(at).or_insert_with(|| Block { last: at, group: Group::default() });
        let was_there = block.group.has_records();
        block.group.add(aggregate, input, diff);
        let is_there = block.group.has_records();
        if block.group.is_zero(aggregate) {
            self.blocks.remove(&at);
        }
        self.take_back_near(at, rules);
        if rules.end_of(at) <= watermark {
            self.open.past.insert(at);
        }
        if was_there != is_there {
            // What goes may leave a session in front of it, that ends right here or has already; what comes ends none before its own end.
            let end = if is_there { rules.end_of(at) } else { time };
            self.open.ends_from = Some(self.open.ends_from.map_or(end, |from| from.min(end)));
            if !is_there {
                let before = self.blocks.range(..at).rev().find(|(_, block)| block.group.has_records());
                let near = before.filter(|(_, block)| rules.are_near(block.last, at));
                self.open.past.extend(near.map(|(first, _)| *first));
            }
        }
        !std::mem::replace(&mut self.open.is_touched, true)
    }

    /// What was said of sessions that something near has changed is to be said anew, as far as it is still so.
    fn take_back_near(&mut self, at: i64, rules: &Rules) {
        while let Some((start, (last, _))) = self.said.range(..at.saturating_add(rules.gap_ms)).next_back()
            && rules.are_near(*last, at)
        {
            let start = *start;
            self.open.taken_back.extend(self.said.remove(&start).map(|said| (start, said)));
        }
    }

    /// Says what the epoch changed, and forgets what can be forgotten.
    pub(super) fn close<V, A: Aggregate<V, State = S, Output = O>>(
        &mut self,
        (before, watermark): (Watermark, Watermark),
        rules: &Rules,
        aggregate: &A,
    ) -> Vec<Change<O>> {
        let Open { taken_back, past, ends_from, .. } = std::mem::take(&mut self.open);
        if ends_from.is_some_and(|end| self.due.is_none_or(|due| end < due)) {
            self.due = None;
        }
        // Sessions that have ended lately have their last block here; those that were disturbed, anywhere where they had been.
        let mut places: BTreeSet<i64> = past;
        if let Some(lately) = rules.ended_between(before, watermark) {
            places.extend(self.blocks.range(lately).map(|(at, _)| *at));
        }
        for (start, (last, _)) in &taken_back {
            places.extend(self.blocks.range(*start..=*last).map(|(at, _)| *at));
        }
        let mut said = BTreeMap::new();
        let mut seen: Option<i64> = None;
        for at in places {
            if seen.is_some_and(|seen| at <= seen) || !self.is_there(at) {
                continue;
            }
            let last = self.last_of(at, rules, watermark);
            seen = Some(last);
            if rules.end_of(last) <= watermark {
                let start = self.start_of(at, rules);
                said.extend(self.result_of(start, last, aggregate).map(|now| (start, (last, now))));
            }
        }
        let changes = differences(&taken_back, &said, rules);
        self.said.extend(said);
        self.settle(watermark, rules, aggregate);
        changes
    }

    fn is_there(&self, at: i64) -> bool {
        self.blocks.get(&at).is_some_and(|block| block.group.has_records())
    }

    /// The last of the session with a block that begins here, or the first from which on it is clear that it has not ended.
    fn last_of(&self, at: i64, rules: &Rules, watermark: Watermark) -> i64 {
        let mut last = at;
        for (first, block) in self.blocks.range(at..).filter(|(_, block)| block.group.has_records()) {
            if rules.end_of(last) > watermark || !rules.are_near(last, *first) {
                break;
            }
            last = block.last;
        }
        last
    }

    /// The first of the session with a block that begins here.
    fn start_of(&self, at: i64, rules: &Rules) -> i64 {
        let mut start = at;
        for (first, block) in self.blocks.range(..at).rev().filter(|(_, block)| block.group.has_records()) {
            if !rules.are_near(block.last, start) {
                break;
            }
            start = *first;
        }
        start
    }

    fn result_of<V, A: Aggregate<V, State = S, Output = O>>(
        &self,
        start: i64,
        last: i64,
        aggregate: &A,
    ) -> Option<Result<O, String>> {
        let mut whole = Group::default();
        let blocks = self.blocks.range(start..=last).map(|(_, block)| &block.group).filter(|group| group.has_records());
        blocks.for_each(|group| whole.merge(aggregate, group));
        result(&whole, aggregate)
    }

    /// Joins blocks of a session that nothing can change any more, and forgets sessions that nothing can reach any more.
    fn settle<V, A: Aggregate<V, State = S>>(&mut self, watermark: Watermark, rules: &Rules, aggregate: &A) {
        let mut joined: Vec<(i64, Block<S>)> = Vec::new();
        while let Some(entry) = self.blocks.first_entry()
            && watermark >= rules.settled_from(entry.get().last)
        {
            let (first, block) = entry.remove_entry();
            match joined.last_mut() {
                // A retraction of what never came.
                _ if !block.group.has_records() => {}
                Some((_, before)) if rules.are_near(before.last, first) => {
                    before.last = block.last;
                    before.group.merge(aggregate, &block.group);
                }
                _ => joined.push((first, block)),
            }
        }
        let next = self.blocks.iter().find(|(_, block)| block.group.has_records()).map(|(first, _)| *first);
        let goes_on = |block: &Block<S>| next.is_some_and(|next| rules.are_near(block.last, next));
        joined.retain(|(start, block)| {
            let is_reached = watermark < rules.forgotten_from(block.last) || goes_on(block);
            if !is_reached {
                self.said.remove(start);
            }
            is_reached
        });
        self.blocks.extend(joined);
    }

    /// When to look again, if that is to be noted anew.
    pub(super) fn due(&mut self, watermark: Watermark, rules: &Rules) -> Option<Watermark> {
        if self.due.is_some_and(|due| due > watermark) {
            return None;
        }
        self.due = self.due_of(watermark, rules);
        self.due
    }

    /// When the first of the sessions ends that has not yet, or the first may be forgotten, whatever comes first.
    pub(super) fn due_of(&self, watermark: Watermark, rules: &Rules) -> Option<Watermark> {
        let mut last: Option<i64> = None;
        for (first, block) in self.blocks.range(rules.not_ended(watermark)).filter(|(_, block)| block.group.has_records()) {
            if last.is_some_and(|last| !rules.are_near(last, *first)) {
                break;
            }
            last = Some(block.last);
        }
        let ends = last.map(|last| rules.end_of(last));
        let forgotten = self.blocks.values().next().map(|block| rules.forgotten_from(block.last));
        ends.into_iter().chain(forgotten).min()
    }

    /// Whether nothing is left.
    pub(super) fn is_nothing(&self) -> bool {
        self.blocks.is_empty() && self.said.is_empty()
    }
}

/// What has to be taken back, and what to be said, for the one to become the other.
fn differences<O: Clone + PartialEq>(
    old: &BTreeMap<i64, (i64, Result<O, String>)>,
    new: &BTreeMap<i64, (i64, Result<O, String>)>,
    rules: &Rules,
) -> Vec<Change<O>> {
    let of = |these: &BTreeMap<i64, (i64, Result<O, String>)>, others: &BTreeMap<i64, (i64, Result<O, String>)>, diff| {
        let different = these.iter().filter(|(start, said)| others.get(start) != Some(said));
        let change = |(start, (last, result)): (&i64, &(i64, Result<O, String>))| {
            let window = Window { start: EventTime(*start), end: rules.end_of(*last) };
            Change { window, result: result.clone(), diff }
        };
        different.map(change).collect::<Vec<_>>()
    };
    let mut changes = of(old, new, -1);
    changes.extend(of(new, old, 1));
    changes
}
