//! The subject index: which data files may hold a subject, found without reading them and without saying who is in them.
//!
//! Beside the files of a table, where readers do not look (`_` hides a folder from them):
//!
//! ```text
//! _subjects/key                      128 random bits, of this table alone
//! _subjects/part-7-0-5b..e1.idx      the index of the data file of that name
//!
//! an index, little-endian:
//! magic      8 bytes    `subject1`
//! columns    4 bytes    length of the next
//!            text       paths of the columns that count, one on a line: `user_id`, `homes[].city`
//! hashes     8 bytes each, ascending, none twice
//! checksum   8 bytes    of all before it
//! ```
//!
//! A hash is SipHash-2-4 of the canonical text of a value under the table's key: of text its bytes, of a whole number its digits, so that
//! who asks for `42` finds both. The checksum is made with the key as well, so an index of another key is none. Same rows, same
//! key: same bytes. Without the key an index says how many subjects a file has, and nothing else; who has it can test a guess.
//!
//! A column counts if its role is that of a subject, or it stands within one whose role is, and it is text or a whole number. Each index says
//! which columns counted when it was written, and so does the footer of the data file: a file whose index knows fewer than there are now
//! *may* hold anybody, as one without an index does. An index can be missing and harm nobody; it can never deny a row.

mod columns;
mod find;
mod key;

pub use find::{Evidence, Found, SubjectFile, SubjectFiles, find_subject, subject_files};

use super::log::TableFile;
use super::store::TableStore;
use bytes::Bytes;
use delta_kernel::arrow::array::RecordBatch;
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::parquet::file::metadata::KeyValue;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::key::hash_bytes;
use distributary_runtime::table::Column;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use url::Url;

pub(super) use columns::each;
pub(super) use key::SubjectKey;

/// The folder of the indexes and their key; ends with `/`.
pub(super) const FOLDER: &str = "_subjects/";
/// How the name of an index ends.
const EXTENSION: &str = ".idx";
/// How the name of a data file ends.
const DATA_EXTENSION: &str = ".parquet";
/// In the footer of a data file: the columns that count, as in its index.
const FOOTER: &str = "distributary.subjects";
const MAGIC: &[u8; 8] = b"subject1";
const HASH_BYTES: usize = 8;

/// Where the index of a data file lies.
pub(super) fn index_of(data_file: &str) -> String {
    format!("{FOLDER}{}{EXTENSION}", stem(data_file))
}

/// The name of a data file, without folders and extension: what its index is called too.
pub(super) fn stem(data_file: &str) -> &str {
    let name = data_file.rsplit_once('/').map_or(data_file, |(_, name)| name);
    name.strip_suffix(DATA_EXTENSION).unwrap_or(name)
}

/// The stem of the data file that an object is the index of, if it is one.
pub(super) fn stem_of_index(object: &str) -> Option<&str> {
    object.strip_prefix(FOLDER)?.strip_suffix(EXTENSION)
}

/// The columns that count, as the footer of a data file says; `None` when it was written before there were indexes.
pub(super) fn of_footer(footer: Option<&Vec<KeyValue>>) -> Option<Vec<String>> {
    let said = footer?.iter().find(|entry| entry.key == FOOTER)?;
    Some(said.value.as_deref().unwrap_or_default().lines().map(str::to_string).collect())
}

/// Writes the indexes of a lane's data files.
pub(super) struct SubjectWriter {
    columns: Vec<String>,
    key: OnceCell<SubjectKey>,
}

impl SubjectWriter {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns::counted(columns), key: OnceCell::new() }
    }

    /// What the footer of a data file says.
    pub(super) fn footer(&self) -> KeyValue {
        KeyValue::new(FOOTER.to_string(), self.columns.join("\n"))
    }

    /// Takes in who is in some rows of a data file.
    pub(super) fn gather(&self, store: &TableStore, table: &Url, rows: &RecordBatch, into: &mut Subjects) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let key = self.key(store, table)?;
        let gathered = into.gather(rows, &self.columns, key);
        gathered.map_err(|e| Error::Damaged { object: format!("an index of {table}"), what: e.to_string() })
    }

    /// Writes the index of the data file `path` of `table`, whose subjects these are. Twice: the same object again.
    pub(super) fn write(&self, store: &TableStore, table: &Url, path: &str, subjects: Subjects) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let key = self.key(store, table)?;
        let object = index_of(path);
        let url = table.join(&object).map_err(|e| Error::Damaged { object: format!("{table}{object}"), what: e.to_string() })?;
        store.put(&url, SubjectIndex { columns: self.columns.clone(), hashes: subjects.hashes() }.encode(key))
    }

    fn key(&self, store: &TableStore, table: &Url) -> Result<&SubjectKey> {
        match self.key.get() {
            Some(key) => Ok(key),
            None => {
                let key = SubjectKey::create(store, table)?;
                Ok(self.key.get_or_init(|| key))
            }
        }
    }
}

/// The subjects of a data file that is being written.
#[derive(Default)]
pub(super) struct Subjects(HashSet<u64, BuildHasherDefault<Hashed>>);

/// What is a hash already is its own.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Subjects {
    fn gather(&mut self, rows: &RecordBatch, columns: &[String], key: &SubjectKey) -> Result<(), ArrowError> {
        for column in columns {
            each(rows, column, |_, subject| _ = self.0.insert(key.hash(subject.as_bytes())))?;
        }
        Ok(())
    }

    /// Ascending.
    fn hashes(self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.0.into_iter().collect();
        hashes.sort_unstable();
        hashes
    }
}

/// The subjects of a data file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SubjectIndex {
    /// Those that counted.
    columns: Vec<String>,
    /// Ascending, none twice.
    hashes: Vec<u64>,
}

impl SubjectIndex {
    fn encode(&self, key: &SubjectKey) -> Vec<u8> {
        let columns = self.columns.join("\n");
        // A table has at most a thousand columns, nested at most sixteen deep.
        let length = u32::try_from(columns.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + columns.len() + (self.hashes.len() + 1) * HASH_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(columns.as_bytes());
        self.hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
        let checksum = key.hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` when it is damaged, or of another key.
    fn decode(bytes: &[u8], key: &SubjectKey) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<HASH_BYTES>()?;
        if key.hash(body) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let (columns, hashes) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (hashes, []) = hashes.as_chunks::<HASH_BYTES>() else { return None };
        Some(Self {
            columns: std::str::from_utf8(columns).ok()?.lines().map(str::to_string).collect(),
            hashes: hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect(),
        })
    }

    /// The indexes of data files, in their order; what is wrong with one that cannot be used. All are read at once: no more than
    /// [`AT_ONCE`](super::store::AT_ONCE).
    pub(super) fn read(
        store: &TableStore,
        table: &Url,
        data_files: &[TableFile],
        key: Option<&SubjectKey>,
    ) -> Result<Vec<Result<Self, Unusable>>> {
        let url = |file: &TableFile| {
            let object = index_of(&file.path);
            table.join(&object).map_err(|e| Error::Damaged { object, what: e.to_string() })
        };
        let found = store.find_all(&data_files.iter().map(url).collect::<Result<Vec<_>>>()?)?;
        let index = |bytes: Option<Bytes>| {
            let bytes = bytes.ok_or(Unusable::Missing)?;
            key.and_then(|key| Self::decode(&bytes, key)).ok_or(Unusable::Damaged)
        };
        Ok(found.into_iter().map(index).collect())
    }

    /// The columns that counted when it was written.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether it names the subject of this hash.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }
}

/// Why an index is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none.
    Missing,
    /// It is not whole, or was made with another key.
    Damaged,
}
