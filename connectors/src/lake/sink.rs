//! A row table as a sink: a run of epochs becomes visible as one version of the table, together with the lane's marker.
//!
//! - *Twice*, *out of order*: a commit whose `previous` is not the lane's marker is refused as fenced.
//! - *After a crash* between the data files and the commit no reader sees them; they stay in the folder as garbage. The run
//!   that is replayed writes files of the same names and contents if it covers the same epochs, and others if not.
//! - *Two incarnations*: the older one is refused from the other's fence on, whichever of them is the faster.
//! - *A new generation*: its first commit takes the place of all rows the lane has written.
//! - *A row that is taken back* goes in the version in which it does: the file that holds it is written again without it.
//! - *Small files*: now and then those of an hour become larger ones, in a version of its own that changes no row.
//! - *When the store fails* the committer asks again; a commit that stands although its answer was lost is found.

use super::compact::SOME;
use super::data_files::Written;
use super::delta::DeltaLog;
use super::log::{TableCommit, TableLog};
use super::rows::RowWriter;
use super::spec::TableSpec;
use super::store::{TableStore, unavailable};
use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::Result;
use distributary_runtime::sink::{Guarantee, LaneContext, LaneGroup, LaneSink, Run};
use distributary_runtime::time::{Epoch, EventTime};
use std::sync::Arc;

/// How often a compaction that has been written is offered, when others are first.
const REPLACE_TRIES: usize = 8;

/// A row table. See the module for what it promises.
///
/// The value of a result is one row, as [`encode_row`](super::encode_row) writes it; n copies are n rows. A row that is taken back is found
/// by its contents.
#[derive(Clone)]
pub struct TableSink {
    spec: Arc<TableSpec>,
    store: TableStore,
}

impl TableSink {
    /// The table of `spec` on `store`; created at the first fence.
    #[must_use]
    pub fn new(spec: TableSpec, store: TableStore) -> Self {
        Self { spec: Arc::new(spec), store }
    }
}

impl LaneGroup for TableSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, context: &LaneContext) -> Result<Box<dyn LaneSink>> {
        let log = DeltaLog::new(self.store.clone(), self.spec.clone(), &context.pipeline, context.lane);
        let name = log.lane().to_string();
        let rows = RowWriter::new(self.spec.clone(), self.store.clone(), context.lane, context.lanes)?;
        Ok(Box::new(TableLane { name, rows, log: Box::new(log), token: None, prepared: None, commits: 0, seen: Epoch(0) }))
    }
}

struct TableLane {
    name: String,
    rows: RowWriter,
    log: Box<dyn TableLog>,
    token: Option<Token>,
    /// Files that were written ahead; kept until their commit stands, however often it is tried.
    prepared: Option<Prepared>,
    commits: usize,
    /// The last epoch when small files were looked for.
    seen: Epoch,
}

struct Prepared {
    marker: Marker,
    written: Written,
}

impl LaneSink for TableLane {
    fn fence(&mut self, token: Token) -> Result<Option<Marker>> {
        let marker = self.log.fence(token)?;
        self.token = Some(token);
        Ok(marker)
    }

    fn prepare(&mut self, run: &Run) -> Result<()> {
        let token = self.owner()?;
        self.prepared = Some(Prepared { marker: run.marker, written: self.rows.write(token, run, &mut *self.log)? });
        Ok(())
    }

    fn commit(&mut self, run: &Run) -> Result<()> {
        let token = self.owner()?;
        let prepared = match self.prepared.take().filter(|prepared| prepared.marker == run.marker) {
            Some(prepared) => prepared,
            None => Prepared { marker: run.marker, written: self.rows.write(token, run, &mut *self.log)? },
        };
        let Written { adds, removes } = &prepared.written;
        let sources: Vec<_> = run.epochs.iter().flat_map(|epoch| &epoch.sources).copied().collect();
        let committed = self.log.commit(&TableCommit {
            token,
            previous: run.previous,
            marker: run.marker,
            complete_through: run.epochs.last().map(|epoch| epoch.watermark).filter(|watermark| *watermark != EventTime::MIN),
            sources: &sources,
            adds,
            removes,
        });
        if let Err(error) = committed {
            // What takes the place of other files is written anew: a compaction whose answer was lost may have replaced those.
            self.prepared = Some(prepared).filter(|prepared| prepared.written.removes.is_empty());
            return Err(error);
        }
        self.commits += 1;
        if self.commits.is_multiple_of(SOME)
            && let Err(error) = self.compact(token, run)
        {
            tracing::warn!(lane = self.name, %error, "small files stay for now");
        }
        Ok(())
    }
}

impl TableLane {
    /// What fails here costs readers a little time, and is tried again.
    fn compact(&mut self, token: Token, run: &Run) -> Result<()> {
        let at = run.epochs.last().map(|epoch| epoch.closed_at).unwrap_or_default();
        let seen = std::mem::replace(&mut self.seen, run.marker.epoch);
        let files = self.log.files()?;
        let Some(Written { adds, removes }) = self.rows.compact(token, &files, seen, at)? else { return Ok(()) };
        // Other lanes commit meanwhile, and touch none of these files.
        for _ in 0..REPLACE_TRIES {
            if self.log.replace(token, &adds, &removes)? {
                let bytes: u64 = adds.iter().map(|file| file.size_bytes).sum();
                tracing::info!(lane = self.name, from = removes.len(), to = adds.len(), bytes, "small files joined");
                return Ok(());
            }
        }
        Err(unavailable("replacing small files", &format!("others were first {REPLACE_TRIES} times in a row")))
    }

    fn owner(&self) -> Result<Token> {
        self.token.ok_or_else(|| BusError::Fenced { lane: self.name.clone() }.into())
    }
}
