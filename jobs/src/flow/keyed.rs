//! Keyed streams.

use super::{Flow, KeyOf, Kind, Lazy, Stream, WindowedStream, Windows};
use crate::codec::key_text;
use crate::table::About;
use distributary_operators::aggregate::Aggregate;
use distributary_operators::{self as operators, Answer, Keyed, PerKey};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::key::Key;
use distributary_runtime::operator::Outputs;
use distributary_runtime::update::{Data, Diff};
use std::rc::Rc;
use std::time::Duration;

/// A stream whose records have a key, and meet by it.
pub struct KeyedStream<'s, K: 'static, V: 'static> {
    pub(super) flow: Flow<'s>,
    pub(super) collection: Lazy<'s, Keyed<K, V>>,
    pub(super) about: About,
    pub(super) kind: Kind,
}

impl<K, V> Clone for KeyedStream<'_, K, V> {
    fn clone(&self) -> Self {
        Self { flow: self.flow.clone(), collection: self.collection.clone(), about: self.about, kind: self.kind }
    }
}

impl<'s, K: Key, V: Data> KeyedStream<'s, K, V> {
    /// Cuts event time into windows: `tumbling(secs(10)).lateness(secs(2))`, [`hopping`](super::hopping), [`session`](super::session),
    /// [`daily`](super::daily), [`monthly`](super::monthly).
    pub fn window<W: Windows>(self, windows: W) -> WindowedStream<'s, K, V, W> {
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

    /// Results, beside what is refused: that goes to the pipeline's late topic.
    pub(super) fn with_late<O: Data>(
        self,
        make: impl FnOnce(&Graph<'s>, &Collection<'s, Keyed<K, V>>) -> Outputs<'s, Keyed<K, V>, O> + 's,
    ) -> Stream<'s, O> {
        let Self { flow, collection, about, .. } = self;
        let records = Stream { flow, collection, key: None, about, kind: Kind::Stream };
        records.with(move |flow, input| {
            let outputs = make(&flow.graph, input);
            flow.keep_late(&outputs.late, Rc::default());
            outputs.results
        })
    }

    fn per_key<O: Data>(
        self,
        make: impl FnOnce(&Flow<'s>, &Collection<'s, Keyed<K, V>>) -> Collection<'s, PerKey<K, O>> + 's,
    ) -> Stream<'s, PerKey<K, O>> {
        let Self { flow, collection, about, kind } = self;
        let key: KeyOf<PerKey<K, O>> = Rc::new(|result| key_text(&result.key));
        let results = Stream { flow, collection, key: None, about, kind }.with(make);
        Stream { key: Some(key), ..results.as_table() }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
