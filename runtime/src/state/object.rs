//! State objects: the slices of one state of one worker at one checkpoint, in one immutable file.
//!
//! ```text
//! "dstState", version: u8, header length: u32, header, crc32 of all before
//! slices, back to back
//! index: for each slice (group, kind, entries, offset, length, crc32)
//! offset of the index: u64, crc32 of the index and that offset, "dstIndex"
//! ```
//! Fixed integers are little-endian; header and index are postcard. Every byte is covered by a checksum or compared, and the
//! pieces must lie without a gap: a torn or changed object does not read back.

use super::name;
use super::slice::{Entries, Slice, SliceKind};
use crate::bus::Token;
use crate::error::{Error, Result};
use crate::key::{decode, encode};
use crate::time::Epoch;
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"dstState";
const VERSION: u8 = 1;
const INDEX_MAGIC: &[u8; 8] = b"dstIndex";
/// Magic, version, and length of the header.
const PREFIX: usize = MAGIC.len() + 1 + 4;
const CRC: usize = 4;
const FOOTER: usize = 8 + CRC + INDEX_MAGIC.len();

/// Whose slices an object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHeader {
    /// Full name of the pipeline.
    pub pipeline: String,
    /// Generation of its results.
    pub generation: u32,
    /// The checkpoint.
    pub epoch: Epoch,
    /// The incarnation.
    pub token: Token,
    /// The worker.
    pub worker: u32,
    /// Name of the state.
    pub state: String,
    /// Fingerprint of its key and value types.
    pub type_fingerprint: u64,
}

/// Where a slice lies, and what it must read back as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRef {
    /// Name of the object.
    pub object: String,
    /// Position in it, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC-32 of the bytes.
    pub crc: u32,
    /// Base or delta.
    pub kind: SliceKind,
    /// Number of entries.
    pub entries: u32,
}

/// What a worker has written of a state for a checkpoint: goes into the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Name of the state.
    pub state: String,
    /// Fingerprint of its key and value types.
    pub type_fingerprint: u64,
    /// (key group, slice), each group at most once; none when nothing had changed.
    pub slices: Vec<(u8, SliceRef)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct IndexEntry {
    group: u8,
    kind: SliceKind,
    entries: u32,
    offset: u64,
    len: u64,
    crc: u32,
}

/// Builds a state object, slice by slice.
pub struct ObjectWriter {
    header: ObjectHeader,
    bytes: Vec<u8>,
    index: Vec<IndexEntry>,
}

impl ObjectWriter {
    /// An object without slices.
    #[must_use]
    pub fn new(header: ObjectHeader) -> Self {
        let encoded = encode(&header).unwrap_or_else(|_| unreachable!("a header of plain fields is encodable"));
        let mut bytes = Vec::new();
        bytes.put_slice(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u32_le(encoded.len() as u32);
        bytes.put_slice(&encoded);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        Self { header, bytes, index: Vec::new() }
    }

    /// Adds a slice.
    pub fn push(&mut self, slice: &Slice) {
        let Slice { group, kind, entries, bytes } = slice;
        let (offset, len, crc) = (self.bytes.len() as u64, bytes.len() as u64, crc32fast::hash(bytes));
        self.bytes.put_slice(bytes);
        self.index.push(IndexEntry { group: *group, kind: *kind, entries: *entries, offset, len, crc });
    }

    /// Whether there is nothing to write: then no object is needed, [`ObjectWriter::finish`] still tells the manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The object's name and bytes, and what to tell the manifest once they are durable.
    #[must_use]
    pub fn finish(mut self) -> (String, Bytes, Written) {
        let h = &self.header;
        let object = name::object_name(&h.pipeline, h.generation, h.epoch, &h.state, h.worker, h.token);
        let start = self.bytes.len();
        let index = encode(&self.index).unwrap_or_else(|_| unreachable!("an index of plain fields is encodable"));
        self.bytes.put_slice(&index);
        self.bytes.put_u64_le(start as u64);
        self.bytes.put_u32_le(crc32fast::hash(&self.bytes[start..]));
        self.bytes.put_slice(INDEX_MAGIC);
        let slices = self.index.iter().map(|entry| (entry.group, entry.at(&object))).collect();
        let written = Written { state: self.header.state, type_fingerprint: self.header.type_fingerprint, slices };
        (object, self.bytes.into(), written)
    }
}

impl IndexEntry {
    fn at(&self, object: &str) -> SliceRef {
        let Self { kind, entries, offset, len, crc, .. } = *self;
        SliceRef { object: object.to_string(), offset, len, crc, kind, entries }
    }
}

/// A state object that has been read whole and checked to the last byte.
#[derive(Clone, Debug)]
pub struct StateObject {
    /// Whose slices these are.
    pub header: ObjectHeader,
    /// (key group, where, content), in the order they were written.
    pub slices: Vec<(u8, SliceRef, Bytes)>,
}

impl StateObject {
    /// Reads and checks an object.
    ///
    /// # Errors
    /// [`Error::Damaged`] when any byte is not as it was written, or some are missing; [`Error::Refused`] when a newer release
    /// wrote it.
    pub fn read(name: &str, bytes: &Bytes) -> Result<Self> {
        let damaged = |what: &str| Error::Damaged { object: name.to_string(), what: what.to_string() };
        let (header, mut end) = read_header(name, bytes)?;
        let (start, index) = read_index(bytes).ok_or_else(|| damaged("its index does not read back"))?;
        let mut slices = Vec::with_capacity(index.len());
        for entry in &index {
            let at = entry.at(name);
            if at.offset != end as u64 || at.len > (start.saturating_sub(end)) as u64 {
                return Err(damaged("its slices do not follow one another"));
            }
            let content = bytes.slice(end..end + at.len as usize);
            at.check(&content)?;
            end += content.len();
            slices.push((entry.group, at, content));
        }
        if end != start {
            return Err(damaged("its slices end before its index"));
        }
        Ok(Self { header, slices })
    }
}

fn read_header(name: &str, bytes: &[u8]) -> Result<(ObjectHeader, usize)> {
    let damaged = |what: &str| Error::Damaged { object: name.to_string(), what: what.to_string() };
    let version = *bytes.get(MAGIC.len()).ok_or_else(|| damaged("it ends in its header"))?;
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("it is not a state object"));
    }
    let len = bytes.get(MAGIC.len() + 1..).and_then(|rest| rest.first_chunk()).map(|len| u32::from_le_bytes(*len) as usize);
    let end = PREFIX + len.ok_or_else(|| damaged("it ends in its header"))?;
    let header = bytes.get(..end).ok_or_else(|| damaged("it ends in its header"))?;
    let crc = bytes[end..].first_chunk().map(|crc| u32::from_le_bytes(*crc));
    if crc != Some(crc32fast::hash(header)) {
        return Err(damaged("the checksum of its header does not match"));
    }
    // Behind the checksum, so that a flipped version is damage and not news from the future.
    if version != VERSION {
        let what = format!("{name}: state format version {version} is not {VERSION}, the one of this release");
        return Err(Error::refused(what, "run the release that wrote it"));
    }
    let header = decode(&header[PREFIX..]).map_err(|e| damaged(&format!("its header: {e}")))?;
    Ok((header, end + CRC))
}

fn read_index(bytes: &[u8]) -> Option<(usize, Vec<IndexEntry>)> {
    let (body, footer) = bytes.split_at_checked(bytes.len().checked_sub(FOOTER)?)?;
    let (start, rest) = footer.split_first_chunk()?;
    let (crc, magic) = rest.split_first_chunk()?;
    let start = usize::try_from(u64::from_le_bytes(*start)).ok()?;
    let index = body.get(start..)?;
    let sum = crc32fast::hash(&bytes[start..body.len() + 8]);
    (magic == INDEX_MAGIC && u32::from_le_bytes(*crc) == sum).then_some(())?;
    Some((start, decode(index).ok()?))
}

impl SliceRef {
    /// Checks bytes that were read from where this points.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not the ones that were written there.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let what = if bytes.len() as u64 != self.len {
            format!("slice at {}: {} bytes instead of {}", self.offset, bytes.len(), self.len)
        } else if crc32fast::hash(bytes) != self.crc {
            format!("slice at {}: the checksum does not match", self.offset)
        } else if Entries::of(bytes).filter(Result::is_ok).count() as u64 != u64::from(self.entries) {
            format!("slice at {}: does not hold {} entries", self.offset, self.entries)
        } else {
            return Ok(());
        };
        Err(Error::Damaged { object: self.object.clone(), what })
    }
}

#[cfg(test)]
mod tests;
