//! Goal: the face of the architecture page works as it stands there, and a crash changes nothing.

use distributary::run::pipeline;
use distributary::{Event, Flow, Job, Result, TestJob, Timestamp, count, job, secs, sum, table, topic, tumbling, upsert};
use distributary_runtime::engine;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
struct Payment {
    payment_id: Uuid,
    user_id: String,
    amount_cents: i64,
    at: Timestamp,
}

#[job(team = "fraud")]
fn spend(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?
        .key_by(|p| p.user_id.clone())
        .window(tumbling(secs(10)).lateness(secs(2)))
        .aggregate("spend", (count(), sum(|p: &Payment| p.amount_cents)))
        .to(topic("fraud.spend"));
    Ok(())
}

fn payment(user: &str, seconds: i64, cents: i64) -> Payment {
    let id = Uuid::from_u128((seconds as u128) << 64 | cents as u128);
    Payment { payment_id: id, user_id: user.into(), amount_cents: cents, at: Timestamp::from_millis(seconds * 1_000) }
}

#[test]
fn spend_counts_and_sums_each_user() {
    let mut t = TestJob::new(spend);
    t.push(payment("u1", 5, 10)).push(payment("u2", 7, 20)).push(payment("u1", 9, 5)).advance_to(secs(20));
    assert_eq!(t.rows("fraud.spend").keys(), ["u1", "u2"]);
    assert_eq!(t.rows("fraud.spend").json()[0]["value"], serde_json::json!([2, 15]));
}

#[test]
fn a_crash_changes_nothing() {
    let mut calm = TestJob::new(spend);
    let mut rough = TestJob::new(spend);
    for second in 0..40 {
        for t in [&mut calm, &mut rough] {
            t.push(payment("u1", second, 1)).push(payment("u2", second, 2)).settle();
        }
        if second % 7 == 3 {
            rough.restart_with(1 + second as u32 % 3);
        }
        if second % 11 == 5 {
            rough.stop().restart();
        }
    }
    calm.advance_to(secs(60));
    rough.advance_to(secs(60));
    assert_eq!(calm.rows("fraud.spend"), rough.rows("fraud.spend"));
    assert_eq!(calm.rows("fraud.spend").len(), 8);
}

/// Two chains of one stream, and only one of them ends in a sink.
#[test]
fn what_no_sink_wants_is_no_part_of_the_plan() {
    let half = |flow: &Flow<'_>| {
        let payments = flow.read::<Payment>()?;
        let by_user = payments.clone().key_by(|p| p.user_id.clone());
        by_user.window(tumbling(secs(10))).aggregate("nobody's", count()).map(|result| result.value);
        payments.filter(|p| p.amount_cents > 5).to(topic("large"));
        Ok(())
    };
    let plan = engine::plan(&pipeline(Job::new("half", "fraud", "", half))).unwrap();
    let kinds: Vec<&str> = plan.nodes.iter().map(|node| node.kind.as_str()).collect();
    assert_eq!(kinds, ["source", "filter", "sink", "dead-letters"]);
    assert_eq!(plan.states().count(), 0);
}

/// A topic cannot be both: known when the job starts, and said at once, not when the test has waited long enough.
#[test]
fn a_topic_has_one_kind_of_lane() {
    let both = |flow: &Flow<'_>| {
        flow.read::<Payment>()?.to(topic("out")).to(topic("out").tail());
        Ok(())
    };
    let refused = std::panic::catch_unwind(|| TestJob::new(Job::new("lanes", "fraud", "", both)).settle().dead_letters());
    let reason = refused.err().and_then(|panic| panic.downcast::<String>().ok()).unwrap();
    assert!(reason.contains("`out` is written by a tail lane and in transactions"), "{reason}");
}

#[test]
fn a_job_that_cannot_start_fails_its_test_at_once() {
    let both = |flow: &Flow<'_>| {
        flow.read::<Payment>()?.to(topic("both")).to(upsert("both"));
        Ok(())
    };
    let began = distributary_runtime::time::monotonic();
    let failed = std::panic::catch_unwind(|| TestJob::new(Job::new("both", "fraud", "", both)).settle().stop().dead_letters());
    let reason = failed.err().and_then(|panic| panic.downcast::<String>().ok()).unwrap();
    assert!(reason.starts_with("the job cannot go on: sink topic `both` has the form"), "{reason}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

/// The face: one chain, a topic and a table. Two pipelines, with a plan and dead letters each.
#[test]
fn a_job_with_a_table_has_two_tiers() {
    let both = |flow: &Flow<'_>| {
        let results = flow
            .read::<Payment>()?
            .key_by(|p| p.user_id.clone())
            .window(tumbling(secs(10)).lateness(secs(2)))
            .aggregate("spend", (count(), sum(|p: &Payment| p.amount_cents)));
        results.to(topic("fraud.spend")).to(table("fraud_spend")).late_to(table("late"));
        Ok(())
    };
    let mut t = TestJob::new(Job::new("both", "fraud", "", both));
    let sinks: Vec<Vec<String>> = t.plans().iter().map(|plan| plan.sinks().map(|s| s.target.to_string()).collect()).collect();
    assert_eq!(sinks[0], ["topic fraud.spend (append)", "topic fraud.both.dead-letters (append)"]);
    assert_eq!(
        sinks[1],
        ["table fraud_spend (3 columns)", "table late (4 columns)", "topic fraud.both.batch.dead-letters (append)"]
    );
    t.push(payment("u1", 5, 10)).push(payment("u2", 7, 20)).advance_to(secs(13)).crash().restart();
    t.push(payment("u1", 9, 5)).advance_to(secs(20)).push(payment("u2", 1, 7)).settle();
    assert_eq!(t.rows("fraud_spend").keys(), ["u1", "u2"]);
    assert_eq!(t.rows("fraud_spend").json()[0]["value"], serde_json::json!({"f0": 1, "f1": 10}));
    assert_eq!(t.rows("fraud.spend").len(), 2);
    assert_eq!(t.rows("late").json().len(), 2);
}

#[test]
fn a_job_with_tables_alone_is_one_pipeline() {
    let lake = |flow: &Flow<'_>| {
        flow.read::<Payment>()?.to(table("payments"));
        Ok(())
    };
    let mut t = TestJob::new(Job::new("lake", "bi", "", lake));
    t.push(payment("u1", 5, 10));
    t.push_raw(
        "payments",
        distributary_runtime::bus::NewRecord {
            partition: None,
            timestamp: distributary_runtime::time::WallTime(0),
            key: None,
            value: Some("no payment".into()),
            headers: Vec::new(),
        },
    );
    assert_eq!(t.rows("payments").keys(), ["u1"]);
    assert_eq!(t.dead_letters().len(), 1);
    assert_eq!(t.plans().len(), 1);
}
