//! Goal: a snapshot shows the state as it was when it began, whatever happens until it is drained, and a restore from base and
//! deltas brings exactly that back.
//! Method: random interleavings against a model that copies a `BTreeMap` at each beginning; the chains are kept as a manifest
//! keeps them. The seeds of failures are printed and kept by proptest.

use super::*;
use crate::error::Error;
use crate::key::decode;
use crate::state::DELTAS_MAX;
use crate::state::Entries;
use hashbrown::HashTable;
use proptest::prelude::*;
use std::collections::BTreeMap;

type State = KeyedState<u64, String>;
type Model = BTreeMap<u64, String>;
type Chains = BTreeMap<u8, Vec<Bytes>>;

fn set(state: &mut State, key: u64, value: Option<String>) {
    match key % 2 {
        0 => state.update(stable_hash(&key), &key, |v| *v = value),
        _ => state.update_owned(stable_hash(&key), key, |v| *v = value),
    }
}

fn contents(state: &State) -> Model {
    let all = (0..=255).flat_map(|group| state.iter(group).map(move |(hash, k, v)| (group, hash, *k, v.clone())));
    all.inspect(|(group, hash, k, _)| assert_eq!((*group, *hash), (key_group(*hash), stable_hash(k))))
        .map(|(.., k, v)| (k, v))
        .collect()
}

/// Adds a slice as a manifest would; returns its bytes.
fn keep(chains: &mut Chains, slice: Slice) -> usize {
    let keys: Vec<_> = Entries::of(&slice.bytes).map(|e| e.unwrap().0.to_vec()).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "sorted, each key once");
    assert_eq!(keys.len(), slice.entries as usize);
    let chain = chains.entry(slice.group).or_default();
    if slice.kind == SliceKind::Base {
        chain.clear();
    }
    assert!(slice.kind == SliceKind::Base || !chain.is_empty(), "a delta stands on a base");
    let bytes = slice.bytes.len();
    chain.push(slice.bytes.into());
    assert!(chain.len() <= DELTAS_MAX + 1);
    if slice.entries == 0 {
        chains.remove(&slice.group);
    }
    bytes
}

fn restored(chains: &Chains) -> State {
    let mut state = State::new();
    for (group, chain) in chains {
        state.restore(*group, chain).unwrap();
    }
    state
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u8),
    Remove(u8),
    /// Keeps of the group of a key what has not this length.
    Retain(u8, u8),
    Begin,
    Drain,
    DrainAll,
    /// The process dies: back to the last snapshot that was drained.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (any::<u8>(), any::<u8>()).prop_map(|(k, v)| Op::Set(k, v)),
        10 => any::<u8>().prop_map(Op::Remove),
        3 => (any::<u8>(), 0_u8..5).prop_map(|(k, len)| Op::Retain(k, len)),
        4 => Just(Op::Begin),
        4 => Just(Op::Drain),
        2 => Just(Op::DrainAll),
        1 => Just(Op::Restart),
    ]
}

/// Keys of three groups only, so that each has many and a few changes make a delta.
fn keys() -> Vec<u64> {
    (0..u64::MAX).filter(|k| [0, 7, 255].contains(&key_group(stable_hash(k)))).take(96).collect()
}

#[derive(Default)]
struct Run {
    state: State,
    model: Model,
    /// The model at the beginning of the snapshot under way, and what was drained of it.
    pending: Option<(Model, Vec<Slice>)>,
    durable: (Model, Chains),
}

impl Run {
    fn drain(&mut self) -> bool {
        let Some((_, slices)) = &mut self.pending else { return false };
        if let Some(slice) = self.state.drain_slice().unwrap() {
            slices.push(slice);
            return true;
        }
        let (model, slices) = self.pending.take().unwrap();
        for slice in slices {
            keep(&mut self.durable.1, slice);
        }
        let back = restored(&self.durable.1);
        assert_eq!(contents(&back), model);
        assert_eq!(back.len(), model.len());
        self.durable.0 = model;
        false
    }

    fn step(&mut self, keys: &[u64], op: &Op) {
        let key = |k: u8| keys[usize::from(k) % keys.len()];
        match op {
            Op::Set(k, v) => {
                let value = "v".repeat(usize::from(v % 5));
                set(&mut self.state, key(*k), Some(value.clone()));
                self.model.insert(key(*k), value);
            }
            Op::Remove(k) => {
                set(&mut self.state, key(*k), None);
                self.model.remove(&key(*k));
            }
            Op::Retain(k, len) => {
                let group = key_group(stable_hash(&key(*k)));
                let stays = |v: &String| v.len() != usize::from(*len);
                self.state.retain(group, stays);
                self.model.retain(|k, v| key_group(stable_hash(k)) != group || stays(v));
            }
            Op::Begin if self.pending.is_none() => {
                self.state.begin_snapshot();
                self.pending = Some((self.model.clone(), Vec::new()));
            }
            Op::Drain => drop(self.drain()),
            Op::DrainAll => while self.drain() {},
            Op::Restart => {
                self.state = restored(&self.durable.1);
                self.model = self.durable.0.clone();
                self.pending = None;
            }
            Op::Begin => {}
        }
        assert_eq!(self.state.len(), self.model.len());
    }
}

proptest! {
    #[test]
    fn a_snapshot_shows_the_state_as_it_began(ops in proptest::collection::vec(op(), 1..300)) {
        let keys = keys();
        let mut run = Run::default();
        for k in 0..90 {
            run.step(&keys, &Op::Set(k, k));
        }
        for op in &ops {
            run.step(&keys, op);
        }
        prop_assert_eq!(contents(&run.state), run.model.clone());
        for op in [Op::DrainAll, Op::Begin, Op::DrainAll] {
            run.step(&keys, &op);
        }
        prop_assert_eq!(&run.durable.0, &run.model);
    }
}

fn drain_all(state: &mut State, chains: &mut Chains) -> usize {
    let mut bytes = 0;
    state.begin_snapshot();
    while let Some(slice) = state.drain_slice().unwrap() {
        bytes += keep(chains, slice);
    }
    bytes
}

/// Keys that change differ from checkpoint to checkpoint; a restart in the middle must not bring the groups into step.
#[test]
fn one_percent_of_the_keys_costs_less_than_a_tenth_of_the_bytes() {
    const KEYS: u64 = 50_000;
    let (mut state, mut chains) = (State::new(), Chains::new());
    (0..KEYS).for_each(|k| set(&mut state, k, Some(format!("a value of usual length {k:8}"))));
    let full = drain_all(&mut state, &mut chains);
    let mut most = 0;
    for round in 0..60 {
        if round % 25 == 10 {
            state = restored(&chains);
        }
        for i in 0..KEYS / 100 {
            set(&mut state, stable_hash(&(round, i)) % KEYS, Some(format!("a value of usual length {round:8}")));
        }
        most = most.max(drain_all(&mut state, &mut chains));
    }
    assert!(most * 10 < full, "{most} of {full} bytes");
    assert_eq!(drain_all(&mut state, &mut chains), 0, "nothing changed, nothing written");
    assert_eq!(contents(&restored(&chains)), contents(&state));
}

#[test]
fn a_removed_key_leaves_memory() {
    let (mut state, mut chains) = (State::new(), Chains::new());
    (0..100_000).for_each(|k| set(&mut state, k, Some(String::new())));
    let slots = |state: &State| state.parts.0.iter().flat_map(|(_, tables)| tables).map(HashTable::len).sum::<usize>();
    (0..50_000).for_each(|k| set(&mut state, k, None));
    assert_eq!(slots(&state), 50_000, "a key that was never written leaves at once");
    drain_all(&mut state, &mut chains);
    (50_000..100_000).for_each(|k| set(&mut state, k, None));
    assert_eq!((slots(&state), state.len()), (50_000, 0), "the others leave a tombstone");
    drain_all(&mut state, &mut chains);
    assert_eq!(slots(&state), 0);
    assert_eq!(state.parts().count(), 0);
    assert!(restored(&chains).is_empty());
}

#[test]
fn a_panic_in_a_change_leaves_what_it_did() {
    let (mut state, mut chains) = (State::new(), Chains::new());
    let panicking = |state: &mut State, key: u64, left: Option<&str>| {
        let change = std::panic::AssertUnwindSafe(|| {
            state.update(stable_hash(&key), &key, |v| {
                *v = left.map(str::to_string);
                std::panic::resume_unwind(Box::new("the user's code"));
            })
        });
        std::panic::catch_unwind(change).unwrap_err();
    };
    (1..4).for_each(|k| set(&mut state, k, Some("x".into())));
    panicking(&mut state, 0, Some("never there"));
    panicking(&mut state, 1, Some("y"));
    panicking(&mut state, 2, None);
    let left = Model::from([(1, "y".into()), (3, "x".into())]);
    assert_eq!((contents(&state), state.len()), (left.clone(), 2));
    drain_all(&mut state, &mut chains);
    assert_eq!(contents(&restored(&chains)), left);
}

#[test]
fn slices_of_another_group_or_type_are_refused() {
    let mut state = State::new();
    set(&mut state, 1, Some("x".into()));
    state.begin_snapshot();
    let slice = state.drain_slice().unwrap().unwrap();
    let bytes = Bytes::from(slice.bytes);
    let group = slice.group;
    assert!(matches!(State::new().restore(group ^ 1, std::slice::from_ref(&bytes)), Err(Error::Damaged { .. })));
    assert!(matches!(State::new().restore(group, &[bytes.slice(1..)]), Err(Error::Damaged { .. })));
    assert!(matches!(KeyedState::<u64, ()>::new().restore(group, std::slice::from_ref(&bytes)), Err(Error::Damaged { .. })));
    assert!(matches!(KeyedState::<(u64, u64), String>::new().restore(group, &[bytes]), Err(Error::Damaged { .. })));
}

#[test]
fn a_state_that_cannot_be_encoded_says_so() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Flattened {
        #[serde(flatten)]
        inner: BTreeMap<String, i64>,
    }
    let mut state = KeyedState::<u64, Flattened>::new();
    state.update(stable_hash(&1u64), &1, |v| *v = Some(Flattened { inner: BTreeMap::new() }));
    state.begin_snapshot();
    let error = state.drain_slice().unwrap_err().to_string();
    assert!(error.contains("Flattened") && error.contains("flatten`"), "{error}");
}

#[test]
fn windows_of_a_key_stay_in_its_group() {
    let (user, hash) = ("u1".to_string(), stable_hash(&"u1"));
    let mut state = KeyedState::<String, i64, u64>::in_parts();
    for window in 0..50 {
        state.update_in(window, hash, &user, |n| *n = Some(1));
    }
    state.begin_snapshot();
    let slice = state.drain_slice().unwrap().unwrap();
    assert_eq!((slice.group, slice.entries), (key_group(hash), 50));
    assert!(state.drain_slice().unwrap().is_none());

    // What stands in a slice is a pair.
    let first = Entries::of(&slice.bytes).next().unwrap().unwrap().0;
    assert_eq!(decode::<(String, u64)>(first).unwrap(), (user.clone(), 0));

    let mut back = KeyedState::<String, i64, u64>::in_parts();
    back.restore(slice.group, &[slice.bytes.into()]).unwrap();
    assert_eq!((back.len(), back.parts().count()), (50, 50));
    assert_eq!(back.get_in(7, hash, &user), Some(&1));
    back.update_in(7, hash, &user, |n| *n = None);
    assert_eq!((back.len(), back.iter_in(7).count(), back.iter_in(8).count()), (49, 0, 1));
}

#[test]
fn a_cleared_part_is_in_the_snapshot_before_and_not_in_the_next() {
    let (mut state, mut slices) = (KeyedState::<u64, u64, i64>::in_parts(), Vec::<Slice>::new());
    let put = |state: &mut KeyedState<u64, u64, i64>, part, keys: std::ops::Range<u64>| {
        keys.for_each(|k| state.update_in(part, stable_hash(&k), &k, |v| *v = Some(k)));
    };
    let mut snapshot = |state: &mut KeyedState<u64, u64, i64>| {
        slices.extend(std::iter::from_fn(|| state.drain_slice().unwrap()));
        let mut back = KeyedState::<u64, u64, i64>::in_parts();
        for group in 0..=255 {
            let chain = slices.iter().filter(|s| s.group == group);
            let chain: Vec<_> =
                chain.rev().scan(false, |base, s| (!std::mem::replace(base, s.kind == SliceKind::Base)).then_some(s)).collect();
            let chain: Vec<Bytes> = chain.into_iter().rev().map(|s| s.bytes.clone().into()).collect();
            back.restore(group, &chain).unwrap();
        }
        (back.len(), [1, 2].map(|part| back.iter_in(part).count()))
    };
    put(&mut state, 1, 0..3_000);
    put(&mut state, 2, 0..10_000);
    state.begin_snapshot();
    assert_eq!(snapshot(&mut state), (13_000, [3_000, 10_000]));

    put(&mut state, 1, 2_000..4_000);
    state.begin_snapshot();
    state.clear(1);
    put(&mut state, 1, 0..5);
    assert_eq!((state.len(), state.iter_in(1).count()), (10_005, 5));
    assert_eq!(snapshot(&mut state), (14_000, [4_000, 10_000]), "as it was when the snapshot began");

    state.begin_snapshot();
    state.clear(1);
    state.clear(1);
    assert_eq!(snapshot(&mut state), (10_005, [5, 10_000]));
    state.begin_snapshot();
    assert_eq!(snapshot(&mut state), (10_000, [0, 10_000]));
    assert_eq!(state.parts().collect::<Vec<_>>(), [2], "nothing is left of it");
}
