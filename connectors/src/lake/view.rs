//! A table as a reader sees it: its newest version, whoever wrote it.

use super::delta::first_lane;
use super::log::TableFile;
use super::scan;
use super::store::{TableStore, failed};
use bytes::Bytes;
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::arrow::json::LineDelimitedWriter;
use delta_kernel::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use delta_kernel::parquet::errors::ParquetError;
use delta_kernel::schema::MetadataValue;
use delta_kernel::{KernelError, Snapshot};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::EventTime;
use std::io::Write;
use url::Url;

/// One version of a table.
#[derive(Clone, Debug)]
pub struct TableView {
    store: TableStore,
    url: Url,
    /// The version.
    pub version: u64,
    /// Its data files, in the order of their paths.
    pub files: Vec<TableFile>,
    /// Its columns.
    pub columns: Vec<ColumnView>,
    /// What happened before this is in it, except what came late. `None` when nothing is known, or nothing of ours wrote it.
    pub complete_through: Option<EventTime>,
}

/// A column as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnView {
    /// Its name.
    pub name: String,
    /// Its type, in the words of Delta.
    pub data_type: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// Its comment.
    pub comment: Option<String>,
}

impl TableView {
    /// The newest version of the table in this folder; `None` when there is no table.
    ///
    /// # Errors
    /// The store failed, or the table cannot be read.
    pub fn open(store: &TableStore, url: &Url) -> Result<Option<Self>> {
        let what = format!("reading the table at {url}");
        let snapshot = match Snapshot::builder_for(url.as_str()).build(store.engine()) {
            Ok(snapshot) => snapshot,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(failed(&what, &e)),
        };
        let files = scan::files(&snapshot, store.engine()).map_err(|e| failed(&what, &e))?;
        let columns = snapshot.schema();
        let columns = columns.fields().map(|field| ColumnView {
            name: field.name.clone(),
            data_type: field.data_type.to_string(),
            nullable: field.nullable,
            comment: match field.metadata.get("comment") {
                Some(MetadataValue::String(comment)) => Some(comment.clone()),
                _ => None,
            },
        });
        let columns = columns.collect();
        let name = url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty())).unwrap_or_default();
        let entry = first_lane(&snapshot, store.engine(), name).map_err(|e| failed(&what, &e))?;
        Ok(Some(Self {
            store: store.clone(),
            url: url.clone(),
            version: snapshot.version(),
            files,
            columns,
            complete_through: entry.and_then(|entry| entry.complete_through),
        }))
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Writes its rows as lines of JSON, file by file, without the columns that are folders.
    ///
    /// # Errors
    /// A file cannot be read, or `to` failed.
    pub fn write_rows(&self, to: &mut impl Write) -> Result<()> {
        for file in &self.files {
            let reader = ParquetRecordBatchReaderBuilder::try_new(self.get(file)?).and_then(|builder| builder.build());
            let mut writer = LineDelimitedWriter::new(&mut *to);
            for batch in reader.map_err(|e: ParquetError| self.damaged(&file.path, &e.to_string()))? {
                let written = batch.and_then(|batch| writer.write(&batch));
                written.map_err(|e| self.failed(&file.path, e))?;
            }
            writer.finish().map_err(|e| self.failed(&file.path, e))?;
        }
        Ok(())
    }

    pub(super) fn store(&self) -> &TableStore {
        &self.store
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// A data file as a whole.
    pub(super) fn get(&self, file: &TableFile) -> Result<Bytes> {
        self.store.get(&self.url.join(&file.path).map_err(|e| self.damaged(&file.path, &e.to_string()))?)
    }

    fn failed(&self, path: &str, error: ArrowError) -> Error {
        match error {
            ArrowError::IoError(_, source) => Error::Io { what: "writing rows".into(), source },
            other => self.damaged(path, &other.to_string()),
        }
    }

    pub(super) fn damaged(&self, path: &str, what: &str) -> Error {
        Error::Damaged { object: format!("{}{path}", self.url), what: what.into() }
    }
}

pub(super) fn is_missing(error: &KernelError) -> bool {
    match error {
        KernelError::Backtraced { source, .. } => is_missing(source),
        KernelError::FileNotFound(_) | KernelError::EmptyLog | KernelError::InvalidTableLocation(_) => true,
        _ => false,
    }
}
