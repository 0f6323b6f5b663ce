//! Every call that makes something durable stands inside `durable(Step::.., ..)`, so that a test can crash there.

use crate::source::{line, sources, words};
use distributary_runtime::failpoint::Step;

/// Methods of the bus and the lanes that change something outside the process. A method of our own with such a name
/// needs another one.
const BUS: [&str; 14] = [
    "create_topic",
    "delete_topic",
    "add_partitions",
    "produce",
    "append_lane",
    "append_journal",
    "truncate_journal",
    "fence_lane",
    "fence",
    "prepare_lane",
    "prepare",
    "commit_lane",
    "commit",
    "commit_group",
];

/// Those of the object store. Only one file reaches it; its own `put` and `delete` are durable steps for all others.
const STORE: [&str; 4] = ["put", "put_opts", "put_multipart", "delete"];
const STORE_FILE: &str = "runtime/src/state/store.rs";

#[test]
fn every_durable_call_is_named() {
    let mut found = Vec::new();
    for (path, code) in sources("runtime/src") {
        let mut calls = unnamed(&code, &BUS);
        if path.ends_with(STORE_FILE) {
            calls.extend(unnamed(&code, &STORE));
        } else {
            assert!(!code.contains("ObjectStore"), "{}: only {STORE_FILE} reaches the object store", path.display());
        }
        found.extend(calls.into_iter().map(|(at, call)| format!("{}:{at}: {call}", path.display())));
    }
    assert!(found.is_empty(), "wrap these in `durable(Step::.., || ..)`: {found:#?}");
}

#[test]
fn every_step_is_done_somewhere() {
    let sources: Vec<_> = sources("runtime/src").into_iter().filter(|(path, _)| !path.ends_with("failpoint.rs")).collect();
    for step in Step::ALL {
        let name = format!("Step::{step:?}");
        assert!(sources.iter().any(|(_, code)| !words(code, &name).is_empty()), "{name} names nothing that is done");
    }
}

#[test]
fn the_rule_bites() {
    let named = "fn f() { durable(Step::GroupCommit, || { retry(|| bus\n.commit_group(a, b)) })?; bus.offsets(t); }";
    assert_eq!(unnamed(named, &BUS), []);
    assert_eq!(unnamed("fn commit(&mut self, run: &Run) -> Result<()>;", &BUS), [], "a definition is no call");
    let beside = "fn f() {\n durable(Step::LaneFence, || lane.fence(t))?;\n lane.commit(&run)?; }";
    assert_eq!(unnamed(beside, &BUS), [(3, "commit")]);
    let by_path = "fn f() { other(durable(Step::LaneFence, g), Bus::append_journal(&bus, t)) }";
    assert_eq!(unnamed(by_path, &BUS), [(1, "append_journal")]);
}

/// Mutating calls that do not stand inside the parentheses of a `durable(..)`, with their lines.
fn unnamed(code: &str, mutating: &[&'static str]) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for &name in mutating {
        for (at, _) in code.match_indices(&format!("{name}(")) {
            let is_method = code[..at].ends_with('.');
            // `fence` and `put` by path are other things (`atomic::fence`): their own traits are called as methods.
            let by_path = code[..at].ends_with("::") && name.contains('_');
            if (is_method || by_path) && !within_durable(code, at) {
                found.push((line(code, at), name));
            }
        }
    }
    found.sort_unstable();
    found
}

fn within_durable(code: &str, at: usize) -> bool {
    let mut closed = 0;
    for (place, byte) in code[..at].bytes().enumerate().rev() {
        match byte {
            b')' => closed += 1,
            b'(' if closed > 0 => closed -= 1,
            b'(' if code[..place].ends_with("durable") => return true,
            _ => {}
        }
    }
    false
}
