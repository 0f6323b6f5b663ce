//! The history of a table, as its log tells it.

use super::store::TableStore;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::WallTime;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// A version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was written, in milliseconds since 1970.
    pub at: WallTime,
    /// What was done: `CREATE TABLE`, `STREAMING UPDATE`, `OPTIMIZE`.
    pub operation: String,
    /// The epoch up to which the lane that wrote it says that the table is.
    pub epoch: Option<u64>,
    /// Data files that came.
    pub files_added: u64,
    /// Data files that went.
    pub files_removed: u64,
    /// Rows in the files that came.
    pub rows_added: u64,
}

/// Actions as they stand in the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    commit_info: Option<CommitInfo>,
    txn: Option<Transaction>,
    add: Option<Add>,
    remove: Option<Value>,
}

#[derive(Deserialize)]
struct CommitInfo {
    timestamp: i64,
    operation: Option<String>,
}

#[derive(Deserialize)]
struct Transaction {
    version: u64,
}

#[derive(Deserialize)]
struct Add {
    stats: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: u64,
}

/// The newest versions of a table, oldest first, at most `count` of those whose log is still there.
///
/// # Errors
/// The store failed, or the log does not decode.
pub fn history(store: &TableStore, url: &Url, count: usize) -> Result<Vec<Version>> {
    let log = url.join("_delta_log/").map_err(|e| Error::Damaged { object: url.to_string(), what: e.to_string() })?;
    let mut names: Vec<String> = store.objects(&log)?.into_iter().map(|(name, _)| name).collect();
    names.retain(|name| name.strip_suffix(".json").is_some_and(|version| version.parse::<u64>().is_ok()));
    let skip = names.len().saturating_sub(count);
    names[skip..].iter().map(|name| read(store, &log, name)).collect()
}

fn read(store: &TableStore, log: &Url, name: &str) -> Result<Version> {
    let no_version = |_| Error::Damaged { object: format!("{log}{name}"), what: "it is no version".into() };
    let number = name.trim_end_matches(".json").parse().map_err(no_version)?;
    let mut version = Version { version: number, ..Version::default() };
    for action in store.lines::<Action>(log, name)? {
        if let Some(info) = action.commit_info {
            version.at = WallTime(info.timestamp);
            version.operation = info.operation.unwrap_or_default();
        }
        if let Some(add) = action.add {
            let stats: Option<Stats> = add.stats.and_then(|stats| serde_json::from_str(&stats).ok());
            version.files_added += 1;
            version.rows_added += stats.map_or(0, |stats| stats.num_records);
        }
        version.files_removed += u64::from(action.remove.is_some());
        version.epoch = action.txn.map(|txn| txn.version).or(version.epoch);
    }
    Ok(version)
}
