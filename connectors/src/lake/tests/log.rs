//! What stands in the log: versions, checkpoints, comments, and nobody's name.

use super::*;
use crate::lake::{NewFile, TableCommit, TableFile};
use xxhash_rust::xxh3::xxh3_64;

/// Commits of one row each.
fn commits(stage: &Stage, count: u64) {
    let mut lane = stage.lane(0);
    let last = lane.fence(Token(1)).unwrap().map_or(0, |m| m.epoch.0);
    for epoch in last + 1..=last + count {
        let previous = (epoch > 1).then_some(epoch - 1);
        lane.commit(&run(previous, vec![(epoch, vec![payment(epoch, THREE + epoch.cast_signed())])])).unwrap();
    }
}

#[test]
fn the_log_is_checkpointed_and_read_back_from_there() {
    let stage = stage(payments());
    commits(&stage, 120);
    let objects = stage.objects();
    let checkpoints: Vec<_> = objects.iter().filter(|path| path.ends_with(".checkpoint.parquet")).collect();
    assert_eq!(checkpoints.len(), 2, "{objects:?}");
    assert!(objects.contains(&"_delta_log/_last_checkpoint".to_string()));
    assert_eq!(stage.ids(), (1..=120).collect::<Vec<_>>());
    assert_eq!(stage.lane(0).fence(Token(2)).unwrap(), Some(marker(120)));
}

/// JSON knows no bytes.
#[derive(Serialize)]
struct WithPhoto {
    photo: bytes::Bytes,
    #[serde(flatten)]
    rest: Value,
}

#[test]
fn neither_versions_nor_checkpoints_nor_names_nor_indexes_hold_a_subject_or_a_text() {
    let inner = vec![Column::nullable("code", ColumnType::Int32), Column::nullable("street", ColumnType::Text)];
    let columns = vec![
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("user", ColumnType::Text).subject(),
        Column::nullable("account", ColumnType::Int64).subject(),
        Column::nullable("home", ColumnType::Struct(inner.clone())).subject(),
        Column::nullable("shop", ColumnType::Struct(inner)),
        Column::nullable("note", ColumnType::Text),
        Column::nullable("photo", ColumnType::Binary),
    ];
    let stage = stage(TableSpec::new("t", "memory:///t", "at", columns).unwrap());
    let row = json!({"at": THREE, "user": "SECRET-1", "account": 77_700_777_007_i64, "note": "SECRET-2", 
        "home": {"code": 88_008_800, "street": "SECRET-3"}, "shop": {"code": 4_321_234, "street": "SECRET-4"}});
    let row = WithPhoto { photo: bytes::Bytes::from_static(b"SECRET-5"), rest: row };
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=60 {
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, vec![out(&stage.spec, epoch, 1, &row)])])).unwrap();
    }
    let (mut versions, mut checkpoints, mut indexes, mut files) = (0, 0, 0, 0);
    for path in stage.objects() {
        let bytes = stage.object(&path);
        let text = if path.ends_with(".checkpoint.parquet") {
            checkpoints += 1;
            as_json(&stage.file(&path)).iter().map(Value::to_string).collect::<String>() + &footer(&bytes).join("\n")
        } else if path.starts_with("_delta_log/") {
            versions += 1;
            String::from_utf8(bytes).unwrap()
        } else if path.starts_with("_subjects/") {
            indexes += 1;
            for secret in [&b"SECRET"[..], &77_700_777_007_i64.to_le_bytes()[..6], &xxh3_64(b"SECRET-1").to_le_bytes()] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{path}");
            }
            path.clone()
        } else {
            // The file itself holds the rows; what its footer says beside their statistics is columns.
            files += 1;
            let footer = footer(&bytes);
            assert!(footer.iter().any(|entry| entry.contains("SECRET-1")), "the decoder sees statistics: {footer:?}");
            let said: Vec<_> = footer.iter().filter(|entry| entry.starts_with("key ")).collect();
            assert_eq!(said, ["key distributary.subjects=user\naccount\nhome.code\nhome.street"]);
            path.clone()
        };
        for secret in ["SECRET", "77700777007", "88008800"] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
        if path.ends_with("0010.json") || path.ends_with(".checkpoint.parquet") {
            assert!(text.contains("4321234") && text.contains("2026-01-02T03:00:00"), "what names nobody is there: {text}");
        }
    }
    assert!(versions > 60 && checkpoints == 1, "{versions} versions, {checkpoints} checkpoints");
    assert!(files >= 60 && indexes == files + 1, "{files} files, {indexes} indexes with their key");
    let rows = stage.rows();
    assert!(rows.len() == 60 && rows[0]["user"] == "SECRET-1", "the rows do hold it");
}

/// What the footer of a Parquet file says of its contents: least and greatest values of each column, and what writers add.
fn footer(bytes: &[u8]) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
    let groups = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let statistics = groups.filter_map(|column| column.statistics()).map(|statistics| {
        let edges = [statistics.min_bytes_opt(), statistics.max_bytes_opt()].map(Option::unwrap_or_default);
        format!("{statistics:?} {}", edges.map(String::from_utf8_lossy).join(" "))
    });
    let added = reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    statistics.chain(added.map(|entry| format!("key {}={}", entry.key, entry.value.as_deref().unwrap_or_default()))).collect()
}

#[test]
fn the_history_says_who_wrote_and_nothing_of_what() {
    let stage = stage(payments());
    commits(&stage, 1);
    let version = stage.snapshot().version;
    let actions = String::from_utf8(stage.object(&format!("_delta_log/{version:020}.json"))).unwrap();
    let actions: Vec<Value> = actions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let action = |name: &str| actions.iter().find_map(|action| action.get(name)).unwrap().clone();
    assert_eq!(action("txn")["appId"], "fraud.spend.batch/payments/0");
    assert_eq!(action("txn")["version"], 1);
    let domain = action("domainMetadata");
    assert_eq!(domain["domain"], "distributary.lane.fraud.spend.batch/payments/0");
    assert_eq!(
        serde_json::from_str::<Value>(domain["configuration"].as_str().unwrap()).unwrap(),
        json!({"token": 1, "marker": {"generation": 2, "epoch": 1}, "complete_through": THREE + 1, "offsets": {}})
    );
    let info = action("commitInfo");
    assert_eq!((&info["operation"], &info["operationParameters"]), (&json!("STREAMING UPDATE"), &json!({})));
    let add = action("add");
    assert_eq!(add["partitionValues"], json!({"event_date": "2026-01-02", "event_hour": "3"}));
}

#[test]
fn the_table_carries_comments_and_keeps_transactions_for_ever() {
    let stage = stage(payments());
    stage.lane(0).fence(Token(1)).unwrap();
    let actions = String::from_utf8(stage.object("_delta_log/00000000000000000000.json")).unwrap();
    let metadata =
        actions.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find_map(|a| a.get("metaData").cloned());
    let metadata = metadata.unwrap();
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    assert_eq!(schema["fields"][1]["metadata"], json!({"comment": "who paid"}));
    assert_eq!(metadata["configuration"], json!({"delta.dataSkippingStatsColumns": "at,id"}));
    assert_eq!(metadata["partitionColumns"], json!(["event_date", "event_hour"]));
}

#[test]
fn another_table_in_the_folder_is_refused_with_what_differs() {
    let stage = stage(payments());
    commits(&stage, 1);
    let table = |columns| TableSpec::new("payments", stage.spec.url().as_str(), "at", columns).unwrap();
    let of = |user: Column| {
        table(vec![Column::required("id", ColumnType::Int64), user, Column::required("at", ColumnType::Timestamp)])
    };
    for (spec, expected) in [
        (of(Column::nullable("person", ColumnType::Text)), "has a column `user` more than the job says; keep it, as an `Option`"),
        (
            of(Column::nullable("user", ColumnType::Int64).comment("who paid")),
            "has another type of column `user` than the job says",
        ),
        (
            table([stage.spec.columns(), &[Column::required("shop", ColumnType::Text)]].concat()),
            "make the new column an `Option`",
        ),
    ] {
        let error = TableSink::new(spec, stage.store.clone()).open(&context(0)).unwrap().fence(Token(2)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains(expected), "{error}");
    }
    let open_id = table(vec![
        Column::required("id", ColumnType::Int64).subject(),
        Column::nullable("user", ColumnType::Text).subject().comment("who paid"),
        Column::required("at", ColumnType::Timestamp),
    ]);
    let error = TableSink::new(open_id, stage.store.clone()).open(&context(0)).unwrap().fence(Token(2)).unwrap_err();
    assert!(error.to_string().contains("its log might name subjects"), "{error}");
}

/// The next release of a job has two columns more, and one that may be null now: rows that are there have null, and are found by that.
#[test]
fn columns_that_may_be_null_are_added_to_the_table() {
    let stage = stage(payments());
    commits(&stage, 2);
    let columns = vec![
        Column::nullable("country", ColumnType::Text),
        Column::nullable("id", ColumnType::Int64),
        Column::nullable("user", ColumnType::Text).subject().comment("who paid"),
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("score", ColumnType::Int64),
    ];
    let next = Stage { spec: TableSpec::new("payments", stage.spec.url().as_str(), "at", columns).unwrap(), ..stage };
    let mut lane = next.lane(0);
    assert_eq!(lane.fence(Token(2)).unwrap(), Some(marker(2)));
    let row = json!({"id": 3, "user": "u", "at": THREE, "country": "AT", "score": 7});
    let of = |id, diff, at| out(&next.spec, id, diff, &json!({"id": id, "user": format!("user-{id}"), "at": at}));
    let rows = vec![out(&next.spec, 3, 1, &row), of(1, -1, THREE + 1), of(4, 1, THREE)];
    lane.commit(&run(Some(2), vec![(3, rows)])).unwrap();
    let found: Vec<_> =
        next.rows().into_iter().map(|row| (row["id"].clone(), row["country"].clone(), row["score"].clone())).collect();
    assert_eq!(
        found,
        [(json!(2), Value::Null, Value::Null), (json!(3), json!("AT"), json!(7)), (json!(4), Value::Null, Value::Null),]
    );
    let versions = next.snapshot().version;
    next.lane(0).fence(Token(3)).unwrap();
    assert_eq!(next.snapshot().version, versions + 1, "nothing is added twice");
    let before = TableSink::new(payments(), next.store.clone()).open(&context(0)).unwrap().fence(Token(4)).unwrap_err();
    assert!(before.to_string().contains("has a column `id` that may be null"), "{before}");
}

#[test]
fn files_go_and_come_in_one_version() {
    let stage = stage(payments());
    commits(&stage, 2);
    let before = stage.snapshot();
    let spec = Arc::new(stage.spec.clone());
    let mut log = DeltaLog::new(stage.store.clone(), spec, "fraud.spend.batch", 9);
    log.fence(Token(1)).unwrap();
    let removes: Vec<_> = before.files.iter().take(1).map(|file| file.path.clone()).collect();
    let adds: Vec<NewFile> = Vec::new();
    let commit = TableCommit {
        token: Token(1),
        previous: None,
        marker: marker(1),
        complete_through: None,
        sources: &[],
        adds: &adds,
        removes: &removes,
    };
    log.commit(&commit).unwrap();
    let left: Vec<TableFile> = before.files[1..].to_vec();
    assert_eq!(stage.snapshot().files, left);
    let again = TableCommit { previous: Some(marker(1)), marker: marker(2), ..commit };
    let error = log.commit(&again).unwrap_err();
    assert!(error.to_string().contains("is to go, and is not in the table"), "{error}");
    assert!(stage.objects().contains(&removes[0]), "it stays in the store");
}

#[test]
fn a_table_in_a_folder_of_the_machine_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(folder.path().join("a table")).unwrap();
    let columns = payments().columns().to_vec();
    let spec = TableSpec::new("payments", url.as_str(), "at", columns).unwrap();
    let store = TableStore::open(spec.url(), &[]).unwrap();
    let mut lane = TableSink::new(spec.clone(), store.clone()).open(&context(0)).unwrap();
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=55 {
        let previous = (epoch > 1).then(|| epoch - 1);
        lane.commit(&run(previous, vec![(epoch, vec![payment(epoch, THREE)])])).unwrap();
    }
    let mut log = DeltaLog::new(store, Arc::new(spec), "fraud.spend.batch", 0);
    let snapshot = log.snapshot().unwrap();
    let rows: u64 = snapshot.files.iter().map(|file| file.rows).sum();
    assert_eq!((rows, snapshot.lane.unwrap().marker), (55, Some(marker(55))));
    assert!(snapshot.files.iter().all(|file| folder.path().join("a table").join(&file.path).is_file()));
}
