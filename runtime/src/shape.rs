//! The shape of a type, as its `Deserialize` asks for it: names of fields and variants, and what is inside. State written
//! by one shape is not read by another.
//!
//! The idea is `serde-reflection`'s: hand the type a deserializer that writes down every question and answers with the
//! least there is: zero, the text `0`, sixteen zero bytes (which make a UUID and a decimal). A type that does not take the
//! answer ends the description there; the names of all fields stand before the first is looked into, and what was asked up
//! to then is the same in every run.

mod answers;
mod tracer;

pub(crate) use answers::{Answers, Asked, Enum, Fill};

use crate::user_code::catch;
use serde::de::DeserializeOwned;
use tracer::Tracer;

/// What texts say, each tried in all of them.
const TEXTS: [&str; 3] = ["0", "1970-01-01T00:00:00Z", "1970-01-01"];

/// Describes `T`.
///
/// ```
/// use distributary_runtime::shape::of;
/// #[derive(serde::Deserialize)]
/// struct Acc { count: u64, last: Option<String> }
/// assert!(of::<Acc>().ends_with("Acc{count,last: u64, ?str}"));
/// assert_ne!(of::<(u32, u32)>(), of::<(u32, u64)>());
/// ```
#[must_use]
pub fn of<T: DeserializeOwned>() -> String {
    let asked = Asked::default();
    // What is not described is told apart by the type's name alone.
    let _: Option<T> = told(&asked, Answers::LEAST);
    let shape = asked.into_text();
    let name = std::any::type_name::<T>();
    match name.rsplit("::").next() {
        Some(last) if shape.starts_with(last) => format!("{}{shape}", &name[..name.len() - last.len()]),
        _ if shape == name => shape,
        _ => format!("{name}={shape}"),
    }
}

/// A value of a type, the least there is: zeros, texts that say `0` (or, where that is refused, a time), one element in every list. `None`
/// of a type that takes none of that.
///
/// ```
/// use distributary_runtime::shape::sample;
/// assert_eq!(sample::<(u32, Option<String>, Vec<bool>)>(), Some((0, Some("0".into()), vec![false])));
/// ```
#[must_use]
pub fn sample<T: DeserializeOwned>() -> Option<T> {
    TEXTS.into_iter().find_map(|text| told(&Asked::default(), Answers { text, ..Answers::LEAST }))
}

/// What a type makes of these answers, if it takes them.
pub(crate) fn told<T: DeserializeOwned>(asked: &Asked<'_>, answers: Answers) -> Option<T> {
    catch(|| T::deserialize(Tracer::new(asked, answers)).ok()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::of;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its shape matters")]
    enum Kind {
        Plain(u8),
        Rich { of: Vec<i64> },
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct List {
        next: Option<Box<List>>,
    }

    #[test]
    fn shapes_tell_what_is_inside() {
        assert!(of::<Kind>().ends_with("Kind<Plain|Rich> u8"), "{}", of::<Kind>());
        assert!(of::<BTreeMap<u8, Vec<bool>>>().ends_with("{u8 -> [bool]}"));
        assert!(of::<(char, String)>().ends_with("(char, str)"));
    }

    #[test]
    fn a_recursive_type_has_an_end() {
        assert!(of::<List>().contains(".."));
    }
}
