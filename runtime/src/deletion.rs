//! Deletions as a pipeline sees them: requests on the bus, and which records they cover.
//!
//! A request is a record of the topic [`TOPIC`], and binds like any other: from the epoch on that binds it, records it covers are
//! *suppressed* where they would enter; those that epochs before it have bound are *recalled*: they enter once more, with the stamp
//! that they had and the difference turned round. So a covered record is either suppressed or recalled, in live and in replay, and
//! what the operators say is corrected by the same code that counts.
//!
//! Only sources are covered: of what a pipeline has written ([`Record::is_derived`]) that pipeline takes back what follows from this.

mod listener;
mod suppression;

pub(crate) use listener::{Listener, Requests};
pub(crate) use suppression::Suppression;

use crate::bus::{Bus, NewRecord, Offset, TopicSpec};
use crate::error::{Error, Result};
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The topic of requests, with one partition: their order is the same for all.
pub const TOPIC: &str = "deletions";

/// Who is to be forgotten, as it stands on the bus: a JSON object.
///
/// ```
/// use distributary_runtime::deletion::{Cut, Request};
/// let request = Request { subjects: vec!["u1".into(), "alias of u1".into()], cut: Cut::Standing };
/// assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"subjects":["u1","alias of u1"],"cut":"standing"}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The texts that name the subject in events.
    pub subjects: Vec<String>,
    /// Which of their events.
    pub cut: Cut,
}

/// Which events a request covers, alike in every pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Also what is still to come.
    Standing,
    /// What lies in front of these offsets, by topic and partition.
    Before(BTreeMap<String, BTreeMap<u32, Offset>>),
}

impl Cut {
    /// Everything that stands on these topics now.
    ///
    /// # Errors
    /// The bus failed.
    pub fn now<'a>(bus: &dyn Bus, topics: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut cut = BTreeMap::new();
        for name in topics {
            if let Some(topic) = bus.topic(name)? {
                let ends = bus.offsets(topic.id)?.into_iter().map(|at| (at.partition, at.end));
                cut.insert(name.to_string(), ends.collect());
            }
        }
        Ok(Self::Before(cut))
    }

    fn covers(&self, topic: &str, partition: u32, offset: Offset) -> bool {
        match self {
            Self::Standing => true,
            Self::Before(ends) => ends.get(topic).and_then(|of| of.get(&partition)).is_some_and(|end| offset < *end),
        }
    }
}

/// The topic of requests as it is to be created: nothing of it may be lost.
#[must_use]
pub fn topic() -> TopicSpec {
    TopicSpec { retention_ms: None, ..TopicSpec::new(TOPIC, 1) }
}

impl Request {
    /// The record to be published to [`TOPIC`]. Running pipelines bind it at once, the others when they start.
    ///
    /// # Errors
    /// It names nobody.
    pub fn record(&self, at: WallTime) -> Result<NewRecord> {
        if self.subjects.is_empty() {
            return Err(Error::refused("a request to delete names no subject", "give it at least one"));
        }
        let value = serde_json::to_vec(self).unwrap_or_else(|_| unreachable!("a request is plain data"));
        Ok(NewRecord { partition: Some(0), timestamp: at, key: None, value: Some(value.into()), headers: Vec::new() })
    }
}
