//! Drops repeated events.

use crate::key_by::{Keyed, key_by};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key, encode};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Gives the first record of each event id, with its own stamp, at the close of its epoch.
///
/// First is the order of epochs, and of origins within an epoch. When that record is retracted, the next one of the same
/// id takes its place. An id is remembered until the watermark has passed the event time of its first record by
/// `horizon_ms`. A record that comes when its id could be forgotten already (what its own partition had claimed is past its
/// event time by the horizon) cannot be told from a repeated one: it leaves by [`Outputs::late`]. So, with event times
/// that do not change when an event is sent again, none passes twice. `name` names the state.
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
    let spec = Spec::new("dedup", format!("horizon {horizon_ms} ms")).with_state::<I, Seen<D>>(name);
    let logic = Dedup {
        horizon_ms: horizon_ms.max(1),
        state: KeyedState::new(),
        expiries: BTreeSet::new(),
        touched: BTreeMap::new(),
        watermark: EventTime::MIN,
    };
    stateful(graph, &keyed, spec, Keyed::group, logic)
}

struct Dedup<I, D> {
    horizon_ms: i64,
    state: KeyedState<I, Seen<D>>,
    /// When to look whether an id can be forgotten, by the event time it is remembered for. It may name an id that is gone or
    /// is remembered for another time by now: that one has an entry of its own.
    expiries: BTreeSet<(EventTime, u64, I)>,
    /// The ids that the open epoch changed, and the record that stood for each before it.
    touched: BTreeMap<(u64, I), Option<Sighting<D>>>,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
}

/// The records of an id, in the order of their arrival.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen<D>(Vec<Sighting<D>>);

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
        if stamp.seen.max(self.watermark) >= stamp.time.plus_ms(self.horizon_ms) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let Keyed { hash, key, value } = keyed;
        let touched = &mut self.touched;
        self.state.update(hash, &key, |slot| {
            touched.entry((hash, key.clone())).or_insert_with(|| slot.as_ref().and_then(Seen::first).cloned());
            let seen = slot.get_or_insert_with(|| Seen(Vec::with_capacity(1)));
            seen.add(Sighting { data: value, stamp, copies: diff });
            if seen.0.is_empty() {
                *slot = None;
            }
        });
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<I, D>, D>) {
        self.watermark = at.watermark();
        for ((hash, id), before) in std::mem::take(&mut self.touched) {
            let seen = self.state.get(hash, &id);
            let now = seen.and_then(Seen::first);
            if !before.as_ref().zip(now).is_some_and(|(a, b)| a.is(b)) {
                for (sighting, diff) in before.iter().map(|b| (b, -1)).chain(now.map(|n| (n, 1))) {
                    emit.give((sighting.data.clone(), sighting.stamp, diff));
                }
            }
            if let Some(time) = seen.and_then(Seen::time) {
                self.expiries.insert((time, hash, id));
            }
        }
        self.purge();
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
        let groups = (0..KEY_GROUPS).flat_map(|group| self.state.iter(group as u8));
        self.expiries = groups.filter_map(|(hash, id, seen)| Some((seen.time()?, hash, id.clone()))).collect();
    }
}

impl<I: Key, D: Data> Dedup<I, D> {
    /// Forgets ids whose horizon the watermark has passed.
    fn purge(&mut self) {
        while let Some((time, _, _)) = self.expiries.first()
            && self.watermark >= time.plus_ms(self.horizon_ms)
        {
            let Some((time, hash, id)) = self.expiries.pop_first() else { return };
            if self.state.get(hash, &id).and_then(Seen::time).is_some_and(|at| at <= time) {
                self.state.update(hash, &id, |slot| *slot = None);
            }
        }
    }
}

impl<D: Data> Seen<D> {
    /// The record that stands for the id.
    fn first(&self) -> Option<&Sighting<D>> {
        self.0.iter().find(|s| s.copies > 0)
    }

    /// The event time that the id is remembered for: that of its first record (of a retraction, if there are only such).
    fn time(&self) -> Option<EventTime> {
        self.first().or(self.0.first()).map(|s| s.stamp.time)
    }

    fn add(&mut self, sighting: Sighting<D>) {
        match self.0.iter().position(|s| s.is(&sighting)) {
            None => self.0.push(sighting),
            Some(i) => {
                self.0[i].copies = self.0[i].copies.wrapping_add(sighting.copies);
                if self.0[i].copies == 0 {
                    self.0.remove(i);
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
