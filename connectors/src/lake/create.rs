//! A table's first version, and whether the table that stands in a folder is the one that is meant.

use super::schema::{self, PARTITION_COLUMNS, STATISTICS};
use super::spec::TableSpec;
use super::store::{TableStore, failed};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::schema::StructField;
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
        .with_table_properties(schema::properties(spec.columns(), spec.event_time()))
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

/// What a table lacks of what the job says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Evolution {
    /// Columns that may be null.
    pub(super) adds: Vec<StructField>,
    /// Columns that always had a value, and may be null now.
    pub(super) nullable: Vec<String>,
}

impl Evolution {
    pub(super) fn is_needed(&self) -> bool {
        !self.adds.is_empty() || !self.nullable.is_empty()
    }
}

/// Compares the table that stands there with the job's: what it lacks can be added if rows that are there can do without it.
///
/// # Errors
/// It has other columns, folders or statistics.
pub(super) fn compare(snapshot: &Snapshot, spec: &TableSpec) -> Result<Evolution> {
    let other = |what: String, remedy: &str| {
        let what = format!("table `{}`: the table at {} has {what} than the job says", spec.name(), spec.url());
        Err(Error::refused(what, remedy))
    };
    let (mut evolution, found) = (Evolution::default(), snapshot.schema());
    for field in spec.schema().fields() {
        let name = field.name();
        match found.field(name) {
            None if field.nullable => evolution.adds.push(field.clone()),
            None => {
                let what = format!("no column `{name}`, and rows without it, other");
                return other(what, "make the new column an `Option`, or give the table a new name");
            }
            Some(stands) if stands.data_type != field.data_type => {
                let what = format!("another type of column `{name}`");
                return other(
                    what,
                    "keep the column, and give what has changed a new name as an `Option`; or give the table a new name",
                );
            }
            Some(stands) if stands.nullable && !field.nullable => {
                let what = format!("a column `{name}` that may be null, other");
                return other(what, "keep it an `Option`, or give the table a new name");
            }
            Some(stands) if field.nullable && !stands.nullable => evolution.nullable.push(name.clone()),
            Some(_) => {}
        }
    }
    if let Some(gone) = found.field_names().find(|name| spec.schema().field(name.as_str()).is_none()) {
        let what = format!("a column `{gone}` more");
        return other(
            what,
            "keep it, as an `Option` if it has no value any more (a rename is a new column); or give the table a new name",
        );
    }
    if *snapshot.table_configuration().logical_partition_columns() != PARTITION_COLUMNS {
        return other("other folders".into(), "give the table a new name");
    }
    let allowed: Vec<String> = schema::statistics(spec.columns(), spec.event_time()).iter().map(ToString::to_string).collect();
    let named = snapshot.metadata_configuration().get(STATISTICS).map_or("", String::as_str);
    let is_allowed = |column: &str| column.is_empty() || allowed.iter().any(|name| name == column);
    if !snapshot.metadata_configuration().contains_key(STATISTICS) || !named.split(',').all(is_allowed) {
        let what = format!("another `{STATISTICS}`, so that its log might name subjects,");
        return other(what, "give the table a new name: what its log says of the columns stays there");
    }
    Ok(evolution)
}
