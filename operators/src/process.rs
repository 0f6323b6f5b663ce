//! What no other operator says: code of one's own for each record of a key, with state and timers.

use crate::as_they_come::AsTheyCome;
use crate::kept::keeping;
use crate::key_by::Keyed;
use crate::replay::Replay;
use crate::turn::{Memory, Turn};
use distributary_runtime::error::Error;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::Key;
use distributary_runtime::operator::{Outputs, stateful};
use distributary_runtime::update::Data;

/// That a turn is done; or why its record cannot be used: it is a dead letter then, and the state is what it was.
pub type Done = Result<(), Box<dyn std::error::Error>>;

/// Code of one's own for the records of each key.
///
/// `State` is what is kept of a key, from its first record on: a number, a `Vec`, a `BTreeMap` (a `HashMap` only if nothing depends on its
/// order), or a struct of these. It is copied for each turn, so keep it small. Timers are kept beside it.
///
/// It must be a pure function of what it is shown: no clock, no random numbers, no I/O.
pub trait Process<K, V>: 'static {
    /// What is kept of a key.
    type State: Data + Default;
    /// What it gives.
    type Out: Data;

    /// A record comes; or goes, if [`Turn::diff`] is negative.
    ///
    /// # Errors
    /// The record cannot be used.
    fn on_record(&self, turn: &mut Turn<'_, K, Self::Out>, state: &mut Self::State, record: &V) -> Done;

    /// A timer goes off: [`Turn::time`] says which.
    ///
    /// # Errors
    /// As above; the timer is gone all the same.
    fn on_timer(&self, _turn: &mut Turn<'_, K, Self::Out>, _state: &mut Self::State) -> Done {
        Ok(())
    }
}

/// When a process has its turns, and how long it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    by: By,
    ttl_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Arrival,
    Time { lateness_ms: i64 },
}

/// Records as they come: at the close of their epoch, in the order of origins. Nothing waits, and nothing is kept but the state. When a
/// record goes, the process is told so (`diff`), and has to undo by itself what it did: what it gives then is taken back. Timers
/// go off at the close of the epoch whose watermark reaches them, behind its records, by time, key hash and key.
#[must_use]
pub fn as_they_come() -> Turns {
    Turns { by: By::Arrival, ttl_ms: None }
}

/// Records and timers of a key by event time (and origin), when the watermark reaches them: whatever order they come in, results are the
/// same. When a record comes or goes within `lateness_ms` after that, the process has its turns again from the last state on that is
/// certain, and what it gave is corrected: it need not know of retractions, and `diff` is never negative. Kept are the state
/// and all records for as long as they may come or go.
#[must_use]
pub fn by_time(lateness_ms: i64) -> Turns {
    Turns { by: By::Time { lateness_ms }, ttl_ms: None }
}

impl Turns {
    /// The state of a key that has had no turn for so much event time goes, unless it has a timer. Records as they come are late from
    /// their event time plus this on, for the state that a retraction is to go back to may be gone; as long as corrections may come
    /// ([`Graph::correct_for`]) their state stays longer. Default: it stays for ever.
    #[must_use]
    pub fn ttl(self, ms: i64) -> Self {
        Self { ttl_ms: Some(ms), ..self }
    }
}

/// Gives what `process` gives for the records of each key. `name` names the state. A result has the event time of its record or timer.
///
/// By arrival a record is late only if there is a [`Turns::ttl`]; by time it is from its event time plus the lateness on. Late records leave
/// by [`Outputs::late`]. A record on which the process fails is a dead letter; so is a timer, under the origin that its first result had.
///
/// ```
/// use distributary_operators::{Done, Process, Turn, by_time, key_by, process};
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// /// A stream that has been silent for ten milliseconds.
/// struct Silence;
///
/// impl Process<char, char> for Silence {
///     type State = u32;
///     type Out = (char, u32);
///
///     fn on_record(&self, turn: &mut Turn<'_, char, (char, u32)>, records: &mut u32, _: &char) -> Done {
///         *records += 1;
///         turn.set_timer(turn.time().plus_ms(10));
///         Ok(())
///     }
///
///     fn on_timer(&self, turn: &mut Turn<'_, char, (char, u32)>, records: &mut u32) -> Done {
///         turn.give((*turn.key(), std::mem::take(records)));
///         Ok(())
///     }
/// }
///
/// let step = |updates, watermark| Step { updates, watermark: EventTime(watermark) };
/// let (a, b) = (update('a', 0, 20, 0), update('a', 1, 5, 0));
/// let steps = vec![step(vec![a, b], 15), step(vec![], 30), step(vec![(b.0, b.1, -1)], 31)];
/// let seen = run(steps, |graph, input| process(graph, &key_by(graph, &input, |c| *c), "silence", by_time(30), Silence).results);
/// let said: Vec<_> = seen.results.iter().map(|(epoch, (what, stamp, diff))| (epoch.0, *what, stamp.time.0, *diff)).collect();
/// assert_eq!(said, [(1, ('a', 1), 15, 1), (2, ('a', 1), 30, 1), (3, ('a', 1), 15, -1)]);
/// ```
pub fn process<'s, K: Key, V: Data, P: Process<K, V>>(
    graph: &Graph<'s>,
    input: &Collection<'s, Keyed<K, V>>,
    name: &str,
    turns: Turns,
    process: P,
) -> Outputs<'s, Keyed<K, V>, P::Out> {
    let Turns { by, ttl_ms } = turns;
    if let Some(ttl_ms) = ttl_ms.filter(|ttl_ms| *ttl_ms < 1) {
        graph.refuse(Error::refused(format!("process `{name}`: a ttl of {ttl_ms} ms"), "give it a ttl of at least 1 ms"));
    }
    let ttl_ms = ttl_ms.map(|ttl_ms| ttl_ms.max(1));
    let ttl = ttl_ms.map_or(String::new(), |ttl_ms| format!(", ttl {ttl_ms} ms"));
    match by {
        By::Arrival => {
            let horizon_ms = if ttl_ms.is_some() { graph.correction_horizon_ms() } else { 0 };
            let corrections = if horizon_ms == 0 { String::new() } else { format!(", corrections {horizon_ms} ms") };
            let spec = Spec::new("process", format!("as they come{ttl}{corrections}")).with_state::<K, Memory<P::State>>(name);
            stateful(graph, input, spec, Keyed::group, AsTheyCome::new(process, ttl_ms, horizon_ms))
        }
        By::Time { lateness_ms } => {
            if lateness_ms < 0 {
                let what = format!("process `{name}`: a lateness of {lateness_ms} ms");
                graph.refuse(Error::refused(what, "give it a lateness of at least 0 ms"));
            }
            let spec = Spec::new("process", format!("by time, lateness {lateness_ms} ms{ttl}"));
            keeping(graph, input, spec, name, Replay { process, lateness_ms: lateness_ms.max(0), ttl_ms })
        }
    }
}
