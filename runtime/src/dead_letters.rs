//! Dead letters: records that were set aside, each with its cause, its position and its original bytes, exactly once.

use crate::bus::Header;
use crate::graph::{Graph, Spec};
use crate::plan::{SinkNode, SinkRole, SinkTarget};
use crate::sink::OutRecord;
use crate::update::DeadLetter;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// Names of the headers of a dead letter, beside the standard ones.
pub mod header {
    /// Why the record was set aside.
    pub const CAUSE: &str = "cause";
    /// The operator that could not use it: `kind#node`.
    pub const OPERATOR: &str = "operator";
    /// The topic it came from.
    pub const TOPIC: &str = "source-topic";
    /// The partition it came from.
    pub const PARTITION: &str = "source-partition";
    /// Its offset there.
    pub const OFFSET: &str = "source-offset";
    /// Its own timestamp, ms since 1970.
    pub const TIMESTAMP: &str = "source-timestamp-ms";
}

/// Ends everything that was set aside in a sink: key and value are the original bytes, the rest stands in headers.
///
/// A record that was made by an aggregation has no original: its dead letter has neither key nor value. Nor has one that was set aside in a
/// later epoch than that which brought it; its headers say where it stands.
pub fn end<'s>(graph: &Graph<'s>, target: SinkTarget, group: &str, guarantee: crate::sink::Guarantee) {
    let streams = std::mem::take(&mut *graph.shared().dead.borrow_mut());
    let sink = graph.plan().sinks().count() as u16;
    let partitions = match &target {
        SinkTarget::Topic { name, .. } => graph.partitions(name),
        _ => 1,
    };
    let spec = Spec::new("dead-letters", target.to_string());
    let node = SinkNode { sink, group: group.into(), target, guarantee, role: SinkRole::DeadLetters };
    graph.add(spec, &[], None, Some(node));
    let plan = graph.plan();
    let raw = graph.shared().raw.clone();
    let dead = graph.scope().concatenate(streams);
    let mut builder = OperatorBuilder::new("dead-letters".into(), graph.scope());
    // To the worker that followed the record: it still has the original.
    let route = |d: &DeadLetter| d.origin.position().map_or(0, |(_, partition, _)| u64::from(partition));
    let mut input = builder.new_input(dead, Exchange::new(route));
    builder.set_notify_for(0, FrontierInterest::Never);
    let (out, stream) = builder.new_output::<Vec<OutRecord>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out);
    builder.build(move |_| {
        move |_frontiers| {
            input.for_each(|time, batch| {
                let records = batch.drain(..).map(|letter| {
                    let original = raw.find(letter.origin);
                    let operator = plan.nodes.get(letter.node as usize).map_or("?", |n| n.kind.as_str());
                    let text = |name: &'static str, value: String| -> Header { (name.into(), value.into()) };
                    let mut headers = vec![
                        text(header::CAUSE, shortened(letter.cause)),
                        text(header::OPERATOR, format!("{operator}#{}", letter.node)),
                    ];
                    let mut place = 0;
                    if let Some((source, partition, offset)) = letter.origin.position() {
                        place = partition;
                        let topic = plan.sources().nth(usize::from(source)).map_or(String::new(), |s| s.topic.clone());
                        headers.push(text(header::TOPIC, topic));
                        headers.push(text(header::PARTITION, partition.to_string()));
                        headers.push(text(header::OFFSET, offset.to_string()));
                    }
                    if let Some(original) = &original {
                        headers.push(text(header::TIMESTAMP, original.timestamp.0.to_string()));
                    }
                    let (key, value) = original.map_or((None, None), |o| (o.key, o.value));
                    OutRecord {
                        sink,
                        partition: place % partitions,
                        origin: letter.origin,
                        diff: letter.diff,
                        key: key.map(|k| k.to_vec()),
                        value: value.map(|v| v.to_vec()),
                        headers,
                    }
                });
                out.activate().session(&time.retain(0)).give_iterator(records);
            });
        }
    });
    graph.output(group, stream);
}

/// A cause longer than this is cut: what user code says must not make a dead letter that no bus takes.
const CAUSE_BYTES_MAX: usize = 4_096;

fn shortened(mut cause: String) -> String {
    if cause.len() > CAUSE_BYTES_MAX {
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        cause.push_str("..");
    }
    cause
}
