//! Lanes at work: the operator that gathers an epoch's results, and the committer thread that makes runs of epochs visible.

use crate::binding::{Feed, Range};
use crate::bus::{Marker, Token};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::graph::{Graph, Timely};
use crate::metrics::{Counter, LaneMetrics};
use crate::report::{Report, Reports};
use crate::response::Response;
use crate::scribe::Durable;
use crate::sink::{LaneEpoch, LaneSink, OutRecord, Run};
use crate::threads::spawn;
use crate::time::{Epoch, monotonic};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

mod gathered;

use gathered::Gathered;

/// Results of a run, beyond which no further epoch joins it: a bus with one writer is not held up longer.
const RUN_BYTES_MAX: usize = 1 << 20;
/// How long a committer waits before it looks whether the pipeline has ended.
const TURN: Duration = Duration::from_millis(100);
/// Pause after a commit that failed, and its doubling's end.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A lane that has been fenced and is ready to write.
pub struct OpenLane {
    /// Index among all lanes of the pipeline.
    pub index: usize,
    /// `group/lane`, for messages.
    pub name: String,
    /// The writing end.
    pub sink: Box<dyn LaneSink>,
    /// This incarnation.
    pub token: Token,
    /// What the lane has made visible, of whatever generation.
    pub marker: Option<Marker>,
    /// The generation that is written.
    pub generation: u32,
    /// What is measured.
    pub metrics: LaneMetrics,
    /// Counts what each sink of the plan has made visible.
    pub records_out: Vec<Counter>,
}

impl OpenLane {
    /// The newest epoch of the own generation that is visible.
    #[must_use]
    pub fn visible(&self) -> Option<Epoch> {
        self.marker.filter(|m| m.generation == self.generation).map(|m| m.epoch)
    }
}

/// Builds the gathering end of a group's lanes on one worker, and starts the committers of the lanes it owns.
///
/// `lanes` is the number of lanes of the group; lane l lives on worker l % peers. The frontier of the stream it returns is
/// what all workers have closed: behind it nobody needs a binding or an original record any more.
pub fn gather<'s>(
    graph: &Graph<'s>,
    records: Timely<'s, OutRecord>,
    lanes: u32,
    owned: Vec<(u32, OpenLane)>,
    waiting_max: usize,
    durable: &Arc<Durable>,
    reports: &Reports,
) -> Timely<'s, ()> {
    let mut to: BTreeMap<u32, Sender<LaneEpoch>> = BTreeMap::new();
    for (lane, open) in owned {
        let (sender, receiver) = bounded(waiting_max);
        let committer = Committer {
            lane: open,
            queue: VecDeque::new(),
            passed: BTreeMap::new(),
            durable: durable.clone(),
            reports: reports.clone(),
        };
        spawn("lane", reports, move || committer.run(&receiver));
        to.insert(lane, sender);
    }
    let bindings = graph.shared().bindings.clone();
    let mut open = graph.shared().worker.start();
    let mut stash: BTreeMap<Epoch, Gathered> = BTreeMap::new();
    let mut builder = OperatorBuilder::new("lanes".into(), graph.scope());
    let mut input = builder.new_input(records, Exchange::new(move |r: &OutRecord| u64::from(r.partition % lanes)));
    // Nothing is ever sent: the stream's frontier is what the lanes have closed.
    let (output, closed) = builder.new_output::<Vec<()>>();
    builder.build(move |mut capabilities| {
        move |frontiers| {
            let _ = &output;
            input.for_each(|time, batch| stash.entry(*time.time()).or_default().add(batch, lanes));
            while !frontiers[0].less_equal(&open) {
                let Some(binding) = bindings.get(open) else { break };
                let mut gathered = stash.remove(&open).unwrap_or_default();
                for (lane, sender) in &to {
                    let records = gathered.take(*lane);
                    let mark = binding.is_checkpoint();
                    // The receiver is gone only when the pipeline ends.
                    let _ = sender.send(LaneEpoch {
                        epoch: open,
                        closed_at: binding.closed_at,
                        watermark: binding.watermark,
                        sources: binding.ranges.clone(),
                        records,
                        mark,
                    });
                }
                open = open.next();
            }
            for capability in &mut capabilities {
                capability.downgrade(&open);
            }
            if frontiers[0].is_empty() {
                capabilities.clear();
            }
        }
    });
    closed
}

/// What a committer does next.
#[derive(Debug, PartialEq, Eq)]
pub enum LaneStep {
    /// Drop this many epochs: they are visible already.
    Skip(usize),
    /// Nothing to write in these epochs, and nobody waits for the marker.
    Pass(usize),
    /// Write these epochs in one step, as soon as the last of them is durable.
    Write(usize),
    /// The first epoch is not durable yet.
    AwaitDurable,
    /// There is nothing to do.
    AwaitEpochs,
}

/// What to do about the epochs in a queue, given what is visible and what the journal holds.
///
/// A pure function: a restart with the same facts decides the same.
#[must_use]
pub fn decide(queue: &VecDeque<LaneEpoch>, visible: Option<Epoch>, durable: Epoch) -> LaneStep {
    let done = queue.iter().take_while(|e| Some(e.epoch) <= visible).count();
    if done > 0 {
        return LaneStep::Skip(done);
    }
    if queue.is_empty() {
        return LaneStep::AwaitEpochs;
    }
    let (mut bytes, mut run, mut write) = (0, 0, false);
    for epoch in queue {
        if bytes >= RUN_BYTES_MAX {
            break;
        }
        bytes += epoch.records.iter().map(bytes_of).sum::<usize>();
        write |= epoch.mark || !epoch.records.is_empty();
        run += 1;
    }
    match queue.iter().take_while(|e| e.epoch <= durable).count() {
        _ if write => LaneStep::Write(run),
        0 => LaneStep::AwaitDurable,
        n => LaneStep::Pass(n.min(run)),
    }
}

fn bytes_of(record: &OutRecord) -> usize {
    record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len)
}

/// What a commit that did not answer turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Stands,
    /// It does not: write it again.
    Again,
    /// The lane shows neither what was before nor what was written: somebody else was here.
    Foreign,
}

/// Decides by the marker that a new `fence` returned.
#[must_use]
pub fn outcome(run: &Run, found: Option<Marker>) -> Outcome {
    if found == Some(run.marker) {
        Outcome::Stands
    } else if found == run.previous {
        Outcome::Again
    } else {
        Outcome::Foreign
    }
}

struct Committer {
    lane: OpenLane,
    queue: VecDeque<LaneEpoch>,
    /// What epochs that nobody had to write took from the sources.
    passed: BTreeMap<Feed, Range>,
    durable: Arc<Durable>,
    reports: Reports,
}

impl Committer {
    fn run(mut self, epochs: &Receiver<LaneEpoch>) -> Result<()> {
        while !self.reports.is_halted() {
            self.queue.extend(epochs.try_iter());
            match decide(&self.queue, self.lane.visible(), self.durable.epoch()) {
                LaneStep::Skip(n) => {
                    let last = self.queue.drain(..n).next_back().map(|e| e.epoch);
                    self.report(last);
                }
                LaneStep::Pass(n) => {
                    let mut last = None;
                    for epoch in self.queue.drain(..n) {
                        last = Some(epoch.epoch);
                        for range in epoch.sources {
                            self.passed.entry(range.feed).and_modify(|passed| passed.extend(&range)).or_insert(range);
                        }
                    }
                    self.report(last);
                }
                LaneStep::Write(n) => {
                    let mut epochs: Vec<_> = self.queue.drain(..n).collect();
                    if let Some(first) = epochs.first_mut() {
                        first.sources.splice(0..0, std::mem::take(&mut self.passed).into_values());
                    }
                    self.write(epochs)?;
                }
                LaneStep::AwaitDurable => {
                    let first = self.queue.front().map_or(Epoch(0), |e| e.epoch);
                    let _ = self.durable.wait_for(first, TURN);
                }
                LaneStep::AwaitEpochs => match epochs.recv_timeout(TURN) {
                    Ok(epoch) => self.queue.push_back(epoch),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            }
        }
        Ok(())
    }

    fn report(&self, applied: Option<Epoch>) {
        if let Some(epoch) = applied {
            self.reports.send(Report::Applied { lane: self.lane.index, epoch });
        }
    }

    /// Writes a run, however often it takes; the pipeline's back-pressure is that nothing else gets ahead meanwhile.
    fn write(&mut self, epochs: Vec<LaneEpoch>) -> Result<()> {
        let Some(epoch) = epochs.last().map(|e| e.epoch) else { return Ok(()) };
        let marker = Marker { generation: self.lane.generation, epoch };
        let run = Run { previous: self.lane.marker, marker, epochs };
        if self.durable.epoch() < epoch {
            // Beside the journal's append. What went wrong, the commit will find.
            if let Err(error) = durable(Step::LanePrepare, || self.lane.sink.prepare(&run)) {
                tracing::debug!(lane = %self.lane.name, %error, "nothing was sent ahead");
            }
            while self.durable.wait_for(epoch, TURN) < epoch {
                if self.reports.is_halted() {
                    return Ok(());
                }
            }
        }
        let mut wait = RETRY_MIN;
        let began = monotonic();
        loop {
            let error = match durable(Step::LaneCommit, || self.lane.sink.commit(&run)) {
                Ok(()) => break,
                Err(error) => error,
            };
            if error.response() != Response::Retry {
                return Err(error);
            }
            tracing::warn!(lane = %self.lane.name, %error, "commit failed, finding out whether it stands");
            match self.find_out(&run, &mut wait)? {
                Some(Outcome::Stands) => break,
                Some(Outcome::Again) => {}
                Some(Outcome::Foreign) => {
                    let what = format!("lane {} shows results that are not ours", self.lane.name);
                    return Err(Error::Fenced { pipeline: self.lane.name.clone(), what });
                }
                None => return Ok(()),
            }
        }
        self.lane.marker = Some(marker);
        self.lane.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        self.lane.metrics.epoch_committed.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        for record in run.epochs.iter().flat_map(|e| &e.records) {
            if let Some(counter) = self.lane.records_out.get(usize::from(record.sink)) {
                counter.inc_by(record.diff.unsigned_abs());
            }
        }
        self.report(Some(epoch));
        self.reports.send(Report::Marked { lane: self.lane.index, epoch });
        Ok(())
    }

    /// Asks until the lane answers: to write again before would look like a stranger if the doubtful commit stands.
    /// `None` when the pipeline ends.
    fn find_out(&mut self, run: &Run, wait: &mut Duration) -> Result<Option<Outcome>> {
        while !self.reports.is_halted() {
            std::thread::park_timeout(*wait);
            *wait = (*wait * 2).min(RETRY_MAX);
            match durable(Step::LaneFence, || self.lane.sink.fence(self.lane.token)) {
                Ok(found) => return Ok(Some(outcome(run, found))),
                Err(error) if error.response() == Response::Retry => {
                    tracing::warn!(lane = %self.lane.name, %error, "lane does not answer, asking again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
