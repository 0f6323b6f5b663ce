//! The plan of a job as data: printable, diffable, and the same for live, replay, backfill and test.

mod correction;

pub use correction::{Correction, Horizon, Retraction};

use crate::bus::TopicForm;
use crate::error::{Error, Result};
use crate::sink::Guarantee;
use crate::table::Column;
pub use crate::update::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One operator, source or sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its place in the plan.
    pub id: NodeId,
    /// The operator: `source`, `map`, `window`, `sink`, ...
    pub kind: String,
    /// What exactly, in words: settings that change results stand here, for they are part of the fingerprint.
    pub detail: String,
    /// Where its input comes from.
    pub inputs: Vec<NodeId>,
    /// Its state, if it keeps any.
    pub state: Option<StateNode>,
    /// How it takes back what it has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// What it reads, if it is a source.
    pub source: Option<SourceNode>,
    /// What it writes, if it is a sink.
    pub sink: Option<SinkNode>,
}

impl Node {
    fn forgets_nobody(&self) -> bool {
        let never = Correction { retraction: Retraction::Complete, horizon: Horizon::Behind { ms: 0 } };
        self.kind == "window" && self.correction == Some(never)
    }
}

/// The state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateNode {
    /// Its name: the only mandatory name in a job, unique in it.
    pub name: String,
    /// Shapes of the key's and the value's types (see [`crate::shape`]).
    pub types: String,
}

impl StateNode {
    /// Identifies the types: state written by others is not read.
    #[must_use]
    pub fn type_fingerprint(&self) -> u64 {
        crate::key::hash_bytes(self.types.as_bytes())
    }
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNode {
    /// Index among the sources.
    pub source: u16,
    /// The topic it reads.
    pub topic: String,
    /// Watermark delay: how far behind the greatest event time the partition's watermark stays.
    pub delay_ms: i64,
    /// Whether its events are about somebody, whom a request to delete may name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_subject: bool,
    /// Whether it reads the answers to what the pipeline itself has asked (see [`crate::asking`]): the topic is its own, and tells nothing of
    /// event time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_answers: bool,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkNode {
    /// Index among the sinks.
    pub sink: u16,
    /// The group whose lanes it shares: `topics`, or its own.
    pub group: String,
    /// Where it writes.
    pub target: SinkTarget,
    /// What it promises.
    pub guarantee: Guarantee,
    /// What arrives here: results, late records, dead letters.
    pub role: SinkRole,
}

/// What a sink is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkRole {
    /// Results of the job.
    Results,
    /// Records that a window refused as late.
    Late,
    /// Records that were set aside with their cause.
    DeadLetters,
}

/// Where a sink writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkTarget {
    /// A topic of the bus, created at start if it is missing.
    Topic {
        /// Its name.
        name: String,
        /// Append or upsert.
        form: TopicForm,
        /// How it is written exactly once.
        #[serde(default, skip_serializing_if = "TopicLane::is_default")]
        lane: TopicLane,
    },
    /// A table on an object store, created at start if it is missing.
    Table {
        /// Its name.
        name: String,
        /// The column whose hour a row lies in.
        event_time: String,
        /// Its columns.
        columns: Vec<Column>,
    },
    /// A file of JSON lines.
    JsonLines {
        /// Its path.
        path: String,
    },
    /// The standard output of the process.
    Stdout,
    /// A handle held by the test.
    Memory {
        /// Its name.
        name: String,
    },
}

/// One of the two pipelines of a job. Its sinks decide which of them it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Short epochs, for sinks that answer at once.
    #[default]
    Stream,
    /// Long epochs, for tables: one commit of each table for an epoch.
    Batch,
}

impl Tier {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Stream, Self::Batch];
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Batch => "batch",
        })
    }
}

impl SinkTarget {
    /// The tier in which a sink of this kind is written.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self {
            Self::Table { .. } => Tier::Batch,
            Self::Topic { .. } | Self::JsonLines { .. } | Self::Stdout | Self::Memory { .. } => Tier::Stream,
        }
    }
}

/// How a topic is written exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicLane {
    /// Together with all other such topics of the pipeline and a marker, in one atomic step.
    #[default]
    Transactional,
    /// Behind what its tail shows of the results: the log is the marker.
    Tail,
}

impl TopicLane {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for SinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic { name, form, lane } => {
                let form = if *form == TopicForm::Append { "append" } else { "upsert" };
                let lane = if *lane == TopicLane::Tail { ", tail lane" } else { "" };
                write!(f, "topic {name} ({form}{lane})")
            }
            Self::Table { name, columns, .. } => write!(f, "table {name} ({} columns)", columns.len()),
            Self::JsonLines { path } => write!(f, "file {path}"),
            Self::Stdout => f.write_str("stdout"),
            Self::Memory { name } => write!(f, "memory {name}"),
        }
    }
}

/// All nodes, in the order in which the job named them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The nodes; a node's id is its index.
    pub nodes: Vec<Node>,
}

impl Plan {
    /// The sources, in order.
    pub fn sources(&self) -> impl Iterator<Item = &SourceNode> {
        self.nodes.iter().filter_map(|n| n.source.as_ref())
    }

    /// The sinks, in order.
    pub fn sinks(&self) -> impl Iterator<Item = &SinkNode> {
        self.nodes.iter().filter_map(|n| n.sink.as_ref())
    }

    /// The states, in order.
    pub fn states(&self) -> impl Iterator<Item = &StateNode> {
        self.nodes.iter().filter_map(|n| n.state.as_ref())
    }

    /// The names of the sink groups, in order, each once.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.sinks().map(|s| s.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Identifies the plan and the number of lanes: results of another plan are another generation's.
    #[must_use]
    pub fn fingerprint(&self, lanes: u32) -> u128 {
        let text = serde_json::to_vec(&(self, lanes)).unwrap_or_else(|_| unreachable!("a plan is plain data"));
        xxhash_rust::xxh3::xxh3_128(&text)
    }

    /// Whether it reads events that a request to delete may cover.
    #[must_use]
    pub fn is_about_somebody(&self) -> bool {
        self.sources().any(|source| source.has_subject)
    }

    /// Whether a source reads the answers to questions of the pipeline's own.
    #[must_use]
    pub fn reads_answers(&self, source: u16) -> bool {
        self.sources().nth(usize::from(source)).is_some_and(|source| source.is_answers)
    }

    /// Whether such events come to this node.
    fn tells_of_somebody(&self, node: &Node) -> bool {
        let (mut ahead, mut seen) = (vec![node.id], BTreeSet::new());
        while let Some(node) = ahead.pop().and_then(|id| self.nodes.get(id as usize)) {
            if node.source.as_ref().is_some_and(|source| source.has_subject) {
                return true;
            }
            ahead.extend(node.inputs.iter().filter(|input| seen.insert(**input)));
        }
        false
    }

    /// As JSON: what the journal keeps of it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("a plan is plain data"))
    }

    /// Checks what can be known before anything runs.
    ///
    /// # Errors
    /// Two states of one name, an aggregate that cannot forget a subject, a topic written by both kinds of lane, a table of two kinds of rows, or no sink for results.
    pub fn check(&self) -> Result<()> {
        let mut names: Vec<&str> = self.states().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            let what = format!("the state name `{}` is used twice", twice[0]);
            return Err(Error::refused(what, "give every aggregate, fold, dedup and join of a job a name of its own"));
        }
        let mut lanes = BTreeMap::new();
        for sink in self.sinks() {
            let SinkTarget::Topic { name, lane, .. } = &sink.target else { continue };
            if lanes.insert(name, lane).is_some_and(|before| before != lane) {
                let what = format!("topic `{name}` is written by a tail lane and in transactions");
                return Err(Error::refused(what, "say `.tail()` of all sinks of a topic, or of none"));
            }
        }
        let mut tables = BTreeMap::new();
        for sink in self.sinks() {
            let SinkTarget::Table { name, .. } = &sink.target else { continue };
            if tables.insert(name, &sink.target).is_some_and(|before| *before != sink.target) {
                let what = format!("two sinks write other columns to the table `{name}`");
                return Err(Error::refused(what, "give both the same columns, or each a table of its own"));
            }
        }
        if let Some(node) = self.nodes.iter().find(|node| node.forgets_nobody() && self.tells_of_somebody(node)) {
            let what = format!(
                "{} `{}` keeps what it would need to take a record back only until it is over: whoever is deleted later stays in what it says",
                node.kind,
                node.state.as_ref().map_or("", |state| &state.name)
            );
            let remedy = "say for how long it is kept: `flow.correct_for(days(30))` in front of the streams; or that its results stand \
                          whoever is deleted, because they tell of nobody: `frozen(..)` around the aggregate";
            return Err(Error::refused(what, remedy));
        }
        if self.sinks().all(|s| s.role == SinkRole::DeadLetters) {
            let remedy = "begin with `flow.read::<..>()`, and end the chain with `.to(..)`";
            return Err(Error::refused("the job writes no results", remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
