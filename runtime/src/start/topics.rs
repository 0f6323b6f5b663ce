//! The topics of a pipeline: what it reads must be there, what it writes is created, or is what it has written before.

use crate::bus::{Bus, BusError, Topic, TopicForm, TopicSpec};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::layout::{Layout, Output};
use crate::pipeline::Topics;
use crate::plan::{Plan, SinkNode, SinkTarget};

/// Finds what the plan reads. What it reads of its own, it makes.
///
/// # Errors
/// A source topic does not exist, or the bus refused.
pub fn sources(bus: &dyn Bus, plan: &Plan) -> Result<Topics> {
    let find = |name: &String| bus.topic(name)?.ok_or_else(|| BusError::NoTopic(name.clone()));
    let inputs = plan.sources().filter(|s| !s.is_answers);
    let mut topics: Topics = inputs.map(|s| Ok((s.topic.clone(), find(&s.topic)?))).collect::<Result<_, BusError>>()?;
    let partitions = topics.values().map(|t| t.spec.partitions).max().unwrap_or(1);
    for source in plan.sources().filter(|s| s.is_answers) {
        topics.insert(source.topic.clone(), ensure(bus, &TopicSpec::new(source.topic.clone(), partitions))?);
    }
    Ok(topics)
}

/// Adds what the plan writes: in a generation that goes on, the topics that hold its results already. What is missing and new to
/// the generation is created.
///
/// # Errors
/// A sink would append to a compacted topic, which keeps only the newest record of each key, or its topic is not the one that
/// holds the results.
pub fn sinks(bus: &dyn Bus, plan: &Plan, begun: Option<&Layout>, sources: &Topics) -> Result<Topics> {
    let mut topics = sources.clone();
    let partitions = topics.values().map(|t| t.spec.partitions).max().unwrap_or(1);
    for sink in plan.sinks() {
        let SinkTarget::Topic { name, form, .. } = &sink.target else { continue };
        let topic = match begun.and_then(|layout| layout.output(name)) {
            Some(output) => written(bus, output)?,
            None => {
                let spec = TopicSpec { form: *form, ..TopicSpec::new(name.clone(), partitions) };
                let spec = if *form == TopicForm::Upsert { TopicSpec { retention_ms: None, ..spec } } else { spec };
                ensure(bus, &spec)?
            }
        };
        if topic.spec.form != *form && *form == TopicForm::Upsert && !appends(plan, name) {
            tracing::warn!(
                topic = %name,
                "sink topic is not compacted: it keeps every state of a key until its retention deletes them all, the newest too"
            );
        } else if topic.spec.form != *form {
            let what = format!("sink topic `{name}` has the form {:?}, the job writes {form:?}", topic.spec.form);
            return Err(Error::refused(what, "write to another topic, or delete this one"));
        }
        topics.insert(name.clone(), topic);
    }
    Ok(topics)
}

/// Whether the job itself appends to this topic: it cannot be both.
fn appends(plan: &Plan, topic: &str) -> bool {
    let to = |sink: &SinkNode| matches!(&sink.target, SinkTarget::Topic { name, form: TopicForm::Append, .. } if name == topic);
    plan.sinks().any(to)
}

/// A topic that holds results of the generation already: one that came back without them would be taken for it.
fn written(bus: &dyn Bus, output: &Output) -> Result<Topic> {
    let gone = |how: &str| {
        let what = format!("sink topic `{}` {how}, and the results it held are gone", output.name);
        Error::refused(what, "restore the topic, or write all results again as a new generation: `run --from-zero`")
    };
    let topic = bus.topic(&output.name)?.ok_or_else(|| gone("was deleted"))?;
    if topic.id != output.id {
        return Err(gone("was deleted and created again"));
    }
    if topic.spec.partitions > output.partitions {
        tracing::info!(
            topic = %output.name, partitions = topic.spec.partitions, written = output.partitions,
            "partitions were added to a sink topic; they are written from the next generation on (`run --from-zero`)"
        );
    }
    let spec = TopicSpec { partitions: output.partitions, ..topic.spec };
    Ok(Topic { spec, ..topic })
}

/// What the results will be laid out by.
#[must_use]
pub fn layout(plan: &Plan, topics: &Topics, lanes: u32) -> Layout {
    let output = |sink: &SinkNode| match &sink.target {
        SinkTarget::Topic { name, .. } => {
            topics.get(name).map(|t| Output { name: name.clone(), id: t.id, partitions: t.spec.partitions })
        }
        _ => None,
    };
    let outputs = plan.sinks().filter_map(output).collect();
    Layout { fingerprint: plan.fingerprint(lanes), plan: plan.to_json(), lanes, outputs }
}

/// What the plan asks of the bus must be something the bus can do.
///
/// # Errors
/// [`Error::Refused`]: the first feature that is missing, and what needs it.
pub fn check_features(bus: &dyn Bus, plan: &Plan) -> Result<()> {
    let has = bus.features();
    let writes = |wanted: Option<TopicForm>| {
        plan.sinks().find_map(|sink| match &sink.target {
            SinkTarget::Topic { name, form, .. } if wanted.is_none_or(|wanted| wanted == *form) => Some(name.as_str()),
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
