//! The actions of a table's log, as far as we look at them.

use super::store::{AT_ONCE, TableStore};
use distributary_runtime::error::{Error, Result};
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::HashMap;
use url::Url;

/// One line of a version: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    pub(super) commit_info: Option<CommitInfo>,
    pub(super) txn: Option<Transaction>,
    pub(super) domain_metadata: Option<DomainMetadata>,
    pub(super) add: Option<DataFile>,
    pub(super) remove: Option<DataFile>,
}

#[derive(Deserialize)]
pub(super) struct CommitInfo {
    pub(super) timestamp: i64,
    pub(super) operation: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Transaction {
    pub(super) version: u64,
}

#[derive(Deserialize)]
pub(super) struct DomainMetadata {
    pub(super) domain: String,
    pub(super) configuration: String,
}

/// A data file that comes or goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFile {
    pub(super) path: String,
    /// Not so when it only takes the place of others with the same rows, or gives its own to one.
    pub(super) data_change: bool,
    #[serde(default)]
    partition_values: HashMap<String, Option<String>>,
    stats: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: u64,
}

impl DataFile {
    /// How many rows it holds, if the log says so.
    pub(super) fn rows(&self) -> Option<u64> {
        let stats: Stats = serde_json::from_str(self.stats.as_deref()?).ok()?;
        Some(stats.num_records)
    }

    /// The day and the hour that all its rows lie in.
    pub(super) fn hour(&self) -> Option<(Date, i8)> {
        let value = |name| self.partition_values.get(name)?.as_deref();
        let day = value(super::schema::EVENT_DATE)?.parse().ok()?;
        Some((day, value(super::schema::EVENT_HOUR)?.parse().ok()?))
    }
}

/// The versions of the table in this folder whose log is still there, in order.
pub(super) fn versions(store: &TableStore, url: &Url) -> Result<Vec<u64>> {
    let names = store.objects(&folder(url)?)?.into_iter();
    Ok(names.filter_map(|(name, _)| name.strip_suffix(".json")?.parse().ok()).collect())
}

/// Calls `each` with every one of these versions, in order, and what it did.
pub(super) fn each_version(
    store: &TableStore,
    url: &Url,
    versions: &[u64],
    mut each: impl FnMut(u64, Vec<Action>),
) -> Result<()> {
    let log = folder(url)?;
    for together in versions.chunks(AT_ONCE) {
        let names: Vec<_> = together.iter().map(|version| format!("{version:020}.json")).collect();
        let actions = store.lines(&log, &names)?;
        together.iter().zip(actions).for_each(|(version, actions)| each(*version, actions));
    }
    Ok(())
}

fn folder(url: &Url) -> Result<Url> {
    url.join("_delta_log/").map_err(|e| Error::Damaged { object: url.to_string(), what: e.to_string() })
}
