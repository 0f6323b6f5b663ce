//! Tables: Parquet files on an object store and a log of Delta Lake's beside them, which every engine reads.
//!
//! | module | what it is |
//! |---|---|
//! | [`TableSpec`] | what a table is: name, folder, columns |
//! | [`encode_row`] | from a result to the bytes of a row that fits the columns |
//! | [`TableSink`] | the row table as a sink: exactly-once, one version of the table a run |
//! | [`DeltaLog`] | a lane's end of a table's log: fence, commit, read back |
//! | [`TableView`], [`Verifier`] | a table as a reader sees it: version, columns, rows; whether they are whole |
//! | [`subject_files`], [`find_subject`] | which files may hold a subject, by their indexes; how many rows do |
//! | [`history`], [`corrected`], [`vacuum`] | the versions there have been; what they changed after the fact; what no reader needs any more goes |
//! | [`TableStore`] | the object store: a local folder, memory, S3 by its address |
//!
//! In a table's folder:
//!
//! ```text
//! _delta_log/00000000000000000000.json             one object a version, and a checkpoint now and then
//! event_date=2026-01-02/event_hour=05/part-7-0-5b..e1.parquet     part-<epoch>-<lane>-<hash of what it holds, or of what it was made of>
//! _subjects/part-7-0-5b..e1.idx                    keyed hashes of the subjects in the file of that name
//! ```
//!
//! A row lies in the hour of its event time, however late it comes. Beside its own columns it has a struct `_origin` (source,
//! partition, offset, path through fan-outs, epoch, generation), by which it can be followed back to the bus.
//!
//! The log is kept for long and read by all, so that nothing in it may name a subject: statistics only of numbers, days and
//! times that name none, hours as the only partitions, nothing in the history but the name of this program.
//!
//! Files are never overwritten, and the lanes delete none: what was replaced, and what a commit that failed has left behind, stays until
//! [`vacuum`].

mod action;
mod archive;
mod compact;
mod corrected;
mod create;
mod data_files;
mod delta;
mod encoding;
mod history;
mod log;
mod origin;
mod parquet;
mod row;
mod rows;
mod scan;
mod schema;
mod sink;
mod spec;
mod store;
mod subjects;
mod take_back;
mod vacuum;
mod verify;
mod view;

#[cfg(test)]
mod tests;

pub use archive::{ARCHIVED_AT, Archive, ArchiveReader, RECORD, archive_of, archived_by, record_column};
pub use corrected::{CorrectedDay, Corrections, corrected};
pub use delta::DeltaLog;
pub use history::{Version, history};
pub use log::{Hour, LaneEntry, NewFile, TableCommit, TableFile, TableLog, TableSnapshot};
pub use row::{Misfit, encode_row, row_json};
pub use sink::TableSink;
pub use spec::{TableSpec, check_table};
pub use store::TableStore;
pub use subjects::{Evidence, Found, SubjectFile, SubjectFiles, find_subject, subject_files};
pub use vacuum::{Vacuumed, vacuum};
pub use verify::{Verified, Verifier};
pub use view::{ColumnView, TableView};
