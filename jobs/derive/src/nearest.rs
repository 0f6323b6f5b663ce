//! "Did you mean": the known name that is nearest to an unknown one.

/// How alike two names must be (Jaro-Winkler) for one to be suggested: above this a reader sees the slip at once.
const ALIKE_MIN: f64 = 0.75;

/// A remedy: the nearest of `known`, else all of them.
pub(crate) fn remedy(name: &str, known: &[String]) -> String {
    let alike = |k: &String| strsim::jaro_winkler(name, k);
    match known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))) {
        Some(best) if alike(best) >= ALIKE_MIN => format!("did you mean `{best}`?"),
        Some(_) => format!("there are {}", list(known)),
        None => "there are none".to_string(),
    }
}

/// Names as a reader's list.
pub(crate) fn list(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
