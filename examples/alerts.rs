//! Alerts when a card is used often: each payment once, counted per card and minute, late ones to a topic of their own.
//!
//! `cargo run --example alerts -- run alerts`

use distributary::{Event, Flow, Result, Timestamp, count, hours, job, mins, secs, topic, tumbling};
use serde::{Deserialize, Serialize};

/// So many payments of a card in a minute are suspicious.
const SUSPICIOUS: u64 = 3;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "card-payments", id = "id", time = "at", subject = "card", delay = "5s")]
struct CardPayment {
    id: u64,
    card: String,
    at: Timestamp,
}

/// Cards that are used often.
#[job(team = "fraud")]
pub fn alerts(flow: &Flow) -> Result<()> {
    flow.read::<CardPayment>()?
        .dedup("payments", hours(1))
        .key_by(|p| p.card.clone())
        .window(tumbling(mins(1)).lateness(secs(30)))
        .aggregate("uses", count())
        .late_to(topic("fraud.alerts.too-late"))
        .filter(|uses| uses.value >= SUSPICIOUS)
        .to(topic("fraud.alerts"));
    Ok(())
}

distributary::main!(alerts);

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::TestJob;

    fn payment(id: u64, card: &str, at: u64) -> CardPayment {
        CardPayment { id, card: card.into(), at: secs(at).into() }
    }

    #[test]
    fn a_payment_that_was_sent_twice_counts_once() {
        let mut t = TestJob::new(alerts);
        t.push(payment(1, "c1", 10)).push(payment(2, "c1", 20)).push(payment(2, "c1", 20));
        t.push(payment(3, "c2", 10)).push(payment(4, "c2", 20)).push(payment(5, "c2", 30));
        t.advance_to(mins(2));
        assert_eq!(t.rows("fraud.alerts").keys(), ["c2"]);
    }

    #[test]
    fn a_late_payment_corrects_the_alert_until_it_is_too_late() {
        let mut t = TestJob::new(alerts);
        t.push(payment(1, "c1", 1)).push(payment(2, "c1", 2)).push(payment(3, "c1", 3));
        t.push(payment(4, "c1", 70)).push(payment(5, "c1", 30)).advance_to(secs(61));
        assert_eq!(t.rows("fraud.alerts").json()[0]["value"], 4);
        t.push(payment(6, "c1", 100)).push(payment(7, "c1", 40)).settle();
        assert_eq!(t.rows("fraud.alerts").json()[0]["value"], 4);
        assert_eq!(t.rows("fraud.alerts.too-late").json()[0]["id"], 7);
    }
}
