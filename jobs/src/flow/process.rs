//! Code of one's own for the records of a key.

use super::{KeyedStream, Stream, millis};
use distributary_operators::{self as operators, Process};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::time::Duration;

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// What a [`Process`] gives: code for each record of a key, with state and timers, for what no other operator says. `name` names the
    /// state. [`as_they_come`] and [`by_time`] say when it has its turns.
    ///
    /// ```
    /// use distributary::{Done, Event, Flow, Process, Result, TestJob, Timestamp, Turn, by_time, job, mins, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "beats", id = "beat", time = "at", no_personal_data)]
    /// struct Beat { beat: u64, host: String, at: Timestamp }
    ///
    /// /// A host that has been silent for a minute.
    /// struct Silence;
    ///
    /// impl Process<String, Beat> for Silence {
    ///     type State = Option<Timestamp>;
    ///     type Out = (String, Timestamp);
    ///
    ///     fn on_record(&self, turn: &mut Turn<'_, String, Self::Out>, last: &mut Self::State, beat: &Beat) -> Done {
    ///         *last = Some(beat.at);
    ///         turn.set_timer(beat.at + mins(1));
    ///         Ok(())
    ///     }
    ///
    ///     fn on_timer(&self, turn: &mut Turn<'_, String, Self::Out>, last: &mut Self::State) -> Done {
    ///         // Behind an earlier beat there was another one.
    ///         if let Some(last) = last.filter(|last| *last + mins(1) == turn.time().into()) {
    ///             turn.give((turn.key().clone(), last));
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[job(team = "ops")]
    /// fn silent(flow: &Flow) -> Result<()> {
    ///     let beats = flow.read::<Beat>()?.key_by(|b| b.host.clone());
    ///     beats.process("silent", by_time(secs(30)).ttl(mins(10)), Silence).to(topic("ops.silent"));
    ///     Ok(())
    /// }
    ///
    /// let beat = |beat, s| Beat { beat, host: "db1".into(), at: secs(s).into() };
    /// let mut t = TestJob::new(silent);
    /// t.push(beat(1, 0)).push(beat(2, 50)).advance_to(secs(110));
    /// assert_eq!(t.rows("ops.silent").json(), [serde_json::json!(["db1", "1970-01-01T00:00:50.000Z"])]);
    /// t.push(beat(3, 90));
    /// assert!(t.rows("ops.silent").is_empty(), "it was not silent");
    /// ```
    pub fn process<P: Process<K, V>>(self, name: &str, turns: Turns, process: P) -> Stream<'s, P::Out> {
        let name = name.to_string();
        self.with_late(move |graph, input| operators::process(graph, input, &name, turns.0, process))
    }
}

/// When a process has its turns, and how long it remembers.
#[derive(Clone, Copy, Debug)]
pub struct Turns(operators::Turns);

/// Records as they come, at the close of their epoch: nothing waits. When a record is taken back, the process is told so
/// ([`Turn::diff`](operators::Turn::diff) is negative), and has to undo by itself what it did; what it gives then is taken back.
#[must_use]
pub fn as_they_come() -> Turns {
    Turns(operators::as_they_come())
}

/// Records and timers by event time, when the watermark reaches them: whatever order they come in, results are the same. When a record
/// comes or goes within `lateness` after that, the process has its turns once more and its results are corrected; it need not know of
/// that.
#[must_use]
pub fn by_time(lateness: Duration) -> Turns {
    Turns(operators::by_time(millis(lateness)))
}

impl Turns {
    /// The state of a key that has had no turn for so much event time goes, unless it has a timer. Default: it stays.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self(self.0.ttl(millis(ttl)))
    }
}
