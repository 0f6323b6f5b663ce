//! Drops repeated events.

mod seen;

use crate::key_by::{Keyed, key_by};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{KEY_GROUPS, Key};
use distributary_runtime::operator::{Closing, Emit, Logic, Order, Outputs, stateful};
use distributary_runtime::plan::Retraction;
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::{Data, Diff, Origin, Update};
use seen::{Now, Print, Seen, Sighting};
use std::collections::{BTreeMap, BTreeSet};

/// Gives the first record of each event id, with its own stamp, at the close of its epoch.
///
/// First is the order of epochs, and of origins within an epoch. When that record is retracted, which brings it along, the next one of the
/// same id takes its place: so of a record that stands only a fingerprint is kept, and those that repeat it are kept whole. An id is remembered until the watermark has passed the event time of its first record by
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
        room: Vec::new(),
        has_taken_back: false,
        epoch: 1,
        watermark: EventTime::MIN,
        next: 0,
        due: 0,
    };
    stateful(graph, &keyed, spec, Keyed::group, logic)
}

struct Dedup<I, D> {
    horizon_ms: i64,
    /// How much longer an id is remembered for what takes its records back.
    corrections_ms: i64,
    /// What is forgotten counts as absent, and stays here until it is swept.
    state: KeyedState<I, Seen<D>>,
    /// Where records are encoded.
    room: Vec<u8>,
    /// Whether the open epoch has taken back anything.
    has_taken_back: bool,
    /// How many epochs were open, this one included.
    epoch: u64,
    /// The pipeline's watermark before the open epoch.
    watermark: Watermark,
    /// The key group to sweep next.
    next: u8,
    /// How many key groups the watermark says should have been swept.
    due: usize,
}

/// In this share of the time that an id is remembered every key group is swept once: so much longer than needed an id takes memory.
const SWEEPS: i64 = 8;

/// No more slots than these, and a key group, are looked at when an epoch closes, so that no record waits for it longer than a millisecond or two.
/// What stays is swept when the next ones close.
const SWEPT_MAX: usize = 32_768;

impl<I: Key, D: Data> Logic<Keyed<I, D>> for Dedup<I, D> {
    type Out = D;
    const ORDER: Order = Order::Canonical;

    fn expect(&mut self, updates: &[Update<Keyed<I, D>>]) {
        updates.iter().for_each(|(keyed, _, _)| self.state.touch(keyed.hash, &keyed.key));
    }

    fn apply(&mut self, (keyed, stamp, diff): Update<Keyed<I, D>>, emit: &mut Emit<Keyed<I, D>, D>) {
        let forgotten_from = self.forgotten_from();
        let is_over = |time| forgotten_from(time) <= self.watermark;
        if stamp.seen >= stamp.time.plus_ms(self.horizon_ms) || is_over(stamp.time) {
            return emit.refuse_late((keyed, stamp, diff));
        }
        let print = match Print::of(&keyed.value, stamp, &mut self.room) {
            Ok(print) => print,
            Err(cause) => return emit.set_aside(stamp.origin, diff, cause),
        };
        let (now, value, has_taken_back) = (Now { epoch: self.epoch, is_over }, keyed.value, &mut self.has_taken_back);
        self.state.update_owned(keyed.hash, keyed.key, |slot| {
            if Seen::begin(slot, print, stamp, diff, &now) {
                return emit.give((value, stamp, 1));
            }
            let sighting = Sighting { print, data: value, stamp, copies: diff };
            Seen::take(slot, sighting, &now, |update| {
                *has_taken_back |= update.2 < 0;
                emit.give(update);
            });
        });
    }

    fn close(&mut self, at: &Closing<'_>, emit: &mut Emit<Keyed<I, D>, D>) {
        if std::mem::take(&mut self.has_taken_back) {
            self.net(emit.given());
        }
        self.epoch += 1;
        self.watermark = at.watermark();
        self.sweep(at.before);
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.state
    }

    fn restored(&mut self, watermark: Watermark) {
        self.watermark = watermark;
    }
}

impl<I: Key, D: Data> Dedup<I, D> {
    /// What the watermark has to be for an id to be forgotten that is remembered for some time.
    fn forgotten_from(&self) -> impl Fn(EventTime) -> Watermark + use<I, D> {
        let (horizon_ms, corrections_ms) = (self.horizon_ms, self.corrections_ms);
        move |time| time.plus_ms(horizon_ms).plus_ms(corrections_ms)
    }

    /// Of what an epoch gave and took back only the difference leaves.
    fn net(&mut self, given: &mut Vec<Update<D>>) {
        let taken: BTreeSet<Origin> = given.iter().filter(|(.., diff)| *diff < 0).map(|(_, stamp, _)| stamp.origin).collect();
        let prints = given.iter().map(|(data, stamp, _)| {
            let print = || Print::of(data, *stamp, &mut self.room).ok();
            taken.contains(&stamp.origin).then(print).flatten().map(|print| (stamp.origin, print))
        });
        let prints: Vec<Option<(Origin, Print)>> = prints.collect();
        let mut nets: BTreeMap<(Origin, Print), Diff> = BTreeMap::new();
        for (print, (.., diff)) in prints.iter().zip(given.iter()) {
            print.map(|print| *nets.entry(print).or_default() += diff);
        }
        let mut prints = prints.into_iter();
        given.retain(|(.., diff)| {
            let Some(net) = prints.next().flatten().and_then(|print| nets.get_mut(&print)) else { return true };
            let leaves = *net == *diff;
            *net -= if leaves { *diff } else { 0 };
            leaves
        });
    }

    /// Lets go of what is forgotten, in the key groups that are due.
    fn sweep(&mut self, before: Watermark) {
        let remembered_ms = self.horizon_ms.saturating_add(self.corrections_ms);
        let a_group_ms = (remembered_ms / (SWEEPS * KEY_GROUPS as i64)).max(1);
        let passed = self.watermark.0.div_euclid(a_group_ms).saturating_sub(before.0.div_euclid(a_group_ms));
        self.due = KEY_GROUPS.min(self.due.saturating_add(usize::try_from(passed).unwrap_or(0)));
        let (forgotten_from, watermark) = (self.forgotten_from(), self.watermark);
        let mut swept = 0;
        while self.due > 0 && swept < SWEPT_MAX {
            swept += self.state.retain(self.next, |seen| seen.time().is_some_and(|time| forgotten_from(time) > watermark));
            self.next = self.next.wrapping_add(1);
            self.due -= 1;
        }
    }
}
