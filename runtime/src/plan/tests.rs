//! Goal: a plan that cannot keep what is promised is refused, with the reason and the remedy. Method: plans by hand.

use super::{Correction, Horizon, Node, NodeId, Plan, Retraction, SourceNode, StateNode};

/// A plan that reads events about somebody, or about nobody, and counts them.
fn plan(has_subject: bool, windows: &[(&str, Option<Correction>)]) -> Plan {
    let source = SourceNode { source: 0, topic: "payments".into(), delay_ms: 0, has_subject, is_answers: false };
    let mut nodes = vec![node(0, "source", Some(source))];
    for (name, correction) in windows {
        let state = Some(StateNode { name: (*name).into(), types: String::new() });
        nodes.push(Node { inputs: vec![0], state, correction: *correction, ..node(nodes.len() as NodeId, "window", None) });
    }
    Plan { nodes }
}

fn node(id: NodeId, kind: &str, source: Option<SourceNode>) -> Node {
    Node { id, kind: kind.into(), detail: String::new(), inputs: vec![], state: None, correction: None, source, sink: None }
}

fn refusal(plan: &Plan) -> String {
    plan.check().unwrap_err().to_string()
}

/// Plans that have nothing else against them have no sink.
const NO_RESULTS: &str = "the job writes no results";

#[test]
fn a_state_name_that_is_used_twice_is_refused() {
    let said = refusal(&plan(true, &[("spend", None), ("visits", None), ("spend", None)]));
    assert!(said.starts_with("the state name `spend` is used twice; give every aggregate"), "{said}");
    assert!(refusal(&plan(true, &[("spend", None), ("visits", None)])).starts_with(NO_RESULTS));
}

#[test]
fn an_aggregate_that_keeps_values_of_somebody_needs_a_horizon_or_a_word() {
    let of = |retraction, ms| Some(Correction { retraction, horizon: Horizon::Behind { ms } });
    let said = refusal(&plan(true, &[("median", of(Retraction::Complete, 0))]));
    assert!(said.starts_with("window `median` keeps what it would need to take a record back only until it is over"), "{said}");
    assert!(said.contains("`flow.correct_for(days(30))`") && said.contains("`frozen(..)`"), "{said}");
    let passes = |has_subject, correction| refusal(&plan(has_subject, &[("median", correction)])).starts_with(NO_RESULTS);
    assert!(passes(true, of(Retraction::Complete, 1)), "there is a horizon");
    assert!(passes(true, of(Retraction::Frozen, 0)), "it was said");
    assert!(passes(true, of(Retraction::Linear, 0)), "nothing is kept but a sum");
    assert!(passes(false, of(Retraction::Complete, 0)), "they are about nobody");
}
