//! Sources: a reader thread that prefetches and decodes, and a follower that emits exactly what a binding assigns.
//!
//! Live and replay are one path: whether a binding was minted a moment ago or read from the journal, the follower takes the
//! same records for it, in the same order, and checks their number.

mod follower;
pub(crate) mod raw;
mod reader;
mod recall;
pub mod running;

use crate::asking::{Questions, Service};
use crate::binding::SourcePartition;
use crate::bus::{Record, TopicForm};
use crate::graph::{Collection, Graph, Spec};
use crate::key::{self, Key};
use crate::plan::{NodeId, SourceNode};
use crate::time::EventTime;
use crate::update::{Data, DeadLetter, Diff, Update};
use follower::Follower;
use std::borrow::Cow;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// Reads an event and its time out of a record; an error is the cause of a dead letter. Runs caught, on the reader's thread.
pub type Decode<D> = dyn Fn(&Record) -> Result<(D, EventTime), String> + Send + Sync;

/// Names the subject of an event, if it has one.
pub type SubjectOf<D> = dyn Fn(&D) -> Option<Cow<'_, str>> + Send + Sync;

/// How records become events.
pub struct Decoder<D> {
    /// The event of a record.
    pub decode: Arc<Decode<D>>,
    /// Whom it is about; `None` of a source that requests to delete have nothing to do with.
    pub subject: Option<Arc<SubjectOf<D>>>,
}

impl<D> Clone for Decoder<D> {
    fn clone(&self) -> Self {
        Self { decode: self.decode.clone(), subject: self.subject.clone() }
    }
}

/// How many copies of its event a record brings, if a correction takes back what it corrects.
fn diff(record: &Record, takes_back: bool) -> Diff {
    if takes_back && record.is_retraction() { -1 } else { 1 }
}

/// What is read, and how.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The topic.
    pub topic: &'a str,
    /// What the records are taken for; who takes the states of a key for records of their own is warned.
    pub form: TopicForm,
    /// How far a partition's watermark stays behind its newest event.
    pub delay_ms: i64,
    /// Whether a correction takes back what it corrects, or is a record like any other.
    pub takes_back: bool,
    /// What stands in the plan.
    pub detail: &'a str,
}

/// Reads a topic. Every record becomes an update, or a dead letter with its cause.
pub fn read<'s, D: Data>(graph: &Graph<'s>, reading: Reading<'_>, decoder: Decoder<D>) -> Collection<'s, D> {
    let Reading { topic, delay_ms, detail, .. } = reading;
    let (source, has_subject) = (graph.plan().sources().count() as u16, decoder.subject.is_some());
    let node = SourceNode { source, topic: topic.into(), delay_ms, has_subject, is_answers: false };
    let node = graph.add(Spec::new("source", detail), &[], Some(node), None);
    follow(graph, reading, (source, node), decoder)
}

/// Asks a service, and reads what it answers from a topic of the pipeline's own. What begins to wait is said by [`Questions::close`].
///
/// A record that is no answer becomes a dead letter.
pub fn answers<'s, Q: Key, A: Data>(
    graph: &Graph<'s>,
    topic: &str,
    service: &Service<Q, A>,
) -> (Collection<'s, Answered<Q, A>>, Questions<Q>) {
    let source = graph.plan().sources().count() as u16;
    let node = SourceNode { source, topic: topic.into(), delay_ms: 0, has_subject: false, is_answers: true };
    let node = graph.add(Spec::new("answers", format!("to {}", std::any::type_name::<Q>())), &[], Some(node), None);
    let reading = Reading { topic, form: TopicForm::Append, delay_ms: 0, takes_back: false, detail: "" };
    let decode = |record: &Record| {
        let (Some(question), Some(answer)) = (&record.key, &record.value) else { return Err("not an answer".to_string()) };
        let both = key::decode::<Q>(question).and_then(|question| Ok((question, key::decode::<Result<A, String>>(answer)?)));
        Ok((both.map_err(|e| format!("not an answer: {e}"))?, EventTime::MIN))
    };
    let answers = follow(graph, reading, (source, node), Decoder { decode: Arc::new(decode), subject: None });
    let asking = graph.shared().worker.asking(source);
    (answers, asking.map_or_else(Questions::to_nobody, |asking| Questions::to(service, asking)))
}

/// A question and its answer, or why there is none.
pub type Answered<Q, A> = (Q, Result<A, String>);

fn follow<'s, D: Data>(
    graph: &Graph<'s>,
    reading: Reading<'_>,
    (source, node): (u16, NodeId),
    decoder: Decoder<D>,
) -> Collection<'s, D> {
    let Reading { topic, form, delay_ms, takes_back, .. } = reading;
    let scope = graph.scope();
    let mut builder = OperatorBuilder::new("source".into(), scope);
    let address = builder.operator_info().address.to_vec();
    let mut bindings = builder.new_input(graph.bindings(), Pipeline);
    let (out, stream) = builder.new_output::<Vec<Update<D>>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out);
    let mut dead = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(dead);
    let running = graph.shared().worker.source(source);
    if let Some(running) = &running
        && (form, running.topic.spec.form) == (TopicForm::Append, TopicForm::Upsert)
        && running.worker.0 == 0
    {
        tracing::warn!(topic, "each record replaces another of its key, and yet all are counted: see `Flow::read_upsert`");
    }
    let raw = graph.shared().raw.clone();
    builder.build(move |capabilities| {
        drop(capabilities);
        let activator = scope.worker().sync_activator_for(address);
        let mut follower =
            running.map(|running| Follower::start(running, (source, node), (delay_ms, takes_back), decoder, activator, raw));
        move |_frontiers| {
            let Some(follower) = &mut follower else { return };
            bindings.for_each(|time, batch| {
                for binding in batch.drain(..) {
                    follower.assign(&binding, [time.retain(0), time.retain(1)]);
                }
            });
            follower.work(|capability, updates, dead_letters| {
                if !updates.is_empty() {
                    out.activate().session(&capability[0]).give_container(updates);
                    updates.clear();
                }
                if !dead_letters.is_empty() {
                    dead.activate().session(&capability[1]).give_container(dead_letters);
                    dead_letters.clear();
                }
            });
        }
    });
    graph.set_aside(dead_stream);
    Collection { stream, node }
}
