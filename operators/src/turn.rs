//! One turn of a process: what it is shown of a key, and what it may do.

use crate::answer::attempt;
use crate::process::Done;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a [`Process`](crate::Process) may know and do when a record of a key comes, or a timer goes off. Nothing of it happens if it
/// fails.
#[derive(Debug)]
pub struct Turn<'a, K, O> {
    key: &'a K,
    when: When,
    timers: BTreeSet<EventTime>,
    given: Vec<O>,
    over: bool,
}

/// What brings a turn about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    /// The event time of the record or of the timer.
    pub(crate) time: EventTime,
    pub(crate) diff: Diff,
    pub(crate) watermark: Watermark,
    /// The first time that is still to come.
    pub(crate) next: EventTime,
    /// Then the state is touched.
    pub(crate) touched: EventTime,
}

impl<K, O> Turn<'_, K, O> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The event time of the record or of the timer.
    pub fn time(&self) -> EventTime {
        self.when.time
    }

    /// How many copies of the record come, or (negative) go; 1 for a timer.
    pub fn diff(&self) -> Diff {
        self.when.diff
    }

    /// The pipeline's watermark before the epoch; of turns by time: the event time up to which all has been seen.
    pub fn watermark(&self) -> Watermark {
        self.when.watermark
    }

    /// Gives a result, with the time of the record or of the timer. As many copies of it come or go as of the record.
    pub fn give(&mut self, result: O) {
        self.given.push(result);
    }

    /// Sets a timer, to go off when the watermark reaches `at` and all records up to then have been seen. There is one for each point in
    /// time. One for a time that has passed already goes off as soon as event time goes on: at the time that is returned.
    pub fn set_timer(&mut self, at: impl Into<EventTime>) -> EventTime {
        let at = at.into().max(self.when.next);
        self.timers.insert(at);
        at
    }

    /// Takes a timer back, if there is one at that time.
    pub fn cancel_timer(&mut self, at: impl Into<EventTime>) {
        self.timers.remove(&at.into());
    }

    /// The state of the key goes, with its timers: the next record begins anew. What is set in this turn goes as well.
    pub fn forget(&mut self) {
        self.over = true;
    }
}

/// What a process remembers of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Memory<S> {
    pub(crate) state: S,
    pub(crate) timers: BTreeSet<EventTime>,
    touched: EventTime,
}

impl<S> Memory<S> {
    /// Takes the first timer out, if it is before this time.
    pub(crate) fn next_timer(&mut self, before: EventTime) -> Option<EventTime> {
        self.timers.first().is_some_and(|timer| *timer < before).then(|| self.timers.pop_first()).flatten()
    }

    /// The time of its last turn, behind it or to come: from here on it counts as not touched.
    pub(crate) fn last(&self) -> EventTime {
        self.timers.last().map_or(self.touched, |timer| self.touched.max(*timer))
    }
}

/// What a turn leaves behind, and what it gives.
type Taken<S, O> = (Option<Memory<S>>, Vec<O>);

/// Takes a turn on a copy of the memory.
///
/// # Errors
/// It failed, or gave more than `origin` has names for.
pub(crate) fn take<K, S: Data + Default, O>(
    key: &K,
    memory: Option<&Memory<S>>,
    when: When,
    origin: Origin,
    run: impl FnOnce(&mut Turn<'_, K, O>, &mut S) -> Done,
) -> Result<Taken<S, O>, String> {
    let timers = memory.map(|memory| memory.timers.clone()).unwrap_or_default();
    let mut turn = Turn { key, when, timers, given: Vec::new(), over: false };
    let state = attempt::<S, _>(|| {
        let mut state = memory.map(|memory| memory.state.clone()).unwrap_or_default();
        run(&mut turn, &mut state).map(|()| state)
    })?;
    let Turn { timers, given, over, .. } = turn;
    if !given.is_empty() && origin.child(given.len() - 1).is_none() {
        return Err("too many results".into());
    }
    let touched = memory.map_or(when.touched, |memory| memory.touched.max(when.touched));
    Ok(((!over).then_some(Memory { state, timers, touched }), given))
}

/// What a turn gave, each as a child of its origin.
pub(crate) fn children<O>(origin: Origin, given: Vec<O>) -> impl Iterator<Item = (Origin, O)> {
    given.into_iter().enumerate().map(move |(n, result)| {
        let Some(origin) = origin.child(n) else { unreachable!("the last child has an origin") };
        (origin, result)
    })
}
