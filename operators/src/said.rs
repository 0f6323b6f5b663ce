//! What an operator has said about a group, so that it can take it back.

use distributary_runtime::operator::Emit;
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Diff, Stamp};
use serde::{Deserialize, Serialize};

/// The result that stands (or the cause for which there is none, which stands as a dead letter), and its event time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said<O>(Option<(EventTime, Result<O, String>)>);

impl<O> Default for Said<O> {
    fn default() -> Self {
        Self(None)
    }
}

impl<O> Said<O> {
    /// Whether nothing stands.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }
}

impl<O: PartialEq> Said<O> {
    /// Whether this stands.
    pub(crate) fn is(&self, now: &Option<Result<O, String>>) -> bool {
        self.0.as_ref().map(|(_, said)| said) == now.as_ref()
    }
}

impl<O: Data + PartialEq> Said<O> {
    /// Takes back what stands and says what is true now, unless both are the same.
    ///
    /// What is taken back keeps the event time it was said with: it has to find its window again, wherever that is.
    pub(crate) fn say<D, Out>(
        &mut self,
        now: Option<Result<O, String>>,
        stamp: Stamp,
        emit: &mut Emit<D, Out>,
        wrap: impl Fn(O) -> Out,
    ) {
        if self.is(&now) {
            return;
        }
        let mut tell = |what: Result<O, String>, stamp: Stamp, diff: Diff| match what {
            Ok(output) => emit.give((wrap(output), stamp, diff)),
            Err(cause) => emit.set_aside(stamp.origin, diff, cause),
        };
        if let Some((time, old)) = self.0.take() {
            tell(old, Stamp { time, ..stamp }, -1);
        }
        if let Some(new) = now {
            tell(new.clone(), stamp, 1);
            self.0 = Some((stamp.time, new));
        }
    }
}
