//! Goal: what readers see of a table after commits, repeated, out of order, by two incarnations, and on a store that fails;
//! and that its log names nobody. Method: runs written by hand, a store in memory, rows read back from the files that the
//! log names.

mod corrected;
mod exactly_once;
mod faulty;
mod log;
mod rows;
mod subjects;
mod upkeep;

use super::{DeltaLog, TableLog, TableSink, TableSnapshot, TableSpec, TableStore, TableView, encode_row};
use delta_kernel::arrow::array::RecordBatch;
use delta_kernel::arrow::compute::concat_batches;
use delta_kernel::arrow::json::ArrayWriter;
use delta_kernel::object_store::path::Path;
use delta_kernel::object_store::{ObjectStore, ObjectStoreExt as _};
use delta_kernel::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use distributary_runtime::bus::{BusError, Marker, Token};
use distributary_runtime::error::Error;
use distributary_runtime::sink::{LaneContext, LaneEpoch, LaneGroup, LaneSink, OutRecord, Run};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::{Epoch, EventTime, WallTime};
use distributary_runtime::update::Origin;
use faulty::FaultyStore;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// 2026-01-02T03:00:00Z in milliseconds.
const THREE: i64 = 1_767_322_800_000;
const HOUR_MS: i64 = 3_600_000;

struct Stage {
    objects: FaultyStore,
    store: TableStore,
    spec: TableSpec,
}

fn payments() -> TableSpec {
    let columns = vec![
        Column::required("id", ColumnType::Int64),
        Column::nullable("user", ColumnType::Text).subject().comment("who paid"),
        Column::required("at", ColumnType::Timestamp),
    ];
    TableSpec::new("payments", "memory:///lake/payments", "at", columns).unwrap()
}

fn stage(spec: TableSpec) -> Stage {
    let objects = FaultyStore::default();
    let store = TableStore::new(Arc::new(objects.clone())).unwrap();
    Stage { objects, store, spec }
}

impl Stage {
    fn lane(&self, lane: u32) -> Box<dyn LaneSink> {
        TableSink::new(self.spec.clone(), self.store.clone()).open(&context(lane)).unwrap()
    }

    /// Its newest version, as readers see it.
    fn view(&self) -> TableView {
        TableView::open(&self.store, self.spec.url()).unwrap().unwrap()
    }

    fn snapshot(&self) -> TableSnapshot {
        DeltaLog::new(self.store.clone(), Arc::new(self.spec.clone()), "fraud.spend.batch", 0).snapshot().unwrap()
    }

    /// Where the store has an object of the table.
    fn path(&self, path: &str) -> Path {
        Path::from_url_path(self.spec.url().join(path).unwrap().path()).unwrap()
    }

    fn object(&self, path: &str) -> Vec<u8> {
        let path = self.path(path);
        block_on(async { self.objects.get(&path).await.unwrap().bytes().await.unwrap() }).to_vec()
    }

    /// Every object there is, within the table's folder.
    fn objects(&self) -> Vec<String> {
        let all: Vec<_> = block_on(self.objects.list(None).try_collect()).unwrap();
        let folder = self.spec.url().path().trim_start_matches('/');
        let mut paths: Vec<_> =
            all.into_iter().map(|object| object.location.as_ref().strip_prefix(folder).unwrap().to_string()).collect();
        paths.sort_unstable();
        paths
    }

    /// The rows of a file.
    fn file(&self, path: &str) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(self.object(path))).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    /// The rows that readers see, as JSON, in the order of the files.
    fn rows(&self) -> Vec<Value> {
        self.snapshot().files.iter().flat_map(|file| as_json(&self.file(&file.path))).collect()
    }

    /// The column `id` of the rows that readers see, sorted.
    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<_> = self.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    }
}

fn as_json(batch: &RecordBatch) -> Vec<Value> {
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    match &writer.into_inner()[..] {
        [] => Vec::new(),
        text => serde_json::from_slice(text).unwrap(),
    }
}

/// What is in memory is ready at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a store in memory made somebody wait"),
    }
}

fn context(lane: u32) -> LaneContext {
    LaneContext { pipeline: "fraud.spend.batch".into(), generation: 2, lane, lanes: 2, last_epoch: Epoch(0) }
}

fn marker(epoch: u64) -> Marker {
    Marker { generation: 2, epoch: Epoch(epoch) }
}

/// The result at this offset.
fn out(spec: &TableSpec, offset: u64, diff: i64, row: &impl Serialize) -> OutRecord {
    OutRecord {
        sink: 0,
        partition: 0,
        origin: Origin::record(1, 3, offset),
        diff,
        key: None,
        value: Some(encode_row(spec.columns(), row).unwrap()),
        headers: vec![],
    }
}

fn payment(id: u64, at_ms: i64) -> OutRecord {
    out(&payments(), id, 1, &json!({"id": id, "user": format!("user-{id}"), "at": at_ms}))
}

fn run(previous: Option<u64>, epochs: Vec<(u64, Vec<OutRecord>)>) -> Run {
    let last = epochs.last().unwrap().0;
    let epochs = epochs.into_iter().map(|(epoch, records)| LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: WallTime(1_000 + epoch.cast_signed()),
        watermark: EventTime(THREE + epoch.cast_signed()),
        sources: Vec::new(),
        records,
        mark: false,
    });
    Run { previous: previous.map(marker), marker: marker(last), epochs: epochs.collect() }
}

fn is_fenced(result: Result<impl std::fmt::Debug, Error>) {
    assert!(matches!(result, Err(Error::Bus(BusError::Fenced { .. }))), "{result:?}");
}
