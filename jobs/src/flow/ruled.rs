//! Streams under rules that change while they run.

use super::{KeyedStream, Kind, Stream};
use distributary_operators::{self as operators, Rules, TakenBack};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::rc::Rc;

/// How far behind its event time the result of an operator can be taken back when it has met rules: longer than windows wait for late
/// records.
const RESULTS_TAKEN_BACK_MS: i64 = 24 * 3_600_000;

/// How long what was said of such records can be taken back.
pub(super) fn taken_back(kind: Kind) -> TakenBack {
    match kind {
        Kind::Stream => TakenBack::Within(RESULTS_TAKEN_BACK_MS),
        Kind::Table => TakenBack::AtAnyTime,
    }
}

impl<'s, D: Data> Stream<'s, D> {
    /// What `f` makes of every record under the rules that hold when it comes: a small keyed stream, of which every worker has all rows.
    /// Of several records of a key the newest one is the rule. Rules are data: they change without a new version of the job,
    /// and each change holds from an epoch on. What was said before stays, and is taken back as it was said. `name` names the state.
    ///
    /// Results of windows and joins are taken back up to a day behind their event time, rows of tables and running aggregates at any time.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "limits", id = "country", time = "at", no_personal_data)]
    /// struct Limit { country: String, cents: i64, at: Timestamp }
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "payments", id = "payment", time = "at", subject = "user_id")]
    /// struct Payment { payment: u64, user_id: String, country: String, cents: i64, at: Timestamp }
    ///
    /// #[job(team = "fraud")]
    /// fn large(flow: &Flow) -> Result<()> {
    ///     let limits = flow.read_upsert::<Limit>("limits")?.key_by(|l| l.country.clone());
    ///     flow.read::<Payment>()?
    ///         .with_broadcast("large", &limits, |p, limits| limits.get(&p.country).filter(|l| p.cents > l.cents).map(|_| p.payment))
    ///         .flat_map(|large| large)
    ///         .to(topic("fraud.large"));
    ///     Ok(())
    /// }
    ///
    /// let limit = |cents, s| Limit { country: "AT".into(), cents, at: secs(s).into() };
    /// let pay = |payment, cents, s| Payment { payment, user_id: "u1".into(), country: "AT".into(), cents, at: secs(s).into() };
    /// let mut t = TestJob::new(large);
    /// t.push(limit(5_000, 0)).push(pay(1, 7_000, 1)).advance_to(secs(1));
    /// t.push(limit(9_000, 2)).push(pay(2, 7_000, 3)).advance_to(secs(3));
    /// assert_eq!(t.rows("fraud.large").json(), [serde_json::json!(1)]);
    /// ```
    pub fn with_broadcast<R: Key, T: Data, O: Data>(
        self,
        name: &str,
        rules: &KeyedStream<'s, R, T>,
        f: impl Fn(&D, &Rules<'_, R, T>) -> O + 'static,
    ) -> Stream<'s, O> {
        let (name, rules) = (name.to_string(), rules.collection.clone());
        let taken_back = taken_back(self.kind);
        self.with(move |flow, input| {
            let outputs = operators::with_broadcast(&flow.graph, input, &rules, &name, taken_back, f);
            let late = operators::key_by(&flow.graph, &outputs.late, |_| ());
            flow.keep_late(&late, Rc::default());
            outputs.results
        })
    }
}
