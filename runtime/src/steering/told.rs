//! What a running pipeline tells about itself: metrics and status.

use super::Steering;
use crate::binding::{Binding, Feed};
use crate::blocked::Since;
use crate::metrics::PartitionMetrics;
use crate::plan::Plan;
use crate::status::{BlockedPartition, Status};
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::time::Duration;

impl Steering {
    pub(super) fn count(&mut self, binding: &Binding) {
        let metrics = &self.begin.components.metrics;
        metrics.epochs_closed.inc();
        for range in binding.ranges.iter().filter(|range| range.feed.partition.has_event_time()) {
            self.partition(range.feed).records_in.inc_by(range.records);
        }
    }

    /// The metrics of a partition.
    fn partition(&mut self, feed: Feed) -> &PartitionMetrics {
        let (plan, metrics) = (&self.begin.plan, &self.begin.components.metrics);
        self.partitions.entry(feed).or_insert_with(|| metrics.partition(topic_of(plan, feed), feed.partition.number()))
    }

    pub(super) fn measure(&mut self, status: &Status) {
        for (feed, _) in self.blocked.iter().collect::<Vec<_>>() {
            self.partition(feed);
        }
        let metrics = &self.begin.components.metrics;
        let number = |epoch: Epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX);
        metrics.epoch_minted.set(number(status.closed));
        metrics.epoch_durable.set(number(status.durable));
        metrics.in_flight_bytes.set(i64::try_from(status.in_flight.1).unwrap_or(i64::MAX));
        metrics.questions_waiting.set(i64::try_from(status.questions.0).unwrap_or(i64::MAX));
        metrics.watermark_ms.set(status.watermark_ms.unwrap_or(0));
        metrics.checkpoint_epoch.set(status.checkpoint.map_or(0, number));
        // Of two sources that read one topic, the slower is told.
        let mut worst: BTreeMap<(&str, u32), (u64, Duration)> = BTreeMap::new();
        for feed in self.partitions.keys() {
            let (lag, blocked) = worst.entry((topic_of(&self.begin.plan, *feed), feed.partition.number())).or_default();
            *lag = self.lag(*feed).max(*lag);
            *blocked = self.blocked.lasts(*feed, self.uptime()).max(*blocked);
        }
        for (feed, partition) in &self.partitions {
            let (lag, blocked) = worst[&(topic_of(&self.begin.plan, *feed), feed.partition.number())];
            partition.lag_records.set(i64::try_from(lag).unwrap_or(i64::MAX));
            partition.blocked_seconds.set(blocked.as_secs_f64());
        }
    }

    /// Records of a partition that are still to be read.
    fn lag(&self, feed: Feed) -> u64 {
        let read = self.minter.passed(feed, self.minter.positions().of(feed).resume);
        self.ends.get(&feed).map_or(0, |end| end.0.saturating_sub(read.0))
    }

    pub(super) fn status(&self) -> Status {
        let positions = self.minter.positions();
        let timed = positions.feeds.iter().filter(|(feed, _)| feed.partition.has_event_time());
        let timed = timed.filter(|(feed, _)| !self.begin.plan.reads_answers(feed.source));
        let slowest = timed.min_by_key(|(_, at)| at.watermark).map(|(feed, _)| self.name_of(*feed));
        Status {
            pipeline: self.begin.pipeline.clone(),
            recovering: self.recovering,
            closed: positions.epoch,
            worked: self.worked,
            durable: self.durable,
            applied: self.begin.lane_names.iter().cloned().zip(self.applied.iter().copied()).collect(),
            in_flight: self.minter.in_flight(),
            full: !self.minter.has_room(),
            questions: (self.begin.reports.questions_waiting(), self.begin.settings.questions_max),
            checkpoint: self.checkpoints.newest(),
            checkpoint_pending: self.checkpoints.pending(),
            lag: positions
                .feeds
                .keys()
                .filter(|feed| feed.partition.has_event_time())
                .map(|feed| self.ends.get(feed).map(|_| self.lag(*feed)))
                .sum(),
            watermark_ms: Some(positions.watermark().0).filter(|w| *w != i64::MIN),
            slowest,
            blocked: self.blocked.iter().map(|(feed, since)| self.blocked_partition(feed, since)).collect(),
        }
    }

    fn blocked_partition(&self, feed: Feed, since: Since) -> BlockedPartition {
        let Since { position, end, since, .. } = since;
        let topic = topic_of(&self.begin.plan, feed).to_string();
        BlockedPartition { topic, partition: feed.partition.number(), position, end, since }
    }

    fn name_of(&self, feed: Feed) -> String {
        format!("{}[{}]", topic_of(&self.begin.plan, feed), feed.partition)
    }
}

fn topic_of(plan: &Plan, feed: Feed) -> &str {
    plan.sources().nth(usize::from(feed.source)).map_or("?", |source| source.topic.as_str())
}
