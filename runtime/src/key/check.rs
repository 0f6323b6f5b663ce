//! Whether a type can be a key: values of it are made up, written and read, and those that are equal have to be written alike.

use super::{Key, decode, encode};
use crate::error::Error;
use crate::shape::{Answers, Asked, Enum, Fill, told};
use crate::user_code::catch;
use std::any::type_name;
use std::collections::BTreeMap;

/// Why a type cannot be a key, and what can instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The type.
    pub key: &'static str,
    /// What is wrong with it.
    pub why: String,
    /// What to use instead.
    pub remedy: &'static str,
}

impl Unfit {
    /// The refusal of an operator that has such keys.
    #[must_use]
    pub fn refusal(self, operator: &str) -> Error {
        let Self { key, why, remedy } = self;
        Error::refused(format!("{operator}: `{key}` cannot be a key: {why}"), remedy)
    }
}

/// What values that a type is asked to make up say. Some types take two of them to be the same.
const ANSWERS: [(&str, Answers); 12] = [
    ("0", SOME),
    ("1", Answers { text: "1", number: 2, ..SOME }),
    ("0.00", Answers { text: "0.00", ..SOME }),
    ("a", Answers { text: "a", ..SOME }),
    ("A", Answers { text: "A", ..SOME }),
    ("1970-01-01", Answers { text: "1970-01-01", ..SOME }),
    ("1970-01-01T00:00:00Z", Answers { text: "1970-01-01T00:00:00Z", ..SOME }),
    ("1970-01-01T01:00:00+01:00", Answers { text: "1970-01-01T01:00:00+01:00", ..SOME }),
    ("nothing", Answers { fill: Fill::Nothing, ..SOME }),
    ("1, 2, ..", Answers { fill: Fill::Rising, ..SOME }),
    (".., 2, 1", Answers { fill: Fill::Falling, ..SOME }),
    ("the least", Answers::LEAST),
];

/// There are more types that take no zero than such that take no one.
const SOME: Answers = Answers { number: 1, ..Answers::LEAST };

/// So many variants of enums are looked into.
const VARIANTS_MAX: usize = 1_000;

/// Looks for reasons why a type cannot be a key: floats, what cannot be read back, and equal values that are written differently.
///
/// A type that takes none of the values that are made up passes as far as its shape shows nothing; [`reads_back`] looks at real keys.
///
/// ```
/// use distributary_runtime::key::check;
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
/// #[serde(untagged)]
/// enum Id { Number(u64), Name(String) }
///
/// assert_eq!(check::<(String, u64)>(), Ok(()));
/// let refused = check::<Id>().unwrap_err().refusal("key_by").to_string();
/// assert!(refused.contains("Id` cannot be a key: it asks what is written"), "{refused}");
/// assert!(refused.ends_with("; derive Serialize and Deserialize without `untagged`, `tag` and `flatten`, or use its text (`String`)"));
/// ```
///
/// # Errors
/// What was found.
pub fn check<K: Key>() -> Result<(), Unfit> {
    let mut variants = BTreeMap::new();
    for _ in 0..VARIANTS_MAX {
        // A type that panics does so again for its records, which are dead letters.
        let enums = catch(|| check_with::<K>(&variants)).unwrap_or(Ok(Vec::new()))?;
        // What an enum is in has not gone on: so in the end all of its variants have been there.
        let next = enums.into_iter().rev().find(|of| variants.get(of).map_or(1, |told| told + 1) < of.1.len() as u32);
        match next {
            Some(next) => *variants.entry(next).or_default() += 1,
            None => break,
        }
    }
    Ok(())
}

/// Looks at the values that have these variants; gives all enums that are in them.
fn check_with<K: Key>(variants: &BTreeMap<Enum, u32>) -> Result<Vec<Enum>, Unfit> {
    let mut enums = Vec::new();
    let mut samples: Vec<(&str, K, Vec<u8>)> = Vec::new();
    for (said, answers) in ANSWERS {
        let asked = Asked::with_variants(variants);
        let sample = told::<K>(&asked, answers);
        check_questions::<K>(&asked)?;
        let new: Vec<_> = asked.enums.into_inner().into_iter().filter(|one| !enums.contains(one)).collect();
        enums.extend(new);
        let Some(sample) = sample else { continue };
        let bytes = reads_back(&sample)?;
        if let Some((other, ..)) = samples.iter().find(|(_, key, written)| *key == sample && *written != bytes) {
            let why = format!("`{other}` and `{said}` make equal keys, but they are written differently");
            let remedy = "bring it to one form first, and use a whole number of its smallest unit (`i64`), or its text \
                          (`amount.normalize().to_string()`)";
            return Err(unfit::<K>(why, remedy));
        }
        samples.push((said, sample, bytes));
    }
    Ok(enums)
}

fn check_questions<K>(asked: &Asked<'_>) -> Result<(), Unfit> {
    if asked.any.get() {
        let why = "it asks what is written, which only formats such as JSON tell".to_string();
        let remedy = "derive Serialize and Deserialize without `untagged`, `tag` and `flatten`, or use its text (`String`)";
        return Err(unfit::<K>(why, remedy));
    }
    if asked.float.get() {
        let why = "there is a float in it, and of floats some are equal but written differently (0.0 and -0.0)".to_string();
        return Err(unfit::<K>(why, "use a whole number of its smallest unit (`i64`), or its text (`String`)"));
    }
    Ok(())
}

/// Whether a key is the same when it has been written and read. The encoding.
///
/// ```
/// use distributary_runtime::key::reads_back;
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
/// struct Place { shop: u32, #[serde(skip)] till: u32 }
///
/// assert!(reads_back(&Place { shop: 7, till: 0 }).is_ok());
/// assert!(reads_back(&Place { shop: 7, till: 1 }).is_err());
/// ```
///
/// # Errors
/// It is not.
pub fn reads_back<K: Key>(key: &K) -> Result<Vec<u8>, Unfit> {
    let remedy =
        "use a type whose derived Serialize writes all fields always: without `skip`, `skip_serializing_if` and the like";
    let bytes = encode(key).map_err(|error| unfit::<K>(format!("it cannot be written: {error}"), remedy))?;
    match catch(|| decode::<K>(&bytes).is_ok_and(|read| read == *key)) {
        Ok(true) => Ok(bytes),
        _ => Err(unfit::<K>("what is written of it does not make the same key when it is read".into(), remedy)),
    }
}

fn unfit<K>(why: String, remedy: &'static str) -> Unfit {
    Unfit { key: type_name::<K>(), why, remedy }
}

#[cfg(test)]
mod tests;
