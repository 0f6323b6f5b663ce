//! What a table no longer needs: files that were replaced, or never committed, and the log of versions that nobody reads any more.
//!
//! A reader may still be at a version that was the newest `grace` ago, and a writer may be about to commit a file that it has written
//! ahead. So what goes is only: data files that no version since then has named and that are older, and the log in front of a checkpoint
//! that was there by then. The index of a data file goes with it, or when there is no such file; the key of the indexes never does.

use super::action::each_version;
use super::store::TableStore;
use super::subjects::{stem, stem_of_index};
use super::view::TableView;
use delta_kernel::object_store::ObjectMeta;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::WallTime;
use std::collections::BTreeSet;
use url::Url;

/// The folder of the log.
const LOG: &str = "_delta_log/";
/// Digits of a version in the name of an object of the log.
const VERSION_DIGITS: usize = 20;

/// What was deleted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Data files.
    pub files: u64,
    /// Indexes of data files.
    pub indexes: u64,
    /// Objects of the log.
    pub log_objects: u64,
    /// Bytes of all these.
    pub bytes: u64,
}

/// Deletes what no reader of a version that was the newest at `since`, or later, needs. With `dry_run` it only says what that is.
///
/// # Errors
/// The store failed; what is gone is gone, and the rest goes the next time. Or there is no table, or its log cannot be read.
pub fn vacuum(store: &TableStore, url: &Url, since: WallTime, dry_run: bool) -> Result<Vacuumed> {
    // First the objects, then the version: what a writer commits in between is named by it.
    let objects = store.objects(url)?;
    let missing = || Error::refused(format!("there is no table at {url}"), "see `table list`");
    let view = TableView::open(store, url)?.ok_or_else(missing)?;
    let is_old = |object: &ObjectMeta| object.last_modified.timestamp_millis() < since.0;
    let mut needed: BTreeSet<String> = view.files.into_iter().map(|file| file.path).collect();
    // Of the newer versions, what came with them and what went.
    let newer = objects.iter().filter(|(name, object)| name.ends_with(".json") && !is_old(object));
    let newer: Vec<u64> = newer.filter_map(|(name, _)| version_of(name)).collect();
    each_version(store, url, &newer, |_, actions| {
        let named = actions.into_iter().flat_map(|action| [action.add, action.remove]).flatten();
        needed.extend(named.map(|file| file.path));
    })?;
    let checkpoints = objects.iter().filter(|(name, object)| name.contains(".checkpoint.") && is_old(object));
    let oldest = checkpoints.filter_map(|(name, _)| version_of(name)).max().unwrap_or(0);

    let goes = |name: &str, object: &ObjectMeta| match version_of(name) {
        Some(version) => version < oldest,
        None => is_data(name) && is_old(object) && !needed.contains(name),
    };
    let stays = objects.iter().filter(|(name, object)| is_data(name) && !goes(name, object)).map(|(name, _)| name);
    let indexed: BTreeSet<&str> = stays.chain(&needed).map(|name| stem(name)).collect();

    let mut gone = Vacuumed::default();
    for (name, object) in &objects {
        let index_goes = stem_of_index(name).is_some_and(|stem| is_old(object) && !indexed.contains(stem));
        if !index_goes && !goes(name, object) {
            continue;
        }
        if !dry_run {
            store.delete(&object.location)?;
        }
        match (index_goes, is_data(name)) {
            (true, _) => gone.indexes += 1,
            (false, true) => gone.files += 1,
            (false, false) => gone.log_objects += 1,
        }
        gone.bytes += object.size;
    }
    Ok(gone)
}

fn is_data(name: &str) -> bool {
    !name.starts_with(['_', '.']) && name.ends_with(".parquet")
}

/// The version that an object of the log belongs to.
fn version_of(name: &str) -> Option<u64> {
    let name = name.strip_prefix(LOG)?;
    name.get(..VERSION_DIGITS).filter(|_| name[VERSION_DIGITS..].starts_with('.'))?.parse().ok()
}
