//! What an operator says of a key at the close of an epoch, less what it has said before.

use crate::answer::attempt;
use distributary_runtime::key::stable_hash;
use distributary_runtime::operator::Emit;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Diff, NodeId, Origin, Stamp};
use std::collections::BTreeMap;

/// Gathers results, each with what it is taken back by: those that were said and are said again are not said at all.
pub(crate) struct Saying<O> {
    node: NodeId,
    hash: u64,
    sign: Diff,
    said: BTreeMap<(EventTime, Origin, u64), Said<O>>,
    due: Option<EventTime>,
}

struct Said<O> {
    diff: Diff,
    seen: EventTime,
    what: Result<O, String>,
}

impl<O: Data> Saying<O> {
    /// Of the key with this hash.
    pub(crate) fn new(node: NodeId, hash: u64) -> Self {
        Self { node, hash, sign: 1, said: BTreeMap::new(), due: None }
    }

    /// From here on it hears what was said before.
    pub(crate) fn takes_back(&mut self) -> &mut Self {
        self.sign = -1;
        self
    }

    /// From here on it hears what is true now.
    pub(crate) fn says(&mut self) -> &mut Self {
        (self.sign, self.due) = (1, None);
        self
    }

    /// The operator's place in the plan.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The origin of a result of the key.
    pub(crate) fn origin(&self, of: i64) -> Origin {
        Origin::group(self.node, self.hash, of)
    }

    /// The origin of a result that comes of records with these origins.
    pub(crate) fn origin_of(&self, origins: &[Origin], of: i64) -> Origin {
        Origin::group(self.node, stable_hash(&origins), of)
    }

    /// So many copies of a result, which makes no claim; or why there is none.
    pub(crate) fn add(&mut self, time: EventTime, origin: Origin, diff: Diff, what: Result<O, String>) {
        self.add_seen(Stamp { origin, time, seen: EventTime::MIN }, diff, what);
    }

    /// The same of a result that claims what its record does.
    pub(crate) fn add_seen(&mut self, stamp: Stamp, diff: Diff, what: Result<O, String>) {
        let Stamp { origin, time, seen } = stamp;
        let hashed = |what: &O| attempt::<u64, _>(|| stable_hash(what));
        let (what, content) = match what.and_then(|what| Ok((hashed(&what)?, what))) {
            Ok((content, what)) => (Ok(what), content),
            Err(cause) => {
                let content = stable_hash(&cause);
                (Err(cause), content)
            }
        };
        let said = self.said.entry((time, origin, content)).or_insert(Said { diff: 0, seen, what });
        said.diff = said.diff.wrapping_add(self.sign.wrapping_mul(diff));
    }

    /// Then there is something to say, if nothing changes.
    pub(crate) fn due_at(&mut self, time: EventTime) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    /// The first of those times.
    pub(crate) fn due(&self) -> Option<EventTime> {
        self.due
    }

    /// By time and origin, and of one origin what goes before what comes.
    pub(crate) fn emit<D>(self, emit: &mut Emit<D, O>) {
        let mut said: Vec<_> = self.said.into_iter().filter(|(_, said)| said.diff != 0).collect();
        said.sort_by_key(|((time, origin, content), said)| (*time, *origin, said.diff, *content));
        for ((time, origin, _), Said { diff, seen, what }) in said {
            match what {
                Ok(result) => emit.give((result, Stamp { origin, time, seen }, diff)),
                Err(cause) => emit.set_aside(origin, diff, cause),
            }
        }
    }
}
