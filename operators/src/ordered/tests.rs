//! Goal: it is a `BTreeMap`, in what it says and in its bytes, however many values come and go.
//! Method: random changes and removals on both; after each, all questions to both.

use super::Ordered;
use distributary_runtime::key::{decode, encode};
use distributary_runtime::shape;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

type Pair = (u8, u8);

fn pairs<'a>(of: impl DoubleEndedIterator<Item = (&'a u8, &'a u8)>) -> Vec<Pair> {
    of.map(|(key, value)| (*key, *value)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8, u8),
    Keep(u8, bool),
    RemoveBelow(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..20, any::<u8>()).prop_map(|(key, by)| Step::Add(key, by)),
        2 => (0_u8..20, any::<bool>()).prop_map(|(key, keep)| Step::Keep(key, keep)),
        1 => (0_u8..20).prop_map(Step::RemoveBelow),
    ]
}

proptest! {
    #[test]
    fn it_is_a_tree(steps in prop::collection::vec(step(), 0..60), (a, b) in (0_u8..20, 0_u8..20)) {
        let (mut ordered, mut tree) = (Ordered::default(), BTreeMap::new());
        let (low, high) = (a.min(b), a.max(b));
        for step in steps {
            match step {
                Step::Add(key, by) => {
                    ordered.change(key, || 1, |value: &mut u8| *value = value.wrapping_add(by));
                    let value = tree.entry(key).or_insert(1_u8);
                    *value = value.wrapping_add(by);
                }
                Step::Keep(key, keep) => {
                    ordered.retain_one(&key, |value| {
                        *value = value.wrapping_mul(3);
                        keep
                    });
                    tree.entry(key).and_modify(|value| *value = value.wrapping_mul(3));
                    if !keep {
                        tree.remove(&key);
                    }
                }
                Step::RemoveBelow(bound) => {
                    ordered.remove_while(|key| *key < bound);
                    tree.retain(|key, _| *key >= bound);
                }
            }
            prop_assert_eq!(pairs(ordered.iter()), pairs(tree.iter()));
            prop_assert_eq!(pairs(ordered.iter().rev()), pairs(tree.iter().rev()));
            prop_assert_eq!(pairs(ordered.range(low..high)), pairs(tree.range(low..high)));
            prop_assert_eq!(pairs(ordered.range(low..)), pairs(tree.range(low..)));
            prop_assert_eq!(pairs(ordered.range(..=high)), pairs(tree.range(..=high)));
            prop_assert_eq!(
                pairs(ordered.range((Excluded(low), Unbounded))),
                pairs(tree.range((Excluded(low), Unbounded)))
            );
            prop_assert_eq!(ordered.get(&low), tree.get(&low));
            prop_assert_eq!((ordered.first(), ordered.is_empty()), (tree.keys().next(), tree.is_empty()));
            let bytes = encode(&ordered).unwrap();
            prop_assert_eq!(&bytes, &encode(&tree).unwrap());
            prop_assert_eq!(pairs(decode::<Ordered<u8, u8>>(&bytes).unwrap().iter()), pairs(tree.iter()));
        }
    }
}

/// What a checkpoint is known by does not tell it from a map.
#[test]
fn it_has_the_shape_of_a_map() {
    let inside = |shape: String| shape.rsplit_once('=').map_or(shape.clone(), |(_, inside)| inside.to_string());
    assert_eq!(inside(shape::of::<Ordered<u8, u8>>()), inside(shape::of::<BTreeMap<u8, u8>>()));
}
