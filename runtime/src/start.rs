//! The start of an incarnation (rule 10): enter the journal, fence every lane, read the journal back, restore, replay.

mod restore;
mod topics;

pub use restore::{Restored, beginning, check_sources, claims, fold, restore, skip_gaps};
pub use topics::{check_features, ensure, journal_topic, layout, sinks, sources};

use crate::bus::{Appended, Marker, Offset, Token, TopicId};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::journal::{self, Entry, Fact, History, Incarnation, Opening, Start, StartRequest};
use crate::lanes::OpenLane;
use crate::layout::{self as layouts, Adoption, Layout};
use crate::pipeline::{Components, Pipeline, StartOptions, Topics};
use crate::plan::{Plan, SinkNode};
use crate::sink::LaneContext;
use restore::{gaps, read_checkpoint};
use std::ops::Range;

/// How a pipeline is to be opened, seen before anything is written.
pub struct Look {
    /// Where the next journal entry goes.
    end: Offset,
    history: History,
    /// The generation to write.
    generation: u32,
    /// Whether it has begun already.
    goes_on: bool,
}

impl Look {
    /// What the generation is laid out by, if it has begun.
    #[must_use]
    pub fn begun(&self) -> Option<&Layout> {
        self.history.layout.as_ref().filter(|_| self.goes_on)
    }
}

/// Reads the journal and decides how to open it.
///
/// # Errors
/// The plan has changed and nobody said what to do about it, or what was said cannot be done.
pub fn look(
    pipeline: &Pipeline,
    components: &Components,
    (plan, lanes): (&Plan, u32),
    journal: TopicId,
    options: &StartOptions,
) -> Result<Look> {
    let page = components.bus.read_journal(journal, Offset(0))?;
    let history = History::read(&without(Incarnation(options.incarnation), page.entries)?)?;
    let (generation, goes_on) = match journal::open(&history, plan.fingerprint(lanes), options.request) {
        Opening::First => (1, false),
        Opening::Anew { generation } => (generation, false),
        Opening::Resume { generation } => (generation, true),
        Opening::Adopt { generation } => {
            check_adoption(&pipeline.name, &history, plan)?;
            // Nothing but the newest checkpoint will do: what lies before it, the new plan cannot compute again.
            history.checkpoints.last().map_or(Ok(()), |newest| read_checkpoint(&components.store, newest).map(drop))?;
            (generation, true)
        }
        Opening::Refuse => return Err(plan_changed(&pipeline.name, &history, plan, lanes)),
        Opening::NotAtRest => {
            let what = "are not saved yet, and only the plan that bound them can compute them again";
            return Err(Error::refused(
                format!("{}: epochs up to {} {what}", pipeline.name, history.last_epoch),
                "run the old binary once more and stop it in order (SIGTERM), then start the new one with `run --adopt-plan`",
            ));
        }
    };
    Ok(Look { end: page.end, history, generation, goes_on })
}

/// Says what becomes of the states.
fn check_adoption(pipeline: &str, history: &History, plan: &Plan) -> Result<()> {
    let adoption = match history.layout.as_ref().and_then(Layout::plan) {
        Some(before) => layouts::adopt(&before, plan),
        None => Err("an older release did not write down what it was".to_string()),
    };
    match adoption {
        Ok(Adoption { kept, fresh, dropped }) => {
            tracing::warn!(%pipeline, ?kept, ?fresh, ?dropped, "goes on under another plan: states kept, empty, dropped");
            Ok(())
        }
        Err(why) => Err(Error::refused(
            format!("{pipeline}: the new plan cannot go on where the old one stopped: {why}"),
            "give a state that changed another name (it then begins empty), or begin a new generation with `run --from-zero`",
        )),
    }
}

fn plan_changed(pipeline: &str, history: &History, plan: &Plan, lanes: u32) -> Error {
    let mut changes = Vec::new();
    if let Some(before) = history.layout.as_ref().filter(|layout| layout.lanes != lanes && layout.lanes != 0) {
        changes.extend([format!("- lanes {}", before.lanes), format!("+ lanes {lanes}")]);
    }
    if let Some(before) = history.layout.as_ref().and_then(Layout::plan) {
        changes.extend(layouts::difference(&before, plan));
    }
    let mut remedy =
        "run the old binary; or stop it in order and go on with the states that fit (`run --adopt-plan`); or write all \
                      results again as a new generation (`run --from-zero`)"
            .to_string();
    if !changes.is_empty() {
        remedy.push_str(". What has changed:");
        changes.iter().for_each(|line| remedy.extend(["\n  ", line]));
    }
    Error::refused(format!("{pipeline}: the plan of the job has changed since its results were begun"), remedy)
}

/// An incarnation that has entered the journal.
pub struct Entered {
    /// Its number.
    pub incarnation: Incarnation,
    /// Its token.
    pub token: Token,
    /// The generation it writes.
    pub generation: u32,
    /// Lanes of each group that an incarnation before it may still write.
    pub lanes_before: u32,
    /// Where the next journal entry goes.
    pub end: Offset,
    /// What the journal says, read behind our own `Start`: nobody else's entries can join it any more.
    pub history: History,
}

/// Appends `Start`: from here on no other incarnation's entries count. `None` when somebody else has started since the look: it is
/// to be decided again what ours says.
///
/// # Errors
/// The bus failed, or another incarnation started right behind ours.
pub fn enter(
    pipeline: &Pipeline,
    components: &Components,
    (plan, topics, layout): (&Plan, &Topics, &Layout),
    (journal, look): (TopicId, Look),
    options: &StartOptions,
) -> Result<Option<Entered>> {
    let bus = &*components.bus;
    let incarnation = Incarnation(options.incarnation);
    // Who begins anew begins with what is there: nothing is missing, and nothing old is looked at.
    let accepted_gaps =
        if look.goes_on && options.accept_gap { gaps(bus, &look.history, components, plan, topics)? } else { Vec::new() };
    let from = match options.request {
        StartRequest::From(from) => Some(from),
        _ => None,
    };
    let (at, positions) = (components.clock.now(), beginning(bus, plan, topics, from)?);
    let start = Start { generation: look.generation, layout: layout.clone(), at, positions, accepted_gaps };
    let entries = [Entry { incarnation, fact: Fact::Start(start) }.encode()];
    let appended = durable(Step::JournalStart, || bus.append_journal(journal, look.end, &entries))?;
    let (Appended::At(at) | Appended::Behind { at }) = appended else { return Ok(None) };
    let page = bus.read_journal(journal, Offset(0))?;
    if another_started(incarnation, &page.entries, look.end..at)? {
        return Ok(None);
    }
    let history = History::read(&page.entries)?;
    let token = Token(at.0);
    if history.owner != Some((incarnation, token)) {
        let what = format!("another start followed ours at {at}");
        return Err(Error::Fenced { pipeline: pipeline.name.clone(), what });
    }
    let lanes_before = look.history.layout.map_or(0, |layout| layout.lanes);
    Ok(Some(Entered { incarnation, token, generation: look.generation, lanes_before, end: page.end, history }))
}

/// A bus without conditional append may put our `Start` behind another that we had not seen when we decided what ours says.
fn another_started(incarnation: Incarnation, entries: &[(Offset, Vec<u8>)], between: Range<Offset>) -> Result<bool> {
    for (at, bytes) in entries.iter().filter(|(at, _)| between.contains(at)) {
        if journal::is_start_of_another(*at, bytes, incarnation)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The journal as if we had not tried to start before: the `Start` that will count stands behind what is there.
fn without(incarnation: Incarnation, entries: Vec<(Offset, Vec<u8>)>) -> Result<Vec<(Offset, Vec<u8>)>> {
    let mut others = Vec::with_capacity(entries.len());
    for (at, bytes) in entries {
        if Entry::decode(at, &bytes)?.incarnation != incarnation {
            others.push((at, bytes));
        }
    }
    Ok(others)
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
        // Lanes there were more of before are fenced as well: nobody writes them any more.
        for lane in 0..lanes.max(entered.lanes_before) {
            let (pipeline, last_epoch) = (pipeline.name.clone(), entered.history.last_epoch);
            let context = LaneContext { pipeline, generation: entered.generation, lane, lanes, last_epoch };
            let mut sink = group_lanes.open(&context)?;
            let marker = durable(Step::LaneFence, || sink.fence(entered.token));
            let marker = marker.map_err(|error| cause(error, components, entered, &context.pipeline))?;
            let name = format!("{group}/{lane}");
            check_marker(&name, marker, entered)?;
            if lane >= lanes {
                continue;
            }
            let (index, token, generation) = (open.len(), entered.token, entered.generation);
            let metrics = components.metrics.lane(&name);
            let records_out = plan.sinks().map(|s| components.metrics.records_out(&s.target.to_string())).collect();
            let lane_of = OpenLane { index, name, sink, token, marker, generation, metrics, records_out };
            open.push((group.to_string(), lane, lane_of));
        }
    }
    Ok(open)
}

/// A lane without tokens takes the results of a newer incarnation for a loss of the journal: the journal knows better.
fn cause(error: Error, components: &Components, entered: &Entered, pipeline: &str) -> Error {
    if !matches!(error, Error::Refused { .. }) {
        return error;
    }
    let read = || -> Result<Option<History>> {
        let Some(journal) = components.bus.topic(&journal_topic(pipeline))? else { return Ok(None) };
        Ok(Some(History::read(&components.bus.read_journal(journal.id, Offset(0))?.entries)?))
    };
    match read() {
        Ok(Some(history)) if history.owner != Some((entered.incarnation, entered.token)) => {
            Error::Fenced { pipeline: pipeline.to_string(), what: "another start followed ours".to_string() }
        }
        // What was refused says more than why the journal does not answer.
        _ => error,
    }
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

#[cfg(test)]
mod tests;
