//! What a sequence of records of a key looks like.

use crate::kept::holds;
use distributary_runtime::error::Error;
use distributary_runtime::graph::Graph;

/// The most steps of a pattern: a bit for each.
const STEPS_MAX: usize = 32;

type Is<V> = Box<dyn Fn(&V) -> bool>;

/// A sequence that begins with a record for which `is` says so.
///
/// ```
/// use distributary_operators::begin;
/// let probing = begin(|cents: &i64| *cents < 100).without(|cents| *cents == 0).then(|cents| *cents > 50_000).within(300_000);
/// assert_eq!(probing.describe(), "0 without 1 then 2 within 300000 ms, lateness 0 ms");
/// ```
#[must_use]
pub fn begin<V>(is: impl Fn(&V) -> bool + 'static) -> Pattern<V> {
    Pattern { is: vec![Box::new(is)], links: Vec::new(), open: 0, within_ms: 0, lateness_ms: 0 }
}

/// See [`begin`].
pub struct Pattern<V> {
    is: Vec<Is<V>>,
    pub(crate) links: Vec<Link>,
    /// What must not come before the step that is not said yet.
    open: u32,
    pub(crate) within_ms: i64,
    pub(crate) lateness_ms: i64,
}

/// What comes behind a step: bits of the records for which a closure says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// None of these
    pub(crate) without: u32,
    /// before the first of these; 0: until the time is over.
    pub(crate) then: u32,
}

/// The bit of the record that begins it.
pub(crate) const BEGIN: u32 = 1;

impl<V> Pattern<V> {
    /// Then the first record behind it for which `is` says so.
    #[must_use]
    pub fn then(mut self, is: impl Fn(&V) -> bool + 'static) -> Self {
        let then = self.bit(is);
        self.links.push(Link { without: std::mem::take(&mut self.open), then });
        self
    }

    /// And no record for which `is` says so before the next step; behind the last step: until the time is over. A record that is
    /// the next step itself does not count.
    #[must_use]
    pub fn without(mut self, is: impl Fn(&V) -> bool + 'static) -> Self {
        self.open |= self.bit(is);
        self
    }

    /// All steps within so much event time of the first one, both included. Has to be said.
    #[must_use]
    pub fn within(self, ms: i64) -> Self {
        Self { within_ms: ms, ..self }
    }

    /// How long a record is still taken after the watermark has passed its time: what has been said is corrected then. State is kept as
    /// much longer. Default: 0.
    #[must_use]
    pub fn lateness(self, ms: i64) -> Self {
        Self { lateness_ms: ms, ..self }
    }

    /// What it looks like, for the plan: closures as numbers, in the order in which they were given.
    #[must_use]
    pub fn describe(&self) -> String {
        let numbers =
            |bits: u32| (0..u32::BITS).filter(|n| bits & 1 << n != 0).map(|n| format!(" without {n}")).collect::<String>();
        let link = |link: &Link| match link.then {
            0 => numbers(link.without),
            then => format!("{} then {}", numbers(link.without), then.trailing_zeros()),
        };
        let links: String = self.links.iter().map(link).collect();
        let Self { open, within_ms, lateness_ms, .. } = self;
        format!("0{links}{} within {within_ms} ms, lateness {lateness_ms} ms", numbers(*open))
    }

    fn bit(&mut self, is: impl Fn(&V) -> bool + 'static) -> u32 {
        self.is.push(Box::new(is));
        1_u32.checked_shl(self.is.len() as u32 - 1).unwrap_or(0)
    }

    /// The closures that say so of a record.
    pub(crate) fn bits(&self, record: &V) -> Result<u32, String> {
        let bit = |(n, is): (usize, &Is<V>)| Ok(if holds(is, record)? { 1 << n } else { 0 });
        self.is.iter().enumerate().try_fold(0, |bits, is| bit(is).map(|bit: u32| bits | bit))
    }

    /// Refuses what is no sequence; the building goes on with another, to find more errors.
    pub(crate) fn checked(mut self, graph: &Graph<'_>, name: &str) -> Self {
        if self.open != 0 {
            self.links.push(Link { without: std::mem::take(&mut self.open), then: 0 });
        }
        if self.links.is_empty() || self.is.len() > STEPS_MAX {
            let what = format!("sequence `{name}`: {} steps", self.is.len());
            graph.refuse(Error::refused(what, format!("give it at least two, and at most {STEPS_MAX}")));
            self.is.truncate(STEPS_MAX);
        }
        let Self { within_ms, lateness_ms, .. } = self;
        if within_ms < 1 || lateness_ms < 0 {
            let what = format!("sequence `{name}`: within {within_ms} ms, with a lateness of {lateness_ms} ms");
            graph.refuse(Error::refused(what, "say `.within(..)` at least 1 ms, and a lateness of at least 0 ms"));
        }
        Self { within_ms: within_ms.max(1), lateness_ms: lateness_ms.max(0), ..self }
    }
}
