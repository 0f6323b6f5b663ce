//! What others know: questions to a service, and calls that take long.

use super::ruled::taken_back;
use super::{KeyedStream, Stream, millis};
use distributary_operators::{self as operators, LookUp};
use distributary_runtime::asking;
use distributary_runtime::error::Error;
use distributary_runtime::key::Key;
use distributary_runtime::source;
use distributary_runtime::update::Data;
use std::fmt::Display;
use std::time::Duration;

/// A service that answers questions, and how it is asked: see [`ask`].
pub struct Service<Q, A>(asking::Service<Q, A>);

/// A service that is asked by a call that waits for the answer: an HTTP request, a query of a database. Eight questions are under way at once, and
/// one that fails is asked five times, unless [`Service::at_once`] and [`Service::attempts`] say otherwise. See [`KeyedStream::look_up`].
pub fn ask<Q, A, E: Display>(call: impl Fn(&Q) -> Result<A, E> + Send + Sync + 'static) -> Service<Q, A> {
    Service(asking::Service::new(call))
}

impl<Q, A> Service<Q, A> {
    /// So many questions may be under way at once, of all workers together (at least one of each).
    #[must_use]
    pub fn at_once(self, questions: usize) -> Self {
        Self(self.0.at_once(questions))
    }

    /// So often a question is asked that fails, with growing pauses; then its records are dead letters, with what the last call said.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self(self.0.attempts(attempts))
    }

    /// For so long an answer also serves those that come later with the same question. Default: only those that wait when it comes.
    #[must_use]
    pub fn fresh_for(self, time: Duration) -> Self {
        Self(self.0.fresh_for_ms(millis(time)))
    }
}

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// What `f` makes of every record and the answer to the question that is its key: a country for an address, a score for a device.
    ///
    /// The answer is written to a topic of the job's own and holds from the epoch that reads it there; a restart reads the same answers, and asks
    /// only what has none. So results are exactly-once whatever the service says the second time; a new generation (`--from-zero`,
    /// `backfill`) asks anew. Records wait meanwhile, event time goes on: windows behind it need a lateness of as much as an answer may take.
    /// While more than `questions_max` questions wait, nothing else is read.
    ///
    /// A record that is taken back gives what it gave, by the same answer. `name` names the state and the topic, `<pipeline>.answers.<name>`, which
    /// holds questions and answers for seven days.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, ask, job, mins, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "logins", id = "login", time = "at", subject = "user_id")]
    /// struct Login { login: u64, user_id: String, ip: String, at: Timestamp }
    ///
    /// fn country(ip: &str) -> Result<String, &'static str> {
    ///     // A call of a service would stand here.
    ///     if ip.starts_with("10.") { Ok("AT".into()) } else { Err("no such address") }
    /// }
    ///
    /// #[job(team = "fraud")]
    /// fn abroad(flow: &Flow) -> Result<()> {
    ///     flow.read::<Login>()?
    ///         .key_by(|l| l.ip.clone())
    ///         .look_up("country", ask(|ip: &String| country(ip)).attempts(2).fresh_for(mins(10)), |l, country| (l.login, country.clone()))
    ///         .to(topic("fraud.abroad"));
    ///     Ok(())
    /// }
    ///
    /// let login = |login, ip: &str| Login { login, user_id: "u1".into(), ip: ip.into(), at: secs(1).into() };
    /// let mut t = TestJob::new(abroad);
    /// t.push(login(1, "10.0.0.1")).push(login(2, "192.0.2.1")).settle();
    /// t.restart().push(login(3, "10.0.0.1"));
    /// assert_eq!(t.rows("fraud.abroad").json(), [serde_json::json!([1, "AT"]), serde_json::json!([3, "AT"])]);
    /// assert_eq!(t.dead_letters().len(), 1);
    /// ```
    pub fn look_up<A: Data, O: Data>(
        self,
        name: &str,
        service: Service<K, A>,
        f: impl Fn(&V, &A) -> O + 'static,
    ) -> Stream<'s, O> {
        let (name, topic) = (name.to_string(), format!("{}.answers.{name}", self.flow.shared.pipeline));
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            let what = format!("look-up `{name}`: its answers have a topic of its name, which cannot be called so");
            self.flow.graph.refuse(Error::refused(what, "name it with letters, digits, `.`, `_` and `-`"));
        }
        let taken_back = taken_back(self.kind);
        self.with_late(move |graph, input| {
            let look = LookUp { name: &name, fresh_for_ms: service.0.freshness_ms(), taken_back };
            operators::look_up(graph, input, source::answers(graph, &topic, &service.0), look, f)
        })
    }

    /// What `f` makes of every record, by a call that takes long, on so many
    /// threads of each worker: a model that scores, a signature that is checked. Records of a key are taken one after the other, in order.
    ///
    /// `f` must be pure: it is called again in a replay, and when a record is taken back. What may change is asked by [`KeyedStream::look_up`]. Results
    /// come when all calls of their epoch have returned: one that hangs holds up the pipeline.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "photos", id = "photo", time = "at", subject = "user_id")]
    /// struct Photo { photo: u64, user_id: String, pixels: Vec<u8>, at: Timestamp }
    ///
    /// #[job(team = "fraud")]
    /// fn dark(flow: &Flow) -> Result<()> {
    ///     flow.read::<Photo>()?
    ///         .key_by(|p| p.user_id.clone())
    ///         .map_blocking(4, |_, p| (p.photo, p.pixels.iter().all(|light| *light < 20)))
    ///         .filter(|(_, dark)| *dark)
    ///         .to(topic("fraud.dark"));
    ///     Ok(())
    /// }
    ///
    /// let mut t = TestJob::new(dark);
    /// for (photo, light) in [(1, 200), (2, 5)] {
    ///     t.push(Photo { photo, user_id: "u1".into(), pixels: vec![light; 64], at: secs(1).into() });
    /// }
    /// assert_eq!(t.rows("fraud.dark").json(), [serde_json::json!([2, true])]);
    /// ```
    pub fn map_blocking<O: Data>(self, threads: usize, f: impl Fn(&K, &V) -> O + Send + Sync + 'static) -> Stream<'s, O> {
        self.try_map_blocking(threads, move |key, value| Ok::<_, String>(f(key, value)))
    }

    /// As [`KeyedStream::map_blocking`]; an error makes the record a dead letter with the error as its cause.
    pub fn try_map_blocking<O: Data, E: Display>(
        self,
        threads: usize,
        f: impl Fn(&K, &V) -> Result<O, E> + Send + Sync + 'static,
    ) -> Stream<'s, O> {
        let Self { flow, collection, about, kind } = self;
        Stream { flow, collection, key: None, about, kind }
            .with(move |flow, input| operators::try_map_blocking(&flow.graph, input, threads, f))
    }
}
