//! A table's first version, and whether the table that stands in a folder is the one that is meant.

use super::schema::{self, PARTITION_COLUMNS};
use super::spec::TableSpec;
use super::store::{TableStore, failed};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::CommitResult;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::{KernelError, Snapshot};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::state::create_durably;

/// What the log's history names as the writer. Nothing else of ours stands there.
pub(super) const WRITER: &str = concat!("distributary/", env!("CARGO_PKG_VERSION"));

/// Creates the table, unless one stands there already.
pub(super) fn create(store: &TableStore, spec: &TableSpec) -> Result<()> {
    let what = format!("creating table `{}` at {}", spec.name(), spec.url());
    // The kernel wants a local folder to be there.
    if spec.url().scheme() == "file" {
        let folder = spec.url().to_file_path().map_err(|()| {
            Error::refused(format!("{what}: no absolute path of this machine"), "use file:///dir, with three slashes")
        })?;
        create_durably(&folder).map_err(|source| Error::Io { what: what.clone(), source })?;
    }
    let transaction = create_table(spec.url(), spec.schema().clone(), WRITER, false)
        .with_table_properties(schema::properties(spec))
        .with_data_layout(DataLayout::partitioned(PARTITION_COLUMNS))
        .build(store.engine(), Box::new(FileSystemCommitter::new()));
    let transaction = match transaction {
        Ok(transaction) => transaction,
        Err(KernelError::TableAlreadyExistsAtPath(_)) => return Ok(()),
        Err(e) => return Err(failed(&what, &e)),
    };
    match transaction.commit(store.engine()) {
        // Somebody was first: who it was does not matter, the table is compared next.
        Ok(CommitResult::Committed(_) | CommitResult::Conflicted(_)) => Ok(()),
        Ok(CommitResult::Retryable(transaction)) => Err(failed(&what, &transaction.error)),
        Err(e) => Err(failed(&what, &e)),
    }
}

/// Refuses a table that has other columns, folders or statistics than the job's.
pub(super) fn check(snapshot: &Snapshot, spec: &TableSpec) -> Result<()> {
    let (statistics, wanted) = ("delta.dataSkippingStatsColumns", schema::properties(spec));
    let wanted = wanted.iter().find(|(name, _)| name == statistics).map(|(_, columns)| columns);
    let other = if let Some(column) = difference(&snapshot.schema(), spec.schema()) {
        format!("another column `{column}`")
    } else if *snapshot.table_configuration().logical_partition_columns() != PARTITION_COLUMNS {
        "other folders".into()
    } else if snapshot.metadata_configuration().get(statistics) != wanted {
        format!("another `{statistics}`, so that its log might name subjects")
    } else {
        return Ok(());
    };
    Err(Error::refused(
        format!("table `{}`: the table at {} has {other} than the job says", spec.name(), spec.url()),
        "give the job the columns that the table has, or the table a new folder",
    ))
}

/// The first top-level column that is not the same in both.
fn difference(found: &StructType, wanted: &StructType) -> Option<String> {
    let names = wanted.field_names().chain(found.field_names());
    let differ = |name: &&String| found.field(name.as_str()) != wanted.field(name.as_str());
    names.into_iter().find(differ).cloned()
}
