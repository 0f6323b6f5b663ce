//! Where results go: `.to(topic("fraud.spend"))`.

use crate::codec::encode_json;
use crate::table::{About, Rows, Said};
use distributary_connectors::lake;
use distributary_runtime::bus::TopicForm;
use distributary_runtime::output::Target;
use distributary_runtime::plan::{SinkRole, SinkTarget, Tier, TopicLane};
use distributary_runtime::sink::Guarantee;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;

/// A place for results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Of a table, what the type of its rows tells is not known yet.
    target: SinkTarget,
    said: Vec<(String, Said)>,
}

/// A topic of the bus: every change is a record, a correction one with `op` = `-` and the full before-image. Exactly once.
///
/// Created at start if it is missing, with as many partitions as the job's widest source.
#[must_use]
pub fn topic(name: impl Into<String>) -> Sink {
    Sink::topic(name)
}

/// A topic of the bus that holds the newest record of each key, and is compacted. Exactly once.
#[must_use]
pub fn upsert(name: impl Into<String>) -> Sink {
    Sink::of(SinkTarget::Topic { name: name.into(), form: TopicForm::Upsert, lane: TopicLane::default() })
}

/// A Delta table of Parquet files in the lake (setting `lake`): one row for each result, in folders of the hour it happened. Exactly once.
///
/// Its columns are the fields of the results: a struct stays one, a tuple is one with the fields `f0`, `f1`; a `u64` is a
/// decimal of 20 digits, because no warehouse has such a number, and smaller unsigned ones are the next larger signed. Doc comments of an event's fields are
/// comments of its columns. A result that does not fit (a number that is none, a time beyond the year 9999) is a dead letter.
///
/// A row lies in the hour of its event's time, or of its window's start. Of other results it is the column that is a [`Timestamp`]; if there
/// are several: [`Sink::time`].
///
/// A job that writes tables runs as two pipelines, and this one, the batch tier, has long epochs (ten seconds): a dead object store moves no
/// other sink of the job.
///
/// ```
/// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, table};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
/// struct Payment { payment_id: u32, user_id: String, amount: String, at: Timestamp }
///
/// #[job(team = "bi")]
/// fn lake(flow: &Flow) -> Result<()> {
///     flow.read::<Payment>()?.to(table("payments").decimal("amount", 18, 2));
///     Ok(())
/// }
/// let mut t = TestJob::new(lake);
/// t.push(Payment { payment_id: 1, user_id: "u1".into(), amount: "12.50".into(), at: Timestamp::from_millis(7) });
/// assert_eq!(t.rows("payments").json()[0]["amount"], "12.50");
/// ```
///
/// [`Timestamp`]: crate::Timestamp
#[must_use]
pub fn table(name: impl Into<String>) -> Sink {
    Sink::of(SinkTarget::Table { name: name.into(), event_time: String::new(), columns: Vec::new() })
}

/// A file of JSON lines. At least once: after a crash the lines since the last marker may come again.
#[must_use]
pub fn json_lines(path: impl Into<String>) -> Sink {
    Sink::of(SinkTarget::JsonLines { path: path.into() })
}

/// The standard output. At least once.
#[must_use]
pub fn stdout() -> Sink {
    Sink::of(SinkTarget::Stdout)
}

/// Memory, for tests: `TestJob::rows` reads it. Exactly once within the process; `run` refuses it.
#[must_use]
pub fn memory(name: impl Into<String>) -> Sink {
    Sink::of(SinkTarget::Memory { name: name.into() })
}

impl Sink {
    /// Writes the topic without transactions, by its tail lane: each epoch goes exactly behind what the topic's own tail shows of the
    /// results. Two thirds of the latency and less work for the broker; still exactly once, also after a crash. Only what a process sent that was
    /// paused or cut off, and whose place another has taken, may arrive late and stand in the topic again. A reader drops what does not come
    /// behind the headers `generation`, `epoch`, `index` of what it has read of the partition (in an upsert topic: of the key), as
    /// `examples/clients`, [`Flow::read_tail`](crate::Flow::read_tail) and [`Flow::read_upsert`](crate::Flow::read_upsert) do. Any other sink
    /// is as before.
    #[must_use]
    pub fn tail(mut self) -> Self {
        if let SinkTarget::Topic { lane, .. } = &mut self.target {
            *lane = TopicLane::Tail;
        }
        self
    }

    /// Says by which column, a [`Timestamp`](crate::Timestamp), the rows of a table lie in hours; a field of a struct is named by its path,
    /// `window.end`. Any other sink is as before.
    #[must_use]
    pub fn time(mut self, column: impl Into<String>) -> Self {
        if let SinkTarget::Table { event_time, .. } = &mut self.target {
            *event_time = column.into();
        }
        self
    }

    /// Makes a column of a table a decimal of so many digits, `scale` of them behind the point; its results may be text or numbers. Any other
    /// sink is as before.
    #[must_use]
    pub fn decimal(self, column: impl Into<String>, precision: u8, scale: u8) -> Self {
        self.say(column, Said::Decimal { precision, scale })
    }

    /// Gives a column of a table a comment. Any other sink is as before.
    #[must_use]
    pub fn comment(self, column: impl Into<String>, comment: impl Into<String>) -> Self {
        self.say(column, Said::Comment(comment.into()))
    }

    fn say(mut self, column: impl Into<String>, said: Said) -> Self {
        self.said.push((column.into(), said));
        self
    }

    pub(crate) fn topic(name: impl Into<String>) -> Self {
        Self::of(SinkTarget::Topic { name: name.into(), form: TopicForm::Append, lane: TopicLane::default() })
    }

    fn of(target: SinkTarget) -> Self {
        Self { target, said: Vec::new() }
    }

    pub(crate) fn needs_key(&self) -> bool {
        matches!(self.target, SinkTarget::Topic { form: TopicForm::Upsert, .. })
    }

    pub(crate) fn tier(&self) -> Tier {
        self.target.tier()
    }

    pub(crate) fn name(&self) -> String {
        self.target.to_string()
    }

    /// The target of results of type `T`, and how one of them is written.
    pub(crate) fn target<T: Serialize + DeserializeOwned>(
        self,
        role: SinkRole,
        about: About,
    ) -> Result<(Target, Encoding), String> {
        let (target, encoding) = match self.target {
            SinkTarget::Table { name, event_time, .. } => {
                if let Some(topic) = lake::archived_by(&name) {
                    return Err(format!("this is the name of the archive of the topic `{topic}`"));
                }
                let said = Some(event_time.as_str()).filter(|time| !time.is_empty());
                let rows = Rows::of::<T>(&name, about, said, &self.said)?;
                let (event_time, columns) = (rows.event_time.clone(), rows.columns.clone());
                (SinkTarget::Table { name, event_time, columns }, Encoding::Row(rows))
            }
            other => (other, Encoding::Json(RefCell::default())),
        };
        Ok((of_target(target, role), encoding))
    }

    /// The target of an archive.
    pub(crate) fn rows(name: String, rows: &Rows) -> Target {
        let (event_time, columns) = (rows.event_time.clone(), rows.columns.clone());
        of_target(SinkTarget::Table { name, event_time, columns }, SinkRole::Results)
    }

    /// The target of a topic, whatever its records are.
    pub(crate) fn topic_target(name: String, role: SinkRole) -> Target {
        of_target(Self::topic(name).target, role)
    }
}

fn of_target(target: SinkTarget, role: SinkRole) -> Target {
    let (group, guarantee) = match &target {
        SinkTarget::Topic { lane: TopicLane::Tail, .. } => ("tails".to_string(), Guarantee::ExactlyOnce),
        SinkTarget::Topic { .. } => ("topics".to_string(), Guarantee::ExactlyOnce),
        SinkTarget::Table { name, .. } => (format!("table {name}"), Guarantee::ExactlyOnce),
        SinkTarget::JsonLines { path } => (format!("file {path}"), Guarantee::AtLeastOnce),
        SinkTarget::Stdout => ("stdout".to_string(), Guarantee::AtLeastOnce),
        SinkTarget::Memory { name } => (format!("memory {name}"), Guarantee::ExactlyOnce),
    };
    Target { target, group, guarantee, role }
}

/// How a result is written.
pub(crate) enum Encoding {
    /// With room for one result after the other.
    Json(RefCell<Vec<u8>>),
    Row(Rows),
}

impl Encoding {
    pub(crate) fn encode<T: Serialize>(&self, data: &T) -> Result<Vec<u8>, String> {
        match self {
            Self::Json(room) => encode_json(data, &mut room.borrow_mut()),
            Self::Row(rows) => rows.encode(data),
        }
    }
}
