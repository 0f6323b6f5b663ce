//! Runs one pipeline in this process: from its plan to its end.

mod place;

use crate::binding::{Binding, BindingLog, Feed, Positions};
use crate::bus::{Bus, Offset, TopicId, TopicSpec};
use crate::deletion::{Listener, Requests};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::graph::Graph;
use crate::lanes::OpenLane;
use crate::layout::Layout;
use crate::pipeline::{Components, Pipeline, StartOptions, Topics};
use crate::plan::Plan;
use crate::report::{Command, Report, Reports};
use crate::scribe::{Durable, Journal, Scribe};
use crate::settings::Settings;
use crate::start::{self, Entered};
use crate::state::{CheckpointStore, Manifest, ManifestHead};
use crate::steering::Steering;
use crate::testing::InMemory;
use crate::time::{Clock, Epoch, monotonic};
use crate::upkeep::{Job, Upkeep};
use crossbeam_channel::{Receiver, Sender};
use place::Place;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::AntichainRef;
use timely::worker::ProgressMode;

/// Starts that may race for the end of the journal before we give up.
const STARTS_MAX: usize = 16;
/// How long a worker sleeps when nobody wakes it.
const PARK_MAX: Duration = Duration::from_millis(100);

/// Builds the plan of a pipeline without running it.
///
/// # Errors
/// The job refuses, or its plan does not hold together.
pub fn plan(pipeline: &Pipeline) -> Result<Plan> {
    let plan = outline(pipeline)?;
    plan.check()?;
    Ok(plan)
}

/// As [`plan`], of a pipeline that may turn out to have nothing to do.
///
/// # Errors
/// The job refuses.
pub fn outline(pipeline: &Pipeline) -> Result<Plan> {
    let build = pipeline.build.clone();
    timely::execute_directly(move |worker| {
        worker.dataflow(|scope| {
            let graph = Graph::new(scope, BindingLog::default(), Rc::new(InMemory::fresh()));
            build(&graph)?;
            graph.first_error()?;
            Ok::<_, Error>(graph.plan())
        })
    })
}

/// Runs a pipeline until it is told to stop or cannot go on.
///
/// # Errors
/// Why it cannot start or go on; [`Error::response`] says what to do about it.
pub fn run(
    pipeline: &Pipeline,
    components: &Components,
    settings: &Settings,
    options: &StartOptions,
    reports: (Reports, Receiver<Report>),
) -> Result<()> {
    failpoint::set_recovering(true);
    let began = monotonic();
    let plan = plan(pipeline)?;
    start::check_features(&*components.bus, &plan)?;
    let Begun { journal, topics, layout, entered } = begin(pipeline, components, settings, &plan, options)?;
    let lanes = start::open_lanes(pipeline, components, &plan, &topics, &entered, settings.lanes)?;
    let mut restored = start::restore(&components.store, &entered.history, &plan)?;
    let replay = entered.history.bindings_after(restored.epoch)?;
    start::skip_gaps(&mut restored.positions, &entered.history.accepted_gaps);
    let mut live = start::fold(&restored.positions, &replay, &plan);
    start::skip_gaps(&mut live, &entered.history.accepted_gaps);
    live.closed_at = live.closed_at.max(entered.history.last_closed_at);
    start::check_sources(&*components.bus, &plan, &topics, &restored.positions, &live)?;
    let until = match options.until {
        Some(until) => {
            let ends = start::beginning(&*components.bus, &plan, &topics, Some(until))?;
            // What is bound is read again, wherever reading ends.
            let is_input = |feed: &Feed| !plan.reads_answers(feed.source);
            ends.into_iter().filter(|(feed, _)| is_input(feed)).map(|(feed, end)| (feed, end.max(live.of(feed).resume))).collect()
        }
        None => BTreeMap::new(),
    };
    // They stand in the first binding: until there is one, a start looks again.
    let claims = match live.epoch == entered.history.since {
        true => start::claims(&*components.bus, &plan, &topics, &live)?,
        false => Vec::new(),
    };
    tracing::info!(
        pipeline = %pipeline.name, token = entered.token.0, generation = entered.generation, restored = restored.epoch.0,
        replay = replay.len(), "started"
    );

    let (reports, inbox) = reports;
    let durable = Arc::new(Durable::at(entered.history.last_epoch));
    let writer = Journal {
        bus: components.bus.clone(),
        topic: journal,
        pipeline: pipeline.name.clone(),
        incarnation: entered.incarnation,
        end: entered.end,
    };
    let scribe = Scribe::start(writer, durable.clone(), &reports);
    let requests = plan.is_about_somebody().then(Requests::default);
    let outstanding = match requests.clone() {
        Some(requests) => {
            let look_every = Duration::from_millis(settings.metadata_interval_ms);
            let (bus, reports) = (components.bus.clone(), reports.clone());
            Listener { bus, requests, reports, look_every }.start()?
        }
        None => Vec::new(),
    };
    let upkeep = Upkeep {
        pipeline: pipeline.name.clone(),
        generation: entered.generation,
        token: entered.token,
        store: components.store.clone(),
        bus: components.bus.clone(),
        journal,
    };
    let template = ManifestHead {
        pipeline: pipeline.name.clone(),
        generation: entered.generation,
        epoch: Epoch(0),
        fingerprint: layout.fingerprint,
        token: entered.token,
        positions: Vec::new(),
    };
    let markers = lanes.iter().map(|(_, _, l)| l.visible()).collect();
    let lane_names = lanes.iter().map(|(_, _, l)| l.name.clone()).collect();
    let newest = restored.kept.last().map(|(_, m)| m.clone());
    let stale = restored.damaged.into_iter().chain(entered.history.abandoned.iter().map(|c| c.epoch)).collect();
    let steering = Steering::new(crate::steering::Begin {
        pipeline: pipeline.name.clone(),
        plan: plan.clone(),
        settings: settings.clone(),
        minting: options.minting,
        restored: restored.positions.clone(),
        replay,
        live: live.clone(),
        claims,
        outstanding,
        until: until.clone(),
        gaps: entered.history.accepted_gaps.clone(),
        template,
        layout,
        kept: restored.kept,
        stale,
        markers,
        lane_names,
        scribe,
        upkeep: upkeep.clone().start(&reports),
        reports: reports.clone(),
        components: components.clone(),
        began,
    });
    let shared = Arc::new(Shared {
        pipeline: pipeline.clone(),
        settings: settings.clone(),
        bus: components.bus.clone(),
        clock: components.clock.clone(),
        store: components.store.clone(),
        topics,
        plan,
        start: restored.epoch.next(),
        positions: restored.positions,
        live,
        requests,
        until,
        manifest: newest,
        lanes: Mutex::new(lanes),
        durable,
        saves: steering.upkeep.clone(),
        reports: reports.clone(),
    });
    let result = execute(shared, steering, inbox);
    reports.halt();
    result
}

/// An incarnation that has entered the journal, and what it found.
struct Begun {
    journal: TopicId,
    topics: Topics,
    layout: Layout,
    entered: Entered,
}

/// Enters the journal: looks how it is to be opened, finds or creates the topics, appends `Start`.
fn begin(
    pipeline: &Pipeline,
    components: &Components,
    settings: &Settings,
    plan: &Plan,
    options: &StartOptions,
) -> Result<Begun> {
    let bus = &*components.bus;
    let sources = start::sources(bus, plan)?;
    let journal = start::ensure(bus, &TopicSpec::journal(start::journal_topic(&pipeline.name)))?.id;
    for _ in 0..STARTS_MAX {
        let look = start::look(pipeline, components, (plan, settings.lanes), journal, options)?;
        let topics = start::sinks(bus, plan, look.begun(), &sources)?;
        let layout = start::layout(plan, &topics, settings.lanes);
        if let Some(entered) = start::enter(pipeline, components, (plan, &topics, &layout), (journal, look), options)? {
            return Ok(Begun { journal, topics, layout, entered });
        }
    }
    Err(Error::refused(
        format!("{}: {STARTS_MAX} starts raced for the journal", pipeline.name),
        "run one supervisor per pipeline",
    ))
}

/// What the workers share.
struct Shared {
    pipeline: Pipeline,
    settings: Settings,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    store: CheckpointStore,
    topics: Topics,
    plan: Plan,
    start: Epoch,
    positions: Positions,
    live: Positions,
    requests: Option<Requests>,
    until: BTreeMap<Feed, Offset>,
    manifest: Option<Manifest>,
    lanes: Mutex<Vec<(String, u32, OpenLane)>>,
    durable: Arc<Durable>,
    saves: Sender<Job>,
    reports: Reports,
}

fn execute(shared: Arc<Shared>, steering: Steering, inbox: Receiver<Report>) -> Result<()> {
    let communication = match shared.settings.workers {
        0 | 1 => timely::CommunicationConfig::Thread,
        n => timely::CommunicationConfig::Process(n as usize),
    };
    let worker = crate::view::worker_config().progress_mode(ProgressMode::Demand);
    let reports = shared.reports.clone();
    let first = Mutex::new(Some((steering, inbox)));
    let guards = timely::execute(timely::Config { communication, worker }, move |worker| {
        let _guard = HaltOnPanic(&shared.reports);
        shared.reports.work_here();
        let steering = if worker.index() == 0 { first.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        let result = work(worker, &shared, steering);
        if result.is_err() {
            shared.reports.halt();
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        result
    });
    let guards = guards.map_err(Error::Panicked)?;
    let mut result = Ok(());
    for joined in guards.join() {
        let joined = joined.unwrap_or_else(|panic| Err(Error::Panicked(panic)));
        if result.is_ok() {
            result = joined;
        }
    }
    reports.halt();
    result
}

/// A worker that panics takes the others with it: they would wait for it for ever.
struct HaltOnPanic<'a>(&'a Reports);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.halt();
        }
    }
}

fn work(worker: &mut timely::worker::Worker, shared: &Arc<Shared>, steering: Option<(Steering, Receiver<Report>)>) -> Result<()> {
    let mut input = InputHandle::new();
    let bindings = BindingLog::default();
    let log = bindings.clone();
    let (raw, probe) = worker.dataflow::<Epoch, _, _>(|scope| {
        let place = Rc::new(Place { shared: shared.clone(), index: scope.index(), peers: scope.peers() });
        let graph = Graph::new(scope, log.clone(), place.clone());
        let stream = scope.input_from(&mut input).unary(Exchange::new(|(to, _): &(u64, Binding)| *to), "bindings", |_, _| {
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for (_, binding) in batch.drain(..) {
                        let binding = Rc::new(binding);
                        log.insert(binding.clone());
                        session.give(binding);
                    }
                });
            }
        });
        graph.feed_bindings(stream);
        (shared.pipeline.build)(&graph)?;
        graph.first_error()?;
        let probe = place.open_lanes(&graph);
        Ok::<_, Error>((graph.shared().raw.clone(), probe))
    })?;
    let passed = || probe.with_frontier(|f: AntichainRef<'_, Epoch>| f.first().copied());
    let forget = || {
        if let Some(open) = passed() {
            bindings.forget_before(open);
            raw.forget_before(open);
        }
    };
    let Some((mut steering, inbox)) = steering else {
        input.close();
        while worker.has_dataflows() && !shared.reports.is_halted() {
            worker.step_or_park(Some(PARK_MAX));
            forget();
        }
        return Ok(());
    };
    shared.reports.read_here();
    input.advance_to(shared.start);
    let peers = worker.peers() as u64;
    let mut input = Some(input);
    while worker.has_dataflows() && !shared.reports.is_halted() {
        for report in inbox.try_iter() {
            steering.hear(report)?;
        }
        while let Some(binding) = input.as_ref().and_then(|_| steering.next_binding()) {
            let Some(input) = &mut input else { break };
            let next = binding.epoch.next();
            (0..peers).for_each(|to| input.send((to, binding.clone())));
            input.advance_to(next);
        }
        if steering.is_finished() {
            input = None;
        }
        // Everything runnable runs before the thread sleeps, and no longer than until the next epoch is due.
        worker.step_or_park(Some(steering.rest().min(PARK_MAX)));
        steering.passed(passed());
        forget();
    }
    steering.end()
}

/// Asks a running pipeline to stop in order.
pub fn stop(reports: &Reports) {
    reports.send(Report::Command(Command::Stop));
}
