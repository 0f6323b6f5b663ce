//! Goal: what has no stable encoding is refused, with the reason; what has one is not. Method: one type of each kind.

use super::{Key, check, reads_back};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

/// A key that is ordered by what this makes of it.
macro_rules! ordered_by {
    ($of:ident, $by:expr) => {
        impl PartialEq for $of {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }
        impl Eq for $of {}
        impl PartialOrd for $of {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $of {
            fn cmp(&self, other: &Self) -> Ordering {
                $by(self).cmp(&$by(other))
            }
        }
    };
}

#[derive(Clone, Serialize, Deserialize)]
struct Price(f64);
ordered_by!(Price, |price: &Price| (price.0 * 100.0) as i64);

#[derive(Clone, Serialize, Deserialize)]
struct Folded(String);
ordered_by!(Folded, |text: &Folded| text.0.to_lowercase());

/// Ordered by its first digit behind which zeros are not counted, as a decimal is.
#[derive(Clone, Serialize, Deserialize)]
struct Digits(String);
ordered_by!(Digits, |digits: &Digits| digits.0.trim_end_matches(['0', '.']).to_string());

/// Ordered by what it holds, written as it lies there.
#[derive(Clone, Serialize, Deserialize)]
struct Friends(HashSet<u64>);
ordered_by!(Friends, |friends: &Friends| friends.0.iter().copied().collect::<BTreeSet<u64>>());

#[derive(Clone, Serialize, Deserialize)]
struct Named {
    id: u64,
    name: String,
}
ordered_by!(Named, |named: &Named| named.id);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u64),
    Text(String),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Shop { id: u64 },
    Till { id: u64 },
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Inner {
    b: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Flat {
    a: u64,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u64>,
    b: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct HalfWritten {
    a: u64,
    #[serde(skip_serializing)]
    b: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Skipping {
    a: u64,
    #[serde(skip)]
    b: u64,
}

/// Refuses to be written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Mute(u64);

impl Serialize for Mute {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

/// What is wrong shows in a variant behind others, in an enum behind another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Deep {
    No,
    Id(u64, Kind),
    Price { of: Box<Price> },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Shop,
    Till,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Tree {
    name: String,
    under: Vec<Tree>,
}

/// A text with a form of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Iban(String);

impl<'de> Deserialize<'de> for Iban {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > 15 { Ok(Self(text)) } else { Err(serde::de::Error::custom("too short")) }
    }
}

fn why<K: Key>() -> String {
    check::<K>().map_or_else(|unfit| unfit.why, |()| "fit".into())
}

#[test]
fn what_is_written_in_two_ways_is_refused() {
    let float = "there is a float in it, and of floats some are equal but written differently (0.0 and -0.0)";
    assert_eq!(why::<Price>(), float);
    assert_eq!(why::<(u64, Vec<Option<Price>>)>(), float);
    assert_eq!(why::<(Kind, Deep)>(), float);
    assert_eq!(why::<Folded>(), "`a` and `A` make equal keys, but they are written differently");
    assert_eq!(why::<Digits>(), "`0` and `0.00` make equal keys, but they are written differently");
    assert_eq!(why::<(NonZeroU32, Folded)>(), why::<Folded>());
    assert_eq!(why::<Friends>(), "`1, 2, ..` and `.., 2, 1` make equal keys, but they are written differently");
    // Two names of one id.
    assert_eq!(why::<Named>(), "`0` and `0.00` make equal keys, but they are written differently");
}

#[test]
fn what_does_not_read_back_is_refused() {
    let asks = "it asks what is written, which only formats such as JSON tell";
    assert_eq!([why::<Loose>(), why::<Tagged>(), why::<(u8, Flat)>()], [asks, asks, asks]);
    let other = "what is written of it does not make the same key when it is read";
    assert_eq!([why::<Sparse>(), why::<HalfWritten>()], [other, other]);
    assert!(why::<Mute>().starts_with("it cannot be written"), "{}", why::<Mute>());
}

#[test]
fn a_field_that_is_not_written_shows_in_a_key_that_has_one() {
    assert_eq!(why::<Skipping>(), "fit");
    assert!(reads_back(&Skipping { a: 1, b: 0 }).is_ok());
    assert!(reads_back(&Skipping { a: 1, b: 2 }).is_err());
}

#[test]
fn keys_that_are_written_in_one_way_are_not_refused() {
    assert_eq!([why::<String>(), why::<()>(), why::<bool>(), why::<char>(), why::<Vec<u8>>()], ["fit"; 5]);
    assert_eq!([why::<u8>(), why::<i8>(), why::<i64>(), why::<u64>(), why::<u128>(), why::<i128>(), why::<usize>()], ["fit"; 7]);
    assert_eq!([why::<(String, u32, Option<i64>)>(), why::<[u8; 16]>(), why::<Box<str>>(), why::<NonZeroU32>()], ["fit"; 4]);
    assert_eq!([why::<Kind>(), why::<Vec<(Kind, Kind)>>(), why::<Inner>(), why::<Result<Kind, String>>()], ["fit"; 4]);
    assert_eq!([why::<BTreeSet<String>>(), why::<BTreeMap<Vec<u8>, BTreeSet<Kind>>>(), why::<Tree>(), why::<Iban>()], ["fit"; 4]);
    assert_eq!(
        [why::<IpAddr>(), why::<std::time::Duration>(), why::<std::time::SystemTime>(), why::<std::path::PathBuf>()],
        ["fit"; 4]
    );
    assert_eq!([why::<crate::time::EventTime>(), why::<crate::time::Epoch>()], ["fit"; 2]);
}
