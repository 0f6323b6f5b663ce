//! What a pipeline goes on from: the newest checkpoint that is whole, the bindings behind it, and whether the bus still holds what they
//! name.

use crate::binding::{Binding, Feed, Lift, PartitionPosition, Positions, SourcePartition};
use crate::bus::{Bus, BusError, Offset, PartitionOffsets, TopicId};
use crate::error::{Error, Result};
use crate::journal::{Checkpoint, History};
use crate::key;
use crate::pipeline::{Components, Topics};
use crate::plan::Plan;
use crate::state::{CheckpointStore, Manifest};
use crate::time::{Epoch, WallTime};

/// Where a new generation starts: at the oldest record of every partition on the bus, or at the first one at or after a time, which may be
/// in an archive.
///
/// # Errors
/// The bus failed.
pub fn beginning(bus: &dyn Bus, plan: &Plan, topics: &Topics, from: Option<WallTime>) -> Result<Vec<(Feed, Offset)>> {
    let mut positions = Vec::new();
    for source in plan.sources() {
        let Some(topic) = topics.get(&source.topic) else { continue };
        let firsts = match from {
            // What another generation has asked was for its records.
            _ if source.is_answers => bus.offsets(topic.id)?.into_iter().map(|at| (at.partition, at.end)).collect(),
            Some(from) => bus.offsets_at(topic.id, from)?,
            None => bus.offsets(topic.id)?.into_iter().map(|at| (at.partition, at.log_start)).collect(),
        };
        let feed = |partition| Feed::bus(source.source, topic.id, partition);
        positions.extend(firsts.into_iter().map(|(partition, first)| (feed(partition), first)));
    }
    Ok(positions)
}

/// Gaps between where the pipeline stands and what the bus still holds.
pub(super) fn gaps(
    bus: &dyn Bus,
    history: &History,
    components: &Components,
    plan: &Plan,
    topics: &Topics,
) -> Result<Vec<(Feed, Offset, Offset)>> {
    let restored = restore(&components.store, history, plan)?;
    let delays: Vec<i64> = plan.sources().map(|s| s.delay_ms).collect();
    let mut positions = restored.positions;
    for binding in history.bindings_after(restored.epoch)? {
        positions.apply(&binding, &delays);
    }
    let mut gaps = Vec::new();
    for source in plan.sources() {
        let Some(topic) = topics.get(&source.topic) else { continue };
        for there in bus.offsets(topic.id)? {
            let partition = SourcePartition::Bus { topic: topic.id, partition: there.partition };
            let feed = Feed { source: source.source, partition };
            let at = positions.of(feed).resume;
            let first = first_from(bus, topic.id, there, at)?;
            if at < first {
                gaps.push((feed, at, first));
            }
        }
    }
    Ok(gaps)
}

/// The first offset that can be read. Whoever wants nothing older than the bus has does not ask where that may be kept.
fn first_from(bus: &dyn Bus, topic: TopicId, there: PartitionOffsets, resume: Offset) -> Result<Offset> {
    if resume >= there.log_start {
        return Ok(there.log_start);
    }
    let readable = bus.readable(topic)?;
    Ok(readable.iter().find(|at| at.partition == there.partition).map_or(there.log_start, |at| at.log_start))
}

/// What the partitions claimed of event time before the records that a generation begins with, as far as the bus no longer has those: what
/// was late when it came is late again.
///
/// # Errors
/// The bus failed.
pub fn claims(bus: &dyn Bus, plan: &Plan, topics: &Topics, begins_at: &Positions) -> Result<Vec<Lift>> {
    let mut lifts = Vec::new();
    for source in plan.sources() {
        let Some(topic) = topics.get(&source.topic) else { continue };
        let feed = |partition| Feed::bus(source.source, topic.id, partition);
        let there = bus.offsets(topic.id)?;
        let resumes = there.iter().map(|at| (at, begins_at.of(feed(at.partition)).resume));
        let old: Vec<_> =
            resumes.filter(|(at, resume)| *resume < at.log_start).map(|(at, resume)| (at.partition, resume)).collect();
        if old.is_empty() {
            continue;
        }
        let before = bus.event_times_before(topic.id, &old)?;
        lifts.extend(
            before.into_iter().map(|(partition, time)| Lift { feed: feed(partition), to: time.minus_ms(source.delay_ms) }),
        );
    }
    Ok(lifts)
}

/// What a pipeline goes on from.
pub struct Restored {
    /// The last epoch whose effects are restored.
    pub epoch: Epoch,
    /// Where the sources stood at its close.
    pub positions: Positions,
    /// Kept checkpoints up to the one restored, oldest first.
    pub kept: Vec<(Checkpoint, Manifest)>,
    /// Checkpoints that turned out to be damaged.
    pub damaged: Vec<Epoch>,
}

/// Restores the newest checkpoint that reads back whole; without one, the start of the generation.
///
/// # Errors
/// No checkpoint is whole and the journal no longer reaches back to the start.
pub fn restore(store: &CheckpointStore, history: &History, plan: &Plan) -> Result<Restored> {
    let mut damaged = Vec::new();
    for (at, checkpoint) in history.checkpoints.iter().enumerate().rev() {
        match read_checkpoint(store, checkpoint) {
            Ok(manifest) => {
                let positions = Positions::decode(&manifest.head.positions)
                    .map_err(|e| Error::Damaged { object: checkpoint.manifest.clone(), what: e.to_string() })?;
                let mut kept = Vec::new();
                for older in &history.checkpoints[..at] {
                    match read_manifest(store, older) {
                        Ok(manifest) => kept.push((older.clone(), manifest)),
                        Err(Error::Damaged { .. }) => damaged.push(older.epoch),
                        // A store that is away for a moment has not lost it: what is not kept would be deleted.
                        Err(error) => return Err(error),
                    }
                }
                kept.push((checkpoint.clone(), manifest));
                return Ok(Restored { epoch: checkpoint.epoch, positions, kept, damaged });
            }
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(epoch = checkpoint.epoch.0, %error, "checkpoint is damaged, trying the one before");
                damaged.push(checkpoint.epoch);
            }
            Err(error) => return Err(error),
        }
    }
    let Some(start) = &history.positions else {
        let what = "no checkpoint is whole, and the journal no longer reaches back to the start".to_string();
        return Err(Error::Damaged { object: format!("state of {} nodes", plan.nodes.len()), what });
    };
    let mut positions = Positions { epoch: history.since, ..Positions::default() };
    for (feed, offset) in start {
        let at = positions.of(*feed);
        positions.feeds.insert(*feed, PartitionPosition { resume: *offset, ..at });
        if *offset > Offset(0) {
            positions.recalls.since.insert(*feed, *offset);
        }
    }
    Ok(Restored { epoch: history.since, positions, kept: Vec::new(), damaged })
}

/// A checkpoint is whole when its manifest and every slice the manifest names read back as they were written.
pub(super) fn read_checkpoint(store: &CheckpointStore, checkpoint: &Checkpoint) -> Result<Manifest> {
    let manifest = read_manifest(store, checkpoint)?;
    match store.verify(&checkpoint.manifest)?.damages.first() {
        Some(what) => Err(Error::Damaged { object: checkpoint.manifest.clone(), what: what.clone() }),
        None => Ok(manifest),
    }
}

fn read_manifest(store: &CheckpointStore, checkpoint: &Checkpoint) -> Result<Manifest> {
    let name = &checkpoint.manifest;
    let bytes = store.get(name)?;
    if key::hash_bytes(&bytes) != checkpoint.checksum {
        return Err(Error::Damaged { object: name.clone(), what: "its checksum is not the journal's".into() });
    }
    Manifest::decode(name, &bytes)
}

/// Moves positions over the gaps an operator has accepted.
pub fn skip_gaps(positions: &mut Positions, gaps: &[(Feed, Offset, Offset)]) {
    for (feed, from, to) in gaps {
        let mut at = positions.of(*feed);
        if at.resume == *from {
            at.resume = *to;
            positions.feeds.insert(*feed, at);
        }
    }
}

/// Topic ids must be those of the bindings, and everything still to be read must still be there: what a replay needs
/// (from `restored` to `live`), and what comes behind it.
///
/// # Errors
/// [`Error::Refused`] or [`BusError::OutOfRange`], with the remedy.
pub fn check_sources(bus: &dyn Bus, plan: &Plan, topics: &Topics, restored: &Positions, live: &Positions) -> Result<()> {
    for (feed, at) in &restored.feeds {
        let SourcePartition::Bus { topic: id, partition } = feed.partition else { continue };
        let Some(source) = plan.sources().nth(usize::from(feed.source)) else { continue };
        let Some(topic) = topics.get(&source.topic) else { continue };
        let name = &source.topic;
        if topic.id != id {
            return Err(Error::refused(
                format!("topic `{name}` was deleted and re-created; offsets of the old one mean nothing in it"),
                "begin a new generation: `run --from-zero`",
            ));
        }
        let offsets = bus.offsets(id)?;
        let Some(there) = offsets.iter().find(|o| o.partition == partition) else {
            return Err(Error::refused(
                format!("partition {name}[{partition}] is missing"),
                "restore the topic, or `run --from-zero`",
            ));
        };
        let (resume, read) = (at.resume, live.of(*feed).resume);
        if read > there.end {
            let end = there.end;
            return Err(Error::refused(
                format!("{name}[{partition}]: the log ends at offset {end}, but the pipeline has read up to {read}"),
                "restore the topic, or `run --from-zero`",
            ));
        }
        let log_start = first_from(bus, id, *there, resume)?;
        // No gap can stand for records whose results may be visible, but not their state.
        if resume < log_start && resume < read {
            return Err(Error::refused(
                format!("{name}[{partition}]: the records from offset {resume} on, which a replay needs, are gone"),
                "restore the topic, or begin a new generation: `run --from-zero`",
            ));
        }
        if resume < log_start {
            let (topic, end) = (name.clone(), there.end);
            return Err(BusError::OutOfRange { topic, partition, resume, log_start, end }.into());
        }
    }
    Ok(())
}

/// Folds the bindings that will be replayed: where the live part begins.
#[must_use]
pub fn fold(positions: &Positions, replay: &[Binding], plan: &Plan) -> Positions {
    let delays: Vec<i64> = plan.sources().map(|s| s.delay_ms).collect();
    let mut live = positions.clone();
    replay.iter().for_each(|binding| live.apply(binding, &delays));
    live
}

#[cfg(test)]
mod tests;
