//! What a job is written with: typed chains from a source to its sinks.

mod in_order;
mod join_in;
mod joined;
mod keyed;
mod kind;
mod look_up;
mod process;
mod ruled;
mod sequence;
mod split;
mod stream;
mod view;
mod windowed;
mod windows;

pub use in_order::InOrder;
pub use joined::{Interval, between, within};
pub use keyed::KeyedStream;
use keyed::millis;
use kind::Kind;
pub use look_up::{Service, ask};
pub use process::{Turns, as_they_come, by_time};
pub use sequence::{Pattern, begin};
use stream::KeyOf;
pub use stream::Stream;
pub use view::View;
pub use windowed::{Windowed, WindowedStream};
pub use windows::{Calendar, Hopping, Session, Tumbling, Windows, daily, hopping, monthly, session, tumbling};

use crate::archive::{self, Archived};
use crate::codec::{self, Cause, key_text};
use crate::event::Event;
use crate::sink::Sink;
use crate::table::{About, Rows};
use crate::{Job, Result};
use distributary_connectors::lake;
use distributary_operators::{self as operators, Keyed};
use distributary_runtime::bus::{Record, TopicForm};
use distributary_runtime::dead_letters;
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::output;
use distributary_runtime::plan::{SinkRole, SinkTarget, Tier};
use distributary_runtime::sink::Guarantee;
use distributary_runtime::source::{self, Decoder, Reading, SubjectOf};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::Data;
use std::cell::{Cell, LazyCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a deleted row of a topic is remembered, so that no late repeat brings it back: as long as Kafka keeps a tombstone, and longer
/// than a process is likely to sleep and then still send.
const DELETED_KEPT_MS: i64 = 24 * 3_600_000;

/// The dataflow of a job while its function describes it.
#[derive(Clone)]
pub struct Flow<'s> {
    graph: Graph<'s>,
    shared: Rc<Shared<'s>>,
}

struct Shared<'s> {
    pipeline: String,
    /// What is written in the other tier is no part of this one.
    tier: Tier,
    row_keys: Cell<RowKeys>,
    /// The jobs that archive what is read.
    archives: RefCell<Vec<Job>>,
    /// Late records: unless the job says where else, they go to the pipeline's late topic.
    late: RefCell<Vec<Late<'s>>>,
}

/// What becomes of the keys of rows of a table, which has no place for them beside its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKeys {
    /// They are not even made.
    Dropped,
    /// A test shows them.
    Kept,
}

struct Late<'s> {
    said: Rc<Cell<bool>>,
    end: Box<dyn FnOnce(Sink) + 's>,
}

/// A collection that is made when the first sink wants it: what no sink of the pipeline wants is no part of it.
type Lazy<'s, D> = Rc<LazyCell<Collection<'s, D>, Box<dyn FnOnce() -> Collection<'s, D> + 's>>>;

fn lazy<'s, D>(make: impl FnOnce() -> Collection<'s, D> + 's) -> Lazy<'s, D> {
    Rc::new(LazyCell::new(Box::new(make)))
}

impl<'s> Flow<'s> {
    /// Of one tier of a job.
    pub(crate) fn new(graph: &Graph<'s>, pipeline: String, tier: Tier) -> Self {
        let row_keys = Cell::new(RowKeys::Dropped);
        let shared = Shared { pipeline, tier, row_keys, archives: RefCell::default(), late: RefCell::default() };
        Self { graph: graph.clone(), shared: Rc::new(shared) }
    }

    pub(crate) fn with(self, row_keys: RowKeys) -> Self {
        self.shared.row_keys.set(row_keys);
        self
    }

    /// How long what has been said can still be corrected when somebody is to be forgotten, in event time behind the point from where nothing
    /// new is taken. Windows, joins and ids are kept as much longer, so it costs memory. To be said before the streams that it is to hold for.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, days, job, secs, topic, tumbling};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "logins", id = "login", time = "at", subject = "user_id")]
    /// struct Login { login: u64, user_id: String, at: Timestamp }
    ///
    /// #[job(team = "ops")]
    /// fn load(flow: &Flow) -> Result<()> {
    ///     flow.correct_for(days(30));
    ///     flow.read::<Login>()?.key_by(|_| ()).window(tumbling(secs(10))).aggregate("load", count()).to(topic("ops.load"));
    ///     Ok(())
    /// }
    ///
    /// let login = |login, user: &str| Login { login, user_id: user.into(), at: secs(3).into() };
    /// let mut t = TestJob::new(load);
    /// t.push(login(1, "u1")).push(login(2, "u2")).push(login(3, "u2")).advance_to(days(7));
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 3);
    /// t.delete("u2");
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 1);
    /// ```
    pub fn correct_for(&self, horizon: Duration) {
        self.graph.correct_for(millis(horizon));
    }

    /// Reads the topic of an event type, each record as an event. What does not decode becomes a dead letter, with its cause.
    ///
    /// A topic that another job writes with `.to(topic(..))` is read like any other: its corrections (header `op` = `-`, with the full
    /// before-image) take back what they correct. What another job writes with `.to(topic(..).tail())` is read with [`Flow::read_tail`], and
    /// with `.to(upsert(..))` with [`Flow::read_upsert`]; a job that reads an upsert topic with this is warned when it starts.
    ///
    /// # Errors
    /// None today: what can be wrong with the topic is known when the job starts.
    pub fn read<E: Event>(&self) -> Result<Stream<'s, E>> {
        let subject: Arc<SubjectOf<E>> = Arc::new(|event: &E| event.subject());
        let subject = E::describe().subject.map(|_| subject);
        Ok(self.events(|flow| flow.source::<E, E>(TopicForm::Append, |record| codec::decode::<E>(record), subject)))
    }

    /// Reads a topic that another job writes with `.to(topic(..).tail())`: as [`Flow::read`], but what a replaced process of that job
    /// repeats late is dropped, as [`Sink::tail`] says. `name` names the state, a few bytes for each partition.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, Timestamp, job, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "fraud.alerts", id = "alert_id", time = "at", subject = "user_id")]
    /// struct Alert { alert_id: u64, user_id: String, at: Timestamp }
    ///
    /// #[job(team = "ops")]
    /// fn calls(flow: &Flow) -> Result<()> {
    ///     flow.read_tail::<Alert>("alerts")?.to(topic("ops.calls"));
    ///     Ok(())
    /// }
    /// # let mut t = distributary::TestJob::new(calls);
    /// # t.push(Alert { alert_id: 1, user_id: "u1".into(), at: Timestamp::from_millis(7) });
    /// # assert_eq!(t.rows("ops.calls").len(), 1);
    /// ```
    ///
    /// # Errors
    /// As [`Flow::read`].
    pub fn read_tail<E: Event>(&self, name: &str) -> Result<Stream<'s, E>> {
        let name = name.to_string();
        Ok(self.events(move |flow| {
            let decode = |record: &_| codec::decode::<E>(record).map(|(e, time)| ((codec::written(record), e), time));
            let records = flow.source::<E, _>(TopicForm::Append, decode, None);
            operators::in_sequence(&flow.graph, &records, &name)
        }))
    }

    /// Reads a topic that another job writes with `.to(upsert(..))`, by either kind of lane: the rows of its keys. When a row changes,
    /// its old value goes and the new one comes; when it is deleted, its value goes. So sums over them are sums over the
    /// rows that stand. `name` names the state, which is all rows.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, sum, upsert};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "fraud.spend", id = "user_id", time = "at", subject = "user_id")]
    /// struct Spend { user_id: String, country: String, cents: i64, at: Timestamp }
    ///
    /// #[job(team = "bi")]
    /// fn by_country(flow: &Flow) -> Result<()> {
    ///     flow.read_upsert::<Spend>("spend")?
    ///         .key_by(|s| s.country.clone())
    ///         .aggregate("by country", sum(|s: &Spend| s.cents))
    ///         .to(upsert("bi.by-country"));
    ///     Ok(())
    /// }
    ///
    /// let spend = |user: &str, cents| {
    ///     Spend { user_id: user.into(), country: "AT".into(), cents, at: Timestamp::from_millis(0) }
    /// };
    /// let mut t = TestJob::new(by_country);
    /// t.push(spend("u1", 5)).push(spend("u2", 7)).push(spend("u1", 6));
    /// assert_eq!(t.rows("bi.by-country").json()[0]["value"], 13);
    /// ```
    ///
    /// # Errors
    /// As [`Flow::read`].
    pub fn read_upsert<E: Event>(&self, name: &str) -> Result<Stream<'s, E>> {
        let name = name.to_string();
        let rows = self.events(move |flow| {
            let rows = flow.source::<E, _>(TopicForm::Upsert, |record| codec::decode_row::<E>(record), None);
            operators::newest(&flow.graph, &rows, &name, DELETED_KEPT_MS)
        });
        Ok(rows.as_table())
    }

    /// Keeps every record of the topic of an event type in the table `archive.<topic>`, as it stood on the bus and decoded; also what is no
    /// event. From there `backfill` reads what the bus no longer has.
    ///
    /// There is a job for each topic that a job of the binary reads and whose events have a subject, `run archive.payments`, and `run` of the
    /// job that reads it keeps it by itself. One pipeline archives a topic for all teams.
    ///
    /// # Errors
    /// None today: what keeps events from being rows is known when the plan is made.
    pub fn archive<E: Event>(&self) -> Result<()> {
        if self.shared.tier != Tier::Batch {
            return Ok(());
        }
        let name = lake::archive_of(E::TOPIC);
        let rows = match Rows::archive::<E>() {
            Ok(rows) => rows,
            Err(what) => {
                self.graph.refuse(Error::refused(format!("table {name}: {what}"), "give the events plain fields"));
                return Ok(());
            }
        };
        let detail = format!("records of {}", E::TOPIC);
        let reading = Reading { topic: E::TOPIC, form: TopicForm::Append, delay_ms: 0, takes_back: false, detail: &detail };
        let decoder = Decoder { decode: Arc::new(|record: &Record| Ok(Archived::<E>::of(record))), subject: None };
        let records = source::read(&self.graph, reading, decoder);
        let target = Sink::rows(name, &rows);
        output::to(&self.graph, &records, target, move |archived, stamp, binding| {
            let Some(binding) = binding else { unreachable!("what comes straight from a source comes behind its binding") };
            Ok(output::Encoded { key: None, value: archived.encode(&rows, stamp, binding)? })
        });
        Ok(())
    }

    /// The jobs that archive what has been read so far.
    pub(crate) fn archives(&self) -> Vec<Job> {
        self.shared.archives.take()
    }

    fn source<E: Event, D: Data>(
        &self,
        form: TopicForm,
        decode: impl Fn(&Record) -> Result<(D, EventTime), Cause> + Send + Sync + 'static,
        subject: Option<Arc<SubjectOf<D>>>,
    ) -> Collection<'s, D> {
        let about = E::describe();
        if about.subject.is_some() {
            self.shared.archives.borrow_mut().push(archive::job::<E>());
        }
        let detail =
            format!("{} from {} (id {}, time {}, delay {} ms)", about.rust_type, E::TOPIC, about.id, about.time, about.delay_ms);
        let decode = move |record: &_| decode(record).map_err(|cause| cause.to_string());
        let reading = Reading { topic: E::TOPIC, form, delay_ms: about.delay_ms, takes_back: true, detail: &detail };
        source::read(&self.graph, reading, Decoder { decode: Arc::new(decode), subject })
    }

    fn events<E: Event>(&self, make: impl FnOnce(&Self) -> Collection<'s, E> + 's) -> Stream<'s, E> {
        let flow = self.clone();
        let collection = lazy(move || make(&flow));
        let about = About::event(E::describe());
        Stream { flow: self.clone(), collection, key: Some(Rc::new(|event: &E| event.key())), about, kind: Kind::Stream }
    }

    /// Late records have a sink whatever the job says: if it has not `said` where they go, the pipeline's late topic.
    fn keep_late<K: Key, V: Data>(&self, refused: &Collection<'s, Keyed<K, V>>, said: Rc<Cell<bool>>) {
        let (flow, refused) = (self.clone(), refused.clone());
        let end = Box::new(move |sink| flow.write_late(&refused, sink, About::default()));
        self.shared.late.borrow_mut().push(Late { said, end });
    }

    fn write_late<K: Key, V: Data>(&self, refused: &Collection<'s, Keyed<K, V>>, sink: Sink, about: About) {
        self.write::<V, _>(refused, sink, SinkRole::Late, about, |late| key_text(&late.key), |late| &late.value);
    }

    /// Ends a collection in a sink. Of each of its records there is a key and what is written, a `T`.
    fn write<T: Data, D: Data>(
        &self,
        collection: &Collection<'s, D>,
        sink: Sink,
        role: SinkRole,
        about: About,
        key: impl Fn(&D) -> Option<Vec<u8>> + 'static,
        written: impl Fn(&D) -> &T + 'static,
    ) {
        let name = sink.name();
        match sink.target::<T>(role, about) {
            Ok((target, encoding)) => {
                let is_table = matches!(target.target, SinkTarget::Table { .. });
                let has_key = !is_table || self.shared.row_keys.get() == RowKeys::Kept;
                output::to(&self.graph, collection, target, move |data, _, _| {
                    let key = if has_key { key(data) } else { None };
                    Ok(output::Encoded { key, value: encoding.encode(written(data))? })
                });
            }
            Err(what) => {
                let remedy = "write rows of plain fields: `.map(|result| Row { .. })` before `.to(table(..))`";
                self.graph.refuse(Error::refused(format!("{name}: {what}"), remedy));
            }
        }
    }

    /// Ends what the job left open: late records and dead letters have sinks that cannot be forgotten.
    pub(crate) fn finish(&self) {
        for late in self.shared.late.take() {
            if !late.said.get() {
                (late.end)(Sink::topic(format!("{}.late", self.shared.pipeline)));
            }
        }
        if self.graph.plan().sinks().next().is_none() {
            return;
        }
        let name = format!("{}.dead-letters", self.shared.pipeline);
        let target = Sink::topic_target(name, SinkRole::DeadLetters);
        dead_letters::end(&self.graph, target.target, &target.group, Guarantee::ExactlyOnce);
    }
}
