//! The history of a table, as its log tells it.

use super::action::{Action, each_version, versions};
use super::store::TableStore;
use distributary_runtime::error::Result;
use distributary_runtime::time::WallTime;
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

/// The newest versions of a table, oldest first, at most `count` of those whose log is still there.
///
/// # Errors
/// The store failed, or the log does not decode.
pub fn history(store: &TableStore, url: &Url, count: usize) -> Result<Vec<Version>> {
    let versions = versions(store, url)?;
    let skip = versions.len().saturating_sub(count);
    let mut told = Vec::new();
    each_version(store, url, &versions[skip..], |version, actions| told.push(tell(version, actions)))?;
    Ok(told)
}

fn tell(number: u64, actions: Vec<Action>) -> Version {
    let mut version = Version { version: number, ..Version::default() };
    for action in actions {
        if let Some(info) = action.commit_info {
            version.at = WallTime(info.timestamp);
            version.operation = info.operation.unwrap_or_default();
        }
        if let Some(add) = action.add {
            version.files_added += 1;
            version.rows_added += add.rows().unwrap_or_default();
        }
        version.files_removed += u64::from(action.remove.is_some());
        version.epoch = action.txn.map(|txn| txn.version).or(version.epoch);
    }
    version
}
