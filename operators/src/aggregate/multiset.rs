//! Values and how often each came: what aggregates keep that must know the next value when one goes.

use distributary_runtime::update::Diff;
use rust_decimal::Decimal;
use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Values with their copies; negative while a retraction stands before its record. (Not a type of its own: the name of what
/// a state consists of is part of the state's shape.)
pub(super) type Multiset<T> = BTreeMap<T, Diff>;

/// Adds `diff` copies of a value.
///
/// Values with as many additions as retractions are absent, so that equal multisets are equal states.
pub(super) fn add<T: Ord>(values: &mut Multiset<T>, value: T, diff: Diff) {
    match values.entry(value) {
        Entry::Vacant(entry) => {
            if diff != 0 {
                entry.insert(diff);
            }
        }
        Entry::Occupied(mut entry) => {
            *entry.get_mut() = entry.get().wrapping_add(diff);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// 1.0 and 1.00 are equal but encoded differently: which of them stays in the map would depend on the order.
pub(super) fn canonical<T: 'static>(mut value: T) -> T {
    if let Some(decimal) = (&mut value as &mut dyn Any).downcast_mut::<Decimal>() {
        decimal.normalize_assign();
    }
    value
}
