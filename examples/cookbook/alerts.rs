//! Operations: too many errors, and nothing at all.

use distributary::{Done, Event, Flow, Process, Result, Timestamp, Turn, by_time, count, job, mins, secs, topic, tumbling, when};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An alert is worth it from so many requests on, if so many of a hundred have failed.
const REQUESTS_MIN: u64 = 20;
const FAILED_PERCENT: u64 = 5;
/// A service that has said nothing for so long is silent.
const SILENT: Duration = mins(5);

/// A request that a service has answered.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "requests", id = "request", time = "at", no_personal_data, delay = "1s")]
pub(crate) struct Request {
    request: u64,
    service: String,
    status: u16,
    at: Timestamp,
}

/// What the person on call sees.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Alarm {
    service: String,
    what: String,
    at: Timestamp,
}

/// Services of which too many requests fail, each minute.
#[job(team = "ops")]
pub(crate) fn errors(flow: &Flow) -> Result<()> {
    flow.read::<Request>()?
        .key_by(|r| r.service.clone())
        .window(tumbling(mins(1)).lateness(secs(10)))
        .aggregate("errors", (count(), when(|r: &Request| r.status >= 500, count())))
        .map(|w| {
            let (all, failed) = (w.value.0, w.value.1.unwrap_or_default());
            let what = format!("{failed} of {all} requests failed");
            let is_bad = all >= REQUESTS_MIN && failed * 100 >= all * FAILED_PERCENT;
            is_bad.then(|| Alarm { service: w.key, what, at: Timestamp::from_millis(w.window.end.0) })
        })
        .flat_map(|alarm| alarm)
        .keyed(|a| a.service.clone())
        .to(topic("ops.errors"));
    Ok(())
}

/// Services that have fallen silent. It takes a clock that goes on: others that still speak, or `idle_watermark = "clock"`.
#[job(team = "ops")]
pub(crate) fn silence(flow: &Flow) -> Result<()> {
    flow.read::<Request>()?
        .key_by(|r| r.service.clone())
        .process("silence", by_time(secs(10)), Silence)
        .keyed(|a| a.service.clone())
        .to(topic("ops.silence"));
    Ok(())
}

struct Silence;

impl Process<String, Request> for Silence {
    /// When it spoke last.
    type State = Option<Timestamp>;
    type Out = Alarm;

    fn on_record(&self, turn: &mut Turn<'_, String, Alarm>, last: &mut Self::State, request: &Request) -> Done {
        *last = Some(request.at);
        turn.set_timer(request.at + SILENT);
        Ok(())
    }

    fn on_timer(&self, turn: &mut Turn<'_, String, Alarm>, last: &mut Self::State) -> Done {
        let at: Timestamp = turn.time().into();
        if last.is_some_and(|last| last + SILENT == at) {
            turn.give(Alarm { service: turn.key().clone(), what: format!("silent for {} s", SILENT.as_secs()), at });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::TestJob;

    fn request(request: u64, service: &str, status: u16, s: u64) -> Request {
        Request { request, service: service.into(), status, at: secs(s).into() }
    }

    #[test]
    fn too_many_errors_are_told_once_a_minute() {
        let mut t = TestJob::new(errors);
        for n in 0..40 {
            t.push(request(n, "cart", if n % 10 == 0 { 503 } else { 200 }, n)).push(request(100 + n, "mail", 200, n));
        }
        t.push(request(200, "few", 500, 3)).advance_to(mins(1));
        let alarm = |what: &str| Alarm { service: "cart".into(), what: what.into(), at: mins(1).into() };
        assert_eq!(t.rows("ops.errors").read::<Alarm>(), [alarm("4 of 40 requests failed")]);
        t.push(request(201, "cart", 500, 59));
        assert_eq!(t.rows("ops.errors").read::<Alarm>(), [alarm("5 of 41 requests failed")]);
    }

    #[test]
    fn silence_is_told() {
        let mut t = TestJob::new(silence);
        t.push(request(1, "cart", 200, 0)).push(request(2, "mail", 200, 0)).push(request(3, "mail", 200, 290));
        t.advance_to(secs(301));
        assert_eq!(t.rows("ops.silence").keys(), ["cart"]);
        t.push(request(4, "cart", 200, 299));
        assert!(t.rows("ops.silence").is_empty(), "it came late, but it was not silent");
    }
}
