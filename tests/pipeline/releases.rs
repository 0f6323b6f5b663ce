//! The next release of a job: another plan under the same name.

use crate::rig::{Payment, Rig, assert_says, by_generation, ids, ids_of, payments};
use distributary::{Flow, Result, count, job, sum, topic, upsert};
use distributary_runtime::bus::Record;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::pipeline::StartOptions;
use std::collections::BTreeMap;

/// How many payments each user has made.
#[job(team = "fraud")]
fn counts(flow: &Flow) -> Result<()> {
    let users = flow.read::<Payment>()?.key_by(|p| p.user.clone());
    users.aggregate("payments", count()).to(upsert("fraud.counts"));
    Ok(())
}

/// The next release: it also copies large payments and sums up what each user has spent.
mod next {
    use super::*;

    #[job(team = "fraud")]
    pub(super) fn counts(flow: &Flow) -> Result<()> {
        let payments = flow.read::<Payment>()?;
        payments.clone().to(topic("fraud.copies"));
        payments.clone().key_by(|p| p.user.clone()).aggregate("payments", count()).to(upsert("fraud.counts"));
        payments.key_by(|p| p.user.clone()).aggregate("cents", sum(|p: &Payment| p.cents)).to(upsert("fraud.cents"));
        Ok(())
    }
}

/// A release that keeps something else under the same name.
mod other {
    use super::*;

    #[job(team = "fraud")]
    pub(super) fn counts(flow: &Flow) -> Result<()> {
        let users = flow.read::<Payment>()?.key_by(|p| p.id);
        users.aggregate("payments", count()).to(upsert("fraud.counts"));
        Ok(())
    }
}

fn adopting(options: &mut StartOptions) {
    options.request = StartRequest::AdoptPlan;
}

/// A rig whose job has counted payments 0 to 8, three of each user; it still runs.
fn counted() -> (Rig, crate::rig::Running) {
    let rig = Rig::new();
    rig.topic("payments", 2);
    rig.publish("payments", payments(0..9));
    let running = rig.start(counts);
    rig.read_until("fraud.counts", |records| newest(records).values().sum::<u64>() == 9);
    (rig, running)
}

/// The newest value of each key.
fn newest(records: &[Record]) -> BTreeMap<String, u64> {
    let mut newest = BTreeMap::new();
    for record in records.iter().filter_map(|r| r.value.as_ref()) {
        let row: serde_json::Value = serde_json::from_slice(record).unwrap();
        newest.insert(row["key"].as_str().unwrap().to_string(), row["value"].as_u64().unwrap());
    }
    newest
}

#[test]
fn without_a_word_it_is_refused_and_says_what_has_changed() {
    let (rig, running) = counted();
    running.stop();
    let error = rig.refusal(next::counts);
    assert_says(&error, "the plan of the job has changed", "run --adopt-plan");
    assert_says(&error, "  + aggregate sum", "run --from-zero");
}

#[test]
fn it_goes_on_with_the_state_that_fits() {
    let (rig, running) = counted();
    running.stop();
    let running = rig.start_with(next::counts, adopting);
    rig.publish("payments", payments(9..15));
    let expected: BTreeMap<_, _> = (0..3).map(|user| (format!("u{user}"), 5)).collect();
    rig.read_until("fraud.counts", |records| newest(records) == expected);
    let since: BTreeMap<_, _> = (0..3).map(|user| (format!("u{user}"), 2)).collect();
    rig.read_until("fraud.cents", |records| newest(records) == since);
    assert_eq!(ids(&rig.read("fraud.copies", 6)), ids_of(9..15), "what is new begins with the records from now on");

    // A crash before its first checkpoint and one behind it: it is an incarnation like any other.
    running.crash();
    let running = rig.start(next::counts);
    rig.publish("payments", payments(15..18));
    let expected: BTreeMap<_, _> = (0..3).map(|user| (format!("u{user}"), 6)).collect();
    rig.read_until("fraud.counts", |records| newest(records) == expected);
    assert_eq!(ids(&rig.read("fraud.copies", 9)), ids_of(9..18));
    running.stop();
    assert_says(&rig.refusal(counts), "the plan of the job has changed", "run --adopt-plan");
}

#[test]
fn it_does_not_go_on_from_a_crash() {
    let (rig, running) = counted();
    running.crash();
    let error = rig.start_with(next::counts, adopting).end();
    assert_says(&error, "are not saved yet", "run the old binary once more");
    rig.start(counts).stop();
    rig.start_with(next::counts, adopting).stop();
}

#[test]
fn it_does_not_go_on_with_a_state_of_other_types() {
    let (rig, running) = counted();
    running.stop();
    assert_says(&rig.start_with(other::counts, adopting).end(), "state `payments` holds", "another name");
    rig.start(counts).stop();
}

#[test]
fn a_new_generation_is_complete() {
    let (rig, running) = counted();
    running.stop();
    let running = rig.start_with(next::counts, |options| options.request = StartRequest::FromZero);
    rig.publish("payments", payments(9..12));
    assert_eq!(ids(&rig.read("fraud.copies", 12)), ids_of(0..12));
    let four: BTreeMap<_, _> = (0..3).map(|user| (format!("u{user}"), 4)).collect();
    rig.read_until("fraud.counts", |records| {
        let (_, second) = by_generation(records.to_vec());
        newest(&second) == four
    });
    running.crash();
    assert_says(&rig.refusal(counts), "the plan of the job has changed", "run --from-zero");
}
