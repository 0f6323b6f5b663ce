//! Drops repeated events.

use crate::key_by::{Keyed, key_by};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key, encode};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::plan::Retraction;
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Gives the first record of each event id, with its own stamp, at the close of its epoch.
///
/// First is the order of epochs, and of origins within an epoch. When that record is retracted, the next one of the same
/// id takes its place. An id is remembered until the watermark has passed the event time of its first record by
/// `horizon_ms` and the correction horizon ([`Graph::correct_for`]). A record whose event time is `horizon_ms` or
/// more behind what its own partition had claimed before it cannot be told from a repeated one: it leaves by [`Outputs::late`], as
/// does all that comes when its id may be forgotten. So, with event times that do not change when an event is sent again, none passes twice. `name` names the state.
///
/// A record on which `id` panics is a dead letter.
///
/// ```
/// use distributary_operators::dedup;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update((7, 'a'), 0, 0, 0), update((8, 'b'), 1, 0, 0), update((7, 'c'), 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     dedup(graph, &input, "events", 60_000, |(id, _)| *id).results
/// });
/// let first: Vec<char> = seen.results.iter().map(|(_, ((_, letter), _, _))| *letter).collect();
/// assert_eq!(first.len(), 2);
/// assert!(first.contains(&'a') && first.contains(&'b'));
/// ```
pub fn dedup<'s, D: Data, I: Key>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    name: &str,
    horizon_ms: i64,
    id: impl Fn(&D) -> I + 'static,
) -> Outputs<'s, Keyed<I, D>, D> {
    if horizon_ms < 1 {
        let what = format!("dedup `{name}`: a horizon of {horizon_ms} ms");
        graph.refuse(Error::refused(what, "give it a horizon of at least 1 ms"));
    }
    let keyed = key_by(graph, input, id);
    let corrections_ms = graph.correction_horizon_ms();
    let corrections = if corrections_ms == 0 { String::new() } else { format!(", corrections {corrections_ms} ms") };
    let spec = Spec::new("dedup", format!("horizon {horizon_ms} ms{corrections}")).with_state::<I, Seen<D>>(name);
    let spec = spec.corrected(Retraction::Complete, graph.horizon());
    let logic = Dedup {
        horizon_ms: horizon_ms.max(1),
        corrections_ms,
        state: KeyedState::new(),
        expiries: BTreeMap::new(),
        touched: Vec::new(),
        watermark: EventTime::MIN,
    };
    stateful(graph, &keyed, spec, Keyed::group, logic)
}

struct Dedup<I, D> {
    horizon_ms: i64,
    /// How much longer an id is remembered for what takes its records back.
    corrections_ms: i64,
    state: KeyedState<I, Seen<D>>,
    /// When to look whether an id can be forgotten, by the event time it is remembered for. It may name an id that is gone or
    /// is remembered for another time by now: that one stands here again.
    expiries: BTreeMap<EventTime, Vec<(u64, I)>>,
    /// The ids that the open epoch changed, and the record that stood for each before it.
    touched: Vec<(u64, I, Option<Sighting<D>>)>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

/// What is known of an id.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen<D> {
    /// Its records, in the order of their arrival.
    sightings: Vec<Sighting<D>>,
    /// Whether the open epoch has changed it; never in a snapshot, which is between epochs.
    #[serde(skip)]
    touched: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sighting<D> {
    data: D,
    stamp: Stamp,
    /// Copies; negative when a retraction came before its record.
    copies: Diff,
}

impl<I: Key, D: Data> Logic<Keyed<I, D>> for Dedup<I, D> {
    type Out = D;
    const ORDER: Order = Order::Canonical;

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<I, D>>, emit: &mut Emit<Keyed<I, D>, D>) {
        if stamp.seen >= stamp.time.plus_ms(self.horizon_ms) || self.watermark >= self.forgotten_from(stamp.time) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let Keyed { hash, key, value } = keyed;
        let touched = &mut self.touched;
        let init = || Seen { sightings: Vec::with_capacity(1), touched: false };
        self.state.modify_or_insert_with(hash, &key, init, |seen| {
            if !std::mem::replace(&mut seen.touched, true) {
                touched.push((hash, key.clone(), seen.first().cloned()));
            }
            seen.add(Sighting { data: value, stamp, copies: diff });
        });
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<I, D>, D>) {
        self.watermark = at.watermark();
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (hash, id, before) in touched {
            let time = self.state.update(hash, &id, |slot| {
                let Some(seen) = slot else { unreachable!("a touched id is there until the close") };
                seen.touched = false;
                let now = seen.first();
                if !before.as_ref().zip(now).is_some_and(|(a, b)| a.is(b)) {
                    for (sighting, diff) in before.iter().map(|b| (b, -1)).chain(now.map(|n| (n, 1))) {
                        emit.give((sighting.data.clone(), sighting.stamp, diff));
                    }
                }
                let time = seen.time();
                if time.is_none() {
                    *slot = None;
                }
                time
            });
            if let Some(time) = time.filter(|time| before.is_none_or(|b| b.stamp.time != *time)) {
                self.expiries.entry(time).or_default().push((hash, id));
            }
        }
        self.purge();
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        self.expiries.clear();
        for (hash, id, seen) in (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8)) {
            if let Some(time) = seen.time() {
                self.expiries.entry(time).or_default().push((hash, id.clone()));
            }
        }
    }
}

impl<I: Key, D: Data> Dedup<I, D> {
    /// What the watermark has to be for an id to be forgotten that is remembered for this time.
    fn forgotten_from(&self, time: EventTime) -> Watermark {
        time.plus_ms(self.horizon_ms).plus_ms(self.corrections_ms)
    }

    /// Forgets ids whose horizon the watermark has passed.
    fn purge(&mut self) {
        while let Some(time) = self.expiries.first_key_value().map(|(time, _)| *time)
            && self.watermark >= self.forgotten_from(time)
        {
            for (hash, id) in self.expiries.remove(&time).unwrap_or_default() {
                if self.state.get(hash, &id).and_then(Seen::time).is_some_and(|at| at <= time) {
                    self.state.update(hash, &id, |slot| *slot = None);
                }
            }
        }
    }
}

impl<D: Data> Seen<D> {
    /// The record that stands for the id.
    fn first(&self) -> Option<&Sighting<D>> {
        self.sightings.iter().find(|s| s.copies > 0)
    }

    /// The event time that the id is remembered for: that of its first record (of a retraction, if there are only such).
    fn time(&self) -> Option<EventTime> {
        self.first().or(self.sightings.first()).map(|s| s.stamp.time)
    }

    fn add(&mut self, sighting: Sighting<D>) {
        match self.sightings.iter().position(|s| s.is(&sighting)) {
            None => self.sightings.push(sighting),
            Some(i) => {
                self.sightings[i].copies = self.sightings[i].copies.wrapping_add(sighting.copies);
                if self.sightings[i].copies == 0 {
                    self.sightings.remove(i);
                }
            }
        }
    }
}

impl<D: Data> Sighting<D> {
    /// Whether both are the same record: of the same origin and with the same content (a result of an aggregation keeps its
    /// origin when it changes). Jobs need not derive `PartialEq` for this; the encoding is compared, rarely.
    fn is(&self, other: &Self) -> bool {
        let same = || encode(&self.data).ok().zip(encode(&other.data).ok()).is_some_and(|(a, b)| a == b);
        self.stamp.origin == other.stamp.origin && same()
    }
}
