//! The start of an incarnation (rule 10): enter the journal, fence every lane, read the journal back, restore, replay.

use crate::binding::{Binding, Feed, Positions, SourcePartition};
use crate::bus::{Appended, Bus, BusError, Marker, Offset, Token, Topic, TopicForm, TopicSpec};
use crate::engine::{Components, Pipeline, StartOptions};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::journal::{self, Checkpoint, Entry, Fact, History, Incarnation, Opening, Start, StartRequest};
use crate::key;
use crate::lanes::OpenLane;
use crate::plan::{Plan, SinkNode, SinkTarget};
use crate::sink::LaneContext;
use crate::state::{CheckpointStore, Manifest};
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::ops::Range;

/// Starts that may race for the end of the journal before we give up.
const STARTS_MAX: usize = 16;

/// The topics a pipeline works with, by name, as found (or created) at the start.
pub type Topics = BTreeMap<String, Topic>;

/// Finds what the plan reads, and creates what it writes.
///
/// # Errors
/// A source topic does not exist; a sink's topic has another form.
pub fn topics(bus: &dyn Bus, plan: &Plan) -> Result<Topics> {
    let mut topics = Topics::new();
    for source in plan.sources() {
        let found = bus.topic(&source.topic)?;
        let topic = found.ok_or_else(|| BusError::NoTopic(source.topic.clone()))?;
        topics.insert(source.topic.clone(), topic);
    }
    let partitions = topics.values().map(|t| t.spec.partitions).max().unwrap_or(1);
    for sink in plan.sinks() {
        let SinkTarget::Topic { name, form } = &sink.target else { continue };
        let spec = TopicSpec { form: *form, ..TopicSpec::new(name.clone(), partitions) };
        let spec = if *form == TopicForm::Upsert { TopicSpec { retention_ms: None, ..spec } } else { spec };
        let topic = ensure(bus, &spec)?;
        if topic.spec.form != *form {
            let what = format!("sink topic `{name}` has the form {:?}, the job writes {form:?}", topic.spec.form);
            return Err(Error::refused(what, "write to another topic, or delete this one"));
        }
        topics.insert(name.clone(), topic);
    }
    Ok(topics)
}

/// What the plan asks of the bus must be something the bus can do.
///
/// # Errors
/// [`Error::Refused`]: the first feature that is missing, and what needs it.
pub fn check_features(bus: &dyn Bus, plan: &Plan) -> Result<()> {
    let has = bus.features();
    let writes = |wanted: Option<TopicForm>| {
        plan.sinks().find_map(|sink| match &sink.target {
            SinkTarget::Topic { name, form } if wanted.is_none_or(|wanted| wanted == *form) => Some(name.as_str()),
            _ => None,
        })
    };
    let lacks = |what: &str, why: String| {
        let what = format!("{} cannot {what}, which {why} needs", bus.describe());
        Err(Error::refused(what, "run the job on a bus that can, or change its sinks"))
    };
    if let Some(name) = writes(None).filter(|_| !has.atomic_lanes) {
        return lacks("write results and marker in one step", format!("sink topic `{name}`"));
    }
    if let Some(name) = writes(Some(TopicForm::Upsert)).filter(|_| !has.compaction) {
        return lacks("compact a topic by key", format!("upsert topic `{name}`"));
    }
    Ok(())
}

/// Topics that hold results of the generation that is resumed must still be there: one that was deleted would come back
/// without them.
///
/// # Errors
/// [`Error::Refused`], with the remedy.
pub fn check_sinks(bus: &dyn Bus, plan: &Plan, pipeline: &str, options: &StartOptions) -> Result<()> {
    let Some(journal) = bus.topic(&journal_topic(pipeline))?.filter(|_| options.request == StartRequest::Resume) else {
        return Ok(());
    };
    let history = History::read(&bus.read_journal(journal.id, Offset(0))?.entries)?;
    // A plan that has changed is refused for that, and may name other sinks.
    if history.generation == 0 || history.last_epoch == history.since {
        return Ok(());
    }
    for sink in plan.sinks() {
        let SinkTarget::Topic { name, .. } = &sink.target else { continue };
        if bus.topic(name)?.is_none() {
            return Err(Error::refused(
                format!("sink topic `{name}` is gone, and with it the results it held"),
                "restore the topic, or write all results again as a new generation: `run --from-zero`",
            ));
        }
    }
    Ok(())
}

/// The journal's topic of a pipeline.
#[must_use]
pub fn journal_topic(pipeline: &str) -> String {
    format!("{pipeline}.journal")
}

/// Creates a topic unless it is there.
///
/// # Errors
/// The bus refused.
pub fn ensure(bus: &dyn Bus, spec: &TopicSpec) -> Result<Topic> {
    if let Some(topic) = bus.topic(&spec.name)? {
        return Ok(topic);
    }
    durable(Step::TopicCreate, || bus.create_topic(spec))?;
    Ok(bus.topic(&spec.name)?.ok_or_else(|| BusError::NoTopic(spec.name.clone()))?)
}

/// An incarnation that has entered the journal.
pub struct Entered {
    /// Its number.
    pub incarnation: Incarnation,
    /// Its token.
    pub token: Token,
    /// The generation it writes.
    pub generation: u32,
    /// Where the next journal entry goes.
    pub end: Offset,
    /// What the journal says, read behind our own `Start`: nobody else's entries can join it any more.
    pub history: History,
}

/// Appends `Start`: from here on no other incarnation's entries count.
///
/// # Errors
/// The plan has changed and nobody said what to do about it; a source partition has lost records.
pub fn enter(
    pipeline: &Pipeline,
    components: &Components,
    (plan, fingerprint): (&Plan, u128),
    topics: &Topics,
    journal: &Topic,
    options: &StartOptions,
) -> Result<Entered> {
    let bus = &*components.bus;
    let incarnation = Incarnation(options.incarnation);
    for _ in 0..STARTS_MAX {
        let page = bus.read_journal(journal.id, Offset(0))?;
        let history = History::read(&without_starts_of(incarnation, &page.entries)?)?;
        let opening = journal::open(&history, fingerprint, options.request);
        let generation = match opening {
            Opening::First => 1,
            Opening::Resume { generation } | Opening::Anew { generation } => generation,
            Opening::Refuse => {
                return Err(Error::refused(
                    format!("{}: the plan of the job has changed since its results were begun (see `plan`)", pipeline.name),
                    "run the old binary, or begin a new generation with `run --from-zero`",
                ));
            }
        };
        let accepted_gaps = match opening {
            Opening::Resume { .. } if options.accept_gap => gaps(bus, &history, components, plan, topics)?,
            // Who begins anew begins with what is there: nothing is missing, and nothing old is looked at.
            _ => Vec::new(),
        };
        let (at, positions) = (components.clock.now(), earliest(bus, plan, topics)?);
        let start = Start { generation, fingerprint, at, positions, accepted_gaps };
        let entry = Entry { incarnation, fact: Fact::Start(start) }.encode();
        match durable(Step::JournalStart, || bus.append_journal(journal.id, page.end, std::slice::from_ref(&entry)))? {
            Appended::At(at) | Appended::Behind { at } => {
                let looked_at = page.end;
                let page = bus.read_journal(journal.id, Offset(0))?;
                if others_started(incarnation, &page.entries, looked_at..at)? {
                    continue;
                }
                let history = History::read(&page.entries)?;
                let token = Token(at.0);
                if history.owner != Some((incarnation, token)) {
                    let what = format!("another start followed ours at {at}");
                    return Err(Error::Fenced { pipeline: pipeline.name.clone(), what });
                }
                return Ok(Entered { incarnation, token, generation, end: page.end, history });
            }
            // Somebody appended between our look and our append: look again.
            Appended::Taken { .. } => {}
        }
    }
    Err(Error::refused(
        format!("{}: {STARTS_MAX} starts raced for the journal", pipeline.name),
        "run one supervisor per pipeline",
    ))
}

/// A bus without conditional append may put our `Start` behind another that we had not seen when we decided what ours
/// says. Then we decide again, as if ours were not there, and put another behind it: the last one counts.
fn others_started(incarnation: Incarnation, entries: &[(Offset, Vec<u8>)], between: Range<Offset>) -> Result<bool> {
    for (at, bytes) in entries.iter().filter(|(at, _)| between.contains(at)) {
        if journal::is_start_of_another(*at, bytes, incarnation)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn without_starts_of(incarnation: Incarnation, entries: &[(Offset, Vec<u8>)]) -> Result<Vec<(Offset, Vec<u8>)>> {
    let mut others = Vec::with_capacity(entries.len());
    for (at, bytes) in entries {
        if Entry::decode(*at, bytes)?.incarnation != incarnation {
            others.push((*at, bytes.clone()));
        }
    }
    Ok(others)
}

/// Where a new generation starts: at the oldest record of every partition.
fn earliest(bus: &dyn Bus, plan: &Plan, topics: &Topics) -> Result<Vec<(Feed, Offset)>> {
    let mut positions = Vec::new();
    for source in plan.sources() {
        let Some(topic) = topics.get(&source.topic) else { continue };
        for at in bus.offsets(topic.id)? {
            let partition = SourcePartition::Bus { topic: topic.id, partition: at.partition };
            positions.push((Feed { source: source.source, partition }, at.log_start));
        }
    }
    Ok(positions)
}

/// Gaps between where the pipeline stands and what the bus still holds.
fn gaps(
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
    for (feed, log_start) in earliest(bus, plan, topics)? {
        let at = positions.of(feed).resume;
        if at < log_start {
            gaps.push((feed, at, log_start));
        }
    }
    Ok(gaps)
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
                let positions: Positions = key::decode(&manifest.head.positions)
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
        positions.feeds.insert(*feed, crate::binding::PartitionPosition { resume: *offset, ..at });
    }
    Ok(Restored { epoch: history.since, positions, kept: Vec::new(), damaged })
}

/// A checkpoint is whole when its manifest and every slice the manifest names read back as they were written.
fn read_checkpoint(store: &CheckpointStore, checkpoint: &Checkpoint) -> Result<Manifest> {
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
        // No gap can stand for records whose results may be visible, but not their state.
        if resume < there.log_start && resume < read {
            return Err(Error::refused(
                format!("{name}[{partition}]: the records from offset {resume} on, which a replay needs, are gone"),
                "restore the topic, or begin a new generation: `run --from-zero`",
            ));
        }
        if resume < there.log_start {
            let (topic, log_start, end) = (name.clone(), there.log_start, there.end);
            return Err(BusError::OutOfRange { topic, partition, resume, log_start, end }.into());
        }
    }
    Ok(())
}

/// Opens and fences every lane of every sink, before anything is replayed.
///
/// # Errors
/// A newer incarnation was there first, a store cannot be opened, or a marker is ahead of the journal.
pub fn open_lanes(
    pipeline: &Pipeline,
    components: &Components,
    plan: &Plan,
    topics: &Topics,
    entered: &Entered,
    lanes: u32,
) -> Result<Vec<(String, u32, OpenLane)>> {
    let mut open = Vec::new();
    for group in plan.groups() {
        let sinks: Vec<&SinkNode> = plan.sinks().filter(|s| s.group == group).collect();
        let group_lanes = (components.connect)(group, &sinks, topics)?;
        for lane in 0..lanes {
            let context = LaneContext { pipeline: pipeline.name.clone(), generation: entered.generation, lane };
            let mut sink = group_lanes.open(&context)?;
            let marker = durable(Step::LaneFence, || sink.fence(entered.token))?;
            let name = format!("{group}/{lane}");
            check_marker(&name, marker, entered)?;
            let (index, token, generation) = (open.len(), entered.token, entered.generation);
            let metrics = components.metrics.lane(&name);
            let records_out = plan.sinks().map(|s| components.metrics.records_out(&s.target.to_string())).collect();
            let lane_of = OpenLane { index, name, sink, token, marker, generation, metrics, records_out };
            open.push((group.to_string(), lane, lane_of));
        }
    }
    Ok(open)
}

/// A lane can not show what the journal does not hold: only durable epochs are committed.
fn check_marker(lane: &str, marker: Option<Marker>, entered: &Entered) -> Result<()> {
    let journal = Marker { generation: entered.generation, epoch: entered.history.last_epoch };
    match marker {
        // The epochs of earlier generations lie before this one's: a marker is never ahead, whatever its generation.
        Some(m) if m.generation > journal.generation || m.epoch > journal.epoch => Err(Error::refused(
            format!("lane {lane} shows epoch {} but the journal ends at epoch {}", m.epoch, entered.history.last_epoch),
            "the journal has lost entries, or was deleted: restore it, or run the job under another name",
        )),
        _ => Ok(()),
    }
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
