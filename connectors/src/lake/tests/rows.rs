//! What stands in the files.

use super::super::compact::SOME;
use super::faulty::Fault;
use super::*;
use crate::lake::{Verified, Verifier};
use delta_kernel::arrow::array::AsArray;
use delta_kernel::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};

fn write(stage: &Stage, records: Vec<OutRecord>) -> Result<(), Error> {
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, records)]))
}

#[test]
fn a_row_says_what_it_is_and_where_it_comes_from() {
    let stage = stage(payments());
    let child = OutRecord { origin: Origin::record(1, 3, 41).child(4).unwrap(), ..payment(41, THREE) };
    let group = OutRecord { origin: Origin::group(7, 0xdead_beef, 5), ..payment(42, THREE) };
    write(&stage, vec![child, group]).unwrap();
    assert_eq!(
        stage.rows(),
        [
            json!({"id": 41, "user": "user-41", "at": "2026-01-02T03:00:00Z",
                "_origin": {"source": 1, "partition": 3, "offset": 41, "sub": 5, "epoch": 1, "generation": 2}}),
            json!({"id": 42, "user": "user-42", "at": "2026-01-02T03:00:00Z",
                "_origin": {"sub": 0, "epoch": 1, "generation": 2}}),
        ]
    );
}

#[test]
fn rows_lie_in_the_hour_of_their_event_time_also_late_ones() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let border = vec![payment(1, THREE - 1), payment(2, THREE), payment(3, THREE + HOUR_MS - 1), payment(4, THREE + HOUR_MS)];
    lane.commit(&run(None, vec![(1, border)])).unwrap();
    let late = vec![payment(5, THREE + 7), payment(6, THREE - 30 * HOUR_MS), payment(7, -1)];
    lane.commit(&run(Some(1), vec![(2, late), (3, vec![payment(8, THREE + 8)])])).unwrap();
    let found: Vec<_> = stage
        .snapshot()
        .files
        .iter()
        .map(|file| {
            let (folder, name) = file.path.rsplit_once('/').unwrap();
            let ids: Vec<_> = as_json(&stage.file(&file.path)).iter().map(|row| row["id"].as_u64().unwrap()).collect();
            assert_eq!(file.rows, ids.len() as u64);
            (folder.to_string(), name.split('-').nth(1).unwrap().to_string(), ids)
        })
        .collect();
    let at = |day: &str, hour: &str, epoch: &str, ids: &[u64]| {
        (format!("event_date={day}/event_hour={hour}"), epoch.to_string(), ids.to_vec())
    };
    assert_eq!(
        found,
        [
            at("1969-12-31", "23", "3", &[7]),
            at("2025-12-31", "21", "3", &[6]),
            at("2026-01-02", "02", "1", &[1]),
            at("2026-01-02", "03", "1", &[2, 3]),
            at("2026-01-02", "03", "3", &[5, 8]),
            at("2026-01-02", "04", "1", &[4]),
        ]
    );
}

/// A table that is written every ten seconds has few files for each hour all the same, and every row is where it was.
#[test]
fn small_files_of_an_hour_become_larger_ones() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let (mut most, mut versions) = (0, 0);
    for epoch in 1..=100_u64 {
        // One hour has a row in every epoch, the other in every tenth.
        let mut rows = vec![payment(epoch, THREE)];
        rows.extend((epoch % 10 == 0).then(|| payment(1_000 + epoch, THREE + HOUR_MS)));
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, rows)])).unwrap();
        let snapshot = stage.snapshot();
        let of_hour = |hour: &str| snapshot.files.iter().filter(|file| file.path.contains(hour)).count();
        most = most.max(of_hour("event_hour=03"));
        versions = snapshot.version;
        assert_eq!(of_hour("event_hour=04") as u64, epoch / 10, "few files are left alone");
    }
    assert!(most <= 2 * SOME, "{most} files in an hour");
    assert!(versions > 100 && stage.snapshot().files.len() < 30, "{versions} versions, {:?}", stage.snapshot().files);
    let ids: Vec<_> = (1..=100).chain((1..=10).map(|n| 1_000 + n * 10)).collect();
    assert_eq!(stage.ids(), ids);
    let rows = stage.rows();
    let first = rows.iter().find(|row| row["id"] == 1).unwrap();
    assert_eq!((&first["_origin"]["epoch"], &first["_origin"]["offset"]), (&json!(1), &json!(1)), "where it comes from");
    lane.commit(&run(Some(100), vec![(101, vec![OutRecord { diff: -1, ..payment(1, THREE) }])])).unwrap();
    assert_eq!(stage.ids(), ids[1..]);
}

#[test]
fn an_hour_that_rows_come_into_no_more_has_one_file() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=32_u64 {
        let hour = if epoch <= 10 { 0 } else { HOUR_MS };
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, vec![payment(epoch, THREE + hour)])])).unwrap();
    }
    let files: Vec<_> = stage.snapshot().files;
    let of_hour = |hour: &str| files.iter().filter(|file| file.path.contains(hour)).map(|file| file.rows).collect::<Vec<_>>();
    assert_eq!((of_hour("event_hour=03"), of_hour("event_hour=04")), (vec![10], vec![22]));
    assert_eq!(stage.ids(), (1..=32).collect::<Vec<_>>());
}

fn is_whole(stage: &Stage) {
    let view = stage.view();
    let verifier = Verifier::new(&view).unwrap();
    view.files.iter().for_each(|file| assert_eq!(verifier.verify(file).unwrap(), Verified::Whole, "{}", file.path));
}

/// What is joined is uploaded in parts, of which some may not arrive: then it is done the next time.
#[test]
fn a_compaction_that_fails_changes_nothing() {
    const ROWS: u64 = 200;
    let faults = [Fault::Torn, Fault::Unavailable, Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::AnswerLostThenRetried];
    for fault in faults {
        let stage = stage(payments());
        let mut lane = stage.lane(0);
        lane.fence(Token(1)).unwrap();
        let mut commit = |epoch: u64| {
            let rows = (epoch * ROWS..(epoch + 1) * ROWS).map(|id| payment(id, THREE)).collect();
            lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, rows)])).unwrap();
        };
        (1..16).for_each(&mut commit);
        stage.objects.fail_next_upload(fault);
        commit(16);
        assert_eq!(stage.objects.faults_left(), 0, "{fault:?}: it was uploaded in parts");
        assert_eq!(stage.snapshot().files.len(), if fault.is_told() { 16 } else { 1 }, "{fault:?}");
        (17..=32).for_each(&mut commit);
        assert!(stage.snapshot().files.len() < 3, "{fault:?}");
        assert_eq!(stage.ids(), (ROWS as i64..33 * ROWS as i64).collect::<Vec<_>>(), "{fault:?}");
        is_whole(&stage);
    }
}

/// The rest of a large file is a file of its own.
#[test]
fn rows_go_from_a_large_file_piece_by_piece() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let goes = |id| OutRecord { diff: -1, ..payment(id, THREE) };
    lane.commit(&run(None, vec![(1, (0..20_000).map(|id| payment(id, THREE)).collect())])).unwrap();
    let second = run(Some(1), vec![(2, vec![goes(7), goes(19_999), payment(20_000, THREE)])]);
    lane.prepare(&second).unwrap();
    let written = stage.objects();
    lane.prepare(&second).unwrap();
    assert_eq!(stage.objects(), written, "the same files");
    // Another release may encode the same rows in other bytes.
    let mut lane = stage.lane(0);
    lane.fence(Token(2)).unwrap();
    lane.prepare(&second).unwrap();
    assert_eq!(stage.objects().len(), written.len() + 3, "a version; the rest, and its index, under names of their own");
    lane.commit(&second).unwrap();
    assert_eq!(stage.snapshot().files.iter().map(|file| file.rows).sum::<u64>(), 19_999);
    assert_eq!((stage.snapshot().files.len(), stage.ids()), (2, (0..=20_000).filter(|id| ![7, 19_999].contains(id)).collect()));
    is_whole(&stage);
    // All that is left of it goes: nothing stays.
    lane.commit(&run(Some(2), vec![(3, (0..19_999).filter(|id| *id != 7).map(goes).collect())])).unwrap();
    assert_eq!((stage.snapshot().files.len(), stage.ids()), (1, vec![20_000]));
}

/// To ask for it again would help nobody; what the store does not answer is asked for again.
#[test]
fn a_large_file_that_is_shorter_than_the_log_says_is_damaged() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, (0..20_000).map(|id| payment(id, THREE)).collect())])).unwrap();
    let path = stage.snapshot().files[0].path.clone();
    let bytes = stage.object(&path);
    block_on(stage.objects.put(&stage.path(&path), bytes[..bytes.len() / 2].to_vec().into())).unwrap();
    let error = lane.commit(&run(Some(1), vec![(2, vec![OutRecord { diff: -1, ..payment(7, THREE) }])])).unwrap_err();
    let sizes = format!("it has {} bytes, the log says {}", bytes.len() / 2, bytes.len());
    assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains(&sizes), "{error}");
}

#[test]
fn n_copies_are_n_rows_and_none_is_none() {
    let stage = stage(payments());
    let copies = |id, diff| OutRecord { diff, ..payment(id, THREE) };
    write(&stage, vec![copies(1, 2), copies(2, 0), copies(3, 1)]).unwrap();
    assert_eq!(stage.ids(), [1, 1, 3]);
}

/// Wherever it is: in the run itself, in one file or in several, and of several copies only as many as are taken back.
#[test]
fn a_row_that_is_taken_back_goes() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let of = |id, diff| OutRecord { diff, ..payment(id, THREE + HOUR_MS * (id as i64 / 10)) };
    lane.commit(&run(None, vec![(1, vec![of(1, 1), of(2, 2), of(11, 1), of(21, 1)])])).unwrap();
    lane.commit(&run(Some(1), vec![(2, vec![of(3, 1), of(2, 1)])])).unwrap();
    assert_eq!(stage.ids(), [1, 2, 2, 2, 3, 11, 21]);

    // Of the run itself (4), of the newest file first (2), with a row that comes in its place (5), the last one of an hour (11).
    let changes = vec![(3, vec![of(4, 1), of(2, -1)]), (4, vec![of(4, -1), of(5, 1), of(11, -1)])];
    lane.commit(&run(Some(2), changes)).unwrap();
    assert_eq!(stage.ids(), [1, 2, 2, 3, 5, 21]);
    let at = |path: &str| path.split_once("event_hour=").unwrap().1[..10].to_string();
    let files: Vec<_> = stage.snapshot().files.iter().map(|file| (at(&file.path), file.rows)).collect();
    assert_eq!(files, [("03/part-1-".to_string(), 3), ("03/part-4-".to_string(), 2), ("05/part-1-".to_string(), 1)]);

    // Back and forth within a run: nothing is written again.
    let before = stage.snapshot().files;
    lane.commit(&run(Some(4), vec![(5, vec![of(1, -1), of(6, 1)]), (6, vec![of(6, -1), of(1, 1)])])).unwrap();
    assert_eq!(stage.snapshot().files, before);
}

#[test]
fn a_row_that_is_not_there_cannot_be_taken_back_and_nothing_is_written() {
    let stage = stage(payments());
    let error = write(&stage, vec![payment(1, THREE), OutRecord { diff: -1, ..payment(2, THREE) }]).unwrap_err();
    assert_eq!(error.to_string(), "table `payments`: damaged: 1 rows that are taken back are not in it");
    assert_eq!((stage.ids(), stage.snapshot().lane.unwrap().marker), (vec![], None));
    let error = write(&stage, vec![OutRecord { diff: i64::MAX, ..payment(2, THREE) }]).unwrap_err();
    assert!(error.to_string().contains("more than 16777216 rows"), "{error}");
}

#[test]
fn what_is_no_row_is_named_by_origin_and_reason() {
    let one = payment(1, THREE).value.unwrap();
    let half = one.len() / 2;
    for (values, expected) in [
        (vec![None], "row 1/3@9 has no value"),
        (vec![Some(Vec::new())], "row 1/3@9 ends too early"),
        (vec![Some(b"secret".to_vec())], "row 1/3@9 ends too early"),
        (vec![Some([one.clone(), b"secret".to_vec()].concat())], "row 1/3@9 has bytes behind its end"),
        // Two that are none do not make up for each other.
        (vec![Some(Vec::new()), Some([one.clone(), one.clone()].concat())], "row 1/3@9 ends too early"),
        (vec![Some(one[..half].to_vec()), Some(one[half..].to_vec())], "row 1/3@9 ends too early"),
    ] {
        let stage = stage(payments());
        let bad = values.iter().map(|value| OutRecord { value: value.clone(), ..payment(9, THREE) });
        let error = write(&stage, [payment(8, THREE)].into_iter().chain(bad).chain([payment(10, THREE)]).collect()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{values:?}: {error}");
        assert_eq!(stage.rows(), [] as [Value; 0]);
    }
}

fn all_types() -> TableSpec {
    let place =
        || ColumnType::Struct(vec![Column::required("city", ColumnType::Text), Column::nullable("floor", ColumnType::Int8)]);
    let list = |element, nullable| ColumnType::List { element: Box::new(element), nullable };
    let columns = vec![
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("b", ColumnType::Bool),
        Column::nullable("i8", ColumnType::Int8),
        Column::nullable("i16", ColumnType::Int16),
        Column::nullable("i32", ColumnType::Int32),
        Column::nullable("i64", ColumnType::Int64),
        Column::nullable("f64", ColumnType::Float64),
        Column::nullable("d", ColumnType::Decimal { precision: 10, scale: 2 }),
        Column::nullable("u64", ColumnType::Decimal { precision: 20, scale: 0 }),
        Column::nullable("s", ColumnType::Text),
        Column::nullable("bytes", ColumnType::Binary),
        Column::nullable("ts", ColumnType::Timestamp),
        Column::nullable("day", ColumnType::Date),
        Column::nullable("tags", list(ColumnType::Text, true)),
        Column::nullable("place", place()),
        Column::nullable("places", list(place(), false)),
    ];
    TableSpec::new("all", "memory:///all", "at", columns).unwrap()
}

/// JSON knows no bytes.
#[derive(Serialize)]
struct With {
    bytes: bytes::Bytes,
    #[serde(flatten)]
    rest: Value,
}

#[test]
fn every_type_comes_back_as_it_was() {
    let stage = stage(all_types());
    let full = json!({
        "at": THREE, "b": true, "i8": -128, "i16": 32767, "i32": -2147483648, "i64": i64::MAX, "f64": 0.1,
        "d": "12345678.90", "u64": u64::MAX, "s": "a \"b\" \u{1F600}\n", "ts": "2026-01-02T04:05:06.789012+01:00", "day": "2026-02-28",
        "tags": ["x", null, ""], "place": {"city": "Ulm", "floor": 3}, "places": [{"city": "Bonn", "floor": null}, {"city": ""}],
    });
    let nulls: serde_json::Map<_, _> = full.as_object().unwrap().keys().map(|k| (k.clone(), Value::Null)).collect();
    let nulls = json!({"at": "2026-01-02T03:00:00Z"}).as_object().unwrap().iter().fold(nulls, |mut all, (k, v)| {
        all.insert(k.clone(), v.clone());
        all
    });
    let bare = json!({"at": THREE, "tags": [], "places": [], "place": {"city": "x"}, "d": 1.5, "f64": 3});
    let full = With { bytes: bytes::Bytes::from_static(&[0, 255]), rest: full };
    let of = |offset, row: &Value| out(&stage.spec, offset, 1, row);
    write(&stage, vec![out(&stage.spec, 1, 1, &full), of(2, &Value::Object(nulls)), of(3, &bare)]).unwrap();
    let mut rows = stage.rows();
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("_origin").unwrap();
    }
    assert_eq!(
        rows,
        [
            json!({
                "at": "2026-01-02T03:00:00Z", "b": true, "i8": -128, "i16": 32767, "i32": -2147483648, "i64": i64::MAX, "f64": 0.1,
                "d": 12345678.90, "u64": u64::MAX, "s": "a \"b\" \u{1F600}\n", "bytes": "00ff", "ts": "2026-01-02T03:05:06.789012Z",
                "day": "2026-02-28", "tags": ["x", null, ""], "place": {"city": "Ulm", "floor": 3},
                "places": [{"city": "Bonn"}, {"city": ""}],
            }),
            json!({"at": "2026-01-02T03:00:00Z"}),
            json!({"at": "2026-01-02T03:00:00Z", "tags": [], "places": [], "place": {"city": "x"}, "d": 1.5, "f64": 3.0}),
        ]
    );
    let [file] = &stage.snapshot().files[..] else { panic!("one hour") };
    let batch = stage.file(&file.path);
    let schema = batch.schema();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    for (name, data_type) in [("ts", utc), ("d", DataType::Decimal128(10, 2)), ("day", DataType::Date32)] {
        assert_eq!(schema.field_with_name(name).unwrap().data_type(), &data_type);
    }
    assert_eq!(batch["ts"].as_primitive::<TimestampMicrosecondType>().value(0) % 1_000_000, 789_012);
}
