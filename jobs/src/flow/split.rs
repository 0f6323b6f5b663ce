//! One stream as several.

use super::Stream;
use distributary_operators::{self as operators, Side};
use distributary_runtime::update::Data;

impl<'s, D: Data> Stream<'s, D> {
    /// The records on as many branches as are named. `branch` says the number of each one's; one that there is not makes the record a dead
    /// letter, so every record goes somewhere.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "payments", id = "payment", time = "at", subject = "user_id")]
    /// struct Payment { payment: u64, user_id: String, cents: i64, at: Timestamp }
    ///
    /// #[job(team = "fraud")]
    /// fn by_size(flow: &Flow) -> Result<()> {
    ///     let [small, large] = flow.read::<Payment>()?.split(|p| usize::from(p.cents >= 100_000));
    ///     small.to(topic("fraud.small"));
    ///     large.to(topic("fraud.large"));
    ///     Ok(())
    /// }
    ///
    /// let payment = |payment, cents| Payment { payment, user_id: "u1".into(), cents, at: Timestamp::EPOCH };
    /// let mut t = TestJob::new(by_size);
    /// t.push(payment(1, 500)).push(payment(2, 250_000));
    /// assert_eq!(t.rows("fraud.large").json()[0]["payment"], 2);
    /// assert_eq!(t.rows("fraud.small").len(), 1);
    /// ```
    pub fn split<const N: usize>(self, branch: impl Fn(&D) -> usize + 'static) -> [Self; N] {
        let (key, about) = (self.key.clone(), self.about);
        let split = self.with(move |flow, input| operators::split(&flow.graph, input, N, branch));
        std::array::from_fn(|n| {
            let records = split.clone().with(move |flow, input| operators::branch_of(&flow.graph, input, n));
            Self { key: key.clone(), about, ..records }
        })
    }

    /// The records as two streams of their own types: each as what `f` makes of it.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, Side, TestJob, Timestamp, job, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "bookings", id = "id", time = "at", no_personal_data)]
    /// struct Booking { id: u64, cents: Option<i64>, note: String, at: Timestamp }
    ///
    /// #[job(team = "billing")]
    /// fn booked(flow: &Flow) -> Result<()> {
    ///     let (amounts, notes) = flow.read::<Booking>()?.split_map(|b| match b.cents {
    ///         Some(cents) => Side::Left((b.id, cents)),
    ///         None => Side::Right(b.note),
    ///     });
    ///     amounts.to(topic("billing.amounts"));
    ///     notes.to(topic("billing.notes"));
    ///     Ok(())
    /// }
    ///
    /// let booking = |id, cents| Booking { id, cents, note: "see below".into(), at: Timestamp::EPOCH };
    /// let mut t = TestJob::new(booked);
    /// t.push(booking(1, Some(500))).push(booking(2, None));
    /// assert_eq!(t.rows("billing.amounts").json(), [serde_json::json!([1, 500])]);
    /// assert_eq!(t.rows("billing.notes").json(), ["see below"]);
    /// ```
    pub fn split_map<L: Data, R: Data>(self, f: impl Fn(D) -> Side<L, R> + 'static) -> (Stream<'s, L>, Stream<'s, R>) {
        let sides = self.map(f);
        let left = sides.clone().filter_map(|side| if let Side::Left(left) = side { Some(left) } else { None });
        let right = sides.filter_map(|side| if let Side::Right(right) = side { Some(right) } else { None });
        (left, right)
    }
}
