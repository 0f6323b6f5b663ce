//! What a key has in a slice.

use crate::aggregate::{Aggregate, Group};
use crate::said::Said;
use distributary_runtime::update::Diff;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Its records, and what the window that begins with the slice has said.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Slice<S, O> {
    /// Records that all windows with this slice take: mostly all.
    group: Group<S>,
    /// Records that were late for the first of these windows, by the first that takes them.
    tardy: BTreeMap<i64, Group<S>>,
    pub(super) said: Said<O>,
}

impl<S: Default, O> Default for Slice<S, O> {
    fn default() -> Self {
        Self { group: Group::default(), tardy: BTreeMap::new(), said: Said::default() }
    }
}

impl<S: Default, O> Slice<S, O> {
    /// Adds a record that this window is the first to take; `None` if it is the first one with the slice.
    pub(super) fn add<V, A: Aggregate<V, State = S>>(&mut self, aggregate: &A, first: Option<i64>, input: A::Input, diff: Diff) {
        let Some(first) = first else { return self.group.add(aggregate, input, diff) };
        let group = self.tardy.entry(first).or_default();
        group.add(aggregate, input, diff);
        if group.is_zero(aggregate) {
            self.tardy.remove(&first);
        }
    }

    /// Adds what a window takes of it.
    pub(super) fn merge_into<V, A: Aggregate<V, State = S>>(&self, whole: &mut Group<S>, window: i64, aggregate: &A) {
        whole.merge(aggregate, &self.group);
        self.tardy.range(..=window).for_each(|(_, group)| whole.merge(aggregate, group));
    }

    /// Whether it may be forgotten.
    pub(super) fn is_nothing<V, A: Aggregate<V, State = S>>(&self, aggregate: &A) -> bool {
        self.said.is_nothing() && self.tardy.is_empty() && self.group.is_zero(aggregate)
    }
}
