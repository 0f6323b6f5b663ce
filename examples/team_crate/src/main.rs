//! Jobs of two teams. `cargo run -- run spend` runs one, `cargo run -- --help` shows what else there is.

use distributary::serde::{Deserialize, Serialize};
use distributary::{Event, Flow, Result, Timestamp, count, job, secs, sum, topic, tumbling, uuid::Uuid};

// With `serde` among the crate's own dependencies, the line with `serde(crate = ..)` is not needed.
#[derive(Event, Serialize, Deserialize, Clone)]
#[serde(crate = "distributary::serde")]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
struct Payment {
    payment_id: Uuid,
    user_id: String,
    amount_cents: i64,
    at: Timestamp,
}

/// What each user spends in ten seconds.
#[job(team = "fraud")]
pub fn spend(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?
        .key_by(|p| p.user_id.clone())
        .window(tumbling(secs(10)).lateness(secs(2)))
        .aggregate("spend", (count(), sum(|p: &Payment| p.amount_cents)))
        .to(topic("fraud.spend"));
    Ok(())
}

/// Large payments, as they come.
#[job(team = "ops")]
pub fn large(flow: &Flow) -> Result<()> {
    flow.read::<Payment>()?.filter(|p| p.amount_cents >= 50_000).to(topic("ops.large"));
    Ok(())
}

distributary::main!(spend, large);

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::{PerWindow, TestJob};

    fn payment(user: &str, amount_cents: i64) -> Payment {
        let payment_id = Uuid::from_u128(amount_cents as u128);
        Payment { payment_id, user_id: user.into(), amount_cents, at: secs(amount_cents as u64).into() }
    }

    #[test]
    fn spend_is_counted_by_user() {
        let mut t = TestJob::new(spend);
        t.push(payment("u1", 5)).push(payment("u2", 7)).advance_to(secs(20));
        assert_eq!(t.rows("fraud.spend").keys(), ["u1", "u2"]);
    }

    #[test]
    fn large_payments_pass() {
        let mut t = TestJob::new(large);
        t.push(payment("u1", 49_999)).push(payment("u2", 50_000));
        assert_eq!(t.rows("ops.large").keys(), ["u2"]);
    }

    #[test]
    fn a_late_payment_corrects_the_sum() {
        let mut t = TestJob::new(spend);
        t.push(payment("u1", 5)).push(payment("u1", 11)).advance_to(secs(11));
        t.push(payment("u1", 8));
        let rows: Vec<PerWindow<String, (u64, i64)>> = t.rows("fraud.spend").read();
        assert_eq!(rows[0].value, (2, 13));
    }
}
