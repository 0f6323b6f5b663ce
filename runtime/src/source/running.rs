//! What a worker gives a source to run with.

use crate::binding::{Feed, RecallFacts};
use crate::bus::{Bus, Offset, Topic};
use crate::deletion::Requests;
use crate::report::Reports;
use crate::settings::Settings;
use crate::time::Watermark;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A source of the plan that is about to run on one worker.
pub struct RunningSource {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The topic as it was found at the start.
    pub topic: Topic,
    /// Where this incarnation starts reading (and where each prefix stands), by partition.
    pub resume: BTreeMap<u32, (Offset, Watermark)>,
    /// Where the live part begins: nothing before it is minted again.
    pub live_from: BTreeMap<u32, Offset>,
    /// Where reading ends, by partition; nothing when it does not.
    pub until: BTreeMap<u32, Offset>,
    /// This worker, and how many there are: partition p is followed by worker p % peers.
    pub worker: (usize, usize),
    /// Requests to delete, as far as they are known; nothing in a pipeline that reads of nobody.
    pub(crate) requests: Option<Requests>,
    /// Those in front of this offset hold before the first epoch.
    pub(crate) requests_upto: Offset,
    /// What is to be known to recall what this source has brought, as of the first epoch.
    pub(crate) recalls: RecallFacts,
    /// How much of what is recalled is bound before the live part begins.
    pub(crate) recalled: BTreeMap<Feed, Offset>,
    /// Bounds and intervals.
    pub settings: Settings,
    /// Where to report.
    pub reports: Reports,
}

impl RunningSource {
    /// A partition of the topic, as this source reads it.
    pub(super) fn feed(&self, source: u16, partition: u32) -> Feed {
        Feed::bus(source, self.topic.id, partition)
    }

    pub(super) fn owns(&self, partition: u32) -> bool {
        partition as usize % self.worker.1 == self.worker.0
    }
}
