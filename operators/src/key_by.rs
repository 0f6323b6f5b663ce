//! Gives each record a key.

use crate::aggregate::type_name;
use crate::answer::attempt;
use distributary_runtime::graph::{Collection, Graph, Spec};
use distributary_runtime::key::{Key, key_group, reads_back, stable_hash};
use distributary_runtime::operator::stateless;
use distributary_runtime::update::Data;
use serde::{Deserialize, Serialize};

/// A record with its key. The key is hashed once, here, for exchange and state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed<K, V> {
    /// The key's stable hash.
    pub hash: u64,
    /// The key.
    pub key: K,
    /// The record.
    pub value: V,
}

impl<K: Key, V> Keyed<K, V> {
    /// A record with this key.
    ///
    /// # Panics
    /// The key's `Serialize` refuses.
    pub fn new(key: K, value: V) -> Self {
        Self { hash: stable_hash(&key), key, value }
    }

    /// The same key with another record.
    pub(crate) fn map<W>(self, f: impl FnOnce(V) -> W) -> Keyed<K, W> {
        Keyed { hash: self.hash, key: self.key, value: f(self.value) }
    }

    /// Which slice of a keyed state it belongs to, hence which worker.
    pub(crate) fn group(&self) -> u8 {
        key_group(self.hash)
    }
}

/// So many keys are read back on each worker: enough to notice a type that does not write all of itself, and soon over.
const READ_BACK: u8 = 64;

/// Gives each record with the key that `key` takes from it.
///
/// A type that cannot be a key is refused when the plan is made; where that shows only in keys ([`reads_back`]), one of the first ones stops the
/// pipeline. A record on which `key` panics is a dead letter. The key of a record must not change: a retraction goes where its
/// record went.
///
/// ```
/// use distributary_operators::key_by;
/// use distributary_runtime::key::stable_hash;
/// use distributary_runtime::testing::{Step, run, update};
/// use distributary_runtime::time::EventTime;
///
/// let updates = vec![update(("u1".to_string(), 5), 0, 0, 0)];
/// let seen = run(vec![Step { updates, watermark: EventTime(0) }], |graph, input| {
///     key_by(graph, &input, |(user, _)| user.clone())
/// });
/// let keyed = &seen.results[0].1.0;
/// assert_eq!((keyed.key.as_str(), keyed.value.1, keyed.hash), ("u1", 5, stable_hash(&"u1")));
/// ```
pub fn key_by<'s, D: Data, K: Key>(
    graph: &Graph<'s>,
    input: &Collection<'s, D>,
    key: impl Fn(&D) -> K + 'static,
) -> Collection<'s, Keyed<K, D>> {
    let spec = Spec::new("key_by", type_name::<K>()).with_keys::<K>();
    let (stop, mut unread) = (graph.stopper(), READ_BACK);
    stateless(graph, input, spec, move |(value, stamp, diff), emit| {
        let hashed = attempt::<(u64, K), _>(|| {
            let key = key(&value);
            (stable_hash(&key), key)
        });
        if unread > 0
            && let Ok((_, key)) = &hashed
        {
            unread -= 1;
            if let Err(unfit) = reads_back(key) {
                stop(unfit.refusal("key_by"));
            }
        }
        match hashed {
            Ok((hash, key)) => emit.give((Keyed { hash, key, value }, stamp, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        }
    })
}
