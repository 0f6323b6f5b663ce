//! Goal: `#[derive(Event)]` and `#[job]` accept what they should, and what they refuse is told at the right place, by the
//! name of the field, with the remedy. Method: `ui/pass.rs` is compiled into this test; every other file of `ui/` goes
//! to the compiler, and its complaint is compared with the `.stderr` beside it (`UPDATE_UI=1` writes those anew).
//!
//! The compiler is called directly, on the library this test was linked with: `trybuild` builds every dependency a second
//! time, which is minutes on a cold machine.

#![allow(clippy::unwrap_used, reason = "a test: what fails here ends it")]

#[path = "ui/pass.rs"]
mod pass;

use distributary::codec::{encode, key_text};
use distributary::{Event, EventDescription, Timestamp};
use pass::{JOBS, OwnId, PageView, Payment, Weather};
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

#[test]
fn the_derive_does_what_it_was_told() {
    let payment =
        Payment { payment_id: Uuid::from_u128(7), user_id: "u1".into(), amount_cents: 5, at: Timestamp::from_millis(9) };
    assert_eq!((payment.id(), payment.time(), payment.subject().as_deref()), (Uuid::from_u128(7), payment.at, Some("u1")));
    assert_eq!(payment.key(), Some(b"u1".to_vec()));
    assert!(encode(&payment).is_ok() && payment.amount_cents == 5);
    assert_eq!(
        Payment::describe(),
        EventDescription {
            rust_type: "Payment",
            topic: "payments",
            id: "payment_id",
            time: "at",
            subject: Some("user_id"),
            key: "user_id",
            delay_ms: 0,
            max_ahead_ms: 3_600_000,
            comments: &[],
        }
    );

    let view = PageView {
        r#type: OwnId("a".into(), 1),
        seen: jiff::Timestamp::from_millisecond(5).unwrap(),
        visitor: Some(42),
        shop: 3,
    };
    assert_eq!(
        (view.id(), view.time(), view.subject().as_deref()),
        (OwnId("a".into(), 1), Timestamp::from_millis(5), Some("42"))
    );
    assert_eq!((view.key(), PageView { visitor: None, ..view }.subject()), (Some(b"3".to_vec()), None));
    let described = PageView::describe();
    assert_eq!((described.id, described.key, described.delay_ms, described.max_ahead_ms), ("type", "shop", 250, 172_800_000));

    let weather = Weather { station: 8, at: Timestamp::EPOCH };
    assert_eq!((weather.subject(), weather.key(), Weather::describe().subject), (None, key_text(&8), None));
}

#[test]
fn a_job_is_a_constant_with_its_names() {
    let names: Vec<String> = JOBS.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["fraud.spend", "ops-eu_1.refuses"]);
    assert_eq!((JOBS[0].doc(), JOBS[1].doc()), ("Spend per user.\n\nIn cents.", ""));
}

#[test]
fn mistakes_are_told_where_they_stand() {
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&ui).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_some_and(|s| s != "pass"));
    cases.sort();
    assert!(cases.len() >= 6, "the cases are in {}", ui.display());

    let out = tempfile::tempdir().unwrap();
    let complaints: Vec<(PathBuf, String)> = cases.into_iter().map(|case| (case.clone(), compile(&case, out.path()))).collect();
    let mut wrong = String::new();
    for (case, found) in complaints {
        let golden = case.with_extension("stderr");
        if std::env::var_os("UPDATE_UI").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong += &format!("\n== {} now says:\n{found}", case.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n`UPDATE_UI=1 cargo test -p distributary --test derive` writes the expectations anew");
}

/// What the compiler says about one file.
fn compile(case: &Path, out: &Path) -> String {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .current_dir(case.parent().unwrap())
        .args(["--edition=2024", "--emit=metadata", "--error-format=short", "--color=never", "--cap-lints=allow"])
        .arg("--extern")
        .arg(format!("distributary={}", newest(&deps).display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--out-dir")
        .arg(out)
        .arg(case.file_name().unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{} compiles, but should not", case.display());
    let (said, file) = (String::from_utf8(output.stderr).unwrap(), case.file_name().unwrap().to_str().unwrap());
    // One line a mistake (place, message, label): what the compiler adds of its own changes with its version.
    said.lines().filter(|line| line.starts_with(file)).map(|line| format!("{line}\n")).collect()
}

/// This crate's library that was built last: the one this test was linked with, or one of the same sources.
fn newest(deps: &Path) -> PathBuf {
    let files = std::fs::read_dir(deps).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("libdistributary-") && n.ends_with(".rlib"))
    };
    let built = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    files.filter(is_ours).max_by_key(built).unwrap_or_else(|| panic!("no library in {}", deps.display()))
}
