//! Goal: chains follow the slices, garbage is what nobody needs, and no change of a stored manifest goes unnoticed.

use super::*;

fn head(epoch: u64) -> ManifestHead {
    ManifestHead {
        pipeline: "fraud.spend".into(),
        generation: 1,
        epoch: Epoch(epoch),
        fingerprint: u128::MAX / 3,
        token: Token(4),
        positions: vec![1, 2, 3],
    }
}

fn slice(object: &str, kind: SliceKind, entries: u32) -> SliceRef {
    SliceRef { object: object.into(), offset: 30, len: 9, crc: 77, kind, entries }
}

fn written(state: &str, slices: Vec<(u8, SliceRef)>) -> Written {
    Written { state: state.into(), type_fingerprint: 8, slices }
}

use SliceKind::{Base, Delta};

fn two() -> (Manifest, Manifest) {
    let base = |object| vec![(0, slice(object, Base, 1)), (255, slice(object, Base, 2))];
    let one = Manifest::merge(None, head(10), [written("a", base("a1")), written("b", base("b1"))]).unwrap();
    let delta = written("a", vec![(0, slice("a2", Delta, 1)), (255, slice("a2", Base, 1))]);
    let two = Manifest::merge(Some(&one), head(20), [delta, written("b", vec![]), written("c", vec![])]).unwrap();
    (one, two)
}

#[test]
fn a_base_resets_its_chain_and_a_delta_lengthens_it() {
    let (one, two) = two();
    let objects = |state: &str, group: u8| -> Vec<String> {
        two.state(state).unwrap().groups[&group].iter().map(|s| s.object.clone()).collect()
    };
    assert_eq!((objects("a", 0), objects("a", 255)), (vec!["a1".into(), "a2".into()], vec!["a2".into()]));
    assert_eq!(two.state("b"), one.state("b"));
    assert!(two.state("c").unwrap().groups.is_empty());
    assert_eq!(two.objects(), BTreeSet::from(["a1", "a2", "b1"]));

    let emptied = written("a", vec![(0, slice("a3", Base, 0)), (255, slice("a3", Base, 1))]);
    let three = Manifest::merge(Some(&two), head(30), [emptied, written("b", vec![])]).unwrap();
    assert_eq!(three.objects(), BTreeSet::from(["a3", "b1"]));
    assert!(three.state("c").is_none(), "a plan without this state goes on");
    assert_eq!(garbage(std::slice::from_ref(&one), &[two.clone(), three.clone()]), BTreeSet::from([one.name()]));
    let both = BTreeSet::from([one.name(), two.name(), "a1".into(), "a2".into()]);
    assert_eq!(garbage(&[one, two], &[three]), both);
}

#[test]
fn a_delta_without_a_base_a_group_twice_and_other_types_are_refused() {
    let refused = |w: Vec<Written>| Manifest::merge(None, head(1), w).unwrap_err();
    assert!(matches!(refused(vec![written("a", vec![(0, slice("x", Delta, 1))])]), Error::Damaged { .. }));
    let twice = || written("a", vec![(0, slice("x", Base, 1))]);
    assert!(matches!(refused(vec![twice(), twice()]), Error::Damaged { .. }));
    assert!(matches!(refused(vec![twice(), Written { type_fingerprint: 9, ..twice() }]), Error::Refused { .. }));
}

#[test]
fn orphans_are_what_dead_incarnations_left() {
    let (one, two) = two();
    let at = |epoch, state, token| name::object_name("fraud.spend", 1, Epoch(epoch), state, 0, Token(token));
    let kept = Manifest::merge(None, head(10), [written("a", vec![(0, slice(&at(10, "a", 4), Base, 1))])]).unwrap();
    let stored = [at(10, "a", 4), at(20, "a", 4), at(20, "a", 5), one.name(), two.name(), "else".into()];
    let found = orphans(stored.iter().map(String::as_str), &[kept], Token(5));
    assert_eq!(found, BTreeSet::from([at(20, "a", 4), two.name()]));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (_, two) = two();
    let bytes = two.encode();
    assert_eq!(Manifest::decode("m", &bytes).unwrap(), two);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Manifest::decode("m", &flipped), Err(Error::Damaged { .. })), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(matches!(Manifest::decode("m", &bytes[..len]), Err(Error::Damaged { .. })), "cut at {len}");
    }
}
