//! Streams cut into windows, and what they give.

use super::{Flow, KeyOf, Kind, Lazy, Stream, Windows, lazy};
use crate::codec::key_text;
use crate::sink::Sink;
use crate::table::About;
use distributary_operators::aggregate::Aggregate;
use distributary_operators::{self as operators, Answer, Keyed, PerWindow};
use distributary_runtime::key::Key;
use distributary_runtime::update::Data;
use std::cell::{Cell, LazyCell};
use std::rc::Rc;

/// A keyed stream cut into windows.
pub struct WindowedStream<'s, K: 'static, V: 'static, W> {
    pub(super) flow: Flow<'s>,
    pub(super) collection: Lazy<'s, Keyed<K, V>>,
    pub(super) about: About,
    pub(super) windows: W,
}

impl<'s, K: Key, V: Data, W: Windows> WindowedStream<'s, K, V, W> {
    /// One result for each key and window, when the watermark passes the window's end; corrected when a late record is still
    /// accepted. `name` names the state. Refused records go to the pipeline's late topic unless
    /// [`Windowed::late_to`] says where else.
    pub fn aggregate<A: Aggregate<V>>(self, name: &str, aggregate: A) -> Windowed<'s, K, A::Output> {
        let Self { flow, collection, about, windows } = self;
        let (name, said) = (name.to_string(), Rc::<Cell<bool>>::default());
        let (of, late_said) = (flow.clone(), said.clone());
        let outputs = Rc::new(LazyCell::new(move || {
            let outputs = operators::window(&of.graph, &collection, &name, windows.cut(), aggregate);
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
        let collection = lazy(move || outputs.results.clone());
        let stream = Stream { flow, collection, key: Some(key), about: About::WINDOWS, kind: Kind::Stream };
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
