//! What is known of an id.

use crate::answer::attempt;
use distributary_runtime::key::{EncodeError, content_hash};
use distributary_runtime::time::EventTime;
use distributary_runtime::update::{Data, Diff, Stamp, Update};
use serde::{Deserialize, Serialize};

/// What a record is known by: a retraction of it has the same. A hash of origin, time and content (a result of an aggregation keeps
/// its origin when it changes). Of 56 bits, so that an id takes 16 bytes beside its key; only records of the same id are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Print([u8; 7]);

impl Print {
    /// Writes the record's encoding to `room`.
    ///
    /// # Errors
    /// The record's `Serialize` refuses.
    #[inline]
    pub(super) fn of<D: Data>(data: &D, stamp: Stamp, room: &mut Vec<u8>) -> Result<Self, String> {
        let hash = attempt::<u64, Result<u64, EncodeError>>(|| content_hash(&(stamp.origin, stamp.time, data), room))?;
        let [_, print @ ..] = hash.to_be_bytes();
        Ok(Self(print))
    }
}

/// What is known of an id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Seen<D> {
    /// One record came, once, and stands. Should it be retracted, the retraction brings it along.
    One { print: Print, time: EventTime },
    /// More than that.
    More(Box<More<D>>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct More<D> {
    stands: Option<Stands>,
    /// Those that do not stand, in the order of their arrival: of some there are copies, and others were retracted before they came.
    rest: Vec<Sighting<D>>,
    /// The epoch of the last change, as the operator counts; 0 in a snapshot.
    #[serde(skip)]
    changed: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stands {
    print: Print,
    time: EventTime,
    copies: Diff,
}

/// So many copies of a record come, go, or are there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sighting<D> {
    pub(super) print: Print,
    pub(super) data: D,
    pub(super) stamp: Stamp,
    /// Never 0 among the rest; negative when a retraction came before its record.
    pub(super) copies: Diff,
}

/// The epoch that changes an id, as the operator counts from 1; and what time is so long ago that an id is forgotten.
pub(super) struct Now<F> {
    pub(super) epoch: u64,
    pub(super) is_over: F,
}

impl<D: Data> Seen<D> {
    /// The event time that the id is remembered for: that of the record that stands (of a retraction, if there are only such).
    pub(super) fn time(&self) -> Option<EventTime> {
        match self {
            Self::One { time, .. } => Some(*time),
            Self::More(more) => more.time(),
        }
    }

    /// Whether the id has to be forgotten. As it is only between epochs that time passes, what an epoch has changed stays until its close.
    fn is_forgotten(&self, now: &Now<impl Fn(EventTime) -> bool>) -> bool {
        let open = matches!(self, Self::More(more) if more.changed == now.epoch);
        !open && self.time().is_none_or(&now.is_over)
    }

    /// Lets a record stand if it is the first one, and nothing else; whether it does. What is over is forgotten first.
    #[inline]
    pub(super) fn begin(
        slot: &mut Option<Self>,
        print: Print,
        stamp: Stamp,
        copies: Diff,
        now: &Now<impl Fn(EventTime) -> bool>,
    ) -> bool {
        if slot.as_ref().is_some_and(|seen| seen.is_forgotten(now)) {
            *slot = None;
        }
        let begins = slot.is_none() && copies == 1;
        if begins {
            *slot = Some(Self::One { print, time: stamp.time });
        }
        begins
    }

    /// Takes a sighting with which nothing [begins](Seen::begin), and says what stands instead of what.
    pub(super) fn take(
        slot: &mut Option<Self>,
        sighting: Sighting<D>,
        now: &Now<impl Fn(EventTime) -> bool>,
        say: impl FnMut(Update<D>),
    ) {
        let mut more = match slot.take() {
            None => Box::new(More { stands: None, rest: Vec::new(), changed: 0 }),
            Some(Self::One { print, time }) => {
                Box::new(More { stands: Some(Stands { print, time, copies: 1 }), rest: Vec::new(), changed: 0 })
            }
            Some(Self::More(more)) => more,
        };
        more.changed = now.epoch;
        more.take(sighting, say);
        *slot = match (more.stands, more.rest.as_slice()) {
            (None, []) => None,
            // One that is over has to know that it was changed, or it would be forgotten amid the epoch.
            (Some(Stands { print, time, copies: 1 }), []) if !(now.is_over)(time) => Some(Self::One { print, time }),
            _ => Some(Self::More(more)),
        };
    }
}

impl<D: Data> More<D> {
    fn time(&self) -> Option<EventTime> {
        self.stands.map(|stands| stands.time).or(self.rest.first().map(|sighting| sighting.stamp.time))
    }

    fn take(&mut self, sighting: Sighting<D>, mut say: impl FnMut(Update<D>)) {
        match &mut self.stands {
            Some(stands) if stands.print == sighting.print => {
                stands.copies = stands.copies.wrapping_add(sighting.copies);
                let copies = stands.copies;
                if copies <= 0 {
                    self.stands = None;
                    say((sighting.data.clone(), sighting.stamp, -1));
                }
                if copies < 0 {
                    self.rest.push(Sighting { copies, ..sighting });
                }
            }
            _ => self.put_by(sighting),
        }
        if self.stands.is_none()
            && let Some(next) = self.rest.iter().position(|sighting| sighting.copies > 0)
        {
            let Sighting { print, data, stamp, copies } = self.rest.remove(next);
            self.stands = Some(Stands { print, time: stamp.time, copies });
            say((data, stamp, 1));
        }
    }

    /// Adds to those that do not stand. A record has come when there is a copy of it, whenever one was retracted.
    fn put_by(&mut self, mut sighting: Sighting<D>) {
        let Some(at) = self.rest.iter().position(|other| other.print == sighting.print) else {
            if self.rest.is_empty() {
                // Mostly it stays the only one.
                self.rest.reserve_exact(1);
            }
            return self.rest.push(sighting);
        };
        let before = self.rest[at].copies;
        sighting.copies = before.wrapping_add(sighting.copies);
        if (before > 0) == (sighting.copies > 0) && sighting.copies != 0 {
            self.rest[at].copies = sighting.copies;
            return;
        }
        self.rest.remove(at);
        if sighting.copies != 0 {
            self.rest.push(sighting);
        }
    }
}
