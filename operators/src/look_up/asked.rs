//! What is known of a question: who waits for its answer, and what was said to whom.

use crate::answer::attempt;
use crate::key_by::Keyed;
use crate::side::{Id, Side};
use crate::with_broadcast::TakenBack;
use distributary_runtime::asking::Questions;
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, WallTime, Watermark};
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "AskedEntry")]
pub(super) struct Entry<V, A> {
    waiting: BTreeMap<Id, Waiting<V>>,
    told: BTreeMap<Id, Told<A>>,
    /// The newest answer, as long as it is fresh, and when it came.
    fresh: Option<(WallTime, A)>,
}

impl<V, A> Default for Entry<V, A> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), told: BTreeMap::new(), fresh: None }
    }
}

/// A record that has no answer yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting<V> {
    value: V,
    stamp: Stamp,
    /// Negative when a retraction came before its record.
    copies: Diff,
}

/// What a record got for an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told<A> {
    answer: Result<A, String>,
    copies: Diff,
}

impl<V, A> Entry<V, A> {
    /// Whether somebody waits for the answer.
    fn waits(&self) -> bool {
        self.waiting.values().any(|record| record.copies > 0)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.told.is_empty() && self.fresh.is_none()
    }
}

/// Records, and the answer to their question, as far as the open epoch brings them.
struct Touched<V, A> {
    records: Vec<Update<V>>,
    answer: Option<Result<A, String>>,
}

/// What a look-up makes of a record, and for how long it remembers.
struct Terms<F> {
    taken_back: TakenBack,
    horizon_ms: i64,
    fresh_for_ms: i64,
    f: F,
}

impl<F> Terms<F> {
    /// Until when what was said of a record is remembered; `None` for ever.
    fn until(&self, id: &Id) -> Option<EventTime> {
        let more_ms = match self.taken_back {
            TakenBack::AtAnyTime => return None,
            TakenBack::Within(_) if id.origin.position().is_some() => 0,
            TakenBack::Within(ms) => ms,
        };
        Some(id.time.plus_ms(self.horizon_ms).plus_ms(more_ms))
    }

    fn is_over(&self, id: &Id, watermark: Watermark) -> bool {
        self.until(id).is_some_and(|until| until <= watermark)
    }

    /// Until when an answer that came then is fresh.
    fn stale_at(&self, came: WallTime) -> WallTime {
        WallTime(came.0.saturating_add(self.fresh_for_ms))
    }

    fn say<Q, V, A, O>(
        &self,
        value: &V,
        answer: &Result<A, String>,
        (stamp, diff): (Stamp, Diff),
        emit: &mut Emit<Heard<Q, V, A>, O>,
    ) where
        F: Fn(&V, &A) -> O,
    {
        match answer.as_ref().map_err(Clone::clone).and_then(|answer| attempt::<O, _>(|| (self.f)(value, answer))) {
            Ok(result) => emit.give((result, stamp, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }
}

/// A question, as the open epoch finds it.
struct Open<'a, Q, V, A, F> {
    hash: u64,
    question: &'a Q,
    entry: Entry<V, A>,
    terms: &'a Terms<F>,
    /// Before and at the close of the epoch.
    watermarks: (Watermark, Watermark),
    /// Until when something new is remembered.
    due: Vec<EventTime>,
}

impl<Q: Key, V: Data, A: Data, F> Open<'_, Q, V, A, F> {
    /// Takes a record of the epoch in, or out.
    fn take<O>(&mut self, (value, stamp, diff): Update<V>, emit: &mut Emit<Heard<Q, V, A>, O>)
    where
        F: Fn(&V, &A) -> O,
    {
        let (entry, terms) = (&mut self.entry, self.terms);
        let id = match Id::of(&value, stamp) {
            Ok(id) => id,
            Err(cause) => return emit.set_aside(stamp.origin, diff, cause),
        };
        if let Some(told) = entry.told.get_mut(&id) {
            terms.say(&value, &told.answer, (stamp, diff), emit);
            told.copies = told.copies.wrapping_add(diff);
            if told.copies == 0 {
                entry.told.remove(&id);
                if entry.told.is_empty() && entry.waiting.is_empty() {
                    entry.fresh = None;
                }
            }
            return;
        }
        if diff < 0 && !entry.waiting.contains_key(&id) && terms.is_over(&id, self.watermarks.0) {
            return emit.refuse_late((Side::Left(Keyed { hash: self.hash, key: self.question.clone(), value }), stamp, diff));
        }
        let waiting = entry.waiting.entry(id).or_insert(Waiting { value, stamp, copies: 0 });
        waiting.copies = waiting.copies.wrapping_add(diff);
        match waiting.copies {
            0 => drop(entry.waiting.remove(&id)),
            1.. => {}
            _ => self.due.extend(terms.until(&id)),
        }
    }

    /// Who waits gets the answer.
    fn tell<O>(&mut self, answer: &Result<A, String>, emit: &mut Emit<Heard<Q, V, A>, O>)
    where
        F: Fn(&V, &A) -> O,
    {
        let (entry, terms) = (&mut self.entry, self.terms);
        for (id, record) in entry.waiting.extract_if(.., |_, record| record.copies > 0) {
            terms.say(&record.value, answer, (record.stamp, record.copies), emit);
            if !terms.is_over(&id, self.watermarks.1) {
                entry.told.insert(id, Told { answer: answer.clone(), copies: record.copies });
                self.due.extend(terms.until(&id));
            }
        }
    }
}

pub(super) struct Asked<Q, V, A, F> {
    terms: Terms<F>,
    questions: Questions<Q>,
    state: KeyedState<Q, Entry<V, A>>,
    touched: BTreeMap<(u64, Q), Touched<V, A>>,
    /// Until when something is remembered of a question; derived from the state. It may name one of which nothing is.
    due: BTreeSet<(EventTime, u64, Q)>,
    /// Until when an answer is fresh, alike.
    stale: BTreeSet<(WallTime, u64, Q)>,
    /// Questions that records waited for when the state was restored: nobody has been told of them.
    restored: Vec<Q>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

impl<Q: Key, V: Data, A: Data, F> Asked<Q, V, A, F> {
    pub(super) fn new((taken_back, horizon_ms, fresh_for_ms): (TakenBack, i64, i64), questions: Questions<Q>, f: F) -> Self {
        let (state, touched, restored, watermark) = (KeyedState::new(), BTreeMap::new(), Vec::new(), EventTime::MIN);
        let (due, stale, terms) = (BTreeSet::new(), BTreeSet::new(), Terms { taken_back, horizon_ms, fresh_for_ms, f });
        Self { terms, questions, state, touched, due, stale, restored, watermark }
    }

    fn forget(&mut self, now: WallTime) {
        let (terms, watermark) = (&self.terms, self.watermark);
        while self.due.first().is_some_and(|(until, ..)| *until <= watermark) {
            let Some((_, hash, question)) = self.due.pop_first() else { break };
            self.state.update(hash, &question, |slot| {
                let Some(entry) = slot else { return };
                entry.told.retain(|id, _| !terms.is_over(id, watermark));
                entry.waiting.retain(|id, record| record.copies > 0 || !terms.is_over(id, watermark));
                *slot = slot.take().filter(|entry| !entry.is_empty());
            });
        }
        while self.stale.first().is_some_and(|(until, ..)| *until <= now) {
            let Some((_, hash, question)) = self.stale.pop_first() else { break };
            self.state.update(hash, &question, |slot| {
                let Some(entry) = slot else { return };
                entry.fresh.take_if(|(came, _)| terms.stale_at(*came) <= now);
                *slot = slot.take().filter(|entry| !entry.is_empty());
            });
        }
    }
}

/// What comes in.
pub(super) type Heard<Q, V, A> = Side<Keyed<Q, V>, Keyed<Q, Result<A, String>>>;

impl<Q, V, A, O, F> Logic<Heard<Q, V, A>> for Asked<Q, V, A, F>
where
    Q: Key,
    V: Data,
    A: Data,
    O: Data,
    F: Fn(&V, &A) -> O + 'static,
{
    type Out = O;
    const ORDER: Order = Order::Canonical;

    fn apply(&mut self, (heard, stamp, diff): Update<Heard<Q, V, A>>, _emit: &mut Emit<Heard<Q, V, A>, O>) {
        let nothing = || Touched { records: Vec::new(), answer: None };
        match heard {
            Side::Left(Keyed { hash, key, value }) => {
                self.touched.entry((hash, key)).or_insert_with(nothing).records.push((value, stamp, diff));
            }
            Side::Right(Keyed { hash, key, value }) => {
                self.touched.entry((hash, key)).or_insert_with(nothing).answer = Some(value);
            }
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Heard<Q, V, A>, O>) {
        let (now, watermarks, terms) = (at.binding.closed_at, (self.watermark, at.watermark()), &self.terms);
        let (mut begun, mut ended) = (std::mem::take(&mut self.restored), Vec::new());
        for ((hash, question), Touched { records, answer }) in std::mem::take(&mut self.touched) {
            if records.is_empty() && self.state.get(hash, &question).is_none() {
                continue;
            }
            let (waited, waits, due, stale) = self.state.update(hash, &question, |slot| {
                let entry = slot.take().unwrap_or_default();
                let waited = entry.waits();
                let mut open = Open { hash, question: &question, entry, terms, watermarks, due: Vec::new() };
                records.into_iter().for_each(|record| open.take(record, emit));
                let mut stale = None;
                if let Some(answer) = answer.filter(|_| open.entry.waits()) {
                    open.tell(&answer, emit);
                    open.entry.fresh = answer.ok().filter(|_| terms.fresh_for_ms > 0).map(|answer| (now, answer));
                    stale = open.entry.fresh.as_ref().map(|(came, _)| terms.stale_at(*came));
                } else if let Some((_, answer)) = open.entry.fresh.clone().filter(|(came, _)| terms.stale_at(*came) > now) {
                    open.tell(&Ok(answer), emit);
                }
                let Open { entry, due, .. } = open;
                let waits = entry.waits();
                *slot = Some(entry).filter(|entry| !entry.is_empty());
                (waited, waits, due, stale)
            });
            self.due.extend(due.into_iter().map(|until| (until, hash, question.clone())));
            self.stale.extend(stale.map(|until| (until, hash, question.clone())));
            match (waited, waits) {
                (false, true) => begun.push(question),
                (true, false) => ended.push(question),
                _ => {}
            }
        }
        self.watermark = watermarks.1;
        self.forget(now);
        self.questions.close(at.binding.epoch, &begun, &ended);
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        let terms = &self.terms;
        for (hash, question, entry) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            if entry.waits() {
                self.restored.push(question.clone());
            }
            let forgets = entry.told.keys().chain(entry.waiting.keys()).filter_map(|id| terms.until(id));
            self.due.extend(forgets.map(|until| (until, hash, question.clone())));
            let stale = entry.fresh.as_ref().map(|(came, _)| terms.stale_at(*came));
            self.stale.extend(stale.map(|until| (until, hash, question.clone())));
        }
    }
}
