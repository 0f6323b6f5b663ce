//! What the results and the state of a generation are laid out by, and what of them another plan can go on with.

use crate::bus::TopicId;
use crate::plan::{Node, Plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What every incarnation of a generation has in common. It stands in each `Start` and each checkpoint of the journal, so that
/// one of them is left however much of its front is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Fingerprint of the job's plan and the number of lanes.
    pub fingerprint: u128,
    /// The plan, as JSON; empty when an older release did not write it down.
    pub plan: String,
    /// Lanes of each group of sinks; 0 when an older release did not write it down.
    pub lanes: u32,
    /// The topics of the sinks.
    pub outputs: Vec<Output>,
}

/// A topic that a sink writes. Somebody may delete it and create another of its name, or give it more partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Which of that name it is.
    pub id: TopicId,
    /// The partitions it had when the generation began to write it: the only ones that are written. With others a key would
    /// move to another partition, and a record to another lane.
    pub partitions: u32,
}

impl Layout {
    /// The plan, if it was written down and this release can read it.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        serde_json::from_str(&self.plan).ok()
    }

    /// The topic of a sink, if it is written already.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }
}

/// What becomes of the states when another plan goes on with the results of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Of the same name and types: they go on.
    pub kept: Vec<String>,
    /// Only in the new plan: they begin empty, with the records from now on.
    pub fresh: Vec<String>,
    /// Only in the old plan: they are dropped.
    pub dropped: Vec<String>,
}

/// Decides whether `after` can go on where `before` has stopped in order.
///
/// # Errors
/// Why not, in words: a source would read another topic from the old one's offsets, or a state has other types.
pub fn adopt(before: &Plan, after: &Plan) -> Result<Adoption, String> {
    for old in before.sources() {
        let new = after.sources().nth(usize::from(old.source)).map_or("nothing", |source| &source.topic);
        if new != old.topic {
            return Err(format!("source {} reads `{}`, and would read {new} from its offsets on", old.source, old.topic));
        }
    }
    let mut adoption = Adoption::default();
    for state in after.states() {
        match before.states().find(|old| old.name == state.name) {
            Some(old) if old.types == state.types => adoption.kept.push(state.name.clone()),
            Some(old) => {
                return Err(format!("state `{}` holds {}, and would have to hold {}", state.name, old.types, state.types));
            }
            None => adoption.fresh.push(state.name.clone()),
        }
    }
    let names: BTreeSet<&str> = after.states().map(|state| state.name.as_str()).collect();
    let dropped = before.states().filter(|state| !names.contains(state.name.as_str()));
    adoption.dropped = dropped.map(|state| state.name.clone()).collect();
    Ok(adoption)
}

/// What differs between two plans: nodes that only one of them has, `-` the old ones and `+` the new ones.
///
/// ```
/// use distributary_runtime::layout::difference;
/// use distributary_runtime::plan::{Node, Plan};
/// let node = |detail: &str| Node {
///     id: 0, kind: "window".into(), detail: detail.into(), inputs: vec![], state: None, correction: None, source: None, sink: None,
/// };
/// let (old, new) = (Plan { nodes: vec![node("10 s")] }, Plan { nodes: vec![node("20 s")] });
/// assert_eq!(difference(&old, &new), ["- window 10 s", "+ window 20 s"]);
/// ```
#[must_use]
pub fn difference(before: &Plan, after: &Plan) -> Vec<String> {
    let (old, new) = (before.nodes.iter().map(about), after.nodes.iter().map(about));
    let mut missing: Vec<String> = old.collect();
    let mut added = Vec::new();
    for line in new {
        match missing.iter().position(|other| *other == line) {
            Some(at) => drop(missing.remove(at)),
            None => added.push(line),
        }
    }
    let lines = missing.into_iter().map(|line| format!("- {line}"));
    lines.chain(added.into_iter().map(|line| format!("+ {line}"))).collect()
}

/// A node in words, with all that changes results but its place.
fn about(node: &Node) -> String {
    let source = node.source.as_ref().map(|s| format!("topic {} (delay {} ms)", s.topic, s.delay_ms));
    let sink = node.sink.as_ref().map(|s| format!("{} ({})", s.target, s.guarantee));
    let state = node.state.as_ref().map(|s| format!("[state {}: {}]", s.name, s.types));
    let detail = Some(node.detail.clone()).filter(|detail| !detail.is_empty());
    [Some(node.kind.clone()), detail, source, sink, state].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{SourceNode, StateNode};

    fn plan(topics: &[&str], states: &[(&str, &str)]) -> Plan {
        let node = Node {
            id: 0,
            kind: "x".into(),
            detail: String::new(),
            inputs: vec![],
            state: None,
            correction: None,
            source: None,
            sink: None,
        };
        let source = |(source, topic): (u16, &&str)| Node {
            source: Some(SourceNode { source, topic: (*topic).into(), delay_ms: 0, has_subject: false, is_answers: false }),
            ..node.clone()
        };
        let state = |(name, types): &(&str, &str)| Node {
            state: Some(StateNode { name: (*name).into(), types: (*types).into() }),
            ..node.clone()
        };
        Plan { nodes: (0..).zip(topics).map(source).chain(states.iter().map(state)).collect() }
    }

    #[test]
    fn states_go_on_by_name_and_types() {
        let before = plan(&["a"], &[("kept", "u -> i"), ("dropped", "u -> i")]);
        let after = plan(&["a", "b"], &[("fresh", "u -> i"), ("kept", "u -> i")]);
        let expected = Adoption { kept: vec!["kept".into()], fresh: vec!["fresh".into()], dropped: vec!["dropped".into()] };
        assert_eq!(adopt(&before, &after), Ok(expected));
    }

    #[test]
    fn neither_offsets_nor_state_are_taken_for_something_else() {
        let before = plan(&["a", "b"], &[("s", "u -> i")]);
        for after in [plan(&["b", "a"], &[]), plan(&["a"], &[]), plan(&["a", "b"], &[("s", "u -> (i, i)")])] {
            assert!(adopt(&before, &after).is_err(), "{after:?}");
        }
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written_down() {
        let plan = plan(&["a"], &[("s", "u -> i")]);
        assert_eq!(Layout { plan: plan.to_json(), ..Layout::default() }.plan(), Some(plan));
        assert_eq!(Layout::default().plan(), None);
    }
}
