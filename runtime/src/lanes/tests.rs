//! Goal: a lane writes every epoch that has something once, in order, never before the journal holds it, and finds its
//! way when the store does not answer.
//! Method: the decisions over random queues and a random journal; the committer against a store that fails on cue.

use super::*;
use crate::bus::BusError;
use crate::metrics::Metrics;
use crate::update::Origin;
use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};

fn record(bytes: usize) -> OutRecord {
    let (origin, key, value) = (Origin::record(0, 0, 0), None, Some(vec![0; bytes]));
    OutRecord { sink: 0, partition: 0, origin, diff: 1, key, value, headers: Vec::new() }
}

fn epoch(epoch: u64, bytes: Option<usize>, mark: bool) -> LaneEpoch {
    LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: crate::time::WallTime(epoch as i64),
        watermark: crate::time::EventTime::MIN,
        sources: Vec::new(),
        records: bytes.map(record).into_iter().collect(),
        mark,
    }
}

proptest! {
    /// `(bytes, mark)` of each epoch; how the journal and the queue grow between two decisions.
    #[test]
    fn every_epoch_is_decided_once_and_in_order(
        epochs in prop::collection::vec((prop::option::of(0..RUN_BYTES_MAX), prop::bool::weighted(0.1)), 0..40),
        first in 1..9_u64,
        visible in prop::option::of(0..20_u64),
        growth in prop::collection::vec((0..4_u64, 0..4_usize), 1..40),
    ) {
        let all: Vec<LaneEpoch> = (first..).zip(&epochs).map(|(n, (bytes, mark))| epoch(n, *bytes, *mark)).collect();
        let (last, skipped) = (first + all.len() as u64 - 1, visible.unwrap_or(0));
        let mut coming = all.clone().into_iter();
        let (mut queue, mut visible, mut durable) = (VecDeque::new(), visible.map(Epoch), Epoch(first - 1));
        let (mut done, mut written) = (first - 1, Vec::new());
        for (journal, arrive) in growth.into_iter().chain([(last, all.len())]) {
            durable = Epoch(durable.0 + journal);
            queue.extend(coming.by_ref().take(arrive));
            loop {
                let step = decide(&queue, visible, durable);
                let n = match step {
                    LaneStep::Skip(n) | LaneStep::Pass(n) | LaneStep::Write(n) => n,
                    LaneStep::AwaitDurable => {
                        prop_assert!(queue.front().is_some_and(|e| e.epoch > durable));
                        break;
                    }
                    LaneStep::AwaitEpochs => {
                        prop_assert!(queue.is_empty());
                        break;
                    }
                };
                prop_assert!(n > 0);
                let taken: Vec<LaneEpoch> = queue.drain(..n).collect();
                for e in &taken {
                    done += 1;
                    prop_assert_eq!(e.epoch, Epoch(done));
                    let nothing = e.records.is_empty() && !e.mark;
                    match step {
                        LaneStep::Skip(_) => prop_assert!(Some(e.epoch) <= visible),
                        LaneStep::Write(_) => prop_assert!(Some(e.epoch) > visible),
                        _ => prop_assert!(Some(e.epoch) > visible && e.epoch <= durable),
                    }
                    prop_assert!(step != LaneStep::Pass(n) || nothing);
                }
                if step == LaneStep::Write(n) {
                    let bytes = |e: &LaneEpoch| e.records.iter().map(bytes_of).sum::<usize>();
                    prop_assert!(taken[..n - 1].iter().map(bytes).sum::<usize>() < RUN_BYTES_MAX);
                    visible = taken.last().map(|e| e.epoch);
                    written.extend(taken.iter().map(|e| e.epoch.0));
                }
            }
        }
        prop_assert_eq!(done, last);
        for e in all.iter().filter(|e| e.epoch.0 > skipped && (e.mark || !e.records.is_empty())) {
            prop_assert!(written.contains(&e.epoch.0), "epoch {} is missing", e.epoch);
        }
    }
}

/// What the store answers next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Fine,
    /// It is done, but the writer is told otherwise.
    Lost,
    /// It is not done.
    Down,
}

/// A store as strict as the bus: a commit must build on the marker that is there.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    marker: Option<Marker>,
    runs: Vec<Vec<u64>>,
    commits: VecDeque<Answer>,
    fences: VecDeque<Answer>,
}

impl Store {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn down() -> Error {
    BusError::Unavailable { what: "test".into(), reason: "down".into() }.into()
}

impl LaneSink for Store {
    fn fence(&mut self, _: Token) -> Result<Option<Marker>> {
        let mut state = self.state();
        match state.fences.pop_front().unwrap_or(Answer::Fine) {
            Answer::Fine => Ok(state.marker),
            Answer::Lost | Answer::Down => Err(down()),
        }
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let mut state = self.state();
        let answer = state.commits.pop_front().unwrap_or(Answer::Fine);
        if answer == Answer::Down {
            return Err(down());
        }
        if state.marker != run.previous {
            return Err(BusError::Fenced { lane: "test".into() }.into());
        }
        state.marker = Some(run.marker);
        state.runs.push(run.epochs.iter().map(|e| e.epoch.0).collect());
        if answer == Answer::Lost { Err(down()) } else { Ok(()) }
    }
}

fn committer(store: &Store) -> (Committer, Receiver<Report>) {
    let (reports, inbox) = Reports::new();
    let lane = OpenLane {
        index: 0,
        name: "test/0".into(),
        sink: Box::new(store.clone()),
        token: Token(1),
        marker: None,
        generation: 1,
        metrics: Metrics::new("test").lane("test/0"),
        records_out: Vec::new(),
    };
    (
        Committer { lane, queue: VecDeque::new(), passed: BTreeMap::new(), durable: Arc::new(Durable::at(Epoch(9))), reports },
        inbox,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the store answers, a run stands once, and nobody believes to have been fenced.
    #[test]
    fn a_doubtful_commit_stands_once(
        commits in prop::collection::vec(prop_oneof![Just(Answer::Fine), Just(Answer::Lost), Just(Answer::Down)], 0..3),
        fences in prop::collection::vec(prop_oneof![Just(Answer::Fine), Just(Answer::Down)], 0..3),
    ) {
        let store = Store::default();
        (store.state().commits, store.state().fences) = (commits.into(), fences.into());
        let (mut committer, inbox) = committer(&store);
        committer.write(vec![epoch(1, Some(3), false), epoch(2, None, false)]).unwrap();
        committer.write(vec![epoch(3, Some(3), true)]).unwrap();
        prop_assert_eq!(&store.state().runs, &[vec![1, 2], vec![3]]);
        let marked: Vec<_> = inbox.try_iter().filter_map(|r| if let Report::Marked { epoch, .. } = r { Some(epoch.0) } else { None }).collect();
        prop_assert_eq!(marked, [2, 3]);
    }
}

/// The answer to a commit is lost, and the store is away when the lane asks whether it stands: it must ask again, not write
/// again. (Writing again would be refused, and look like another incarnation.)
#[test]
fn a_lane_that_cannot_ask_does_not_write() {
    let store = Store::default();
    (store.state().commits, store.state().fences) = ([Answer::Lost].into(), [Answer::Down].into());
    let (mut committer, _inbox) = committer(&store);
    committer.write(vec![epoch(1, Some(3), false)]).unwrap();
    assert_eq!(store.state().runs, [[1]]);
}

#[test]
fn a_marker_that_nobody_wrote_is_somebody_elses() {
    let marker = |generation, epoch| Some(Marker { generation, epoch: Epoch(epoch) });
    let run = Run { previous: marker(1, 4), marker: Marker { generation: 1, epoch: Epoch(6) }, epochs: Vec::new() };
    assert_eq!(outcome(&run, marker(1, 6)), Outcome::Stands);
    assert_eq!(outcome(&run, marker(1, 4)), Outcome::Again);
    for other in [None, marker(1, 5), marker(1, 7), marker(2, 6)] {
        assert_eq!(outcome(&run, other), Outcome::Foreign);
    }
}

#[test]
fn a_marker_of_an_earlier_generation_skips_nothing() {
    let (mut committer, _inbox) = committer(&Store::default());
    committer.lane.marker = Some(Marker { generation: 0, epoch: Epoch(7) });
    assert_eq!(committer.lane.visible(), None);
    committer.lane.generation = 0;
    assert_eq!(committer.lane.visible(), Some(Epoch(7)));
}
