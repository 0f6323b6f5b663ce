//! The rows of an upsert topic, as they change.

use crate::key_by::Keyed;
use crate::written::Written;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::KEY_GROUPS;
use distributary_runtime::operator::{Closing, Emit, Logic, Order, stateful};
use distributary_runtime::state::{KeyedState, Snapshot};
use distributary_runtime::time::{WallTime, Watermark};
use distributary_runtime::update::{Data, Stamp, Update};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest record of a row: who wrote it, and its value; without one, the row is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<D> {
    /// Who wrote it, if a pipeline did.
    pub written: Option<Written>,
    /// The value.
    pub value: Option<D>,
}

/// Takes each record as the newest of its key: the old value goes, and the new one comes. A record that repeats what its pipeline
/// has written before (it does not stand behind the last one of its key) changes nothing.
///
/// What goes has origin and event time of the record it came with; whether it is late is decided by the record that replaces it.
/// `name` names the state, which is all rows, and the places of those that were deleted in the last `deleted_kept_ms` (on the clock of
/// the bindings): so long, no repeat brings them back.
///
/// ```
/// use distributary_operators::{Keyed, Row, newest};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let row = |value| Keyed::new(b"u1".to_vec(), Row { written: None, value });
/// let updates = vec![update(row(Some(5)), 0, 0, 0), update(row(Some(7)), 1, 0, 0), update(row(None), 2, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| newest(graph, &input, "rows", 60_000));
/// let changes: Vec<_> = seen.results.iter().map(|(_, (value, _, diff))| (*value, *diff)).collect();
/// assert_eq!(changes, [(5, 1), (5, -1), (7, 1), (7, -1)]);
/// ```
pub fn newest<'s, D: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<Vec<u8>, Row<D>>>,
    name: &str,
    deleted_kept_ms: i64,
) -> Collection<'s, D> {
    let spec = Spec::new("newest", "").with_state::<Vec<u8>, Held<D>>(name);
    let logic = Newest { deleted_kept_ms, rows: KeyedState::new(), deleted: Vec::new(), forget: BTreeMap::new() };
    stateful(graph, input, spec, Keyed::group, logic).results
}

struct Newest<D> {
    deleted_kept_ms: i64,
    rows: KeyedState<Vec<u8>, Held<D>>,
    /// Rows that the open epoch deleted; some may have come back.
    deleted: Vec<(u64, Vec<u8>)>,
    /// Rows that were deleted then; some may have come back.
    forget: BTreeMap<WallTime, Vec<(u64, Vec<u8>)>>,
}

/// What is known of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held<D> {
    written: Option<Written>,
    value: Option<(D, Stamp)>,
    /// When the epoch closed in which it was deleted.
    deleted_at: Option<WallTime>,
}

impl<D: Data> Logic<Keyed<Vec<u8>, Row<D>>> for Newest<D> {
    type Out = D;
    const ORDER: Order = Order::Canonical;

    fn apply(&mut self, (keyed, stamp, _): Update<Keyed<Vec<u8>, Row<D>>>, emit: &mut Emit<Keyed<Vec<u8>, Row<D>>, D>) {
        let Keyed { hash, key, value: Row { written, value } } = keyed;
        let known = self.rows.get(hash, &key);
        if let (Some(last), Some(now)) = (known.and_then(|row| row.written.as_ref()), &written)
            && !now.is_behind(last)
        {
            return;
        }
        if value.is_none() {
            self.deleted.push((hash, key.clone()));
        }
        self.rows.update(hash, &key, |row| {
            if let Some((old, from)) = row.take().and_then(|row| row.value) {
                emit.give((old, Stamp { seen: from.seen.max(stamp.seen), ..from }, -1));
            }
            let value = value.map(|new| (new, stamp));
            if let Some((new, _)) = &value {
                emit.give((new.clone(), stamp, 1));
            }
            *row = Some(Held { written, value, deleted_at: None });
        });
    }

    fn close(&mut self, at: &Closing<'_>, _emit: &mut Emit<Keyed<Vec<u8>, Row<D>>, D>) {
        let now = at.binding.closed_at;
        for (hash, key) in self.deleted.drain(..) {
            self.rows.update(hash, &key, |row| {
                if let Some(row) = row.as_mut().filter(|row| row.value.is_none()) {
                    row.deleted_at = Some(now);
                }
            });
            self.forget.entry(now).or_default().push((hash, key));
        }
        while let Some(first) = self.forget.first_entry()
            && first.key().0.saturating_add(self.deleted_kept_ms) <= now.0
        {
            let then = *first.key();
            for (hash, key) in first.remove() {
                if self.rows.get(hash, &key).is_some_and(|row| row.deleted_at == Some(then)) {
                    self.rows.update(hash, &key, |row| *row = None);
                }
            }
        }
    }

    fn state(&mut self) -> &mut dyn Snapshot {
        &mut self.rows
    }

    fn restored(&mut self, _watermark: Watermark) {
        self.forget.clear();
        for (hash, key, row) in (0..KEY_GROUPS).flat_map(|group| self.rows.iter(group as u8)) {
            if let Some(at) = row.deleted_at {
                self.forget.entry(at).or_default().push((hash, key.clone()));
            }
        }
    }
}
