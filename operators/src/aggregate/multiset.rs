//! Values and how often each came: what aggregates keep that must know the next value when one goes.

use distributary_runtime::update::Diff;
use rust_decimal::Decimal;
use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Values with their copies; negative while a retraction stands before its record. (Not a type of its own: the name of what
/// a state consists of is part of the state's shape.)
pub(super) type Multiset<T> = BTreeMap<T, Diff>;

/// How many copies there were before a change, and how many after.
pub(super) struct Copies {
    pub(super) before: Diff,
    pub(super) after: Diff,
}

/// Adds `diff` copies of a value.
///
/// Values with as many additions as retractions are absent, so that equal multisets are equal states.
pub(super) fn add<T: Ord>(values: &mut Multiset<T>, value: T, diff: Diff) -> Copies {
    match values.entry(value) {
        Entry::Vacant(entry) => {
            if diff != 0 {
                entry.insert(diff);
            }
            Copies { before: 0, after: diff }
        }
        Entry::Occupied(mut entry) => {
            let before = *entry.get();
            let after = before.wrapping_add(diff);
            *entry.get_mut() = after;
            if after == 0 {
                entry.remove();
            }
            Copies { before, after }
        }
    }
}

/// Adds all values of another one.
pub(super) fn merge<T: Ord + Clone>(into: &mut Multiset<T>, from: &Multiset<T>) {
    for (value, copies) in from {
        add(into, value.clone(), *copies);
    }
}

/// The values from the least on, each as often as it is there.
pub(super) fn ascending<T>(values: &Multiset<T>) -> impl Iterator<Item = &T> {
    values.iter().flat_map(repeated)
}

/// The values from the greatest on, each as often as it is there.
pub(super) fn descending<T>(values: &Multiset<T>) -> impl Iterator<Item = &T> {
    values.iter().rev().flat_map(repeated)
}

/// A value that went more often than it came is not there.
fn repeated<'a, T>((value, copies): (&'a T, &Diff)) -> std::iter::RepeatN<&'a T> {
    std::iter::repeat_n(value, usize::try_from(*copies).unwrap_or(0))
}

/// 1.0 and 1.00 are equal but encoded differently: which of them stays in the map would depend on the order.
pub(super) fn canonical<T: 'static>(mut value: T) -> T {
    if let Some(decimal) = (&mut value as &mut dyn Any).downcast_mut::<Decimal>() {
        decimal.normalize_assign();
    }
    value
}
