//! The end of a chain: an operator that encodes results for the lanes of a sink.

use crate::binding::Binding;
use crate::bus::TopicForm;
use crate::graph::{Collection, Graph, Spec};
use crate::plan::{SinkNode, SinkRole, SinkTarget};
use crate::sink::{Guarantee, OutRecord};
use crate::update::{Data, DeadLetter, Stamp};
use crate::user_code::catch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// Where results go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The place.
    pub target: SinkTarget,
    /// The group whose lanes it shares.
    pub group: String,
    /// What it promises.
    pub guarantee: Guarantee,
    /// What it gets.
    pub role: SinkRole,
}

/// A result as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The key; decides the partition as the Java client would. Without one, the record's identity does.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Vec<u8>,
}

/// Ends a collection in a sink. What does not encode, or is larger than the bus takes it in a topic, is a dead letter. `encode` is told where a
/// result comes from, and the binding of its epoch, if it is here: what has come from another worker may be ahead of it.
pub fn to<'s, D: Data>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    target: Target,
    encode: impl Fn(&D, &Stamp, Option<&Binding>) -> Result<Encoded, String> + 'static,
) {
    let sink = graph.plan().sinks().count() as u16;
    let partitions = match &target.target {
        SinkTarget::Topic { name, .. } => graph.partitions(name),
        _ => 1,
    };
    let bytes_max = match target.target {
        SinkTarget::Topic { .. } => graph.record_bytes_max(),
        _ => usize::MAX,
    };
    let needs_key = matches!(target.target, SinkTarget::Topic { form: TopicForm::Upsert, .. });
    let Target { target, group, guarantee, role } = target;
    let spec = Spec::new("sink", target.to_string());
    let node = graph.add(spec, &[input.node], None, Some(SinkNode { sink, group: group.clone(), target, guarantee, role }));
    let mut builder = OperatorBuilder::new("sink".into(), graph.scope());
    let mut handle = builder.new_input(input.stream.clone(), Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (out, stream) = builder.new_output::<Vec<OutRecord>>();
    let (dead, dead_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(out);
    let mut dead = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(dead);
    let bindings = graph.shared().bindings.clone();
    let fits = move |encoded: Encoded| match encoded.value.len().max(encoded.key.as_ref().map_or(0, Vec::len)) {
        _ if needs_key && encoded.key.is_none() => Err("a result for an upsert topic has no key".to_string()),
        bytes if bytes > bytes_max => Err(format!("a result of {bytes} bytes is larger than the bus takes ({bytes_max} bytes)")),
        _ => Ok(encoded),
    };
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_frontiers| {
            handle.for_each(|time, updates| {
                let binding = bindings.get(*time.time());
                let (mut records, mut letters) = (Vec::with_capacity(updates.len()), Vec::new());
                for (data, stamp, diff) in updates.drain(..) {
                    let origin = stamp.origin;
                    match catch(|| encode(&data, &stamp, binding.as_deref())).and_then(|encoded| encoded).and_then(fits) {
                        Ok(Encoded { key, value }) => {
                            let partition = match &key {
                                Some(key) => crate::key::java_partition(key, partitions),
                                None => (crate::key::stable_hash(&origin) % u64::from(partitions)) as u32,
                            };
                            let (value, headers) = (Some(value), Vec::new());
                            records.push(OutRecord { sink, partition, origin, diff, key, value, headers });
                        }
                        Err(cause) => letters.push(DeadLetter { origin, node, diff, cause }),
                    }
                }
                if !records.is_empty() {
                    out.activate().session(&time.retain(0)).give_container(&mut records);
                }
                if !letters.is_empty() {
                    dead.activate().session(&time.retain(1)).give_container(&mut letters);
                }
            });
        }
    });
    graph.set_aside(dead_stream);
    graph.output(&group, stream);
}
