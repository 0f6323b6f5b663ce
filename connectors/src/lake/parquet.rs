//! Reads Parquet files of a store row group by row group: what is in memory of a file is bounded, however large it is.

use super::store::{TableStore, unavailable};
use bytes::Bytes;
use delta_kernel::arrow::array::RecordBatch;
use delta_kernel::arrow::datatypes::SchemaRef;
use delta_kernel::object_store::path::Path;
use delta_kernel::object_store::{self, DynObjectStore, ObjectStoreExt as _};
use delta_kernel::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowFilter};
use delta_kernel::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use delta_kernel::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use delta_kernel::parquet::errors::ParquetError;
use delta_kernel::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use delta_kernel::parquet::schema::types::SchemaDescriptor;
use distributary_runtime::error::{Error, Result};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use std::ops::Range;
use std::sync::Arc;
use url::Url;

/// A file of less is fetched in one request.
const WHOLE: u64 = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// What is fetched to find the footer; mostly it is all of it.
const FOOTER: usize = 64 << 10;

/// A file in the store.
struct Object {
    objects: Arc<DynObjectStore>,
    path: Path,
    size_bytes: u64,
    /// All of it, if it is small.
    whole: Option<Bytes>,
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        match &self.whole {
            // A footer may name what is not there.
            Some(all) if range.start <= range.end && range.end <= all.len() as u64 => {
                ready(Ok(all.slice(range.start as usize..range.end as usize))).boxed()
            }
            Some(all) => ready(Err(ParquetError::EOF(format!("bytes {range:?} of {}", all.len())))).boxed(),
            None => async move { Ok(self.objects.get_range(&self.path, range).await?) }.boxed(),
        }
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            if self.whole.is_none() {
                return Ok(self.objects.get_ranges(&self.path, &ranges).await?);
            }
            let mut found = Vec::with_capacity(ranges.len());
            for range in ranges {
                found.push(self.get_bytes(range).await?);
            }
            Ok(found)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size_bytes = self.whole.as_ref().map_or(self.size_bytes, |all| all.len() as u64);
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options).with_prefetch_hint(Some(FOOTER));
            reader.load_and_finish(self, size_bytes).await.map(Arc::new)
        }
        .boxed()
    }
}

/// A Parquet file whose footer has been read.
pub(super) struct ParquetFile {
    store: TableStore,
    name: String,
    object: Object,
    footer: ArrowReaderMetadata,
}

impl ParquetFile {
    /// The file of this size, if it is there.
    pub(super) fn find(store: &TableStore, url: &Url, size_bytes: u64) -> Result<Option<Self>> {
        let name = url.to_string();
        let whole = if size_bytes < WHOLE { store.find(url)? } else { None };
        if size_bytes < WHOLE && whole.is_none() {
            return Ok(None);
        }
        let (objects, path) = store.object(url)?;
        let mut object = Object { objects, path, size_bytes, whole };
        let read = store.block_on(async move {
            let footer = ArrowReaderMetadata::load_async(&mut object, ArrowReaderOptions::new()).await;
            footer.map(|footer| (footer, object))
        });
        match read {
            Ok((footer, object)) => Ok(Some(Self { store: store.clone(), name, object, footer })),
            Err(ParquetError::External(e)) if is_not_found(&*e) => Ok(None),
            // What is not there cannot be fetched, however often it is asked for.
            Err(e) => match store.size(url)? {
                Some(there) if there != size_bytes => {
                    Err(Error::Damaged { object: name, what: format!("it has {there} bytes, the log says {size_bytes}") })
                }
                _ => Err(failed(&name, &e)),
            },
        }
    }

    /// Its columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.footer.schema()
    }

    /// Its columns, as Parquet has them.
    pub(super) fn parquet_schema(&self) -> &SchemaDescriptor {
        self.footer.parquet_schema()
    }

    /// Its columns are read as these.
    pub(super) fn read_as(mut self, schema: SchemaRef) -> Result<Self> {
        let options = ArrowReaderOptions::new().with_schema(schema);
        let footer = ArrowReaderMetadata::try_new(self.footer.metadata().clone(), options);
        self.footer = footer.map_err(|e| failed(&self.name, &e))?;
        Ok(self)
    }

    /// Some columns of its rows, or of those that pass a filter, so many at once.
    pub(super) fn rows(self, columns: ProjectionMask, filter: Option<RowFilter>, at_once: usize) -> Result<ParquetRows> {
        let Self { store, name, object, footer } = self;
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(object, footer);
        let mut builder = builder.with_projection(columns).with_batch_size(at_once);
        if let Some(filter) = filter {
            builder = builder.with_row_filter(filter);
        }
        let groups = Some(builder.build().map_err(|e| failed(&name, &e))?);
        Ok(ParquetRows { store, name, groups, group: None })
    }
}

/// Rows of a file, in their order.
pub(super) struct ParquetRows {
    store: TableStore,
    name: String,
    /// What has not been fetched.
    groups: Option<ParquetRecordBatchStream<Object>>,
    /// What has been.
    group: Option<ParquetRecordBatchReader>,
}

impl ParquetRows {
    /// What is wrong with the file.
    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::Damaged { object: self.name.clone(), what: what.to_string() }
    }

    fn fetch(&mut self) -> Result<bool> {
        let Some(mut groups) = self.groups.take() else { return Ok(false) };
        let (fetched, groups) = self.store.block_on(async move {
            let fetched = groups.next_row_group().await;
            (fetched, groups)
        });
        self.group = fetched.map_err(|e| failed(&self.name, &e))?;
        self.groups = self.group.is_some().then_some(groups);
        Ok(self.group.is_some())
    }
}

impl Iterator for ParquetRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(rows) = self.group.as_mut().and_then(Iterator::next) {
                return Some(rows.map_err(|e| self.damaged(&e.to_string())));
            }
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The store's mistake, or the file's.
fn failed(name: &str, error: &ParquetError) -> Error {
    match error {
        ParquetError::External(e) if e.is::<object_store::Error>() => unavailable(&format!("reading {name}"), e),
        other => Error::Damaged { object: name.to_string(), what: other.to_string() },
    }
}

fn is_not_found(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(object_store::Error::NotFound { .. }))
}
