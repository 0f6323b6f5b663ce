//! Whether the files of a table are what its log says, and their indexes what the files say.

use super::log::TableFile;
use super::subjects::{SubjectIndex, SubjectKey, Unusable, each, of_footer};
use super::view::TableView;
use bytes::Bytes;
use delta_kernel::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use distributary_runtime::error::{Error, Result};

/// Looks at the files of a version.
pub struct Verifier<'a> {
    view: &'a TableView,
    key: Option<SubjectKey>,
}

/// What a look at a file has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// All is well.
    Whole,
    /// It is older than subject indexes, and has none: who looks for a subject has to read it.
    WithoutIndex,
    /// What is wrong with it, or with its index.
    Damaged(String),
}

impl<'a> Verifier<'a> {
    /// Of the files of this version.
    ///
    /// # Errors
    /// The store failed, or the key of the table's indexes is damaged.
    pub fn new(view: &'a TableView) -> Result<Self> {
        Ok(Self { view, key: SubjectKey::read(view.store(), view.url())? })
    }

    /// Reads a file to its end, and compares it with what the log says of it, and its index with its rows.
    ///
    /// # Errors
    /// The store failed.
    pub fn verify(&self, file: &TableFile) -> Result<Verified> {
        let bytes = match self.view.get(file) {
            Err(Error::Damaged { what, .. }) => return Ok(Verified::Damaged(what)),
            got => got?,
        };
        if bytes.len() as u64 != file.size_bytes {
            let what = format!("it has {} bytes, the log says {}", bytes.len(), file.size_bytes);
            return Ok(Verified::Damaged(what));
        }
        let file_alone = std::slice::from_ref(file);
        let index = SubjectIndex::read(self.view.store(), self.view.url(), file_alone, self.key.as_ref())?.pop();
        let index = index.unwrap_or(Err(Unusable::Missing));
        Ok(self.read(file, bytes, index).unwrap_or_else(Verified::Damaged))
    }

    fn read(&self, file: &TableFile, bytes: Bytes, index: Result<SubjectIndex, Unusable>) -> Result<Verified, String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
        let counted = of_footer(reader.metadata().file_metadata().key_value_metadata());
        let index = match (index, &counted) {
            (Err(Unusable::Missing), Some(columns)) if !columns.is_empty() => return Err("its subject index is not there".into()),
            (Err(Unusable::Missing), _) => None,
            (Err(Unusable::Damaged), _) => return Err("its subject index is damaged, or of another key".into()),
            (Ok(index), Some(columns)) if index.columns() != columns => {
                return Err("its subject index is of other columns".into());
            }
            (Ok(index), _) => Some(index),
        };
        let mut rows = 0;
        for batch in reader.build().map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            rows += batch.num_rows() as u64;
            let Some((index, key)) = index.as_ref().zip(self.key.as_ref()) else { continue };
            for column in index.columns() {
                let mut lacks = false;
                let see = |_, subject: &str| lacks |= !index.has(key.hash(subject.as_bytes()));
                each(&batch, column, see).map_err(|e| e.to_string())?;
                if lacks {
                    return Err(format!("its subject index lacks a subject of column `{column}`"));
                }
            }
        }
        match rows == file.rows {
            true if counted.is_none() && index.is_none() => Ok(Verified::WithoutIndex),
            true => Ok(Verified::Whole),
            false => Err(format!("it has {rows} rows, the log says {}", file.rows)),
        }
    }
}
