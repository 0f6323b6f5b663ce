//! Where a subject is: the files that may hold it, by their indexes, and the rows that do.

use super::{SubjectIndex, SubjectKey, columns, each, of_footer};
use crate::lake::log::TableFile;
use crate::lake::store::AT_ONCE;
use crate::lake::view::TableView;
use delta_kernel::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use distributary_runtime::error::Result;
use serde::Serialize;
use std::collections::BTreeSet;

/// Why a file may hold a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Its index names the subject. A false alarm is one of 2^64 for each subject of the file.
    Index,
    /// Nothing says that it does not: it has no index, none that is whole, or one that knows fewer columns than count by now.
    Unknown,
}

/// A data file that may hold a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFile {
    /// The file.
    pub file: TableFile,
    /// Why.
    pub evidence: Evidence,
}

/// Where a subject may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFiles {
    /// In the order of their paths; no other file of the version holds it.
    pub files: Vec<SubjectFile>,
    /// The columns that count, by all indexes of the version.
    pub columns: BTreeSet<String>,
}

/// Where a subject is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Files whose index names it.
    pub files_by_index: u64,
    /// Files that may hold it because nothing says that they do not.
    pub files_unknown: u64,
    /// Of all these, files that do hold it.
    pub files: u64,
    /// The rows that hold it.
    pub rows: u64,
}

/// The data files of a version that may hold a subject, given as text: a whole number by its digits. Reads indexes, and no data.
///
/// # Errors
/// The store failed, or the key of the table's indexes is damaged.
pub fn subject_files(view: &TableView, subject: &str) -> Result<SubjectFiles> {
    let key = SubjectKey::read(view.store(), view.url())?;
    let hash = key.as_ref().map(|key| key.hash(subject.as_bytes()));
    let (mut read, mut counted) = (Vec::with_capacity(view.files.len()), BTreeSet::new());
    for together in view.files.chunks(AT_ONCE) {
        let indexes = SubjectIndex::read(view.store(), view.url(), together, key.as_ref())?;
        for (file, index) in together.iter().zip(indexes) {
            let index = index.ok();
            let has = index.as_ref().zip(hash).is_some_and(|(index, hash)| index.has(hash));
            let columns = index.map(|index| index.columns);
            counted.extend(columns.iter().flatten().cloned());
            read.push((file, has, columns.map_or(0, |columns| columns.len())));
        }
    }
    // An index knows some of the columns that count; as many are all of them.
    let files = read.into_iter().filter_map(|(file, has, knows)| {
        let evidence = match has {
            true => Evidence::Index,
            false if knows == 0 || knows < counted.len() => Evidence::Unknown,
            false => return None,
        };
        Some(SubjectFile { file: file.clone(), evidence })
    });
    Ok(SubjectFiles { files: files.collect(), columns: counted })
}

/// Finds the files of a version that hold a subject, and counts its rows: by index, and then by what stands in the files. `each_file` is told of
/// every file that was read.
///
/// # Errors
/// As [`subject_files`]; or a file cannot be read.
pub fn find_subject(view: &TableView, subject: &str, mut each_file: impl FnMut()) -> Result<Found> {
    let SubjectFiles { files, columns } = subject_files(view, subject)?;
    let mut found = Found::default();
    for SubjectFile { file, evidence } in files {
        match evidence {
            Evidence::Index => found.files_by_index += 1,
            Evidence::Unknown => found.files_unknown += 1,
        }
        let rows = rows_of(view, &file, subject, &columns)?;
        found.files += u64::from(rows > 0);
        found.rows += rows;
        each_file();
    }
    Ok(found)
}

/// How many rows of a file hold a subject: in the columns that count by now or counted when it was written. Where nobody has said which do, in
/// any.
fn rows_of(view: &TableView, file: &TableFile, subject: &str, counted: &BTreeSet<String>) -> Result<u64> {
    let damaged = |what: String| view.damaged(&file.path, &what);
    let reader = ParquetRecordBatchReaderBuilder::try_new(view.get(file)?).map_err(|e| damaged(e.to_string()))?;
    let mut columns = counted.clone();
    match of_footer(reader.metadata().file_metadata().key_value_metadata()) {
        Some(said) => columns.extend(said),
        None if counted.is_empty() => columns.extend(columns::possible(reader.schema().fields())),
        None => {}
    }
    let mut count = 0;
    for batch in reader.build().map_err(|e| damaged(e.to_string()))? {
        let batch = batch.map_err(|e| damaged(e.to_string()))?;
        let mut rows = BTreeSet::new();
        for column in &columns {
            let see = |row, text: &str| {
                if text == subject {
                    rows.insert(row);
                }
            };
            each(&batch, column, see).map_err(|e| damaged(e.to_string()))?;
        }
        count += rows.len() as u64;
    }
    Ok(count)
}
