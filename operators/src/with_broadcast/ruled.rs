//! What each worker does with its records: it has all rules, and the results that it may have to take back.

use super::home::Word;
use super::rules::{Log, Rules};
use crate::answer::attempt;
use crate::key_by::Keyed;
use distributary_runtime::key::{KEY_GROUPS, Key, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Update};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long a record that no source brought, or a row of a table, can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// Results of operators: until the watermark has passed their time by so many milliseconds (and the correction horizon), as
    /// long as they are remembered. Records of sources need no memory.
    Within(i64),
    /// Rows of a table: always. All that stand are remembered.
    AtAnyTime,
}

impl TakenBack {
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Within(ms) => format!("results taken back within {ms} ms"),
            Self::AtAnyTime => "taken back at any time".into(),
        }
    }
}

/// What a worker hears: its own records, and all words of the rules.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "D: Data, R: Key, T: Data", deserialize = "D: Data, R: Key, T: Data"))]
pub(super) enum Heard<D, R, T> {
    Record(Keyed<Origin, D>),
    Word(u8, Word<R, T>),
}

impl<D, R, T> Heard<D, R, T> {
    pub(super) fn group(&self) -> u8 {
        match self {
            Self::Record(keyed) => keyed.group(),
            Self::Word(to, _) => *to,
        }
    }
}

/// What was said of the records of an origin that no offset tells the rules of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Met<O>(Vec<Said<O>>);

/// What was said of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "SaidOfRecord")]
struct Said<O> {
    time: EventTime,
    /// The hash of the record.
    content: u64,
    copies: Diff,
    result: Result<O, String>,
}

pub(super) struct Ruled<D, R, T, O, F> {
    taken_back: TakenBack,
    horizon_ms: i64,
    f: F,
    log: Log<R, T>,
    state: KeyedState<Origin, Met<O>>,
    /// The records of the open epoch, in order.
    records: Vec<Update<Keyed<Origin, D>>>,
    /// What is heard of the rules in the open epoch.
    words: Vec<Word<R, T>>,
    /// The event times of what was said of an origin, unless it is remembered for ever; derived from the state. It may name one
    /// that was taken back.
    due: BTreeSet<(EventTime, u64, Origin)>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

impl<D: Data, R: Key, T: Data, O: Data, F> Ruled<D, R, T, O, F> {
    pub(super) fn new(taken_back: TakenBack, horizon_ms: i64, f: F) -> Self {
        let (log, state, due, watermark) = (Log::default(), KeyedState::new(), BTreeSet::new(), EventTime::MIN);
        Self { taken_back, horizon_ms, f, log, state, records: Vec::new(), words: Vec::new(), due, watermark }
    }

    /// Until when what was said of a record of this time is remembered; `None` for ever.
    fn until(&self, time: EventTime) -> Option<EventTime> {
        match self.taken_back {
            TakenBack::Within(ms) => Some(time.plus_ms(ms).plus_ms(self.horizon_ms)),
            TakenBack::AtAnyTime => None,
        }
    }

    /// The rules as of the epoch that is about to close.
    fn hear(&mut self, at: &Closing<'_>) {
        let (all, rows): (Vec<_>, Vec<_>) = self.words.drain(..).partition(|word| matches!(word, Word::All(_)));
        for word in all.into_iter().chain(rows) {
            match word {
                Word::All(log) => self.log = log,
                Word::Row(key, row) => self.log.change(at.binding.epoch, key, row),
            }
        }
        self.log.bind(at.binding);
    }

    /// What a record gives whose result is remembered; `None` when it is too late to take it back.
    fn remember(&mut self, keyed: &Keyed<Origin, D>, time: EventTime, content: u64, diff: Diff) -> Option<Result<O, String>>
    where
        F: Fn(&D, &Rules<'_, R, T>) -> O,
    {
        let met = self.state.get(keyed.hash, &keyed.key);
        let known = met.and_then(|met| met.0.iter().find(|said| (said.time, said.content) == (time, content)));
        let until = self.until(time);
        let is_over = until.is_some_and(|until| self.watermark >= until);
        let result = match known {
            Some(said) => said.result.clone(),
            None if is_over && diff < 0 => return None,
            None => attempt::<O, _>(|| (self.f)(&keyed.value, &self.log.now())),
        };
        if known.is_none() && is_over {
            return Some(result);
        }
        let one = || Said { time, content, copies: 0, result: result.clone() };
        self.state.update(keyed.hash, &keyed.key, |slot| {
            let mut all = slot.take().map_or_else(Vec::new, |met| met.0);
            let at = all.iter().position(|said| (said.time, said.content) == (time, content)).unwrap_or_else(|| {
                all.push(one());
                all.len() - 1
            });
            all[at].copies = all[at].copies.wrapping_add(diff);
            all.retain(|said| said.copies != 0);
            *slot = Some(Met(all)).filter(|met| !met.0.is_empty());
        });
        self.due.extend(until.map(|_| (time, keyed.hash, keyed.key)));
        Some(result)
    }

    fn forget(&mut self) {
        self.log.forget(self.watermark, self.horizon_ms);
        let (watermark, TakenBack::Within(ms)) = (self.watermark, self.taken_back) else { return };
        let is_over = |time: EventTime| time.plus_ms(ms).plus_ms(self.horizon_ms) <= watermark;
        while self.due.first().is_some_and(|(time, ..)| is_over(*time)) {
            let Some((_, hash, origin)) = self.due.pop_first() else { break };
            self.state.update(hash, &origin, |slot| {
                if let Some(met) = slot {
                    met.0.retain(|said| !is_over(said.time));
                }
                *slot = slot.take().filter(|met| !met.0.is_empty());
            });
        }
    }
}

impl<D, R, T, O, F> Logic<Heard<D, R, T>> for Ruled<D, R, T, O, F>
where
    D: Data,
    R: Key,
    T: Data,
    O: Data,
    F: Fn(&D, &Rules<'_, R, T>) -> O + 'static,
{
    type Out = O;
    /// A record waits for the rules of its epoch.
    const ORDER: Order = Order::Canonical;

    fn apply(&mut self, (heard, stamp, diff): Update<Heard<D, R, T>>, _emit: &mut Emit<Heard<D, R, T>, O>) {
        match heard {
            Heard::Record(keyed) => self.records.push((keyed, stamp, diff)),
            Heard::Word(_, word) => self.words.push(word),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Heard<D, R, T>, O>) {
        self.hear(at);
        for (keyed, stamp, diff) in std::mem::take(&mut self.records) {
            let has_place = stamp.origin.position().is_some() && self.taken_back != TakenBack::AtAnyTime;
            let result = if has_place {
                self.log.of(stamp.origin).map(|rules| attempt::<O, _>(|| (self.f)(&keyed.value, &rules)))
            } else {
                match attempt::<u64, _>(|| stable_hash(&keyed.value)) {
                    Ok(content) => self.remember(&keyed, stamp.time, content, diff),
                    Err(cause) => Some(Err(cause)),
                }
            };
            match result {
                Some(Ok(result)) => emit.give((result, stamp, diff)),
                Some(Err(cause)) => emit.set_aside(stamp.origin, diff, cause),
                None => emit.refuse_late((Heard::Record(keyed), stamp, diff)),
            }
        }
        self.watermark = at.watermark();
        self.forget();
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        for (hash, origin, met) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            if self.taken_back != TakenBack::AtAnyTime {
                self.due.extend(met.0.iter().map(|said| (said.time, hash, *origin)));
            }
        }
    }
}
