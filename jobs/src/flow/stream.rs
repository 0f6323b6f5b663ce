//! Streams: what every collection of records can do.

use super::keyed::millis;
use super::{Flow, KeyedStream, Kind, Lazy, lazy};
use crate::codec::key_text;
use crate::event::Event;
use crate::sink::Sink;
use crate::table::About;
use distributary_operators::{self as operators, Answer};
use distributary_runtime::error::Error;
use distributary_runtime::graph::Collection;
use distributary_runtime::key::Key;
use distributary_runtime::plan::SinkRole;
use distributary_runtime::update::Data;
use serde::Serialize;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

/// How the key of a record is found; a pure function of its data.
pub(super) type KeyOf<D> = Rc<dyn Fn(&D) -> Option<Vec<u8>>>;

/// A stream of changing records. Every method gives a new one. Nothing runs until the job is run, and only what a sink wants does.
pub struct Stream<'s, D: 'static> {
    pub(super) flow: Flow<'s>,
    pub(super) collection: Lazy<'s, D>,
    pub(super) key: Option<KeyOf<D>>,
    pub(super) about: About,
    pub(super) kind: Kind,
}

impl<D: Data> Clone for Stream<'_, D> {
    fn clone(&self) -> Self {
        let (key, about, kind) = (self.key.clone(), self.about, self.kind);
        Self { flow: self.flow.clone(), collection: self.collection.clone(), key, about, kind }
    }
}

impl<'s, D: Data> Stream<'s, D> {
    pub(super) fn with<Out: Data>(
        self,
        make: impl FnOnce(&Flow<'s>, &Collection<'s, D>) -> Collection<'s, Out> + 's,
    ) -> Stream<'s, Out> {
        let Self { flow, collection, kind, .. } = self;
        let of = flow.clone();
        Stream { flow, collection: lazy(move || make(&of, &collection)), key: None, about: About::default(), kind }
    }

    /// One record for each. A closure that panics makes its record a dead letter.
    pub fn map<Out: Data>(self, f: impl Fn(D) -> Out + 'static) -> Stream<'s, Out> {
        self.with(|flow, input| operators::map(&flow.graph, input, f))
    }

    /// One record for each; an error makes the record a dead letter with the error as its cause.
    pub fn try_map<Out: Data, E: Display>(self, f: impl Fn(D) -> Result<Out, E> + 'static) -> Stream<'s, Out> {
        self.with(|flow, input| operators::try_map(&flow.graph, input, f))
    }

    /// The records for which `keep` says so (a `bool`, or a `Result` of one).
    pub fn filter<R: Answer<bool>>(self, keep: impl Fn(&D) -> R + 'static) -> Self {
        let (key, about) = (self.key.clone(), self.about);
        Self { key, about, ..self.with(|flow, input| operators::filter(&flow.graph, input, keep)) }
    }

    /// Another record for those for which there is one.
    pub fn filter_map<Out: Data>(self, f: impl Fn(D) -> Option<Out> + 'static) -> Stream<'s, Out> {
        self.with(|flow, input| operators::filter_map(&flow.graph, input, f))
    }

    /// Any number of records for each.
    pub fn flat_map<I: IntoIterator<Item: Data>>(self, f: impl Fn(D) -> I + 'static) -> Stream<'s, I::Item> {
        self.with(|flow, input| operators::flat_map(&flow.graph, input, f))
    }

    /// Any number of records for each, or an error that makes the record a dead letter.
    pub fn try_flat_map<I: IntoIterator<Item: Data>, E: Display>(
        self,
        f: impl Fn(D) -> Result<I, E> + 'static,
    ) -> Stream<'s, I::Item> {
        self.with(|flow, input| operators::try_flat_map(&flow.graph, input, f))
    }

    /// The first record of each id; those that come again within `horizon` of event time are dropped.
    /// What comes when its id is forgotten already goes to the pipeline's late topic.
    ///
    /// `name` names the state. See [`Stream::dedup`] for events.
    pub fn dedup_by<I: Key>(self, name: &str, horizon: Duration, id: impl Fn(&D) -> I + 'static) -> Self {
        let (key, about, name) = (self.key.clone(), self.about, name.to_string());
        let results = self.with(move |flow, input| {
            let outputs = operators::dedup(&flow.graph, input, &name, millis(horizon), id);
            flow.keep_late(&outputs.late, Rc::default());
            outputs.results
        });
        Self { key, about, ..results }
    }

    /// The last record of each id by event time: when a later one comes within `horizon` of event time, the old one goes; when it is taken
    /// back, the one before it comes back. What comes later than that goes to the pipeline's late topic.
    ///
    /// `name` names the state. See [`Stream::dedup_last`] for events.
    pub fn dedup_last_by<I: Key>(self, name: &str, horizon: Duration, id: impl Fn(&D) -> I + 'static) -> Self {
        let (key, about, name) = (self.key.clone(), self.about, name.to_string());
        let results = self.with(move |flow, input| {
            let outputs = operators::dedup_last(&flow.graph, input, &name, millis(horizon), id);
            flow.keep_late(&outputs.late, Rc::default());
            outputs.results
        });
        Self { key, about, ..results }
    }

    /// Gives each record the key by which those that belong together meet.
    ///
    /// A key must be written in one way only, or equal ones would not meet: a `String`, an integer, a `Uuid`, a [`Timestamp`](crate::Timestamp), and what derives all
    /// from such. Others are refused when the plan is made:
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, Timestamp, count, job, mins, topic, tumbling};
    /// use rust_decimal::Decimal;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "sales", id = "sale", time = "at", no_personal_data)]
    /// struct Sale { sale: u64, price: Decimal, at: Timestamp }
    ///
    /// #[job(team = "bi")]
    /// fn prices(flow: &Flow) -> Result<()> {
    ///     flow.read::<Sale>()?.key_by(|s| s.price).window(tumbling(mins(1))).aggregate("prices", count()).to(topic("bi.prices"));
    ///     Ok(())
    /// }
    /// let refused = distributary_runtime::engine::plan(&distributary::run::pipeline(prices)).unwrap_err().to_string();
    /// assert!(refused.contains("`0` and `0.00` make equal keys, but they are written differently"), "{refused}");
    /// assert!(refused.contains("its text (`amount.normalize().to_string()`)"));
    /// ```
    pub fn key_by<K: Key>(self, key: impl Fn(&D) -> K + 'static) -> KeyedStream<'s, K, D> {
        let about = self.about;
        let Stream { flow, collection, kind, .. } = self.with(|flow, input| operators::key_by(&flow.graph, input, key));
        KeyedStream { flow, collection, about, kind }
    }

    /// Says which key records have in sinks: it decides their partition, and the row in upsert topics.
    ///
    /// Events and results of aggregates have one; behind a `map` it must be said again.
    pub fn keyed<K: Serialize>(self, key: impl Fn(&D) -> K + 'static) -> Self {
        Self { key: Some(Rc::new(move |data| key_text(&key(data)))), ..self }
    }

    /// Writes the records to a sink: as JSON, or as rows of a table. May be said several times.
    pub fn to(self, sink: Sink) -> Self {
        self.write(sink, SinkRole::Results);
        self
    }

    fn write(&self, sink: Sink, role: SinkRole) {
        if sink.tier() != self.flow.shared.tier {
            return;
        }
        if sink.needs_key() && self.key.is_none() {
            let what = format!("upsert sink `{}`: its records have no key", sink.name());
            self.flow.graph.refuse(Error::refused(what, "say which: `.keyed(|record| ..)` before `.to(..)`"));
        }
        let key = self.key.clone();
        let key = move |data: &D| key.as_ref().and_then(|key| key(data));
        self.flow.write(&self.collection, sink, role, self.about, key, |data| data);
    }
}

impl<E: Event> Stream<'_, E> {
    /// The first event of each event id; those that come again within `horizon` of event time are dropped. `name` names
    /// the state.
    pub fn dedup(self, name: &str, horizon: Duration) -> Self {
        self.dedup_by(name, horizon, E::id)
    }

    /// The last event of each event id by event time; when a later one comes within `horizon`, the old one goes. `name` names the state.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, mins, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "orders", id = "order", time = "at", no_personal_data)]
    /// struct Order { order: u64, status: String, at: Timestamp }
    ///
    /// #[job(team = "ops")]
    /// fn newest(flow: &Flow) -> Result<()> {
    ///     flow.read::<Order>()?.dedup_last("newest", mins(10)).to(topic("ops.newest"));
    ///     Ok(())
    /// }
    ///
    /// let order = |status: &str, s| Order { order: 7, status: status.into(), at: secs(s).into() };
    /// let mut t = TestJob::new(newest);
    /// t.push(order("paid", 20)).push(order("open", 10));
    /// assert_eq!(t.rows("ops.newest").json()[0]["status"], "paid");
    /// t.push(order("sent", 30));
    /// assert_eq!(t.rows("ops.newest").json()[0]["status"], "sent");
    /// ```
    pub fn dedup_last(self, name: &str, horizon: Duration) -> Self {
        self.dedup_last_by(name, horizon, E::id)
    }
}
