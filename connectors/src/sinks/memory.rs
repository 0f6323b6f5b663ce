//! Memory: what tests look at, and a store that fails, blocks and forgets its answer when a test says so.
//!
//! - *Twice*, *out of order*: a commit whose `previous` is not the lane's marker is refused as fenced.
//! - *After a crash* of the process everything is gone, rows and markers alike; a pipeline that restarts within the
//!   process finds both.

use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::Result;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, OutRecord, Run};
use distributary_runtime::time::{Epoch, WallTime};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A held commit waits at most this long, so that a test that forgets to release fails instead of hanging.
const HOLD_MAX: Duration = Duration::from_secs(120);

/// A result as a lane wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRow {
    /// The pipeline's full name.
    pub pipeline: String,
    /// The lane.
    pub lane: u32,
    /// Generation of the results.
    pub generation: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// When the epoch was closed.
    pub closed_at: WallTime,
    /// The result.
    pub record: OutRecord,
}

/// How a commit fails on a test's demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is written.
    Refused,
    /// Everything is written, but the writer is told otherwise.
    AnswerLost,
}

/// A sink in memory, and the handle on it: clones share their content. See the module for what it promises.
#[derive(Clone, Default)]
pub struct MemorySink {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rows: Vec<MemoryRow>,
    lanes: BTreeMap<(String, u32), Lane>,
    held: bool,
    /// Commits that wait because of `held`.
    waiting: u32,
    failures: Vec<Failure>,
}

#[derive(Clone, Copy)]
struct Lane {
    token: Token,
    marker: Option<Marker>,
}

impl MemorySink {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything written so far, in the order of the commits.
    #[must_use]
    pub fn rows(&self) -> Vec<MemoryRow> {
        self.state().rows.clone()
    }

    /// What a lane has made visible.
    #[must_use]
    pub fn marker(&self, pipeline: &str, lane: u32) -> Option<Marker> {
        self.state().lanes.get(&(pipeline.to_string(), lane))?.marker
    }

    /// Commits wait from now on, until [`MemorySink::release`].
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Ends [`MemorySink::hold`].
    pub fn release(&self) {
        self.state().held = false;
        self.shared.changed.notify_all();
    }

    /// Waits until a commit is being held; `false` if none came within `wait`.
    #[must_use]
    pub fn wait_held(&self, wait: Duration) -> bool {
        let (state, _) = self.wait_while(wait, |state| state.waiting == 0);
        state.waiting > 0
    }

    /// Waits until `enough` says so of the rows; `false` if it did not within `wait`.
    #[must_use]
    pub fn wait_rows(&self, wait: Duration, enough: impl Fn(&[MemoryRow]) -> bool) -> bool {
        self.wait_while(wait, |state| !enough(&state.rows)).1
    }

    /// The next commit fails; called several times, the next ones, one way after the other.
    pub fn fail_next(&self, failure: Failure) {
        self.state().failures.push(failure);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `busy`; also says whether it ended in time.
    fn wait_while(&self, wait: Duration, mut busy: impl FnMut(&State) -> bool) -> (MutexGuard<'_, State>, bool) {
        let waited = self.shared.changed.wait_timeout_while(self.state(), wait, |state| busy(state));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, !timeout.timed_out())
    }
}

impl LaneGroup for MemorySink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(MemoryLane { sink: self.clone(), place: (context.pipeline.clone(), context.lane), token: None }))
    }
}

struct MemoryLane {
    sink: MemorySink,
    place: (String, u32),
    token: Option<Token>,
}

impl MemoryLane {
    fn fenced(&self) -> BusError {
        BusError::Fenced { lane: format!("{}/memory/{}", self.place.0, self.place.1) }
    }

    fn failed(&self, reason: &str) -> BusError {
        let what = format!("committing to {}/memory/{}", self.place.0, self.place.1);
        BusError::Unavailable { what, reason: reason.to_string() }
    }
}

impl LaneSink for MemoryLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        let mut state = self.sink.state();
        let lane = state.lanes.entry(self.place.clone()).or_insert(Lane { token, marker: None });
        if lane.token > token {
            return Err(self.fenced().into());
        }
        lane.token = token;
        self.token = Some(token);
        Ok(lane.marker)
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        self.sink.state().waiting += 1;
        self.sink.shared.changed.notify_all();
        let (mut state, released) = self.sink.wait_while(HOLD_MAX, |state| state.held);
        state.waiting -= 1;
        if !released {
            return Err(self.failed("held back for too long").into());
        }
        let failure = (!state.failures.is_empty()).then(|| state.failures.remove(0));
        if failure == Some(Failure::Refused) {
            return Err(self.failed("refused on demand").into());
        }
        let State { rows, lanes, .. } = &mut *state;
        let lane = lanes.get_mut(&self.place).filter(|lane| Some(lane.token) == self.token && lane.marker == run.previous);
        let Some(lane) = lane else { return Err(self.fenced().into()) };
        lane.marker = Some(run.marker);
        for epoch in &run.epochs {
            rows.extend(epoch.records.iter().map(|record| MemoryRow {
                pipeline: self.place.0.clone(),
                lane: self.place.1,
                generation: run.marker.generation,
                epoch: epoch.epoch,
                closed_at: epoch.closed_at,
                record: record.clone(),
            }));
        }
        self.sink.shared.changed.notify_all();
        match failure {
            Some(_) => Err(self.failed("answer lost on demand").into()),
            None => Ok(()),
        }
    }
}
