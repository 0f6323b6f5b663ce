//! What several streams make together.

use super::{KeyedStream, Kind, Stream, lazy, millis};
use crate::table::About;
use distributary_operators::{self as operators, Keyed, Side};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::update::Data;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;

impl<'s, D: Data> Stream<'s, D> {
    /// All records of several streams. One that stands in two of them stands twice.
    pub fn union(self, others: impl IntoIterator<Item = Self> + 's) -> Self {
        let (flow, key, about) = (self.flow.clone(), self.key.clone(), self.about);
        let others: Vec<Self> = others.into_iter().collect();
        let kind = others.iter().fold(self.kind, |kind, other| kind.and(other.kind));
        let graph = flow.graph.clone();
        let collection = lazy(move || {
            let all: Vec<Collection<'s, D>> = std::iter::once(self).chain(others).map(|one| (**one.collection).clone()).collect();
            operators::union(&graph, &all.iter().collect::<Vec<_>>())
        });
        Stream { flow, collection, key, about, kind }
    }
}

impl<'s, K: Key, L: Data> KeyedStream<'s, K, L> {
    /// What `f` makes of every record here with every record of the other one that has the same key, as long as both stand: a join of two
    /// tables. Both keep all their records for ever, so a stream, whose records stay, is refused: take [`KeyedStream::join_within`] or
    /// [`KeyedStream::join_in`], or say [`KeyedStream::as_table`]. `name` names the state.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "users", id = "user_id", time = "at", subject = "user_id")]
    /// struct User { user_id: String, country: String, at: Timestamp }
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "cards", id = "card", time = "at", subject = "user_id")]
    /// struct Card { card: u64, user_id: String, at: Timestamp }
    ///
    /// #[job(team = "fraud")]
    /// fn countries(flow: &Flow) -> Result<()> {
    ///     let users = flow.read_upsert::<User>("users")?.key_by(|u| u.user_id.clone());
    ///     let cards = flow.read_upsert::<Card>("cards")?.key_by(|c| c.user_id.clone());
    ///     cards.join("countries", &users, |_, card, user| (card.card, user.country.clone())).to(topic("fraud.countries"));
    ///     Ok(())
    /// }
    ///
    /// let at = Timestamp::from_millis(0);
    /// let mut t = TestJob::new(countries);
    /// t.push(Card { card: 7, user_id: "u1".into(), at }).push(User { user_id: "u1".into(), country: "AT".into(), at });
    /// assert_eq!(t.rows("fraud.countries").json(), [serde_json::json!([7, "AT"])]);
    /// t.push(User { user_id: "u1".into(), country: "DE".into(), at });
    /// assert_eq!(t.rows("fraud.countries").json(), [serde_json::json!([7, "DE"])]);
    /// ```
    pub fn join<R: Data, O: Data>(
        self,
        name: &str,
        other: &KeyedStream<'s, K, R>,
        f: impl Fn(&K, &L, &R) -> O + 'static,
    ) -> Stream<'s, O> {
        let (name, flow) = (name.to_string(), self.flow.clone());
        let (left, right) = (self.collection, other.collection.clone());
        let (of, kind) = (flow.clone(), self.kind.and(other.kind));
        let collection = lazy(move || {
            kind.check_join(&of.graph, &name);
            operators::join(&of.graph, &left, &right, &name, f)
        });
        Stream { flow, collection, key: None, about: About::default(), kind: Kind::Table }
    }

    /// What `f` makes of every record here with every record of the other one that has the same key and an event time as near as
    /// `interval` says. State goes as the watermark proceeds. Records that come too late go to the pipeline's late topic.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, between, job, mins, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "logins", id = "login", time = "at", subject = "user_id")]
    /// struct Login { login: u64, user_id: String, country: String, at: Timestamp }
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "payments", id = "payment", time = "at", subject = "user_id")]
    /// struct Payment { payment: u64, user_id: String, country: String, at: Timestamp }
    ///
    /// /// A payment in another country than a login in the quarter of an hour before it: with the ids of both as evidence.
    /// #[job(team = "fraud")]
    /// fn jumps(flow: &Flow) -> Result<()> {
    ///     let logins = flow.read::<Login>()?.key_by(|l| l.user_id.clone());
    ///     let payments = flow.read::<Payment>()?.key_by(|p| p.user_id.clone());
    ///     logins
    ///         .join_within(between(secs(0), mins(15)), "jumps", &payments, |_, login, payment| {
    ///             (login.country != payment.country).then_some((login.login, payment.payment))
    ///         })
    ///         .flat_map(|jump| jump)
    ///         .to(topic("fraud.jumps"));
    ///     Ok(())
    /// }
    ///
    /// let at = |s: u64| Timestamp::from(secs(s));
    /// let login = |login, s| Login { login, user_id: "u1".into(), country: "AT".into(), at: at(s) };
    /// let mut t = TestJob::new(jumps);
    /// t.push(login(1, 100)).push(login(2, 2_000));
    /// t.push(Payment { payment: 9, user_id: "u1".into(), country: "BR".into(), at: at(900) });
    /// assert_eq!(t.rows("fraud.jumps").json(), [serde_json::json!([1, 9])]);
    ///
    /// t.advance_to(at(5_000)).push(login(3, 800));
    /// assert_eq!(t.rows("fraud.jumps.late").json()[0]["login"], 3);
    /// ```
    pub fn join_within<R: Data, O: Data>(
        self,
        interval: Interval,
        name: &str,
        other: &KeyedStream<'s, K, R>,
        f: impl Fn(&K, &L, &R) -> O + 'static,
    ) -> Stream<'s, O> {
        let name = name.to_string();
        self.with_other(other, move |graph, left, right| operators::interval_join(graph, left, right, &name, interval.0, f))
    }

    /// As [`KeyedStream::join_within`]; of a record here that no other one has met when none can come any more, `f` is told so.
    pub fn left_join_within<R: Data, O: Data>(
        self,
        interval: Interval,
        name: &str,
        other: &KeyedStream<'s, K, R>,
        f: impl Fn(&K, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'s, O> {
        let name = name.to_string();
        self.with_other(other, move |graph, left, right| operators::left_interval_join(graph, left, right, &name, interval.0, f))
    }

    /// What `f` makes of every record here and that version of the table which was the newest at its event time, when the watermark is there.
    /// Versions of a key are records of `versions`, which stay when the next one comes: events, not rows that are replaced. Late ones
    /// within `lateness` correct what was said; later ones go to the pipeline's late topic.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "rates", id = "id", time = "from", no_personal_data)]
    /// struct Rate { id: u64, currency: String, cents: i64, from: Timestamp }
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "sales", id = "sale", time = "at", no_personal_data)]
    /// struct Sale { sale: u64, currency: String, amount: i64, at: Timestamp }
    ///
    /// #[job(team = "billing")]
    /// fn in_cents(flow: &Flow) -> Result<()> {
    ///     let rates = flow.read::<Rate>()?.key_by(|r| r.currency.clone());
    ///     let sales = flow.read::<Sale>()?.key_by(|s| s.currency.clone());
    ///     sales
    ///         .join_as_of(secs(0), "rates", &rates, |_, sale, rate| (sale.sale, rate.map(|rate| rate.cents * sale.amount)))
    ///         .to(topic("billing.in-cents"));
    ///     Ok(())
    /// }
    ///
    /// let rate = |id, cents, s| Rate { id, currency: "EUR".into(), cents, from: secs(s).into() };
    /// let mut t = TestJob::new(in_cents);
    /// t.push(rate(1, 100, 0)).push(rate(2, 110, 60));
    /// t.push(Sale { sale: 7, currency: "EUR".into(), amount: 3, at: secs(59).into() }).advance_to(secs(60));
    /// assert_eq!(t.rows("billing.in-cents").json(), [serde_json::json!([7, 300])]);
    /// ```
    pub fn join_as_of<R: Data, O: Data>(
        self,
        lateness: Duration,
        name: &str,
        versions: &KeyedStream<'s, K, R>,
        f: impl Fn(&K, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'s, O> {
        let name = name.to_string();
        let lateness_ms = millis(lateness);
        self.with_other(versions, move |graph, left, right| operators::as_of_join(graph, left, right, &name, lateness_ms, f))
    }

    /// What is refused goes to the pipeline's late topic.
    pub(super) fn with_other<R: Data, O: Data>(
        self,
        other: &KeyedStream<'s, K, R>,
        join: impl FnOnce(&Graph<'s>, &Collection<'s, Keyed<K, L>>, &Collection<'s, Keyed<K, R>>) -> Joined<'s, K, L, R, O> + 's,
    ) -> Stream<'s, O> {
        let (flow, left, right) = (self.flow.clone(), self.collection, other.collection.clone());
        let of = flow.clone();
        let collection = lazy(move || {
            let outputs = join(&of.graph, &left, &right);
            let late = operators::map(&of.graph, &outputs.late, |Keyed { hash, key, value }| {
                let value = match value {
                    Side::Left(left) => Late::Left(left),
                    Side::Right(right) => Late::Right(right),
                };
                Keyed { hash, key, value }
            });
            of.keep_late(&late, Rc::default());
            outputs.results
        });
        Stream { flow, collection, key: None, about: About::default(), kind: Kind::Stream }
    }
}

/// A record that came too late, of either side: written as the record that it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Late<L, R> {
    Left(L),
    Right(R),
}

pub(super) type Joined<'s, K, L, R, O> = Outputs<'s, Keyed<K, Side<L, R>>, O>;

/// How far apart in event time records meet.
#[derive(Clone, Copy, Debug)]
pub struct Interval(operators::Interval);

/// A record meets those of the other stream whose event times lie from `earliest` to `latest` behind its own, both included.
#[must_use]
pub fn between(earliest: Duration, latest: Duration) -> Interval {
    Interval(operators::between(millis(earliest), millis(latest)))
}

/// A record meets those of the other stream whose event times lie from `before` in front of its own to `after` behind it, both included.
#[must_use]
pub fn within(before: Duration, after: Duration) -> Interval {
    Interval(operators::between(millis(before).saturating_neg(), millis(after)))
}

impl Interval {
    /// How long after its event time was passed a record is still taken. State is kept as much longer. Default: 0.
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }
}
