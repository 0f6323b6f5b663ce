//! The dataflow of one worker while it is built, and the plan that is read off it.
//!
//! A job is a function over a [`Graph`]. It runs once without workers to give the plan, and once on each worker to give
//! the dataflow: what is planned is what runs.

use crate::asking::Asking;
use crate::binding::{Binding, BindingLog};
use crate::error::Result;
use crate::key::{self, Key, Unfit};
use crate::plan::{Correction, Horizon, Node, NodeId, Plan, Retraction, SinkNode, SourceNode, StateNode};
use crate::shape;
use crate::sink::OutRecord;
use crate::source::raw::RawRecords;
use crate::source::running::RunningSource;
use crate::state::{Saved, Snapshot};
use crate::time::{Epoch, Watermark};
use crate::update::{Data, DeadLetter, Update};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::{Scope, Stream};

/// A stream of timely, by our epoch, in vectors.
pub type Timely<'s, T> = Stream<'s, Epoch, Vec<T>>;

/// A collection that changes: a stream of updates, and where in the plan it comes from.
pub struct Collection<'s, D> {
    pub(crate) stream: Timely<'s, Update<D>>,
    pub(crate) node: NodeId,
}

impl<D: Clone + 'static> Clone for Collection<'_, D> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), node: self.node }
    }
}

impl<D> Collection<'_, D> {
    /// Where in the plan it comes from.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }
}

/// What an operator says of itself to the plan.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The operator: `map`, `window`, ...
    pub kind: &'static str,
    /// What exactly, in words; all that changes results stands here.
    pub detail: String,
    /// Its state.
    pub state: Option<StateNode>,
    /// How it takes back what it has counted.
    pub correction: Option<Correction>,
    /// Why its keys cannot be keys: the plan is refused.
    pub unfit: Option<Unfit>,
}

impl Spec {
    /// An operator without state.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), state: None, correction: None, unfit: None }
    }

    /// Keys of this type are found again by what is written of them.
    #[must_use]
    pub fn with_keys<K: Key>(self) -> Self {
        Self { unfit: self.unfit.or_else(|| key::check::<K>().err()), ..self }
    }

    /// The name of its state, and the shapes of its keys and values: state of other shapes is not read.
    #[must_use]
    pub fn with_state<K: Key, V: Data>(self, name: &str) -> Self {
        let types = format!("{} -> {}", shape::of::<K>(), shape::of::<V>());
        Self { state: Some(StateNode { name: name.into(), types }), ..self }.with_keys::<K>()
    }

    /// How, and how long, it takes back what it has counted.
    #[must_use]
    pub fn corrected(self, retraction: Retraction, horizon: Horizon) -> Self {
        Self { correction: Some(Correction { retraction, horizon }), ..self }
    }
}

/// Where a worker starts, and how its operators get and save their state.
pub trait Worker {
    /// The first epoch that this incarnation works on: behind the checkpoint it restored.
    fn start(&self) -> Epoch;
    /// The pipeline's watermark before [`Worker::start`].
    fn watermark(&self) -> Watermark;
    /// Loads what the checkpoint holds of this worker's key groups.
    ///
    /// # Errors
    /// The state was written by other types, or is damaged.
    fn restore(&self, state: &StateNode, into: &mut dyn Snapshot) -> Result<()>;
    /// What a source reads here; `None` when the graph is only planned.
    fn source(&self, source: u16) -> Option<RunningSource>;
    /// Where the questions go whose answers a source reads; `None` when nobody is asked.
    fn asking(&self, source: u16) -> Option<Asking>;
    /// Partitions of a topic that a sink writes; 1 when the graph is only planned.
    fn partitions(&self, topic: &str) -> u32;
    /// The largest value a record of the bus may have, in bytes.
    fn record_bytes_max(&self) -> u64;
    /// Ends the pipeline: an operator cannot go on.
    fn fail(&self, error: crate::error::Error);
    /// Takes over a finished snapshot.
    fn save(&self, saved: Saved);
}

/// The dataflow of one worker while it is built.
#[derive(Clone)]
pub struct Graph<'s> {
    scope: Scope<'s, Epoch>,
    shared: Rc<Shared<'s>>,
}

pub(crate) struct Shared<'s> {
    pub(crate) plan: RefCell<Plan>,
    pub(crate) bindings: BindingLog,
    pub(crate) worker: Rc<dyn Worker>,
    pub(crate) dead: RefCell<Vec<Timely<'s, DeadLetter>>>,
    pub(crate) outputs: RefCell<BTreeMap<String, Vec<Timely<'s, OutRecord>>>>,
    pub(crate) bindings_stream: RefCell<Option<Timely<'s, Rc<Binding>>>>,
    pub(crate) raw: RawRecords,
    pub(crate) errors: RefCell<Vec<crate::error::Error>>,
    correction_horizon_ms: Cell<i64>,
}

impl<'s> Graph<'s> {
    /// An empty dataflow in `scope`.
    pub fn new(scope: Scope<'s, Epoch>, bindings: BindingLog, worker: Rc<dyn Worker>) -> Self {
        let shared = Shared {
            plan: RefCell::default(),
            bindings,
            worker,
            dead: RefCell::default(),
            outputs: RefCell::default(),
            bindings_stream: RefCell::default(),
            raw: RawRecords::default(),
            errors: RefCell::default(),
            correction_horizon_ms: Cell::new(0),
        };
        Self { scope, shared: Rc::new(shared) }
    }

    /// The scope everything is built in.
    #[must_use]
    pub fn scope(&self) -> Scope<'s, Epoch> {
        self.scope
    }

    /// Partitions of a topic that a sink writes; 1 when the graph is only planned.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> u32 {
        self.shared.worker.partitions(topic)
    }

    /// The largest value a record of the bus may have, in bytes.
    pub(crate) fn record_bytes_max(&self) -> usize {
        usize::try_from(self.shared.worker.record_bytes_max()).unwrap_or(usize::MAX)
    }

    /// The bindings, as this worker learns them.
    pub(crate) fn bindings(&self) -> Timely<'s, Rc<Binding>> {
        let stream = self.shared.bindings_stream.borrow().clone();
        stream.unwrap_or_else(|| timely::dataflow::operators::generic::operator::empty(self.scope))
    }

    pub(crate) fn shared(&self) -> &Rc<Shared<'s>> {
        &self.shared
    }

    /// Adds a node to the plan.
    pub fn node(&self, spec: Spec, inputs: &[NodeId]) -> NodeId {
        self.add(spec, inputs, None, None)
    }

    pub(crate) fn add(&self, spec: Spec, inputs: &[NodeId], source: Option<SourceNode>, sink: Option<SinkNode>) -> NodeId {
        let mut plan = self.shared.plan.borrow_mut();
        let id = plan.nodes.len() as NodeId;
        let Spec { kind, detail, state, correction, unfit } = spec;
        if let Some(unfit) = unfit {
            let of_state = state.as_ref().map_or(String::new(), |state| format!(" `{}`", state.name));
            self.refuse(unfit.refusal(&format!("{kind}{of_state}")));
        }
        plan.nodes.push(Node { id, kind: kind.into(), detail, inputs: inputs.to_vec(), state, correction, source, sink });
        id
    }

    /// Sends encoded results to the lanes of a sink group.
    pub fn output(&self, group: &str, records: Timely<'s, OutRecord>) {
        self.shared.outputs.borrow_mut().entry(group.to_string()).or_default().push(records);
    }

    /// Sends records that were set aside to the pipeline's dead letters.
    pub fn set_aside(&self, dead: Timely<'s, DeadLetter>) {
        self.shared.dead.borrow_mut().push(dead);
    }

    /// Remembers an error of the building; it is returned when the graph is complete.
    pub fn refuse(&self, error: crate::error::Error) {
        self.shared.errors.borrow_mut().push(error);
    }

    /// Ends the pipeline while it runs: for an operator that cannot go on.
    pub fn stopper(&self) -> impl Fn(crate::error::Error) + use<> {
        let worker = self.shared.worker.clone();
        move |error| worker.fail(error)
    }

    /// The first error of the building, if there was one.
    ///
    /// # Errors
    /// That one.
    pub fn first_error(&self) -> Result<()> {
        let mut errors = self.shared.errors.borrow_mut();
        if errors.is_empty() { Ok(()) } else { Err(errors.remove(0)) }
    }

    /// How long what has been said can still be corrected, in event time behind the point from where nothing new is taken: state is kept
    /// as much longer. Holds for the operators that are added from here on.
    pub fn correct_for(&self, horizon_ms: i64) {
        self.shared.correction_horizon_ms.set(horizon_ms.max(0));
    }

    /// See [`Graph::correct_for`]; 0 unless it was said.
    #[must_use]
    pub fn correction_horizon_ms(&self) -> i64 {
        self.shared.correction_horizon_ms.get()
    }

    /// The same, as it stands in the plan.
    #[must_use]
    pub fn horizon(&self) -> Horizon {
        Horizon::Behind { ms: self.correction_horizon_ms() }
    }

    /// Where the worker learns the bindings.
    pub(crate) fn feed_bindings(&self, stream: Timely<'s, Rc<Binding>>) {
        *self.shared.bindings_stream.borrow_mut() = Some(stream);
    }

    /// The plan so far.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.shared.plan.borrow().clone()
    }
}
