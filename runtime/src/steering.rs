//! Steering: what worker 0 does beside its share of the work. It hears the reports, replays, mints, keeps the books of
//! the checkpoints, and ends the pipeline in order.

mod sealed;
mod told;

use crate::binding::{Binding, Control, Delivered, Feed, Lift, Positions};
use crate::blocked::Blocked;
use crate::bus::{BusError, Offset};
use crate::checkpoint::{Checkpoints, Next};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::journal::{Checkpoint, Fact};
use crate::layout::Layout;
use crate::metrics::PartitionMetrics;
use crate::minter::{Intake, Minter, Turn};
use crate::pipeline::{Components, Minting};
use crate::plan::Plan;
use crate::report::{Command, Done, Report, Reports};
use crate::scribe::Scribe;
use crate::settings::Settings;
use crate::start;
use crate::state::{Manifest, ManifestHead};
use crate::time::{Epoch, EventTime, Watermark, monotonic};
use crate::upkeep::Job;
use crossbeam_channel::Sender;
use sealed::Seal;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What steering begins with.
pub struct Begin {
    /// `team.job`.
    pub pipeline: String,
    /// Its plan.
    pub plan: Plan,
    /// Bounds and intervals.
    pub settings: Settings,
    /// Who closes epochs.
    pub minting: Minting,
    /// What was restored: where the replay begins.
    pub restored: Positions,
    /// What is replayed.
    pub replay: Vec<Binding>,
    /// Where the live part begins.
    pub live: Positions,
    /// What partitions have claimed of event time before the generation, to be lifted to in the first binding.
    pub claims: Vec<Lift>,
    /// Requests to delete that were there at the start: those that are not bound hold before any new record.
    pub outstanding: Vec<Delivered>,
    /// Where reading ends; nothing when it does not.
    pub until: BTreeMap<Feed, Offset>,
    /// Gaps in the bus that an operator accepted.
    pub gaps: Vec<(Feed, Offset, Offset)>,
    /// Pattern of new manifests.
    pub template: ManifestHead,
    /// What the generation is laid out by.
    pub layout: Layout,
    /// Checkpoints that are kept, oldest first.
    pub kept: Vec<(Checkpoint, Manifest)>,
    /// Checkpoints to be retired at once: damaged ones, and those of earlier generations.
    pub stale: Vec<Epoch>,
    /// What each lane has made visible.
    pub markers: Vec<Option<Epoch>>,
    /// The lanes' names.
    pub lane_names: Vec<String>,
    /// Writes the journal.
    pub scribe: Scribe,
    /// Writes checkpoints.
    pub upkeep: Sender<Job>,
    /// Ends the pipeline.
    pub reports: Reports,
    /// Clock, metrics, status.
    pub components: Components,
    /// When the start began.
    pub began: Instant,
}

/// See the module.
pub struct Steering {
    begin: Begin,
    minter: Minter,
    checkpoints: Checkpoints,
    replay: VecDeque<Binding>,
    /// The sum of what was restored and replayed so far.
    replayed: Positions,
    delays: Vec<i64>,
    /// The end of each partition, as its reader last saw it.
    ends: BTreeMap<Feed, Offset>,
    blocked: Blocked,
    partitions: BTreeMap<Feed, PartitionMetrics>,
    applied: Vec<Epoch>,
    durable: Epoch,
    worked: Epoch,
    recovering: bool,
    last_mint: Instant,
    last_checkpoint: Instant,
    last_status: Option<Instant>,
    /// When each epoch in flight was closed, and its span.
    spans: VecDeque<(Epoch, Instant, tracing::Span)>,
    seals: Vec<Seal>,
    /// A graceful stop was asked for; then: the epoch of the last checkpoint.
    stopping: Option<Option<Epoch>>,
    /// Why, when it was not asked for.
    reason: Option<Error>,
    finished: bool,
    /// Where state snapshots go.
    pub upkeep: Sender<Job>,
}

impl Steering {
    /// Ready to replay.
    #[must_use]
    pub fn new(mut begin: Begin) -> Self {
        let delays: Vec<i64> = begin.plan.sources().map(|s| s.delay_ms).collect();
        let claims = std::mem::take(&mut begin.claims);
        let answers: Vec<u16> = begin.plan.sources().filter(|s| s.is_answers).map(|s| s.source).collect();
        let mut minter = Minter::new(begin.settings.clone(), delays.clone(), begin.live.clone(), claims).with_answers(answers);
        std::mem::take(&mut begin.outstanding).into_iter().for_each(|piece| minter.delivered(piece));
        let snapshots = begin.plan.states().count() * begin.settings.workers.max(1) as usize;
        let kept = std::mem::take(&mut begin.kept);
        let mut checkpoints =
            Checkpoints::new((begin.template.clone(), begin.layout.clone()), snapshots, begin.markers.clone(), kept);
        let stale = checkpoints.retire(std::mem::take(&mut begin.stale));
        let now = monotonic();
        let mut steering = Self {
            replay: std::mem::take(&mut begin.replay).into(),
            delays,
            ends: BTreeMap::new(),
            blocked: Blocked::default(),
            partitions: BTreeMap::new(),
            applied: vec![begin.restored.epoch; begin.markers.len()],
            durable: begin.live.epoch,
            worked: begin.restored.epoch,
            replayed: std::mem::take(&mut begin.restored),
            recovering: true,
            last_mint: now,
            last_checkpoint: now,
            last_status: None,
            spans: VecDeque::new(),
            seals: Vec::new(),
            stopping: None,
            reason: None,
            finished: false,
            upkeep: begin.upkeep.clone(),
            minter,
            checkpoints,
            begin,
        };
        steering.act(stale);
        steering
    }

    /// Takes a report in.
    ///
    /// # Errors
    /// The one that was reported: the pipeline cannot go on.
    pub fn hear(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Delivered(piece) => {
                self.ends.insert(piece.feed, piece.end);
                self.blocked.goes_on(piece.feed);
                self.minter.delivered(piece);
            }
            Report::Drained { feed, position } => {
                self.ends.insert(feed, position);
                self.blocked.goes_on(feed);
                self.minter.drained(feed, position, self.uptime());
            }
            Report::Blocked { feed, position, end } => {
                self.ends.insert(feed, end);
                self.blocked.hear(feed, (position, end), (self.begin.components.clock.now(), self.uptime()));
                self.minter.blocked(feed);
            }
            Report::Durable(epoch) => self.durable = self.durable.max(epoch),
            Report::Applied { lane, epoch } => self.applied(lane, epoch),
            Report::Marked { lane, epoch } => {
                let next = self.checkpoints.marked(lane, epoch)?;
                self.act(next);
            }
            Report::Upkeep(done) => {
                if let Done::Manifest { bytes, .. } | Done::Saved { bytes, .. } = &done {
                    self.begin.components.metrics.checkpoint_bytes.inc_by(*bytes);
                }
                let next = self.checkpoints.done(done)?;
                self.act(next);
            }
            Report::Checkpointed(epoch) => {
                let next = self.checkpoints.checkpointed();
                self.act(next);
                self.begin.components.metrics.checkpoint_seconds.observe(self.last_checkpoint.elapsed().as_secs_f64());
                tracing::info!(pipeline = %self.begin.pipeline, epoch = epoch.0, "checkpoint complete");
            }
            Report::Retired(epoch) => {
                let next = self.checkpoints.retired(epoch);
                self.act(next);
            }
            Report::Command(Command::Stop) => {
                self.stopping.get_or_insert(None);
            }
            Report::Command(Command::Seal { watermark, answer }) => self.seal(watermark, answer)?,
            Report::Failed(error) if self.has_read_all_it_needs(&error) => {
                tracing::error!(pipeline = %self.begin.pipeline, %error, "stopping with a last checkpoint");
                self.stopping.get_or_insert(None);
                self.reason.get_or_insert(error);
            }
            Report::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Retention has overtaken a reader. What was delivered is here and can be saved: only so can a gap be accepted at the
    /// next start, for the records since the last checkpoint are gone as well.
    fn has_read_all_it_needs(&self, error: &Error) -> bool {
        let replayed = self.applied.iter().all(|epoch| *epoch >= self.begin.live.epoch);
        replayed && !self.recovering && matches!(error, Error::Bus(BusError::OutOfRange { .. }))
    }

    /// How it ended.
    ///
    /// # Errors
    /// Why it could not go on, though it stopped in order.
    pub fn end(self) -> Result<()> {
        self.reason.map_or(Ok(()), Err)
    }

    /// The next epoch to be worked on, if there is one now.
    pub fn next_binding(&mut self) -> Option<Binding> {
        if !self.minter.has_room() || self.finished {
            return None;
        }
        if let Some(binding) = self.replay.pop_front() {
            return Some(self.replay(binding));
        }
        if self.recovering {
            self.recovering = false;
            failpoint::set_recovering(false);
            self.begin.components.metrics.recovery_seconds.set(self.begin.began.elapsed().as_secs_f64());
        }
        let is_asking = self.begin.reports.questions_waiting() >= self.begin.settings.questions_max;
        self.minter.allow(if is_asking { Intake::Answers } else { Intake::All });
        if self.has_read_all() {
            self.stopping.get_or_insert(None);
        }
        match self.begin.minting {
            _ if self.stopping == Some(None) => self.mint_last(),
            _ if self.stopping.is_some() => None,
            Minting::Timed if self.minter.turn(self.last_mint.elapsed()) == Turn::Mint => {
                Some(self.mint(self.is_checkpoint_due() && self.checkpoints.is_idle(), EventTime::MIN))
            }
            Minting::Timed => None,
            Minting::Sealed => self.mint_sealed(),
        }
    }

    /// An epoch that was bound before this incarnation is worked on again. When the state is saved changes no result, so a
    /// replay saves it as well: where it was to be saved, and when it is due. Otherwise a process that never lives as long as
    /// its recovery takes would begin at the same point each time.
    fn replay(&mut self, mut binding: Binding) -> Binding {
        self.minter.replayed(binding.epoch);
        self.replayed.apply(&binding, &self.delays);
        start::skip_gaps(&mut self.replayed, &self.begin.gaps);
        let checkpoint = (binding.is_checkpoint() || self.is_checkpoint_due()) && self.checkpoints.is_idle();
        binding.controls.retain(|control| *control != Control::Checkpoint);
        if checkpoint {
            binding.controls.push(Control::Checkpoint);
            self.save(self.replayed.clone());
        }
        binding
    }

    /// Whether this incarnation reads up to a place, and all that is in front of it is bound, and nothing waits for an answer.
    fn has_read_all(&self) -> bool {
        let asks = self.begin.plan.sources().any(|source| source.is_answers);
        if asks && (self.minter.in_flight().0 > 0 || self.begin.reports.questions_waiting() > 0) {
            return false;
        }
        let is_read = |feed: Feed| self.minter.passed(feed, self.minter.positions().of(feed).resume);
        !self.begin.until.is_empty() && self.begin.until.iter().all(|(feed, until)| is_read(*feed) >= *until)
    }

    fn is_checkpoint_due(&self) -> bool {
        self.last_checkpoint.elapsed() >= Duration::from_millis(self.begin.settings.checkpoint_interval_ms)
    }

    /// The state is saved at the close of the epoch whose positions these are.
    fn save(&mut self, positions: Positions) {
        self.last_checkpoint = monotonic();
        match self.checkpoints.begin(positions) {
            Ok(next) => self.act(next),
            Err(error) => self.begin.reports.fail(error),
        }
    }

    /// The last epoch binds what has been delivered, and saves everything.
    fn mint_last(&mut self) -> Option<Binding> {
        if !self.checkpoints.is_idle() {
            return None;
        }
        let binding = self.mint(true, EventTime::MIN);
        self.stopping = Some(Some(binding.epoch));
        Some(binding)
    }

    fn mint(&mut self, checkpoint: bool, floor: Watermark) -> Binding {
        let controls = if checkpoint { vec![Control::Checkpoint] } else { Vec::new() };
        let binding = self.minter.mint(self.begin.components.clock.now(), self.uptime(), controls, floor);
        let records: u64 = binding.ranges.iter().map(|r| r.records).sum();
        let span = tracing::debug_span!(
            target: "epoch", "epoch", epoch = binding.epoch.0, records, partitions = binding.ranges.len(), watermark_ms = %binding.watermark
        );
        self.last_mint = monotonic();
        self.spans.push_back((binding.epoch, self.last_mint, span));
        self.count(&binding);
        self.begin.scribe.write(Fact::Binding(binding.clone()));
        if checkpoint {
            self.save(self.minter.positions().clone());
        }
        binding
    }

    fn applied(&mut self, lane: usize, epoch: Epoch) {
        if let Some(applied) = self.applied.get_mut(lane) {
            *applied = (*applied).max(epoch);
        }
        let Some(everywhere) = self.applied.iter().min().copied() else { return };
        self.minter.acknowledged(everywhere);
        while let Some((_, closed, _span)) = self.spans.pop_front_if(|(e, _, _)| *e <= everywhere) {
            self.begin.components.metrics.epoch_latency_seconds.observe(closed.elapsed().as_secs_f64());
        }
        self.answer_seals(everywhere);
    }

    fn act(&mut self, next: impl IntoIterator<Item = Next>) {
        for next in next {
            match next {
                Next::Write(fact) => self.begin.scribe.write(fact),
                Next::Upkeep(mut job) => {
                    if let Job::Clean { read, .. } = &mut job {
                        read.iter_mut().for_each(|(feed, at)| *at = self.minter.passed(*feed, *at));
                    }
                    // The receiver is gone only when the pipeline ends.
                    drop(self.upkeep.send(job));
                }
            }
        }
        if let Some(Some(last)) = self.stopping {
            self.finished = self.checkpoints.is_idle() && self.checkpoints.newest() >= Some(last);
        }
    }

    /// Whether the pipeline has been stopped in order: nothing more will come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// How long worker 0 may sleep when nobody wakes it.
    #[must_use]
    pub fn rest(&self) -> Duration {
        match self.begin.minting {
            Minting::Timed if !self.recovering && self.stopping.is_none() => match self.minter.turn(self.last_mint.elapsed()) {
                Turn::Mint => Duration::ZERO,
                Turn::Wait(wait) => wait,
            },
            _ => Duration::from_millis(10),
        }
    }

    /// Every operator of this worker has done with the epochs before `open`.
    pub fn passed(&mut self, open: Option<Epoch>) {
        if let Some(open) = open {
            self.worked = Epoch(open.0.saturating_sub(1));
        }
        let every = Duration::from_secs(1);
        if self.last_status.is_none_or(|at| at.elapsed() >= every) {
            self.last_status = Some(monotonic());
            let status = self.status();
            self.measure(&status);
            (self.begin.components.status)(&status);
        }
    }

    fn uptime(&self) -> Duration {
        self.begin.began.elapsed()
    }
}
