//! Goal: the rules of the architecture that the compiler does not know hold in every source.
//! Method: read the manifests and the sources as text. Each rule that could pass by reading nothing is shown to bite.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod durable;
mod source;

use source::{line, root, sources, tracked_files, words};
use std::collections::BTreeSet;

/// The packages and what each may depend on: `jobs -> {operators, connectors} -> runtime`.
const PACKAGES: [(&str, &str, &[&str]); 5] = [
    ("runtime", "distributary-runtime", &[]),
    ("operators", "distributary-operators", &["distributary-runtime"]),
    ("connectors", "distributary-connectors", &["distributary-runtime"]),
    (
        "jobs",
        "distributary",
        &["distributary-runtime", "distributary-operators", "distributary-connectors", "distributary-derive"],
    ),
    ("jobs/derive", "distributary-derive", &[]),
];

/// What may stand at the top: a new folder is a decision, not an accident.
const TOP_LEVEL: [&str; 18] = [
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "connectors",
    "dev",
    "examples",
    "jobs",
    "operators",
    "runtime",
    "rustfmt.toml",
    "tests",
];

/// Larger files are data or generated: they belong elsewhere.
const FILE_BYTES_MAX: u64 = 300 * 1024;

#[test]
fn imports_run_one_way() {
    for (folder, name, allowed) in PACKAGES {
        let ours = dependencies(&manifest(folder));
        let ours: Vec<_> = ours.iter().filter(|d| d.starts_with("distributary") && **d != name).collect();
        for dependency in ours {
            assert!(allowed.contains(&dependency.as_str()), "{folder} must not depend on {dependency}");
        }
    }
}

#[test]
fn operators_do_no_io_read_no_clock_and_spawn_nothing() {
    for dependency in dependencies(&manifest("operators")) {
        let outside = ["tokio", "rusqlite", "object_store", "crossbeam-channel", "tiny_http", "libc", "memmap2"];
        assert!(!outside.contains(&dependency.as_str()), "operators must not depend on {dependency}");
    }
    let mut found = Vec::new();
    for (path, code) in sources("operators/src") {
        found.extend(impure(&code).into_iter().map(|(at, word)| format!("{}:{at}: {word}", path.display())));
    }
    assert!(found.is_empty(), "operators must be pure: {found:#?}");
    assert_eq!(impure("use std::{fmt, fs::File};\nstd::thread::spawn(f);\nlet t = Instant::now();").len(), 3);
    assert!(impure("use std::{fmt, collections::BTreeMap};\nlet process = std::mem::take(x);").is_empty());
}

#[test]
fn only_runtime_and_operators_name_the_dataflow_library() {
    for folder in ["connectors", "jobs", "tests", "examples"] {
        for (path, code) in sources(folder) {
            for library in ["timely", "differential_dataflow"] {
                let found = words(&code, library).first().map(|at| line(&code, *at));
                assert_eq!(found, None, "{}: names {library}", path.display());
            }
        }
    }
}

#[test]
fn the_top_level_is_fixed_and_files_are_small() {
    let files = tracked_files();
    assert!(files.len() > 10, "git lists the files");
    for path in files {
        let top = path.iter().next().unwrap().to_str().unwrap();
        assert!(TOP_LEVEL.contains(&top), "{}: does not belong to the top level", path.display());
        let bytes = std::fs::metadata(root().join(&path)).unwrap().len();
        assert!(bytes <= FILE_BYTES_MAX, "{}: {bytes} bytes, at most {FILE_BYTES_MAX}", path.display());
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let workspace = manifest(".");
    let lints = &workspace["workspace"]["lints"];
    assert_eq!(lints["clippy"]["disallowed_methods"].as_str(), Some("deny"));
    for folder in PACKAGES.iter().map(|p| p.0).chain(["."]) {
        assert_eq!(manifest(folder)["lints"]["workspace"].as_bool(), Some(true), "{folder}");
    }
    let members: BTreeSet<_> =
        workspace["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    assert_eq!(members, PACKAGES.iter().map(|p| p.0).collect(), "the list of packages here is that of the workspace");
}

fn manifest(folder: &str) -> toml::Table {
    std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Names of everything a package depends on, also for tests, builds and single platforms.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of = |t: &toml::Table| kinds.iter().filter_map(|k| t.get(*k)?.as_table().cloned()).collect::<Vec<_>>();
    tables.into_iter().flat_map(of).flat_map(|d| d.into_iter().map(|(name, _)| name)).collect()
}

/// Lines that name something an operator must not touch.
fn impure(code: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for word in ["tokio", "rusqlite", "object_store", "crossbeam_channel", "Instant", "SystemTime", "SystemClock", "monotonic"] {
        found.extend(words(code, word).into_iter().map(|at| (line(code, at), word)));
    }
    for at in words(code, "std").into_iter().filter(|at| code[*at..].starts_with("std::")) {
        let path = &code[at + "std::".len()..];
        // `std::fs::..`, or a group `std::{fmt, fs}` up to its end.
        let end = if path.starts_with('{') { path.find(';') } else { path.find(|c: char| !c.is_alphanumeric()) };
        let named = &path[..end.unwrap_or(path.len())];
        for module in ["fs", "net", "thread", "process", "env", "io"] {
            found.extend(words(named, module).first().map(|_| (line(code, at), module)));
        }
    }
    found
}
