//! What a key has in a window.

use super::result;
use crate::aggregate::{Aggregate, Group};
use crate::said::Said;
use distributary_runtime::update::Data;
use serde::{Deserialize, Serialize, Serializer};

/// As small as can be while nothing has been said, because it is looked at for every record.
#[derive(Clone, Deserialize)]
#[serde(from = "Written<Group<S>, Said<O>>", bound(deserialize = "S: Data, O: Data"))]
pub(super) enum Entry<S, O> {
    Open(Group<S>),
    Fired(Box<Written<Group<S>, Said<O>>>),
}

/// An entry as it stands in checkpoints.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "Entry")]
pub(super) struct Written<G, S> {
    group: G,
    said: Option<S>,
}

impl<S, O> Entry<S, O> {
    pub(super) fn of(group: Group<S>, said: Said<O>) -> Self {
        if said.is_nothing() { Self::Open(group) } else { Self::Fired(Box::new(Written { group, said: Some(said) })) }
    }

    pub(super) fn into_parts(self) -> (Group<S>, Said<O>) {
        match self {
            Self::Open(group) => (group, Said::default()),
            Self::Fired(entry) => (entry.group, entry.said.unwrap_or_default()),
        }
    }

    #[inline]
    pub(super) fn group(&mut self) -> &mut Group<S> {
        match self {
            Self::Open(group) => group,
            Self::Fired(entry) => &mut entry.group,
        }
    }
}

impl<S, O: PartialEq> Entry<S, O> {
    /// Whether what it would say stands already.
    pub(super) fn has_said_all<V, A: Aggregate<V, State = S, Output = O>>(&self, aggregate: &A) -> bool {
        match self {
            Self::Open(group) => result(group, aggregate).is_none(),
            Self::Fired(entry) => entry.said.as_ref().is_some_and(|said| said.is(&result(&entry.group, aggregate))),
        }
    }
}

impl<S, O> From<Written<Group<S>, Said<O>>> for Entry<S, O> {
    fn from(Written { group, said }: Written<Group<S>, Said<O>>) -> Self {
        Self::of(group, said.unwrap_or_default())
    }
}

impl<S: Data, O: Data> Serialize for Entry<S, O> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Open(group) => Written { group, said: None::<&Said<O>> }.serialize(serializer),
            Self::Fired(entry) => entry.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary_runtime::key::{decode, encode};
    use distributary_runtime::shape;
    use distributary_runtime::time::EventTime;

    /// In memory it is something else: of what stands in checkpoints, bytes and shape must not change for that.
    #[test]
    fn an_entry_is_written_as_ever() {
        let shape = "distributary_operators::window::entry::Entry<u8, u64>=Entry{group,said: Group{records,state: i64, u8}, \
                     ?Said=?(EventTime=i64, Result<Ok|Err> u64)}";
        assert_eq!(shape::of::<Entry<u8, u64>>(), shape);
        let group = (5_i64, 1_u8);
        for said in [None, Some(Some((EventTime(7), Ok::<_, String>(3_u64))))] {
            let bytes = encode(&(group, &said)).unwrap();
            let entry: Entry<u8, u64> = decode(&bytes).unwrap();
            assert_eq!((matches!(entry, Entry::Fired(_)), encode(&entry).unwrap()), (said.is_some(), bytes));
        }
        assert_eq!(size_of::<Option<Entry<(), u64>>>(), 16, "a record looks at one cache line");
    }
}
