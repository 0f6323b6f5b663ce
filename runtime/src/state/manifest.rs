//! The manifest of a checkpoint: which slices, oldest first, make up every key group of every state at its epoch.
//!
//! ```text
//! "dstMnfst", version: u8, body (postcard; names of objects stand in a table), crc32 of all before: u32 little-endian
//! ```

use super::name;
use super::object::{SliceRef, Written};
use super::slice::SliceKind;
use crate::bus::Token;
use crate::error::{Error, Result};
use crate::key::{decode, encode};
use crate::time::Epoch;
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const MAGIC: &[u8; 8] = b"dstMnfst";
const VERSION: u8 = 1;
const PREFIX: usize = MAGIC.len() + 1;

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestHead {
    /// Full name of the pipeline.
    pub pipeline: String,
    /// Generation of its results.
    pub generation: u32,
    /// The epoch at whose close the state was fixed.
    pub epoch: Epoch,
    /// Fingerprint of the job's plan.
    pub fingerprint: u128,
    /// The incarnation.
    pub token: Token,
    /// Where the sources and the minter stood, in the minter's own encoding.
    pub positions: Vec<u8>,
}

/// A checkpoint as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it is of.
    pub head: ManifestHead,
    /// The states, by name.
    pub states: Vec<StateManifest>,
}

/// One state of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateManifest {
    /// Its name.
    pub name: String,
    /// Fingerprint of its key and value types.
    pub type_fingerprint: u64,
    /// For each key group that holds anything: a base, and the deltas behind it, oldest first.
    pub groups: BTreeMap<u8, Vec<SliceRef>>,
}

impl Manifest {
    /// The manifest that follows `previous` when the workers have written these slices: a base begins the chain of its key
    /// group anew, a delta lengthens it, all others stay. A state of which nobody wrote (not even that nothing changed) is none
    /// of the plan's any more, and goes.
    ///
    /// `previous` is the manifest of the last snapshot, also when its checkpoint never became effective.
    ///
    /// # Errors
    /// [`Error::Refused`] when a state changed its types without a migration; [`Error::Damaged`] when two workers wrote the
    /// same key group or a delta stands on nothing.
    pub fn merge(previous: Option<&Self>, head: ManifestHead, written: impl IntoIterator<Item = Written>) -> Result<Self> {
        let states = previous.map_or(&[][..], |manifest| &manifest.states);
        let mut states: BTreeMap<String, StateManifest> = states.iter().map(|s| (s.name.clone(), s.clone())).collect();
        let (mut seen, mut written_of) = (BTreeSet::new(), BTreeSet::new());
        for Written { state: name, type_fingerprint, slices } in written {
            written_of.insert(name.clone());
            let new = || StateManifest { name: name.clone(), type_fingerprint, groups: BTreeMap::new() };
            let state = states.entry(name.clone()).or_insert_with(new);
            if state.type_fingerprint != type_fingerprint {
                let what = format!("{}: the types of state `{name}` changed", head.pipeline);
                return Err(Error::refused(what, "declare a migration, or start a new generation (`run --from-zero`)"));
            }
            for (group, slice) in slices {
                let damaged = |what: &str| Error::Damaged {
                    object: slice.object.clone(),
                    what: format!("key group {group} of state `{name}`: {what}"),
                };
                if !seen.insert((name.clone(), group)) {
                    return Err(damaged("written by two workers"));
                }
                match (slice.kind, slice.entries) {
                    (SliceKind::Base, 0) => drop(state.groups.remove(&group)),
                    (SliceKind::Base, _) => drop(state.groups.insert(group, vec![slice])),
                    (SliceKind::Delta, _) => match state.groups.get_mut(&group) {
                        Some(chain) => chain.push(slice),
                        None => return Err(damaged("a delta without a base")),
                    },
                }
            }
        }
        states.retain(|name, _| written_of.contains(name));
        Ok(Self { head, states: states.into_values().collect() })
    }

    /// Its name in the store.
    #[must_use]
    pub fn name(&self) -> String {
        let ManifestHead { pipeline, generation, epoch, token, .. } = &self.head;
        name::manifest_name(pipeline, *generation, *epoch, *token)
    }

    /// The state of this name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&StateManifest> {
        self.states.iter().find(|state| state.name == name)
    }

    /// Every slice it needs.
    pub fn slices(&self) -> impl Iterator<Item = &SliceRef> {
        self.states.iter().flat_map(|state| state.groups.values().flatten())
    }

    /// The names of all objects it needs.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<&str> {
        self.slices().map(|slice| slice.object.as_str()).collect()
    }

    /// Its bytes in the store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let objects = self.objects();
        let numbers: BTreeMap<&str, u32> = objects.iter().copied().zip(0..).collect();
        let wire = |at: &SliceRef| WireSlice {
            object: numbers[at.object.as_str()],
            offset: at.offset,
            len: at.len,
            crc: at.crc,
            kind: at.kind,
            entries: at.entries,
        };
        let chain = |(group, chain): (&u8, &Vec<SliceRef>)| (*group, chain.iter().map(wire).collect());
        let state = |s: &StateManifest| WireState {
            name: s.name.clone(),
            type_fingerprint: s.type_fingerprint,
            groups: s.groups.iter().map(chain).collect(),
        };
        let body = Wire {
            head: self.head.clone(),
            objects: objects.iter().map(ToString::to_string).collect(),
            states: self.states.iter().map(state).collect(),
        };
        let body = encode(&body).unwrap_or_else(|_| unreachable!("a manifest of plain fields is encodable"));
        let mut bytes = Vec::with_capacity(PREFIX + body.len() + 4);
        bytes.put_slice(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_slice(&body);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes.into()
    }

    /// Reads what [`Manifest::encode`] wrote; `name` is for the error.
    ///
    /// # Errors
    /// [`Error::Damaged`] when any byte is not as it was written; [`Error::Refused`] when a newer release wrote it.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::Damaged { object: name.to_string(), what: what.to_string() };
        let (content, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("it is cut off"))?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return Err(damaged("its checksum does not match"));
        }
        let (magic, body) = content.split_at_checked(PREFIX).ok_or_else(|| damaged("it is cut off"))?;
        if &magic[..MAGIC.len()] != MAGIC {
            return Err(damaged("it is not a manifest"));
        }
        if magic[MAGIC.len()] != VERSION {
            let what = format!("{name}: manifest version {} is not {VERSION}, the one of this release", magic[MAGIC.len()]);
            return Err(Error::refused(what, "run the release that wrote it"));
        }
        let wire: Wire = decode(body).map_err(|e| damaged(&e.to_string()))?;
        wire.manifest().ok_or_else(|| damaged("it names an object that is not in its table, or a chain without a base"))
    }
}

/// Objects of retired checkpoints, and their manifests, that no kept checkpoint needs.
#[must_use]
pub fn garbage(retired: &[Manifest], kept: &[Manifest]) -> BTreeSet<String> {
    let needed: BTreeSet<&str> = kept.iter().flat_map(Manifest::objects).collect();
    let all = retired.iter().flat_map(|m| m.objects().into_iter().map(String::from).chain([m.name()]));
    all.filter(|name| !needed.contains(name.as_str())).collect()
}

/// Of the stored names, those that an incarnation before `token` left behind and no kept checkpoint needs: objects and manifests
/// of checkpoints that never became effective. Asked at start, when `kept` is what recovery found.
#[must_use]
pub fn orphans<'a>(stored: impl IntoIterator<Item = &'a str>, kept: &[Manifest], token: Token) -> BTreeSet<String> {
    let manifests: Vec<String> = kept.iter().map(Manifest::name).collect();
    let needed: BTreeSet<&str> = kept.iter().flat_map(Manifest::objects).chain(manifests.iter().map(String::as_str)).collect();
    let old = |name: &&str| name::parse_token(name).is_some_and(|t| t < token);
    stored.into_iter().filter(old).filter(|name| !needed.contains(name)).map(String::from).collect()
}

#[derive(Serialize, Deserialize)]
struct Wire {
    head: ManifestHead,
    objects: Vec<String>,
    states: Vec<WireState>,
}

#[derive(Serialize, Deserialize)]
struct WireState {
    name: String,
    type_fingerprint: u64,
    groups: Vec<(u8, Vec<WireSlice>)>,
}

#[derive(Serialize, Deserialize)]
struct WireSlice {
    /// Index into the table.
    object: u32,
    offset: u64,
    len: u64,
    crc: u32,
    kind: SliceKind,
    entries: u32,
}

impl Wire {
    fn manifest(self) -> Option<Manifest> {
        let objects = self.objects;
        let slice = |at: WireSlice| {
            let object = objects.get(at.object as usize)?.clone();
            Some(SliceRef { object, offset: at.offset, len: at.len, crc: at.crc, kind: at.kind, entries: at.entries })
        };
        let chain = |(group, slices): (u8, Vec<WireSlice>)| {
            let chain: Vec<SliceRef> = slices.into_iter().map(slice).collect::<Option<_>>()?;
            let (base, deltas) = chain.split_first()?;
            let sound = base.kind == SliceKind::Base && deltas.iter().all(|s| s.kind == SliceKind::Delta);
            sound.then_some((group, chain))
        };
        let state = |s: WireState| {
            let groups = s.groups.into_iter().map(chain).collect::<Option<_>>()?;
            Some(StateManifest { name: s.name, type_fingerprint: s.type_fingerprint, groups })
        };
        Some(Manifest { head: self.head, states: self.states.into_iter().map(state).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests;
