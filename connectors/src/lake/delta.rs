//! A lane's end of a table's log, in Delta Lake's format.
//!
//! A commit is one version of the log: files, the lane's `txn` (its name and the marker's epoch) and the lane's entry, a
//! domain metadata of its own (`distributary.lane.<name>`) with token and marker. It stands or it does not, because a
//! version's object is only ever created. The entry that a commit is compared with is always that of the version it is
//! built on: whoever was first makes the other one read again, and decide again.
//!
//! - *Twice*, *out of order*: a commit whose `previous` is not the marker of the entry is refused as fenced.
//! - *Two incarnations*: the older one finds another token in the entry, now or behind its next conflict.
//! - *Two pipelines*: the first that fences writes its name into the table (`distributary.owner`); others are refused.
//! - *A lost answer*: a version that was written although the writer was told otherwise is found behind the conflict that
//!   the next try runs into, or by the fence that follows an error. A request that is still on its way can only become the
//!   version it was meant for, and nothing is written behind that version before it is taken.

use super::create::{Evolution, WRITER, compare, create};
use super::log::{LaneEntry, NewFile, TableCommit, TableFile, TableLog, TableSnapshot};
use super::scan;
use super::schema::{EVENT_DATE, EVENT_HOUR};
use super::spec::TableSpec;
use super::store::{TableStore, failed, unavailable};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::expressions::{ColumnName, Scalar};
use delta_kernel::transaction::{CommitResult, Transaction, UpdateTableOperation};
use delta_kernel::{Engine, FileMeta, KernelError, KernelResult, Snapshot, SnapshotRef};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use url::Url;

/// Conflicts before a step gives up. Every one of them is a step of another lane or incarnation that stands; a table has a
/// few of those, so more than this many in a row is a store that does not tell the truth.
const CONFLICTS_MAX: usize = 64;
/// Versions between two checkpoints of the log. A reader opens the newest and every version behind it; at an epoch of ten
/// seconds this is one every eight minutes.
const CHECKPOINT_EVERY: u64 = 50;

/// Domain metadata: the pipeline that writes the table.
const OWNER: &str = "distributary.owner";
/// How the name of a lane's domain metadata begins.
const LANE: &str = "distributary.lane.";

/// The log of one Delta table as one lane sees it.
pub struct DeltaLog {
    store: TableStore,
    spec: Arc<TableSpec>,
    pipeline: String,
    lane: String,
    /// What is known of the table; `None` before the first look and after a doubtful answer.
    view: Option<View>,
}

/// A version, and what it says of the lane.
struct View {
    snapshot: SnapshotRef,
    entry: Option<LaneEntry>,
    /// Whether the table says already whose it is.
    is_owned: bool,
    /// What the table lacks.
    evolution: Evolution,
}

/// What a step makes of the entry it finds.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// What was to be written stands already.
    Stands,
    /// The lane is somebody else's, or elsewhere.
    Fenced,
    /// Write this entry.
    Write(LaneEntry),
}

/// How often the step has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    First,
    BehindConflict,
}

impl DeltaLog {
    /// The log of the table of `spec` on `store`, for this lane of the pipeline that writes it: the first that has fenced one.
    pub fn new(store: TableStore, spec: Arc<TableSpec>, pipeline: impl Into<String>, lane: u32) -> Self {
        let pipeline = pipeline.into();
        let lane = format!("{pipeline}/{}/{lane}", spec.name());
        Self { store, spec, pipeline, lane, view: None }
    }

    /// The lane's name, unique in the table.
    pub(super) fn lane(&self) -> &str {
        &self.lane
    }

    fn domain(&self) -> String {
        domain_of(&self.lane)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} table `{}` at {}", self.spec.name(), self.spec.url())
    }

    /// The newest version, and the lane's entry in it.
    fn read(&self) -> Result<View> {
        let (engine, what) = (self.store.engine(), self.doing("reading"));
        let failed = |e: KernelError| failed(&what, &e);
        let snapshot = Snapshot::builder_for(self.spec.url()).build(engine).map_err(failed)?;
        let evolution = compare(&snapshot, &self.spec)?;
        let damaged = |what: String| Error::Damaged { object: self.doing("log of"), what };
        let entry = snapshot.get_domain_metadata(&self.domain(), engine).map_err(failed)?;
        let entry: Option<LaneEntry> = entry
            .map(|text| serde_json::from_str(&text).map_err(|e| damaged(format!("entry of lane `{}`: {e}", self.lane))))
            .transpose()?;
        let transaction = snapshot.get_app_id_version(&self.lane, engine).map_err(failed)?;
        let marked = entry.as_ref().and_then(|entry| entry.marker).map(|marker| marker.epoch.0);
        if transaction.map(i64::cast_unsigned) != marked {
            return Err(damaged(format!("lane `{}`: txn {transaction:?} beside the marker {marked:?}", self.lane)));
        }
        let owner = snapshot.get_domain_metadata(OWNER, engine).map_err(failed)?;
        if let Some(other) = owner.as_ref().filter(|owner| **owner != self.pipeline) {
            let what = format!("{}: it is written by the pipeline {other}", self.doing("opening"));
            return Err(Error::refused(
                what,
                "give one of the two tables another name; if that pipeline is gone, delete the folder",
            ));
        }
        Ok(View { snapshot, entry, is_owned: owner.is_some(), evolution })
    }

    /// What is known of the table; whoever takes it puts it back when it knows that it still holds.
    fn take_view(&mut self) -> Result<View> {
        self.view.take().map_or_else(|| self.read(), Ok)
    }

    /// Takes a step, however often others are first. The view behind it is that of the version it wrote or found.
    fn step(&mut self, view: View, changes: &Changes<'_>, decide: impl Fn(Option<&LaneEntry>, Try) -> Step) -> Result<()> {
        let (mut view, mut tried) = (view, Try::First);
        for _ in 0..CONFLICTS_MAX {
            match decide(view.entry.as_ref(), tried) {
                Step::Stands => {
                    self.view = Some(view);
                    return Ok(());
                }
                Step::Fenced => return Err(BusError::Fenced { lane: self.lane.clone() }.into()),
                Step::Write(entry) => match self.write(&view, &entry, changes)? {
                    Some(snapshot) => {
                        self.view = Some(View { snapshot, entry: Some(entry), is_owned: true, evolution: view.evolution });
                        return Ok(());
                    }
                    None => (view, tried) = (self.read()?, Try::BehindConflict),
                },
            }
        }
        Err(unavailable(&self.doing("committing to"), &format!("others were first {CONFLICTS_MAX} times in a row")))
    }

    /// One try. `None` when the version was taken.
    fn write(&self, base: &View, entry: &LaneEntry, changes: &Changes<'_>) -> Result<Option<SnapshotRef>> {
        let what = self.doing("committing to");
        let failed = |e: KernelError| failed(&what, &e);
        let transaction = self.transaction(base, entry, changes).map_err(failed)?;
        match transaction.commit(self.store.engine()).map_err(failed)? {
            CommitResult::Committed(done) => match done.post_commit_snapshot() {
                Some(snapshot) => Ok(Some(snapshot.clone())),
                None => self.read().map(|view| Some(view.snapshot)),
            },
            CommitResult::Conflicted(_) => Ok(None),
            CommitResult::Retryable(transaction) => Err(failed(transaction.error)),
        }
    }

    fn transaction(&self, base: &View, entry: &LaneEntry, changes: &Changes<'_>) -> KernelResult<Transaction> {
        let (is_owned, base) = (base.is_owned, &base.snapshot);
        let text = serde_json::to_string(entry).map_err(KernelError::generic_err)?;
        let data_change = !changes.adds.is_empty() || !changes.removes.is_empty();
        let mut builder = base
            .clone()
            .update_table(UpdateTableOperation::StreamingUpdate, WRITER, data_change)
            .with_domain_metadata(self.domain(), text);
        if !is_owned {
            builder = builder.with_domain_metadata(OWNER.to_string(), self.pipeline.clone());
        }
        if let Some(marker) = entry.marker {
            builder = builder.with_transaction_id(&self.lane, marker.epoch.0.cast_signed());
        }
        let transaction = builder.build(self.store.engine(), Box::new(FileSystemCommitter::new()))?;
        self.with_files(transaction, base, changes)
    }

    fn with_files(&self, mut transaction: Transaction, base: &SnapshotRef, changes: &Changes<'_>) -> KernelResult<Transaction> {
        let engine = self.store.engine();
        for batch in scan::only(base, engine, changes.removes)? {
            transaction.remove_files(batch);
        }
        if !changes.adds.is_empty() {
            let state = transaction.write_state()?;
            for file in changes.adds {
                let (date, hour) = (file.hour.0.div_euclid(24), file.hour.0.rem_euclid(24));
                let values = [(EVENT_DATE.into(), Scalar::Date(date)), (EVENT_HOUR.into(), Scalar::Integer(hour))];
                let context = state.write_context_builder().with_partition_values(HashMap::from(values)).build()?;
                let url = self.spec.url().join(&file.path)?;
                let data = FileMeta::new(url, file.closed_at.0, file.size_bytes);
                let data = DataFileMetadata::new(data, file.statistics.clone());
                transaction.add_files(build_add_file_metadata(data, &context)?);
            }
        }
        Ok(transaction)
    }

    /// Adds what the table lacks, as the lane's owner.
    fn evolve(&mut self, token: Token) -> Result<()> {
        let what = self.doing("adding columns to");
        let failed = |e: KernelError| failed(&what, &e);
        for _ in 0..CONFLICTS_MAX {
            let view = self.take_view()?;
            if view.entry.as_ref().is_none_or(|entry| entry.token != token) {
                return Err(BusError::Fenced { lane: self.lane.clone() }.into());
            }
            if !view.evolution.is_needed() {
                self.view = Some(view);
                return Ok(());
            }
            let Evolution { adds, nullable } = view.evolution;
            let mut builder = view.snapshot.update_table(UpdateTableOperation::AlterTable, WRITER, false);
            builder = adds.into_iter().fold(builder, |builder, field| builder.add_column(field));
            builder = nullable.into_iter().fold(builder, |builder, name| builder.set_nullable(ColumnName::new([name])));
            let transaction = builder.build(self.store.engine(), Box::new(FileSystemCommitter::new())).map_err(failed)?;
            match transaction.commit(self.store.engine()).map_err(failed)? {
                // Whoever was first: what is missing then is seen in the next turn.
                CommitResult::Committed(_) | CommitResult::Conflicted(_) => {}
                CommitResult::Retryable(transaction) => return Err(failed(transaction.error)),
            }
        }
        Err(unavailable(&what, &format!("others were first {CONFLICTS_MAX} times in a row")))
    }

    /// A checkpoint that does not succeed costs readers a little time: the next one takes its place.
    fn checkpoint(&mut self) {
        let Some(view) = self.view.as_mut().filter(|v| v.snapshot.version() % CHECKPOINT_EVERY == 0) else { return };
        match view.snapshot.checkpoint(self.store.engine(), None) {
            Ok((_, snapshot)) => view.snapshot = snapshot,
            Err(error) => tracing::warn!(table = self.spec.name(), %error, "the log has no new checkpoint"),
        }
    }
}

impl TableLog for DeltaLog {
    fn snapshot(&mut self) -> Result<TableSnapshot> {
        create(&self.store, &self.spec)?;
        let view = self.view.insert(self.read()?);
        let (version, lane) = (view.snapshot.version(), view.entry.clone());
        Ok(TableSnapshot { version, lane, files: self.files()? })
    }

    fn files(&mut self) -> Result<Vec<TableFile>> {
        let view = self.take_view()?;
        let files = scan::files(&view.snapshot, self.store.engine());
        self.view = Some(view);
        files.map_err(|e| failed(&self.doing("reading"), &e))
    }

    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        create(&self.store, &self.spec)?;
        let view = self.read()?;
        self.step(view, &Changes { adds: &[], removes: &[] }, |entry, _| fencing(entry, token))?;
        self.evolve(token)?;
        Ok(self.view.as_ref().and_then(|view| view.entry.as_ref()).and_then(|entry| entry.marker))
    }

    fn replace(&mut self, token: Token, adds: &[NewFile], removes: &[String]) -> Result<bool> {
        let what = self.doing("compacting");
        let failed = |e: KernelError| failed(&what, &e);
        let view = self.take_view()?;
        if view.entry.as_ref().is_none_or(|entry| entry.token != token) {
            return Err(BusError::Fenced { lane: self.lane.clone() }.into());
        }
        let (engine, base) = (self.store.engine(), view.snapshot);
        let builder = base.clone().update_table(UpdateTableOperation::Optimize, WRITER, false);
        let transaction = builder.build(engine, Box::new(FileSystemCommitter::new())).map_err(failed)?;
        let transaction = self.with_files(transaction, &base, &Changes { adds, removes }).map_err(failed)?;
        match transaction.commit(engine).map_err(failed)? {
            CommitResult::Committed(done) => {
                self.view = done.post_commit_snapshot().map(|snapshot| View { snapshot: snapshot.clone(), ..view });
                Ok(true)
            }
            CommitResult::Conflicted(_) => Ok(false),
            CommitResult::Retryable(transaction) => Err(failed(transaction.error)),
        }
    }

    fn commit(&mut self, commit: &TableCommit<'_>) -> Result<u64> {
        let view = self.take_view()?;
        let changes = Changes { adds: commit.adds, removes: commit.removes };
        self.step(view, &changes, |entry, tried| committing(entry, tried, commit))?;
        self.checkpoint();
        Ok(self.view.as_ref().map_or(0, |view| view.snapshot.version()))
    }
}

struct Changes<'a> {
    adds: &'a [NewFile],
    removes: &'a [String],
}

/// What the table says of its first lane: that of the rows.
pub(super) fn first_lane(snapshot: &Snapshot, engine: &dyn Engine, table: &str) -> KernelResult<Option<LaneEntry>> {
    let Some(owner) = snapshot.get_domain_metadata(OWNER, engine)? else { return Ok(None) };
    let entry = snapshot.get_domain_metadata(&domain_of(&format!("{owner}/{table}/0")), engine)?;
    entry.map(|text| serde_json::from_str(&text).map_err(KernelError::generic_err)).transpose()
}

/// What a version says of each lane.
pub(super) fn entries(store: &TableStore, url: &Url, version: u64) -> Result<Vec<(String, LaneEntry)>> {
    let failed = |e: KernelError| failed(&format!("reading version {version} of the table at {url}"), &e);
    let snapshot = Snapshot::builder_for(url.as_str()).at_version(version).build(store.engine()).map_err(failed)?;
    let domains = snapshot.get_all_domain_metadata(store.engine()).map_err(failed)?;
    Ok(domains.iter().filter_map(|said| entry_of(said.domain(), said.configuration())).collect())
}

/// The lane that a domain metadata is of, and what it says, if it is one of ours.
pub(super) fn entry_of(domain: &str, text: &str) -> Option<(String, LaneEntry)> {
    Some((domain.strip_prefix(LANE)?.to_string(), serde_json::from_str(text).ok()?))
}

fn domain_of(lane: &str) -> String {
    format!("{LANE}{lane}")
}

/// What a fence makes of the entry it finds.
fn fencing(entry: Option<&LaneEntry>, token: Token) -> Step {
    match entry {
        Some(found) if found.token > token => Step::Fenced,
        Some(found) if found.token == token => Step::Stands,
        Some(found) => Step::Write(LaneEntry { token, ..found.clone() }),
        None => Step::Write(LaneEntry { token, marker: None, complete_through: None, offsets: BTreeMap::new() }),
    }
}

/// What a commit makes of the entry it finds. Only behind a conflict can what it finds be its own.
fn committing(entry: Option<&LaneEntry>, tried: Try, commit: &TableCommit<'_>) -> Step {
    match entry.filter(|found| found.token == commit.token) {
        Some(found) if tried == Try::BehindConflict && found.marker == Some(commit.marker) => Step::Stands,
        Some(found) if found.marker == commit.previous => Step::Write(found.behind(commit)),
        _ => Step::Fenced,
    }
}
