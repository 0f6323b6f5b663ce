//! BI: how many visits become a purchase.

use distributary::{Event, Flow, Result, Timestamp, begin, count, daily, days, job, mins, table};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A purchase this long after a visit comes of another one.
const VISIT: Duration = mins(30);

/// A step of a visitor in the shop.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "steps", id = "id", time = "at", subject = "visitor", delay = "5s")]
pub(crate) struct Step {
    id: u64,
    visitor: String,
    kind: Kind,
    at: Timestamp,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Visit,
    Cart,
    Purchase,
}

/// A stage of the funnel on a day, as a row.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Stage {
    day: Timestamp,
    stage: String,
    visits: u64,
}

/// Visits, those with a cart, and those with a purchase, by day of the shop's time zone.
#[job(team = "bi")]
pub(crate) fn funnel(flow: &Flow) -> Result<()> {
    flow.correct_for(days(30));
    let is = |kind: Kind| move |step: &Step| step.kind == kind;
    let all = flow.read::<Step>()?.dedup("ids", mins(60));
    let steps = all.clone().key_by(|s| s.visitor.clone());
    let carts = steps.clone().sequence("carts", begin(is(Kind::Visit)).then(is(Kind::Cart)).within(VISIT));
    let pattern = begin(is(Kind::Visit)).then(is(Kind::Cart)).then(is(Kind::Purchase)).within(VISIT);
    let purchases = steps.sequence("purchases", pattern);
    let visits = all.filter(|s| s.kind == Kind::Visit).map(|_| "1 visit".to_string());
    visits
        .union([carts.map(|_| "2 cart".to_string()), purchases.map(|_| "3 purchase".to_string())])
        .key_by(Clone::clone)
        .window(daily("Europe/Vienna").lateness(VISIT))
        .aggregate("days", count())
        .map(|w| Stage { day: Timestamp::from_millis(w.window.start.0), stage: w.key, visits: w.value })
        .to(table("funnel").time("day"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::{TestJob, hours};

    #[test]
    fn a_funnel_counts_each_visit_once_and_forgets() {
        let step = |id, visitor: &str, kind, m| Step { id, visitor: visitor.into(), kind, at: mins(m).into() };
        let mut t = TestJob::new(funnel);
        t.push(step(1, "v1", Kind::Visit, 10)).push(step(2, "v1", Kind::Cart, 12)).push(step(3, "v1", Kind::Purchase, 20));
        t.push(step(4, "v2", Kind::Visit, 11)).push(step(5, "v2", Kind::Cart, 15)).push(step(6, "v2", Kind::Purchase, 50));
        t.push(step(7, "v3", Kind::Visit, 13)).advance_to(hours(30));
        let visits = |t: &mut TestJob| t.rows("funnel").read::<Stage>().iter().map(|s| s.visits).collect::<Vec<_>>();
        assert_eq!(visits(&mut t), [3, 2, 1]);
        t.delete("v1");
        assert_eq!(visits(&mut t), [2, 1]);
    }
}
