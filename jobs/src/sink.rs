//! Where results go: `.to(topic("fraud.spend"))`.

use distributary_runtime::bus::TopicForm;
use distributary_runtime::output::Target;
use distributary_runtime::plan::{SinkRole, SinkTarget, TopicLane};
use distributary_runtime::sink::Guarantee;
use serde::Serialize;

/// A place for results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink(SinkTarget);

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
    Sink(SinkTarget::Topic { name: name.into(), form: TopicForm::Upsert, lane: TopicLane::default() })
}

/// A file of JSON lines. At least once: after a crash the lines since the last marker may come again.
#[must_use]
pub fn json_lines(path: impl Into<String>) -> Sink {
    Sink(SinkTarget::JsonLines { path: path.into() })
}

/// The standard output. At least once.
#[must_use]
pub fn stdout() -> Sink {
    Sink(SinkTarget::Stdout)
}

/// Memory, for tests: `TestJob::rows` reads it. Exactly once within the process; `run` refuses it.
#[must_use]
pub fn memory(name: impl Into<String>) -> Sink {
    Sink(SinkTarget::Memory { name: name.into() })
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
        if let SinkTarget::Topic { lane, .. } = &mut self.0 {
            *lane = TopicLane::Tail;
        }
        self
    }

    pub(crate) fn topic(name: impl Into<String>) -> Self {
        Self(SinkTarget::Topic { name: name.into(), form: TopicForm::Append, lane: TopicLane::default() })
    }

    pub(crate) fn needs_key(&self) -> bool {
        matches!(self.0, SinkTarget::Topic { form: TopicForm::Upsert, .. })
    }

    pub(crate) fn name(&self) -> String {
        self.0.to_string()
    }

    pub(crate) fn target(self, role: SinkRole) -> Target {
        let (group, guarantee) = match &self.0 {
            SinkTarget::Topic { lane: TopicLane::Tail, .. } => ("tails".to_string(), Guarantee::ExactlyOnce),
            SinkTarget::Topic { .. } => ("topics".to_string(), Guarantee::ExactlyOnce),
            SinkTarget::JsonLines { path } => (format!("file {path}"), Guarantee::AtLeastOnce),
            SinkTarget::Stdout => ("stdout".to_string(), Guarantee::AtLeastOnce),
            SinkTarget::Memory { name } => (format!("memory {name}"), Guarantee::ExactlyOnce),
        };
        Target { target: self.0, group, guarantee, role }
    }
}

pub(crate) fn encode_json<T: Serialize>(data: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(data).map_err(|_| "a result has no JSON form".to_string())
}
