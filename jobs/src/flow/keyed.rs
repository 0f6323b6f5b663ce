//! Keyed streams, and windows over them.

use super::{Flow, KeyOf, Lazy, Stream, lazy};
use crate::codec::key_text;
use crate::sink::Sink;
use crate::table::About;
use distributary_operators::aggregate::Aggregate;
use distributary_operators::{self as operators, Answer, Keyed, PerKey, PerWindow};
use distributary_runtime::graph::Collection;
use distributary_runtime::key::Key;
use distributary_runtime::update::{Data, Diff};
use std::cell::{Cell, LazyCell};
use std::rc::Rc;
use std::time::Duration;

/// A stream whose records have a key, and meet by it.
pub struct KeyedStream<'s, K: 'static, V: 'static> {
    pub(super) flow: Flow<'s>,
    pub(super) collection: Lazy<'s, Keyed<K, V>>,
    pub(super) about: About,
}

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// Cuts event time into windows: `tumbling(secs(10)).lateness(secs(2))`.
    pub fn window(self, windows: Tumbling) -> WindowedStream<'s, K, V> {
        WindowedStream { flow: self.flow, collection: self.collection, about: self.about, windows }
    }

    /// A running aggregate for each key: at the close of each epoch in which it changed, the old result goes and the new one
    /// comes. `name` names the state.
    pub fn aggregate<A: Aggregate<V>>(self, name: &str, aggregate: A) -> Stream<'s, PerKey<K, A::Output>> {
        let name = name.to_string();
        self.per_key(move |flow, input| operators::aggregate(&flow.graph, input, &name, aggregate))
    }

    /// A running value for each key, by a closure that takes each record in (`diff` copies of it; negative: out again).
    pub fn fold<A: Data + PartialEq, R: Answer<()> + 'static>(
        self,
        name: &str,
        init: A,
        step: impl Fn(&mut A, &V, Diff) -> R + 'static,
    ) -> Stream<'s, PerKey<K, A>> {
        let name = name.to_string();
        self.per_key(move |flow, input| operators::fold(&flow.graph, input, &name, init, step))
    }

    fn per_key<O: Data>(
        self,
        make: impl FnOnce(&Flow<'s>, &Collection<'s, Keyed<K, V>>) -> Collection<'s, PerKey<K, O>> + 's,
    ) -> Stream<'s, PerKey<K, O>> {
        let Self { flow, collection, about } = self;
        let key: KeyOf<PerKey<K, O>> = Rc::new(|result| key_text(&result.key));
        Stream { key: Some(key), ..Stream { flow, collection, key: None, about }.with(make) }
    }
}

/// A keyed stream cut into windows.
pub struct WindowedStream<'s, K: 'static, V: 'static> {
    flow: Flow<'s>,
    collection: Lazy<'s, Keyed<K, V>>,
    about: About,
    windows: Tumbling,
}

impl<'s, K: Key, V: Data> WindowedStream<'s, K, V> {
    /// One result for each key and window, when the watermark passes the window's end; corrected when a late record is still
    /// accepted. `name` names the state. Refused records go to the pipeline's late topic unless
    /// [`Windowed::late_to`] says where else.
    pub fn aggregate<A: Aggregate<V>>(self, name: &str, aggregate: A) -> Windowed<'s, K, A::Output> {
        let Self { flow, collection, about, windows } = self;
        let (name, said) = (name.to_string(), Rc::<Cell<bool>>::default());
        let (of, late_said) = (flow.clone(), said.clone());
        let outputs = Rc::new(LazyCell::new(move || {
            let outputs = operators::window(&of.graph, &collection, &name, windows.0, aggregate);
            of.keep_late(&outputs.late, late_said);
            outputs
        }));
        let (of, refused) = (flow.clone(), outputs.clone());
        let late = Box::new(move |sink: Sink| {
            said.set(true);
            if sink.tier() == of.shared.tier {
                of.write_late(&refused.late, sink, about);
            }
        });
        let key: KeyOf<PerWindow<K, A::Output>> = Rc::new(|result| key_text(&result.key));
        let stream = Stream { flow, collection: lazy(move || outputs.results.clone()), key: Some(key), about: About::WINDOWS };
        Windowed { stream, late }
    }
}

/// Results of windows, with the records they refused. It is a [`Stream`]: `.map`, `.to` and the rest are called on it.
pub struct Windowed<'s, K: 'static, O: 'static> {
    stream: Stream<'s, PerWindow<K, O>>,
    late: Box<dyn FnOnce(Sink) + 's>,
}

impl<'s, K: Key, O: Data> Windowed<'s, K, O> {
    /// Sends the refused records, unchanged, to this sink instead of the pipeline's late topic.
    pub fn late_to(self, sink: Sink) -> Stream<'s, PerWindow<K, O>> {
        (self.late)(sink);
        self.stream
    }

    /// See [`Stream::to`].
    pub fn to(self, sink: Sink) -> Self {
        Self { stream: self.stream.to(sink), late: self.late }
    }

    /// See [`Stream::map`].
    pub fn map<Out: Data>(self, f: impl Fn(PerWindow<K, O>) -> Out + 'static) -> Stream<'s, Out> {
        self.stream.map(f)
    }

    /// See [`Stream::filter`].
    pub fn filter<R: Answer<bool>>(self, keep: impl Fn(&PerWindow<K, O>) -> R + 'static) -> Stream<'s, PerWindow<K, O>> {
        self.stream.filter(keep)
    }

    /// The results as a plain stream.
    pub fn results(self) -> Stream<'s, PerWindow<K, O>> {
        self.stream
    }
}

/// Windows of one length, one behind the other, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling(operators::Tumbling);

/// Windows of this length, one behind the other.
#[must_use]
pub fn tumbling(size: Duration) -> Tumbling {
    Tumbling(operators::tumbling(millis(size)))
}

impl Tumbling {
    /// How long a window still takes records after its end was passed; its result is corrected then.
    #[must_use]
    pub fn lateness(self, lateness: Duration) -> Self {
        Self(self.0.lateness(millis(lateness)))
    }

    /// Results before the end as well: each time event time has gone on by this much, what a window has so far. In a table or an upsert topic the
    /// next one takes its place; in a topic it is taken back.
    ///
    /// ```
    /// use distributary::{Event, Flow, Result, TestJob, Timestamp, count, job, mins, secs, topic, tumbling};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(topic = "calls", id = "call", time = "at", no_personal_data)]
    /// struct Call { call: u64, at: Timestamp }
    ///
    /// #[job(team = "ops")]
    /// fn load(flow: &Flow) -> Result<()> {
    ///     let windows = tumbling(mins(1)).early(secs(10));
    ///     flow.read::<Call>()?.key_by(|_| ()).window(windows).aggregate("load", count()).to(topic("ops.load"));
    ///     Ok(())
    /// }
    ///
    /// let mut t = TestJob::new(load);
    /// t.push(Call { call: 1, at: secs(3).into() }).push(Call { call: 2, at: secs(8).into() }).advance_to(secs(10));
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 2);
    /// t.push(Call { call: 3, at: secs(31).into() }).advance_to(secs(60));
    /// assert_eq!(t.rows("ops.load").json()[0]["value"], 3);
    /// ```
    #[must_use]
    pub fn early(self, every: Duration) -> Self {
        Self(self.0.early(millis(every)))
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
