//! The data files of a version of the log.

use super::log::TableFile;
use delta_kernel::arrow::array::{Array, AsArray, StringArray};
use delta_kernel::arrow::datatypes::Int64Type;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::state::ScanFile;
use delta_kernel::{Engine, FilteredEngineData, KernelError, KernelResult, SnapshotRef};
use std::collections::BTreeSet;

/// All of them, by path.
pub(super) fn files(snapshot: &SnapshotRef, engine: &dyn Engine) -> KernelResult<Vec<TableFile>> {
    let mut files = Vec::new();
    for batch in snapshot.clone().scan_builder().build()?.scan_metadata(engine)? {
        files = batch?.visit_scan_files(files, |files: &mut Vec<TableFile>, file: ScanFile| {
            let rows = file.stats.map_or(0, |stats| stats.num_records);
            files.push(TableFile { path: file.path, size_bytes: file.size.unsigned_abs(), rows });
        })?;
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Path and size of each of them, and what the log says of its columns: the JSON of Delta's statistics.
pub(super) fn statistics(snapshot: &SnapshotRef, engine: &dyn Engine) -> KernelResult<Vec<(String, u64, Option<String>)>> {
    let mut found = Vec::new();
    for batch in snapshot.clone().scan_builder().build()?.scan_metadata(engine)? {
        let (data, selected) = batch?.scan_files.into_parts();
        let data = ArrowEngineData::try_from_engine_data(data)?;
        let column = |name: &str| data.record_batch().column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let sizes = data.record_batch().column_by_name("size").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(paths), Some(sizes), Some(statistics)) = (column("path"), sizes, column("stats")) else {
            return Err(KernelError::missing_column("path, size, stats"));
        };
        let rows = (0..paths.len()).filter(|row| selected.get(*row) != Some(&false));
        let text = |column: &StringArray, row| column.is_valid(row).then(|| column.value(row).to_string());
        found.extend(rows.filter_map(|row| Some((text(paths, row)?, sizes.value(row).unsigned_abs(), text(statistics, row)))));
    }
    Ok(found)
}

/// Those of the given paths, as the log wants to have them when they go.
pub(super) fn only(snapshot: &SnapshotRef, engine: &dyn Engine, paths: &[String]) -> KernelResult<Vec<FilteredEngineData>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut missing: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for batch in snapshot.clone().scan_builder().build()?.scan_metadata(engine)? {
        let (data, selected) = batch?.scan_files.into_parts();
        let data = ArrowEngineData::try_from_engine_data(data)?;
        let column = data.record_batch().column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
        let column = column.ok_or_else(|| KernelError::missing_column("path"))?;
        let chosen: Vec<_> = (0..column.len())
            // What lies behind the end of the selection is selected.
            .map(|row| selected.get(row) != Some(&false) && column.is_valid(row) && missing.remove(column.value(row)))
            .collect();
        found.push(FilteredEngineData::try_new(data, chosen)?);
    }
    match missing.first() {
        Some(path) => Err(KernelError::FileNotFound(format!("{path} is to go, and is not in the table"))),
        None => Ok(found),
    }
}
