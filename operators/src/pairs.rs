//! Every pair of records that meet: the rule of `join` and `interval_join`.

use crate::interval::Interval;
use crate::joining::{Changed, Rule, Saying};
use crate::side::{Entry, Held, Id, Side};
use distributary_runtime::key::stable_hash;
use distributary_runtime::operator::Closing;
use distributary_runtime::time::{EventTime, Watermark};
use distributary_runtime::update::Diff;
use std::collections::BTreeSet;

/// Which records meet, and what becomes of those that meet none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meet {
    /// All of a key, for ever.
    All,
    /// Those whose times are near.
    Within(Interval),
    /// Those whose times are near; a left record that turns out to meet none gives a result too.
    WithinOrAlone(Interval),
}

impl Meet {
    fn interval(&self) -> Option<&Interval> {
        match self {
            Self::All => None,
            Self::Within(interval) | Self::WithinOrAlone(interval) => Some(interval),
        }
    }

    /// The times of right records that a left one meets.
    fn rights_of(&self, left: &Id) -> (i128, i128) {
        self.interval().map_or((i128::MIN, i128::MAX), |interval| interval.rights_of(left.time))
    }

    /// The times of left records that a right one meets.
    fn lefts_of(&self, right: &Id) -> (i128, i128) {
        self.interval().map_or((i128::MIN, i128::MAX), |interval| interval.lefts_of(right.time))
    }
}

impl Rule for Meet {
    fn bound<L, R>(&self, record: &Side<L, R>, time: EventTime, diff: Diff) -> Option<EventTime> {
        Some(self.interval()?.bound(record, time, diff))
    }

    fn say<K, L, R, O>(&self, entry: &Entry<L, R>, changed: &Changed, at: &Closing<'_>, saying: &mut Saying<'_, K, L, R, O>) {
        let lefts = changed.left.iter().filter_map(|id| Some((id, entry.left.get(id)?)));
        for (id, left) in lefts.filter(|(_, left)| left.has_changed()) {
            let (first, last) = self.rights_of(id);
            entry.right.between(first, last).for_each(|right| say_pair((id, left), right, saying));
        }
        for (id, right) in changed.right.iter().filter_map(|id| Some((id, entry.right.get(id)?))) {
            let (first, last) = self.lefts_of(id);
            let lefts = entry.left.between(first, last).filter(|(_, left)| !left.has_changed());
            lefts.for_each(|left| say_pair(left, (id, right), saying));
        }
        if let Self::WithinOrAlone(interval) = self {
            say_alone(interval, entry, changed, at, saying);
        }
    }

    /// Once, when it can meet nobody new and cannot be taken back any more, each record is asked whether it has met another one. If it has,
    /// it stays as long as any of its partners may go, which would need it; and a right record as long as a left one that it has met may
    /// be looked at again, which must not look as if it had met none. So a record costs the same however many its key has.
    fn forget<L, R>(&self, entry: &mut Entry<L, R>, at: &Closing<'_>) {
        let Some(interval) = self.interval() else { return };
        let (lefts, rights) = (interval.lefts_kept(), interval.rights_kept());
        let (first, last) = lefts.alone_between(at.before, at.watermark());
        let settled = rights.settled_until(at.watermark());
        let has_met = |id: &Id| {
            let (first, last) = interval.rights_of(id.time);
            // With those that cannot be taken back any more it stands for good.
            entry.right.between(first.max(settled + 1), last).any(|(_, right)| right.now() > 0)
        };
        let over = entry.left.between(first, last).filter(|(id, left)| left.now() == 0 || !has_met(id));
        over.map(|(id, _)| *id).collect::<Vec<_>>().iter().for_each(|id| entry.left.remove(id));
        entry.left.forget_until(lefts.all_until(at.watermark()));

        let (first, last) = rights.alone_between(at.before, at.watermark());
        let has_met = |id: &Id| {
            let (first, last) = interval.lefts_of(id.time);
            entry.left.between(first, last).any(|(_, left)| left.now() > 0)
        };
        let over = entry.right.between(first, last).filter(|(id, right)| right.now() == 0 || !has_met(id));
        over.map(|(id, _)| *id).collect::<Vec<_>>().iter().for_each(|id| entry.right.remove(id));
        entry.right.forget_until(rights.all_until(at.watermark()));
    }

    fn due<L, R>(&self, entry: &Entry<L, R>, watermark: Watermark) -> Option<EventTime> {
        let interval = self.interval()?;
        let (uncertain, _) = interval.certain_behind(watermark);
        let certain = entry.left.first_behind(uncertain).map(|id| interval.certain_at(id.time));
        let (left, right) =
            (interval.lefts_kept().next(&entry.left, watermark), interval.rights_kept().next(&entry.right, watermark));
        certain.into_iter().chain(left).chain(right).filter(|time| *time > watermark).min()
    }
}

/// There are as many copies of a pair as of both its records together.
fn say_pair<K, L, R, O>((l_id, left): (&Id, &Held<L>), (r_id, right): (&Id, &Held<R>), saying: &mut Saying<'_, K, L, R, O>) {
    let was = left.was().wrapping_mul(right.was());
    let diff = left.now().wrapping_mul(right.now()).wrapping_sub(was);
    let origins = stable_hash(&(l_id.origin, r_id.origin));
    saying.add(l_id.time.max(r_id.time), origins, diff, &left.data, Some(&right.data));
}

/// Left records that meet none, as far as that has changed: they, their partners, or that it is certain.
fn say_alone<K, L, R, O>(
    interval: &Interval,
    entry: &Entry<L, R>,
    changed: &Changed,
    at: &Closing<'_>,
    saying: &mut Saying<'_, K, L, R, O>,
) {
    let mut touched: BTreeSet<Id> = changed.left.iter().copied().collect();
    for id in &changed.right {
        let (first, last) = interval.lefts_of(id.time);
        touched.extend(entry.left.between(first, last).map(|(id, _)| *id));
    }
    let (first, last) = interval.certain_behind(at.before);
    let is_certain = |id: &Id, watermark| interval.certain_at(id.time) <= watermark;
    let certain = entry.left.between(first, last).take_while(|(id, _)| is_certain(id, at.watermark()));
    touched.extend(certain.map(|(id, _)| *id));
    for (id, left) in touched.iter().filter_map(|id| Some((id, entry.left.get(id)?))) {
        let (first, last) = interval.rights_of(id.time);
        let meets = |copies: fn(&Held<R>) -> Diff| entry.right.between(first, last).any(|(_, right)| copies(right) > 0);
        let was = if is_certain(id, at.before) && !meets(Held::was) { left.was() } else { 0 };
        let now = if is_certain(id, at.watermark()) && !meets(Held::now) { left.now() } else { 0 };
        saying.add(id.time, stable_hash(&id.origin), now.wrapping_sub(was), &left.data, None);
    }
}
