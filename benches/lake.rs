//! What rows of a table cost beside a bare Arrow writer of the same file, and how long a commit takes.
//!
//! `./dev bench lake [--rows 1000000] [--rows-per-commit 100000] [--rounds 5]`; see `benches/README.md`.

mod common;

use common::process::{memory, mib};
use common::table::Table;
use common::{Flags, median};
use delta_kernel::arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use delta_kernel::arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use delta_kernel::parquet::arrow::ArrowWriter;
use delta_kernel::parquet::basic::{Compression, ZstdLevel};
use delta_kernel::parquet::file::properties::WriterProperties;
use distributary::jobs::Payment;
use distributary::payments::{PaymentOptions, Payments};
use distributary_connectors::lake::{TableSink, TableSpec, TableStore, TableView, encode_row};
use distributary_runtime::bus::{Marker, Token};
use distributary_runtime::sink::{LaneContext, LaneEpoch, LaneGroup, LaneSink, OutRecord, Run};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::{Epoch, EventTime, WallTime, monotonic};
use distributary_runtime::update::Origin;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Commits of one row each, to see what a commit costs.
const SMALL_COMMITS: u64 = 50;

fn main() -> Result<()> {
    let flags = Flags::read(&[("rows", 1e6), ("rows-per-commit", 1e5), ("rounds", 5.0)])?;
    let (rows, part) = (flags.count("rows"), usize::try_from(flags.count("rows-per-commit"))?);
    let mut table = Table::new("lake", &["what", "value", "unit"]);
    let mut add = |what: &str, value: f64, unit: &str| table.add(json!({"what": what, "value": value, "unit": unit}));
    let options = PaymentOptions { count: rows, bad_per_mille: 0, rate_per_s: rows, ..PaymentOptions::default() };
    let payments: Vec<Payment> =
        Payments::new(options)?.filter_map(|p| serde_json::from_slice(p.value.as_deref()?).ok()).collect();

    let (mut ours, mut bare, mut ratios, mut held) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut sizes = Vec::new();
    for _ in 0..flags.count("rounds") {
        let dir = tempfile::tempdir()?;
        let cpu = cpu_s(|| write_table(dir.path(), &payments, part))?;
        let view = view(dir.path())?;
        assert_eq!(view.rows(), payments.len() as u64, "every row stands once");
        held.push(mib(memory().anonymous));
        sizes = view.files.iter().map(|file| mib(file.size_bytes)).collect();
        let bare_cpu = cpu_s(|| {
            payments.chunks(part).enumerate().try_for_each(|(i, part)| write_bare(&dir.path().join(format!("{i}")), part))
        })?;
        let of = |cpu: f64| payments.len() as f64 / cpu;
        ours.push(of(cpu));
        bare.push(of(bare_cpu));
        ratios.push(of(cpu) / of(bare_cpu));
    }
    add("rows of a table", median(ours), "rows/CPU s");
    add("bare Arrow writer", median(bare), "rows/CPU s");
    add("ratio", median(ratios), "");
    add("data files", sizes.len() as f64, "");
    add("data in them", sizes.iter().sum(), "MiB");
    add("largest", sizes.into_iter().fold(0.0, f64::max), "MiB");
    add("memory behind the first round", held[0], "MiB");
    add("memory behind the last round", held[held.len() - 1], "MiB");

    let dir = tempfile::tempdir()?;
    let mut lane = open(dir.path())?;
    let mut commits = Vec::new();
    for (epoch, payment) in (1..=SMALL_COMMITS).zip(&payments) {
        let run = run(epoch, std::slice::from_ref(payment))?;
        let began = monotonic();
        lane.commit(&run)?;
        commits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    add("commit of one row", median(commits.clone()), "ms");
    add("slowest commit (log checkpoint, compaction)", commits.into_iter().fold(0.0, f64::max), "ms");
    let began = monotonic();
    assert_eq!(view(dir.path())?.rows(), SMALL_COMMITS);
    add("opening the table", began.elapsed().as_secs_f64() * 1e3, "ms");
    table.print();
    Ok(())
}

/// CPU seconds of the whole process: a table's store has threads of its own.
fn cpu_s(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let began = now();
    work()?;
    Ok(now() - began)
}

fn spec(dir: &Path) -> Result<TableSpec> {
    Ok(TableSpec::new("purchases", folder(dir)?.as_str(), "at", columns())?)
}

fn folder(dir: &Path) -> Result<Url> {
    Ok(Url::from_directory_path(dir.join("purchases")).map_err(|()| "no absolute path")?)
}

fn columns() -> Vec<Column> {
    vec![
        Column::required("payment_id", ColumnType::Text),
        Column::required("user_id", ColumnType::Text).subject(),
        Column::required("amount_cents", ColumnType::Int64),
        Column::required("merchant", ColumnType::Text),
        Column::required("at", ColumnType::Timestamp),
    ]
}

fn view(dir: &Path) -> Result<TableView> {
    let store = TableStore::open(&folder(dir)?, &[])?;
    Ok(TableView::open(&store, &folder(dir)?)?.ok_or("there is no table")?)
}

fn open(dir: &Path) -> Result<Box<dyn LaneSink>> {
    let spec = spec(dir)?;
    let store = TableStore::open(spec.url(), &[])?;
    let context = LaneContext { pipeline: "bench.lake.batch".into(), generation: 1, lane: 0, lanes: 1, last_epoch: Epoch(0) };
    let mut lane = TableSink::new(spec, store).open(&context)?;
    lane.fence(Token(1))?;
    Ok(lane)
}

/// From events to a table, as a job does it.
fn write_table(dir: &Path, payments: &[Payment], part: usize) -> Result<()> {
    let mut lane = open(dir)?;
    for (epoch, part) in (1..).zip(payments.chunks(part)) {
        lane.commit(&run(epoch, part)?)?;
    }
    Ok(())
}

fn run(epoch: u64, payments: &[Payment]) -> Result<Run> {
    let marker = |epoch| Marker { generation: 1, epoch: Epoch(epoch) };
    let columns = columns();
    let record = |(offset, payment): (u64, &Payment)| -> Result<OutRecord> {
        let row = encode_row(&columns, payment)?;
        let origin = Origin::record(0, 0, epoch << 32 | offset);
        Ok(OutRecord { sink: 0, partition: 0, origin, diff: 1, key: None, value: Some(row), headers: Vec::new() })
    };
    let mut records = Vec::with_capacity(payments.len());
    for payment in (0..).zip(payments) {
        records.push(record(payment)?);
    }
    let epochs = vec![LaneEpoch {
        epoch: Epoch(epoch),
        closed_at: WallTime(epoch.cast_signed()),
        watermark: EventTime(0),
        sources: Vec::new(),
        records,
        mark: false,
    }];
    Ok(Run { previous: (epoch > 1).then(|| marker(epoch - 1)), marker: marker(epoch), epochs })
}

/// The same columns, the same codec, straight from the events.
fn write_bare(path: &Path, payments: &[Payment]) -> Result<()> {
    let text = |of: &dyn Fn(&Payment) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(payments.iter().map(of))) };
    let longs = |of: &dyn Fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..payments.len()).map(of))) };
    let at = TimestampMicrosecondArray::from_iter_values(payments.iter().map(|p| p.at.as_millis() * 1_000)).with_timezone("UTC");
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, false);
    let origin_fields: Fields = [("source", DataType::Int32), ("partition", DataType::Int64), ("offset", DataType::Int64)]
        .into_iter()
        .chain([("sub", DataType::Int64), ("epoch", DataType::Int64), ("generation", DataType::Int64)])
        .map(|(name, data_type)| field(name, data_type))
        .collect();
    let source: ArrayRef = Arc::new(Int32Array::from(vec![0; payments.len()]));
    let origin = vec![source, longs(&|_| 0), longs(&|i| i as i64), longs(&|_| 0), longs(&|_| 1), longs(&|_| 1)];
    let schema = Schema::new(vec![
        field("payment_id", DataType::Utf8),
        field("user_id", DataType::Utf8),
        field("amount_cents", DataType::Int64),
        field("merchant", DataType::Utf8),
        field("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("_origin", DataType::Struct(origin_fields.clone())),
    ]);
    let columns: Vec<ArrayRef> = vec![
        text(&|p| p.payment_id.to_string()),
        text(&|p| p.user_id.clone()),
        longs(&|i| payments[i].amount_cents),
        text(&|p| p.merchant.clone()),
        Arc::new(at),
        Arc::new(StructArray::try_new(origin_fields, origin, None)?),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    std::fs::write(path, writer.into_inner()?)?;
    Ok(())
}
