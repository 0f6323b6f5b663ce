//! Records of a key that follow each other.

use super::{KeyOf, KeyedStream, Stream, millis};
use crate::codec::key_text;
use distributary_operators::{self as operators, Match};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::rc::Rc;
use std::time::Duration;

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// Every sequence that the pattern says: for each record that begins one, the first of each further step behind it by event time, if
    /// nothing comes first that must not. It names its records as evidence, and is taken back when they are. State goes as the watermark
    /// proceeds. Records that come too late go to the pipeline's late topic. `name` names the state.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, begin, job, mins, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "accounts", id = "id", time = "at", subject = "user")]
    /// struct Account { id: u64, user: String, what: String, at: Timestamp }
    ///
    /// /// A new device and a withdrawal within five minutes, without a second factor between them.
    /// #[job(team = "fraud")]
    /// fn taken_over(flow: &Flow) -> Result<()> {
    ///     let is = |what: &'static str| move |event: &Account| event.what == what;
    ///     let pattern = begin(is("device")).without(is("code")).then(is("withdrawal")).within(mins(5)).lateness(mins(1));
    ///     flow.read::<Account>()?
    ///         .key_by(|a| a.user.clone())
    ///         .sequence("taken over", pattern)
    ///         .map(|found| found.records.iter().map(|event| event.id).collect::<Vec<_>>())
    ///         .to(topic("fraud.taken-over"));
    ///     Ok(())
    /// }
    ///
    /// let event = |id, what: &str, s| Account { id, user: "u1".into(), what: what.into(), at: secs(s).into() };
    /// let mut t = TestJob::new(taken_over);
    /// t.push(event(1, "device", 0)).push(event(2, "withdrawal", 60)).push(event(3, "device", 70)).push(event(4, "withdrawal", 90));
    /// t.advance_to(secs(100));
    /// assert_eq!(t.rows("fraud.taken-over").json(), [serde_json::json!([1, 2]), serde_json::json!([3, 4])]);
    /// t.push(event(5, "code", 80));
    /// assert_eq!(t.rows("fraud.taken-over").json(), [serde_json::json!([1, 2])]);
    /// ```
    pub fn sequence(self, name: &str, pattern: Pattern<V>) -> Stream<'s, Match<K, V>> {
        let name = name.to_string();
        let key: KeyOf<Match<K, V>> = Rc::new(|found| key_text(&found.key));
        let found = self.with_late(move |graph, input| operators::sequence(graph, input, &name, pattern.0));
        Stream { key: Some(key), ..found }
    }
}

/// What a sequence of records looks like.
pub struct Pattern<V>(operators::Pattern<V>);

/// A sequence that begins with a record for which `is` says so.
#[must_use]
pub fn begin<V>(is: impl Fn(&V) -> bool + 'static) -> Pattern<V> {
    Pattern(operators::begin(is))
}

impl<V> Pattern<V> {
    /// Then the first record behind it for which `is` says so.
    #[must_use]
    pub fn then(self, is: impl Fn(&V) -> bool + 'static) -> Self {
        Self(self.0.then(is))
    }

    /// And no record for which `is` says so before the next step; behind the last step: until the time is over.
    #[must_use]
    pub fn without(self, is: impl Fn(&V) -> bool + 'static) -> Self {
        Self(self.0.without(is))
    }

    /// All steps within so much event time of the first one. Has to be said.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self(self.0.within(millis(time)))
    }

    /// How long a record is still taken after its event time was passed; what has been said is corrected then. Default: 0.
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }
}
