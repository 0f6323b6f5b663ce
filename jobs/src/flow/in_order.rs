//! Records of a key by their own numbers.

use super::{KeyOf, KeyedStream, Stream, millis};
use crate::codec::key_text;
use distributary_operators::{self as operators, Missing, Numbered};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::rc::Rc;
use std::time::Duration;

/// The records of a stream by their numbers, and what is wrong with these.
pub struct InOrder<'s, K: 'static, V: 'static> {
    /// The first record of each number, of each key in order.
    pub records: Stream<'s, V>,
    /// Further records of a number.
    pub repeats: Stream<'s, V>,
    /// Numbers that did not come in time.
    pub missing: Stream<'s, Missing<K>>,
}

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// The records of each key in the order of their numbers, which begin at `first`. Those behind a gap wait for `wait` of event time; then
    /// the gap is given as missing, and they come behind it. A missing one that comes after all takes that back. What comes too late goes to
    /// the pipeline's late topic. `name` names the state: two numbers for each key, for ever, and the records that wait.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, job, secs, topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "orders", id = "id", time = "at", no_personal_data)]
    /// struct Change { id: u64, order: u64, version: u64, at: Timestamp }
    ///
    /// #[job(team = "billing")]
    /// fn changes(flow: &Flow) -> Result<()> {
    ///     let changes = flow.read::<Change>()?.key_by(|c| c.order).in_order("versions", 1, secs(10), |c| c.version);
    ///     changes.records.map(|c| c.id).to(topic("billing.changes"));
    ///     changes.repeats.map(|c| c.id).to(topic("billing.repeats"));
    ///     changes.missing.to(topic("billing.missing"));
    ///     Ok(())
    /// }
    ///
    /// let change = |id, version, s| Change { id, order: 7, version, at: secs(s).into() };
    /// let mut t = TestJob::new(changes);
    /// t.push(change(1, 2, 1)).push(change(2, 1, 2)).push(change(3, 1, 3)).push(change(4, 4, 4)).advance_to(secs(5));
    /// let mut ids: Vec<u64> = t.rows("billing.changes").read();
    /// ids.sort();
    /// assert_eq!(ids, [1, 2], "4 waits for version 3");
    /// assert_eq!(t.rows("billing.repeats").json(), [3]);
    /// t.advance_to(secs(14));
    /// assert_eq!(t.rows("billing.changes").len(), 3);
    /// assert_eq!(t.rows("billing.missing").json(), [serde_json::json!({ "key": 7, "first": 3, "last": 3 })]);
    /// ```
    pub fn in_order(self, name: &str, first: u64, wait: Duration, number: impl Fn(&V) -> u64 + 'static) -> InOrder<'s, K, V> {
        let (name, wait_ms) = (name.to_string(), millis(wait));
        let all = self.with_late(move |graph, input| operators::in_order(graph, input, &name, first, wait_ms, number));
        let records = all.clone().filter_map(|what| if let Numbered::Next(record) = what { Some(record) } else { None });
        let repeats = all.clone().filter_map(|what| if let Numbered::Repeat(record) = what { Some(record) } else { None });
        let missing = all.filter_map(|what| if let Numbered::Missing(missing) = what { Some(missing) } else { None });
        let key: KeyOf<Missing<K>> = Rc::new(|missing| key_text(&missing.key));
        InOrder { records, repeats, missing: Stream { key: Some(key), ..missing } }
    }
}
