//! Fraud, with evidence: an alert names the events that it comes from. When one of them is deleted with its subject, the alert goes.

use distributary::{Event, Flow, Result, Timestamp, between, collect, count, days, hopping, job, millis, mins, secs, topic};
use serde::{Deserialize, Serialize};

/// More payments than this in a minute are too many.
const PAYMENTS_MAX: u64 = 3;

/// A payment by card.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "card-payments", id = "payment", time = "at", subject = "user", delay = "2s")]
pub(crate) struct Payment {
    payment: u64,
    user: String,
    country: String,
    at: Timestamp,
}

/// What an analyst sees.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Alert {
    user: String,
    what: String,
    payments: Vec<u64>,
}

/// Too many payments of a user in a minute, looked at every ten seconds.
#[job(team = "fraud")]
pub(crate) fn velocity(flow: &Flow) -> Result<()> {
    flow.correct_for(days(30));
    flow.read::<Payment>()?
        .dedup("payments", mins(10))
        .key_by(|p| p.user.clone())
        .window(hopping(mins(1), secs(10)).lateness(secs(30)))
        .aggregate("velocity", (count(), collect(|p: &Payment| p.payment)))
        .filter(|w| w.value.0 > PAYMENTS_MAX)
        .map(|w| Alert { user: w.key, what: format!("{} payments in a minute", w.value.0), payments: w.value.1 })
        .keyed(|a| a.user.clone())
        .to(topic("fraud.velocity"));
    Ok(())
}

/// Two payments of a user in two countries, closer in time than anybody travels.
#[job(team = "fraud")]
pub(crate) fn jumps(flow: &Flow) -> Result<()> {
    flow.correct_for(days(30));
    let payments = flow.read::<Payment>()?.dedup("payments", mins(10)).key_by(|p| p.user.clone());
    let soon = between(millis(1), mins(30)).lateness(secs(30));
    payments
        .clone()
        .join_within(soon, "jumps", &payments, |user, a, b| {
            let what = format!("{} and {} in half an hour", a.country, b.country);
            (a.country != b.country).then(|| Alert { user: user.clone(), what, payments: vec![a.payment, b.payment] })
        })
        .flat_map(|alert| alert)
        .keyed(|a| a.user.clone())
        .to(topic("fraud.jumps"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::TestJob;

    fn pay(payment: u64, user: &str, country: &str, s: u64) -> Payment {
        Payment { payment, user: user.into(), country: country.into(), at: secs(s).into() }
    }

    #[test]
    fn an_alert_names_its_payments_and_goes_with_them() {
        let mut t = TestJob::new(velocity);
        for payment in 0..5 {
            t.push(pay(payment, "u1", "AT", 100 + payment)).push(pay(payment, "u1", "AT", 100 + payment));
        }
        for payment in 0..5 {
            t.push(pay(100 + payment, "u2", "AT", 105 + 30 * payment));
        }
        t.advance_to(mins(10));
        let alerts: Vec<Alert> = t.rows("fraud.velocity").read();
        assert!(alerts.iter().all(|alert| alert.user == "u1" && alert.payments == [0, 1, 2, 3, 4]), "{alerts:?}");
        assert_eq!(alerts.len(), 6, "one in each of the minutes that begin ten seconds apart");
        assert!(t.delete("u1").rows("fraud.velocity").is_empty());
    }

    #[test]
    fn a_jump_names_both_payments() {
        let mut t = TestJob::new(jumps);
        t.push(pay(1, "u1", "AT", 0)).push(pay(2, "u1", "BR", 600)).push(pay(3, "u2", "AT", 0)).push(pay(4, "u2", "BR", 3_600));
        let alerts: Vec<Alert> = t.advance_to(mins(90)).rows("fraud.jumps").read();
        let expected = Alert { user: "u1".into(), what: "AT and BR in half an hour".into(), payments: vec![1, 2] };
        assert_eq!(alerts, [expected]);
        assert!(t.delete("u1").rows("fraud.jumps").is_empty());
    }
}
