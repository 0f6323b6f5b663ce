//! Billing: what is used, exactly once, by the hour for the customer's graph and by the month for the invoice.

use distributary::{Event, Flow, Result, Timestamp, days, hours, job, monthly, sum, table, topic, tumbling, upsert};
use serde::{Deserialize, Serialize};

/// Where invoices are written.
const ZONE: &str = "Europe/Vienna";

/// Something that costs.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "usage", id = "id", time = "at", subject = "customer", delay = "1m")]
pub(crate) struct Usage {
    id: u64,
    customer: String,
    millicents: i64,
    at: Timestamp,
}

/// An hour of a customer, as a row.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Hour {
    customer: String,
    hour: Timestamp,
    millicents: i64,
}

/// By the hour as a table; by the month, as it grows, for the account page; what came too late for a month is credited by hand.
#[job(team = "billing")]
pub(crate) fn usage(flow: &Flow) -> Result<()> {
    flow.correct_for(days(90));
    let used = flow.read::<Usage>()?.dedup("ids", days(7)).key_by(|u| u.customer.clone());
    used.clone()
        .window(tumbling(hours(1)).lateness(hours(24)))
        .aggregate("hours", sum(|u: &Usage| u.millicents))
        .map(|w| Hour { customer: w.key, hour: Timestamp::from_millis(w.window.start.0), millicents: w.value })
        .to(table("usage_by_hour").time("hour"));
    used.window(monthly(ZONE).lateness(hours(24)).early(hours(1)))
        .aggregate("months", sum(|u: &Usage| u.millicents))
        .late_to(topic("billing.too-late"))
        .map(|w| (w.key, w.window.start.0, w.value))
        .keyed(|(customer, month, _)| (customer.clone(), *month))
        .to(upsert("billing.months"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::TestJob;

    #[test]
    fn hours_and_months_add_up_and_forget() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let used = |id, customer: &str, millicents, when: &str| Usage { id, customer: customer.into(), millicents, at: at(when) };
        let mut t = TestJob::new(usage);
        // In Vienna it is March already.
        t.push(used(1, "acme", 100, "2026-02-28T22:59:59Z")).push(used(2, "acme", 20, "2026-02-28T23:00:00Z"));
        t.push(used(2, "acme", 20, "2026-02-28T23:00:00Z")).push(used(3, "emca", 7, "2026-03-01T00:30:00Z"));
        t.advance_to(at("2026-03-03T00:00:00Z"));
        let hours: Vec<Hour> = t.rows("usage_by_hour").read();
        assert_eq!(hours.iter().map(|hour| hour.millicents).sum::<i64>(), 127);
        assert_eq!(hours.len(), 3);
        let months: Vec<(String, i64, i64)> = t.rows("billing.months").read();
        let months: Vec<_> = months.iter().map(|(customer, _, sum)| (customer.as_str(), *sum)).collect();
        assert_eq!(months, [("acme", 100), ("acme", 20), ("emca", 7)]);
        t.push(used(4, "acme", 5, "2026-02-27T00:00:00Z"));
        assert_eq!(t.rows("billing.too-late").len(), 1);
        t.delete("acme");
        let hours: Vec<Hour> = t.rows("usage_by_hour").read();
        assert_eq!(hours.iter().map(|hour| hour.customer.as_str()).collect::<Vec<_>>(), ["emca"], "{hours:?}");
        // What an open month has said early is said anew when the next hour has passed.
        t.advance_to(at("2026-03-03T01:00:00Z"));
        assert_eq!(t.rows("billing.months").len(), 1);
    }
}
