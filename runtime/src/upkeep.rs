//! Upkeep, off the latency path: writes state objects and manifests, deletes what no checkpoint needs, truncates the
//! journal, publishes group offsets. One thread, one thing at a time.

use crate::binding::{Feed, SourcePartition};
use crate::bus::{Bus, Offset, Token, TopicId};
use crate::error::Result;
use crate::failpoint::{Step, durable};
use crate::journal::History;
use crate::report::{Done, Report, Reports};
use crate::response::Response;
use crate::state::{CheckpointStore, Manifest, ObjectHeader, ObjectWriter, Saved, garbage, orphans, pipeline_prefix};
use crate::threads::spawn;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that may wait: the states of all workers, and a little more.
const WAITING_MAX: usize = 1_024;
/// How long to wait before looking whether the pipeline has ended, and after a store that failed.
const TURN: Duration = Duration::from_millis(100);

/// Something to be done.
#[derive(Debug)]
pub enum Job {
    /// Write the snapshot of one state.
    Save(Saved),
    /// Write the manifest of a checkpoint whose objects are all written.
    Manifest(Box<Manifest>),
    /// Delete what the kept checkpoints do not need.
    Clean {
        /// The kept manifests, oldest first.
        keep: Vec<Manifest>,
        /// The retired ones.
        retired: Vec<Manifest>,
        /// How far the newest one has read each source partition, for the tools of the bus.
        read: BTreeMap<Feed, Offset>,
    },
}

/// What the thread works with.
#[derive(Clone)]
pub struct Upkeep {
    /// The pipeline's name.
    pub pipeline: String,
    /// Generation of its results.
    pub generation: u32,
    /// This incarnation.
    pub token: Token,
    /// The checkpoint store.
    pub store: CheckpointStore,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The journal's topic.
    pub journal: TopicId,
}

impl Upkeep {
    /// Starts the thread.
    #[must_use]
    pub fn start(self, reports: &Reports) -> Sender<Job> {
        let (sender, jobs) = bounded(WAITING_MAX);
        let to = reports.clone();
        spawn("upkeep", reports, move || self.run(&jobs, &to));
        sender
    }

    fn run(self, jobs: &Receiver<Job>, reports: &Reports) -> Result<()> {
        while !reports.is_halted() {
            let job = match jobs.recv_timeout(TURN) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            // Every job may run twice: objects are named by what they hold, deletions are of names.
            loop {
                match self.work(&job) {
                    Ok(done) => {
                        reports.send(Report::Upkeep(done));
                        break;
                    }
                    Err(error) if error.response() == Response::Retry && !reports.is_halted() => {
                        tracing::warn!(pipeline = %self.pipeline, %error, "checkpoint upkeep failed, retrying");
                        std::thread::park_timeout(TURN);
                    }
                    Err(_) if reports.is_halted() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn work(&self, job: &Job) -> Result<Done> {
        match job {
            Job::Save(saved) => self.save(saved),
            Job::Manifest(manifest) => {
                let (name, bytes) = (manifest.name(), manifest.encode());
                let checksum = crate::key::hash_bytes(&bytes);
                let len = bytes.len() as u64;
                self.store.put(Step::ManifestPut, &name, bytes)?;
                Ok(Done::Manifest { epoch: manifest.head.epoch, name, checksum, bytes: len })
            }
            Job::Clean { keep, retired, read } => {
                self.truncate(keep)?;
                self.publish(read)?;
                self.delete_garbage(keep, retired)?;
                Ok(Done::Cleaned)
            }
        }
    }

    fn save(&self, saved: &Saved) -> Result<Done> {
        let mut writer = ObjectWriter::new(ObjectHeader {
            pipeline: self.pipeline.clone(),
            generation: self.generation,
            epoch: saved.epoch,
            token: self.token,
            worker: saved.worker as u32,
            state: saved.state.name.clone(),
            type_fingerprint: saved.state.type_fingerprint(),
        });
        saved.slices.iter().for_each(|slice| writer.push(slice));
        let empty = writer.is_empty();
        let (name, bytes, written) = writer.finish();
        let len = if empty { 0 } else { bytes.len() as u64 };
        if !empty {
            self.store.put(Step::StatePut, &name, bytes)?;
        }
        Ok(Done::Saved { epoch: saved.epoch, written, bytes: len })
    }

    /// The journal is needed from the oldest kept checkpoint on.
    fn truncate(&self, keep: &[Manifest]) -> Result<()> {
        let Some(oldest) = keep.first() else { return Ok(()) };
        let page = self.bus.read_journal(self.journal, Offset(0))?;
        let history = History::read(&page.entries)?;
        if let Some(before) = history.needed_from(oldest.head.epoch) {
            durable(Step::JournalTruncate, || self.bus.truncate_journal(self.journal, before))?;
        }
        Ok(())
    }

    fn publish(&self, read: &BTreeMap<Feed, Offset>) -> Result<()> {
        for (topic, offsets) in slowest(read) {
            durable(Step::GroupCommit, || self.bus.commit_group(&self.pipeline, topic, &offsets))?;
        }
        Ok(())
    }

    /// Garbage is what no kept manifest names: objects of retired checkpoints, and what dead incarnations left behind.
    fn delete_garbage(&self, keep: &[Manifest], retired: &[Manifest]) -> Result<()> {
        let stored = self.store.list(&pipeline_prefix(&self.pipeline))?;
        let mut names = garbage(retired, keep);
        names.extend(orphans(stored.iter().map(|s| s.name.as_str()), keep, self.token));
        names.iter().try_for_each(|name| self.store.delete(name))
    }
}

/// How far each partition is read, by topic. Of two sources that read one topic the slower counts: what it lacks is not done.
fn slowest(read: &BTreeMap<Feed, Offset>) -> BTreeMap<TopicId, Vec<(u32, Offset)>> {
    let mut slowest: BTreeMap<(TopicId, u32), Offset> = BTreeMap::new();
    for (feed, at) in read {
        if let SourcePartition::Bus { topic, partition } = feed.partition {
            slowest.entry((topic, partition)).and_modify(|slowest| *slowest = (*slowest).min(*at)).or_insert(*at);
        }
    }
    let mut topics: BTreeMap<TopicId, Vec<(u32, Offset)>> = BTreeMap::new();
    for ((topic, partition), at) in slowest {
        topics.entry(topic).or_default().push((partition, at));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_sources_that_read_one_topic_the_slower_counts() {
        let id = |topic| TopicId([topic; 16]);
        let feed = |source, topic, partition| Feed { source, partition: SourcePartition::Bus { topic: id(topic), partition } };
        let read = [(feed(0, 1, 0), 9), (feed(0, 1, 1), 4), (feed(1, 1, 0), 7), (feed(1, 1, 1), 5), (feed(2, 2, 0), 3)];
        let slowest = slowest(&read.into_iter().map(|(feed, at)| (feed, Offset(at))).collect());
        let of = |topic| slowest[&id(topic)].clone();
        assert_eq!((of(1), of(2)), (vec![(0, Offset(7)), (1, Offset(4))], vec![(0, Offset(3))]));
    }
}
