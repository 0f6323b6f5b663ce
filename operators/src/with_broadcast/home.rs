//! The one worker on which the rules are at home: there they are saved, and from there all workers hear of them.

use super::rules::Log;
use crate::key_by::Keyed;
use crate::side::{Held, Id, Records};
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, key_group, stable_hash};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{Epoch, EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a worker hears of the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Key, T: Data", deserialize = "R: Key, T: Data"))]
pub(super) enum Word<R, T> {
    /// All that is remembered, before the epoch.
    All(Log<R, T>),
    /// A row changes in the epoch.
    Row(R, Option<T>),
}

/// The words of each epoch, once for each worker, and the key group that goes to that worker.
pub(super) fn home<'s, R: Key, T: Data>(
    graph: &Graph<'s>,
    rules: &Collection<'s, Keyed<R, T>>,
    name: &str,
) -> Collection<'s, (u8, Word<R, T>)> {
    let name = format!("{name}: rules");
    let (hash, peers, index) = (stable_hash(&name), graph.scope().peers(), graph.scope().index());
    let place = if usize::from(key_group(hash)) % peers == index { Place::Home } else { Place::Elsewhere };
    let spec = Spec::new("rules", "").with_state::<String, AtHome<R, T>>(&name);
    let workers = (0..=u8::MAX).take(peers).collect();
    let (horizon_ms, state) = (graph.correction_horizon_ms(), KeyedState::new());
    let logic = Home { place, name, hash, workers, horizon_ms, state, changes: Vec::new(), told: Told::All };
    stateful(graph, rules, spec, move |_| key_group(hash), logic).results
}

#[derive(PartialEq, Eq)]
enum Place {
    Home,
    Elsewhere,
}

/// What the workers have heard.
#[derive(PartialEq, Eq)]
enum Told {
    /// All there is.
    All,
    /// Nothing of what has been restored.
    Nothing,
}

/// The records that stand for each key, of which the newest is the row; and what the rows were.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "Rules")]
#[serde(bound(serialize = "R: Key, T: Data", deserialize = "R: Key, T: Data"))]
struct AtHome<R, T> {
    standing: BTreeMap<R, Records<T>>,
    log: Log<R, T>,
}

struct Home<R, T> {
    place: Place,
    name: String,
    hash: u64,
    /// A key group of each worker.
    workers: Vec<u8>,
    horizon_ms: i64,
    /// One key, the name: so it lies in one key group, on one worker.
    state: KeyedState<String, AtHome<R, T>>,
    /// What the open epoch changes.
    changes: Vec<(R, Id, T, Diff)>,
    told: Told,
}

impl<R: Key, T: Data> Logic<Keyed<R, T>> for Home<R, T> {
    type Out = (u8, Word<R, T>);
    const ORDER: Order = Order::Any;

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<R, T>>, emit: &mut Emit<Keyed<R, T>, Self::Out>) {
        match Id::of(&keyed.value, stamp) {
            Ok(id) => self.changes.push((keyed.key, id, keyed.value, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<R, T>, Self::Out>) {
        if self.place == Place::Elsewhere {
            return;
        }
        if std::mem::replace(&mut self.told, Told::All) == Told::Nothing
            && let Some(held) = self.state.get(self.hash, &self.name)
        {
            tell(&self.workers, &Word::All(held.log.clone()), emit);
        }
        let (changes, epoch) = (std::mem::take(&mut self.changes), at.binding.epoch);
        let held = self.state.get(self.hash, &self.name);
        let is_due = held.is_some_and(|held| held.log.is_due(at.watermark(), self.horizon_ms));
        if changes.is_empty() && at.binding.ranges.is_empty() && !is_due {
            return;
        }
        let init = || AtHome { standing: BTreeMap::new(), log: Log::default() };
        let changed = self.state.modify_or_insert_with(self.hash, &self.name, init, |held| {
            let changed = held.change(changes, epoch);
            held.log.bind(at.binding);
            held.log.forget(at.watermark(), self.horizon_ms);
            changed
        });
        changed.iter().for_each(|word| tell(&self.workers, word, emit));
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, _watermark: Watermark) {
        self.told = Told::Nothing;
    }
}

impl<R: Key, T: Data> AtHome<R, T> {
    /// The rows that become others by that.
    fn change(&mut self, changes: Vec<(R, Id, T, Diff)>, epoch: Epoch) -> Vec<Word<R, T>> {
        let mut touched = BTreeSet::new();
        for (key, id, value, diff) in changes {
            self.standing.entry(key.clone()).or_default().change(id, value, diff);
            touched.insert((key, id));
        }
        let keys: BTreeSet<&R> = touched.iter().map(|(key, _)| key).collect();
        let rows: Vec<_> = keys.into_iter().filter_map(|key| Some((key.clone(), changed(self.standing.get(key)?)?))).collect();
        for (key, id) in touched {
            let Some(records) = self.standing.get_mut(&key) else { continue };
            records.settle(id);
            if records.first().is_none() {
                self.standing.remove(&key);
            }
        }
        let words = rows.into_iter().map(|(key, row)| {
            self.log.change(epoch, key.clone(), row.clone());
            Word::Row(key, row)
        });
        words.collect()
    }
}

/// The row of a key, the newest of its records, if it has become another one.
fn changed<T: Clone>(records: &Records<T>) -> Option<Option<T>> {
    let newest = |copies: fn(&Held<T>) -> Diff| records.between(i128::MIN, i128::MAX).rfind(|(_, held)| copies(held) > 0);
    let (was, now) = (newest(Held::was), newest(Held::now));
    (was.map(|(id, _)| id.content) != now.map(|(id, _)| id.content)).then(|| now.map(|(_, held)| held.data.clone()))
}

fn tell<D, W: Clone>(workers: &[u8], word: &W, emit: &mut Emit<D, (u8, W)>) {
    for to in workers {
        let origin = Origin::group(emit.node(), u64::from(*to), 0);
        emit.give(((*to, word.clone()), Stamp { origin, time: EventTime::MIN, seen: EventTime::MIN }, 1));
    }
}
