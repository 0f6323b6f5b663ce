//! The journal: the ordered log of one pipeline on the bus, and the only arbiter of what happened.
//!
//! Here are its entries, their encoding, and the pure fold that says which of them count. [`crate::scribe`] writes it.

use crate::binding::{Binding, Feed};
use crate::bus::{JournalPage, Offset, Token};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::time::{Epoch, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod v1;

/// Version of the encoding; the first byte of every entry. All versions up to it can be read.
pub const FORMAT_VERSION: u8 = 2;

/// Who wrote an entry: a random number drawn at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u128);

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its writer.
    pub incarnation: Incarnation,
    /// What it says.
    pub fact: Fact,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// An incarnation begins; from here on only its entries count.
    Start(Start),
    /// An epoch is definite.
    Binding(Binding),
    /// Everything up to an epoch is saved, and visible in every sink.
    Checkpoint(Checkpoint),
    /// A checkpoint will never be restored again; its objects may go.
    Retire {
        /// Its epoch.
        epoch: Epoch,
    },
}

/// The beginning of an incarnation. Its offset is the incarnation's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Generation of the results. A greater one than before begins anew.
    pub generation: u32,
    /// What it is laid out by.
    pub layout: Layout,
    /// When.
    pub at: WallTime,
    /// Where the generation starts reading.
    pub positions: Vec<(Feed, Offset)>,
    /// Gaps in the bus that an operator accepted: (feed, lost from, resumed at).
    pub accepted_gaps: Vec<(Feed, Offset, Offset)>,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The state is that of the close of this epoch.
    pub epoch: Epoch,
    /// Generation of the results.
    pub generation: u32,
    /// What it is laid out by.
    pub layout: Layout,
    /// Name of the manifest in the checkpoint store.
    pub manifest: String,
    /// xxh3 of the manifest.
    pub checksum: u64,
}

impl Entry {
    /// Version byte, body, CRC-32 of both.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes =
            postcard::to_extend(self, vec![FORMAT_VERSION]).unwrap_or_else(|_| unreachable!("an entry is plain data"));
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`]: the checksum is wrong, or the version is newer than this program.
    pub fn decode(at: Offset, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: String| Error::Damaged { object: format!("journal entry {at}"), what };
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(damaged("too short".into())) };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged("its checksum does not match".into()));
        }
        match body.split_first() {
            Some((&FORMAT_VERSION, body)) => postcard::from_bytes(body).map_err(|e| damaged(e.to_string())),
            Some((1, body)) => postcard::from_bytes::<v1::Entry>(body).map(Self::from).map_err(|e| damaged(e.to_string())),
            Some((version, _)) => Err(damaged(format!("format version {version} is not known here; run a newer release"))),
            None => Err(damaged("empty".into())),
        }
    }
}

/// What the journal says happened: the fold over its valid entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The newest valid `Start`'s writer and token.
    pub owner: Option<(Incarnation, Token)>,
    /// The generation's number.
    pub generation: u32,
    /// The last epoch before the generation.
    pub since: Epoch,
    /// What the generation is laid out by.
    pub layout: Option<Layout>,
    /// Where the generation started reading, when its first `Start` is still in the journal and no other plan has gone on since.
    pub positions: Option<Vec<(Feed, Offset)>>,
    /// Gaps accepted since.
    pub accepted_gaps: Vec<(Feed, Offset, Offset)>,
    /// The last epoch that is definite; epochs are never minted twice.
    pub last_epoch: Epoch,
    /// When it was closed.
    pub last_closed_at: WallTime,
    /// Bindings of the generation that are still kept, with their offsets.
    pub bindings: BTreeMap<Epoch, (Offset, Binding)>,
    /// Checkpoints of the generation that are not retired, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Where their entries stand.
    pub(crate) checkpoints_at: BTreeMap<Epoch, Offset>,
    /// No checkpoint that counts is older: the journal was truncated in front of what this one needs.
    pub(crate) oldest: Epoch,
    /// Checkpoints of earlier generations that are not retired: garbage.
    pub abandoned: Vec<Checkpoint>,
    /// Entries that did not count: a dead incarnation's, or the owner's once more.
    pub ignored: usize,
}

impl History {
    /// Folds the entries of a journal, oldest first.
    ///
    /// An entry counts iff its writer is that of the last `Start` before it. A journal is truncated only in front of an
    /// entry that counts, so the first entry always does.
    ///
    /// # Errors
    /// [`Error::Damaged`]: an entry does not decode, or the epochs of the bindings have a gap.
    pub fn read(entries: &[(Offset, Vec<u8>)]) -> Result<Self> {
        let mut history = Self::default();
        let mut writer = None;
        for (at, bytes) in entries {
            let entry = Entry::decode(*at, bytes)?;
            if writer.is_none() {
                history.oldest = oldest(&entry.fact);
            }
            if let Fact::Start(start) = entry.fact {
                writer = Some(entry.incarnation);
                history.owner = Some((entry.incarnation, Token(at.0)));
                history.start(start);
            } else if *writer.get_or_insert(entry.incarnation) == entry.incarnation {
                history.add(*at, entry.fact)?;
            } else {
                history.ignored += 1;
            }
        }
        Ok(history)
    }

    fn start(&mut self, start: Start) {
        // The journal may have been cut in front of a binding whose generation only stands behind it: in this `Start`, or in a
        // checkpoint that was completed in a replay. A generation that begins has no bindings before it that are kept.
        let is_cut = self.generation == 0 && !self.bindings.is_empty();
        if is_cut {
            self.generation = start.generation;
        } else if start.generation != self.generation {
            self.generation = start.generation;
            self.since = self.last_epoch;
            self.positions = Some(start.positions);
            self.bindings.clear();
            self.abandoned.append(&mut self.checkpoints);
            self.accepted_gaps.clear();
        } else if self.layout.as_ref().is_some_and(|layout| layout.fingerprint != start.layout.fingerprint) {
            // Another plan goes on from the newest checkpoint. What lies before it, it cannot compute again.
            let newest = self.checkpoints.pop();
            self.abandoned.append(&mut self.checkpoints);
            self.checkpoints.extend(newest);
            self.bindings.clear();
            self.positions = None;
        }
        self.layout = Some(start.layout);
        self.accepted_gaps.extend(start.accepted_gaps);
    }

    fn add(&mut self, at: Offset, fact: Fact) -> Result<()> {
        match fact {
            Fact::Start(_) => unreachable!("handled by the caller"),
            // A request of the owner that arrived once more, late: its first copy counts.
            Fact::Binding(binding) if self.repeats(&binding) => self.ignored += 1,
            Fact::Checkpoint(c) if self.checkpoints.last().map_or(c.epoch < self.oldest, |last| last.epoch >= c.epoch) => {
                self.ignored += 1;
            }
            Fact::Binding(binding) => {
                if self.last_epoch != Epoch(0) && binding.epoch != self.last_epoch.next() {
                    let what = format!("epoch {} follows epoch {}", binding.epoch, self.last_epoch);
                    return Err(Error::Damaged { object: format!("journal entry {at}"), what });
                }
                self.last_epoch = binding.epoch;
                self.last_closed_at = binding.closed_at;
                self.bindings.insert(binding.epoch, (at, binding));
            }
            Fact::Checkpoint(checkpoint) => {
                // After a truncation the checkpoint may be all that is left of its epoch.
                self.last_epoch = self.last_epoch.max(checkpoint.epoch);
                self.generation = checkpoint.generation;
                self.layout = Some(checkpoint.layout.clone());
                self.checkpoints_at.insert(checkpoint.epoch, at);
                self.checkpoints.push(checkpoint);
            }
            Fact::Retire { epoch } => {
                self.checkpoints.retain(|c| c.epoch != epoch);
                self.abandoned.retain(|c| c.epoch != epoch);
            }
        }
        Ok(())
    }

    /// Whether the newest checkpoint holds everything: the pipeline was stopped in order.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.checkpoints.last().is_some_and(|newest| newest.epoch == self.last_epoch)
    }

    /// Whether the owner has bound this epoch before; its first copy may be truncated already.
    fn repeats(&self, binding: &Binding) -> bool {
        let first = self.bindings.get(&binding.epoch);
        binding.epoch <= self.last_epoch && first.is_none_or(|(_, first)| first == binding)
    }

    /// The first entry that is still needed when the checkpoint of `oldest` is the oldest one that is kept; `None` when
    /// nothing may go yet.
    ///
    /// The checkpoint's own entry often stands in front of the first binding behind its epoch. It must stay: it tells the
    /// generation, and without it the checkpoint would not exist.
    #[must_use]
    pub fn needed_from(&self, oldest: Epoch) -> Option<Offset> {
        let entry = *self.checkpoints_at.get(&oldest)?;
        let (_, (binding, _)) = self.bindings.range(oldest.next()..).next()?;
        Some(entry.min(*binding))
    }

    /// The bindings to be replayed behind `epoch`.
    ///
    /// # Errors
    /// [`Error::Damaged`]: one of them is missing.
    pub fn bindings_after(&self, epoch: Epoch) -> Result<Vec<Binding>> {
        let replay: Vec<Binding> = self.bindings.range(epoch.next()..).map(|(_, (_, b))| b.clone()).collect();
        if replay.len() as u64 == self.last_epoch.0.saturating_sub(epoch.0) {
            return Ok(replay);
        }
        let what = format!("it no longer holds all bindings from epoch {} to {}", epoch.next(), self.last_epoch);
        Err(Error::Damaged { object: "journal".into(), what })
    }
}

/// The oldest checkpoint that a journal can hold which begins with this entry: [`History::needed_from`] cut it so. One that is older was
/// retired, and its entry arrived once more behind that.
fn oldest(first: &Fact) -> Epoch {
    match first {
        Fact::Checkpoint(checkpoint) => checkpoint.epoch,
        Fact::Binding(binding) => Epoch(binding.epoch.0.saturating_sub(1)),
        Fact::Start(_) | Fact::Retire { .. } => Epoch(0),
    }
}

/// What a writer finds when it reads the journal back behind its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// So many of its entries stand, and count. There may be others' around them, which do not.
    These(usize),
    /// Another incarnation's `Start` stands here, or stood here or behind and is truncated: the writer is dead.
    Fenced(Offset),
}

/// Looks for `entries` of an incarnation in what a journal holds from `from` on, where its last entry ended. They were sent
/// in order, so what stands of them is the first ones.
///
/// # Errors
/// [`Error::Damaged`]: an entry does not decode.
pub fn standing(page: &JournalPage, from: Offset, incarnation: Incarnation, entries: &[Vec<u8>]) -> Result<Standing> {
    let first = page.entries.first().map_or(page.end, |(at, _)| *at);
    if first > from {
        // An owner truncates only in front of its own entries: another one, whose `Start` went with the rest.
        return Ok(Standing::Fenced(from));
    }
    let mut count = 0;
    for (at, bytes) in &page.entries {
        if entries.get(count) == Some(bytes) {
            count += 1;
        } else if is_start_of_another(*at, bytes, incarnation)? {
            return Ok(Standing::Fenced(*at));
        }
    }
    Ok(Standing::These(count))
}

/// Whether an entry is the `Start` of another incarnation.
///
/// # Errors
/// [`Error::Damaged`]: the entry does not decode.
pub fn is_start_of_another(at: Offset, bytes: &[u8], incarnation: Incarnation) -> Result<bool> {
    let entry = Entry::decode(at, bytes)?;
    Ok(matches!(entry.fact, Fact::Start(_)) && entry.incarnation != incarnation)
}

/// What a start does about the plan it finds in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing is there: generation 1.
    First,
    /// Go on with the generation that is there.
    Resume {
        /// Its number.
        generation: u32,
    },
    /// Begin a new generation, as the operator asked.
    Anew {
        /// Its number.
        generation: u32,
    },
    /// Go on with the generation that is there, under another plan, as the operator asked.
    Adopt {
        /// Its number.
        generation: u32,
    },
    /// The plan is another one and nobody said what to do about it.
    Refuse,
    /// The plan is another one, and the one before has epochs that only it can work on again.
    NotAtRest,
}

/// Decides how to open a journal.
#[must_use]
pub fn open(history: &History, fingerprint: u128, request: StartRequest) -> Opening {
    match (history.generation, request) {
        (0, _) => Opening::First,
        (generation, StartRequest::FromZero | StartRequest::From(_)) => Opening::Anew { generation: generation + 1 },
        (generation, _) if history.layout.as_ref().is_some_and(|l| l.fingerprint == fingerprint) => {
            Opening::Resume { generation }
        }
        (_, StartRequest::Resume) => Opening::Refuse,
        (generation, StartRequest::AdoptPlan) if history.is_at_rest() => Opening::Adopt { generation },
        (_, StartRequest::AdoptPlan) => Opening::NotAtRest,
    }
}

/// What the operator asked for at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartRequest {
    /// Go on where the last incarnation stopped.
    #[default]
    Resume,
    /// As [`StartRequest::Resume`], also when the plan has changed: states of the same name and types go on.
    AdoptPlan,
    /// Begin a new generation from the start of the bus.
    FromZero,
    /// Begin a new generation from the first records at or after this time, wherever they are kept.
    From(WallTime),
}

#[cfg(test)]
mod tests;
