//! The subject index: it denies no row, names nobody, and does without what is lost.

use super::faulty::Fault;
use super::*;
use crate::lake::subjects::index_of;
use crate::lake::{Evidence, Found, Verified, Verifier, find_subject, subject_files};
use distributary_runtime::response::Response;
use std::collections::BTreeSet;

/// The places, among all files, of those that may hold a subject.
fn files(stage: &Stage, subject: &str) -> Vec<(usize, Evidence)> {
    let view = stage.view();
    let place = |path: &str| view.files.iter().position(|file| file.path == path).unwrap();
    let found = subject_files(&view, subject).unwrap();
    found.files.iter().map(|found| (place(&found.file.path), found.evidence)).collect()
}

fn found(stage: &Stage, subject: &str) -> (u64, u64) {
    let Found { files, rows, .. } = find_subject(&stage.view(), subject, || ()).unwrap();
    (files, rows)
}

fn verified(stage: &Stage) -> Vec<Verified> {
    let view = stage.view();
    let verifier = Verifier::new(&view).unwrap();
    view.files.iter().map(|file| verifier.verify(file).unwrap()).collect()
}

fn put(stage: &Stage, path: &str, bytes: Vec<u8>) {
    block_on(stage.objects.put(&stage.path(path), bytes.into())).unwrap();
}

fn delete(stage: &Stage, path: &str) {
    block_on(stage.objects.delete(&stage.path(path))).unwrap();
}

/// An hour for each of these payments, one file each.
fn hours(count: u64) -> Stage {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    let rows = (1..=count).map(|id| payment(id, THREE + HOUR_MS * id.cast_signed()));
    lane.commit(&run(None, vec![(1, rows.collect())])).unwrap();
    stage
}

/// Wherever it stands: text and whole numbers, in structs, in lists, and in structs of lists; not what names nobody.
#[test]
fn a_subject_is_found_by_its_text_wherever_it_stands() {
    let list = |element| ColumnType::List { element: Box::new(element), nullable: true };
    let name = || {
        ColumnType::Struct(vec![
            Column::nullable("name", ColumnType::Text).subject(),
            Column::nullable("code", ColumnType::Int32),
            Column::nullable("at", ColumnType::Timestamp).subject(),
        ])
    };
    let columns = vec![
        Column::required("at", ColumnType::Timestamp),
        Column::nullable("user", ColumnType::Text).subject(),
        Column::nullable("small", ColumnType::Int8).subject(),
        Column::nullable("account", ColumnType::Int64).subject(),
        Column::nullable("wide", ColumnType::Decimal { precision: 20, scale: 0 }).subject(),
        Column::nullable("narrow", ColumnType::Decimal { precision: 5, scale: 0 }).subject(),
        Column::nullable("price", ColumnType::Decimal { precision: 5, scale: 1 }).subject(),
        Column::nullable("owner", name()),
        Column::nullable("home", ColumnType::Struct(vec![Column::nullable("street", ColumnType::Text)])).subject(),
        Column::nullable("friends", list(name())),
        Column::nullable("groups", list(list(ColumnType::Text))).subject(),
        Column::nullable("note", ColumnType::Text),
    ];
    let stage = stage(TableSpec::new("t", "memory:///t", "at", columns).unwrap());
    let row = json!({"at": THREE, "user": "u1", "small": -7, "account": i64::MIN, "wide": u64::MAX, "narrow": 42, "price": 9.5,
        "owner": {"name": "o1", "code": 11}, "home": {"street": "Ring 1"}, "note": "n1",
        "friends": [{"name": "f1"}, null, {"name": "f2", "code": 12}], "groups": [["g1", null], null, [], ["g2"]]});
    let other = json!({"at": THREE + HOUR_MS, "user": "u2", "friends": [{"name": "u1"}, {"name": "u1"}], "groups": null});
    let empty = json!({"at": THREE + HOUR_MS});
    let (mut lane, of) = (stage.lane(0), &stage.spec);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, vec![out(of, 1, 1, &row), out(of, 2, 2, &other), out(of, 3, 1, &empty)])])).unwrap();

    let there = ["-7", "-9223372036854775808", "18446744073709551615", "42", "o1", "Ring 1", "f1", "f2", "g1", "g2"];
    for subject in there {
        assert_eq!((files(&stage, subject), found(&stage, subject)), (vec![(0, Evidence::Index)], (1, 1)), "{subject}");
    }
    for subject in ["u3", "", "U1", "n1", "11", "12", "9.5", "95", "042", "1767322800000"] {
        assert_eq!((files(&stage, subject), found(&stage, subject)), (vec![], (0, 0)), "{subject}");
    }
    assert_eq!((files(&stage, "u1").len(), found(&stage, "u1")), (2, (2, 3)), "a row counts once");
    assert_eq!(verified(&stage), [Verified::Whole, Verified::Whole]);
}

/// What is taken back, joined, or written again has an index of what is left.
#[test]
fn every_file_that_there_ever_is_has_an_index_of_its_rows() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    for epoch in 1..=40_u64 {
        let mut changes = vec![payment(epoch, THREE)];
        changes.extend((epoch % 4 == 0).then(|| OutRecord { diff: -1, ..payment(epoch - 2, THREE) }));
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, changes)])).unwrap();
        assert!(verified(&stage).iter().all(|verified| *verified == Verified::Whole), "{epoch}");
    }
    assert!(stage.snapshot().files.len() < 25, "some were joined");
    for id in 1..=41 {
        let stands = u64::from(id <= 40 && id % 4 != 2);
        assert_eq!(found(&stage, &format!("user-{id}")), (stands, stands), "{id}");
        assert!(files(&stage, &format!("user-{id}")).len() as u64 == stands, "{id}: an index names who is not there");
    }
    let objects = stage.objects();
    let (data, indexes): (Vec<_>, Vec<_>) =
        objects.iter().filter(|name| name.contains("part-")).partition(|name| name.ends_with(".parquet"));
    let expected: BTreeSet<_> = data.into_iter().map(|path| index_of(path)).collect();
    assert_eq!(indexes.into_iter().cloned().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_same_rows_have_the_same_index_and_every_table_has_a_key_of_its_own() {
    let (one, other) = (hours(2), hours(2));
    let path = index_of(&one.snapshot().files[0].path);
    let first = one.object(&path);
    let mut lane = one.lane(0);
    lane.fence(Token(2)).unwrap();
    delete(&one, &path);
    let again = (1..=2_u64).map(|id| payment(id, THREE + HOUR_MS * id.cast_signed())).collect::<Vec<_>>();
    lane.prepare(&run(Some(1), vec![(1, again)])).unwrap();
    assert_eq!(one.object(&path), first);
    assert_ne!(other.object(&path), first, "the same rows under another key");
    assert_eq!((first.len(), one.object("_subjects/key").len()), (8 + 4 + "user".len() + 8 + 8, 16));
}

#[test]
fn a_table_that_names_no_subject_has_no_index() {
    let columns = vec![Column::required("id", ColumnType::Int64), Column::required("at", ColumnType::Timestamp)];
    let stage = stage(TableSpec::new("t", "memory:///t", "at", columns).unwrap());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, vec![out(&stage.spec, 1, 1, &json!({"id": 1, "at": THREE}))])])).unwrap();
    assert!(!stage.objects().iter().any(|name| name.starts_with("_subjects/")));
    assert_eq!((verified(&stage), found(&stage, "1")), (vec![Verified::Whole], (0, 0)));
}

#[test]
fn of_writers_that_make_a_key_at_once_the_store_takes_one() {
    for _ in 0..20 {
        let stage = stage(payments());
        let lanes: Vec<_> = (0..2).map(|lane| stage.lane(lane)).collect();
        std::thread::scope(|scope| {
            for (id, mut lane) in (1..).zip(lanes) {
                scope.spawn(move || {
                    lane.fence(Token(1)).unwrap();
                    lane.commit(&run(None, vec![(1, vec![payment(id, THREE)])])).unwrap();
                });
            }
        });
        assert_eq!(verified(&stage), vec![Verified::Whole; 2]);
        assert!((1..=2).all(|id| found(&stage, &format!("user-{id}")) == (1, 1)));
    }
}

#[test]
fn a_key_or_an_index_that_fails_to_be_written_is_written_later() {
    for place in ["_subjects/key", "_subjects/part-"] {
        for fault in Fault::ALL {
            let stage = stage(payments());
            let mut lane = stage.lane(0);
            lane.fence(Token(1)).unwrap();
            stage.objects.fail_next_put(place, fault);
            let first = run(None, vec![(1, vec![payment(1, THREE)])]);
            if let Err(error) = lane.commit(&first) {
                assert_eq!((error.response(), stage.ids()), (Response::Retry, vec![]), "{error}");
                assert_eq!(lane.fence(Token(1)).unwrap(), None);
                lane.commit(&first).unwrap();
            }
            assert_eq!((stage.objects.faults_left(), verified(&stage)), (0, vec![Verified::Whole]));
            assert_eq!((stage.ids(), found(&stage, "user-1")), (vec![1], (1, 1)));
        }
    }
}

/// Of a file with no index, a damaged one, or one of another key nobody can say that it does not hold somebody.
#[test]
fn a_file_whose_index_says_nothing_may_hold_anybody() {
    let stage = hours(3);
    let paths: Vec<_> = stage.snapshot().files.into_iter().map(|file| file.path).collect();
    assert_eq!(files(&stage, "user-2"), [(1, Evidence::Index)]);

    // Its footer says that there was one.
    let index = stage.object(&index_of(&paths[0]));
    delete(&stage, &index_of(&paths[0]));
    assert_eq!(files(&stage, "user-2"), [(0, Evidence::Unknown), (1, Evidence::Index)]);
    assert_eq!(verified(&stage)[0], Verified::Damaged("its subject index is not there".into()));
    // A file from before there were indexes.
    let bytes = stage.object(&paths[0]);
    let footer = bytes.windows(21).position(|window| window == b"distributary.subjects").unwrap();
    put(&stage, &paths[0], [&bytes[..footer], b"distributary.nothing!", &bytes[footer + 21..]].concat());
    assert_eq!(files(&stage, "user-2"), [(0, Evidence::Unknown), (1, Evidence::Index)]);
    assert_eq!(verified(&stage), [Verified::WithoutIndex, Verified::Whole, Verified::Whole]);
    assert_eq!((found(&stage, "user-1"), found(&stage, "user-2"), found(&stage, "1")), ((1, 1), (1, 1), (0, 0)));
    put(&stage, &paths[0], bytes);

    let damaged = Verified::Damaged("its subject index is damaged, or of another key".into());
    for cut in [0, 7, 11, 20, index.len() - 1] {
        put(&stage, &index_of(&paths[0]), index[..cut].to_vec());
        assert_eq!(files(&stage, "user-3"), [(0, Evidence::Unknown), (2, Evidence::Index)], "{cut}");
        assert_eq!(verified(&stage)[0], damaged, "{cut}");
    }
    for bit in 0..index.len() * 8 {
        let mut flipped = index.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        put(&stage, &index_of(&paths[0]), flipped);
        assert_eq!(verified(&stage)[0], damaged, "{bit}");
    }
    // Whole, and of another file.
    put(&stage, &index_of(&paths[0]), stage.object(&index_of(&paths[1])));
    assert_eq!(verified(&stage)[0], Verified::Damaged("its subject index lacks a subject of column `user`".into()));
    put(&stage, &index_of(&paths[0]), index);
    assert_eq!(verified(&stage), vec![Verified::Whole; 3]);

    put(&stage, "_subjects/key", vec![7; 16]);
    assert_eq!(files(&stage, "user-2"), [0, 1, 2].map(|file| (file, Evidence::Unknown)));
    assert_eq!((verified(&stage), found(&stage, "user-2")), (vec![damaged.clone(); 3], (1, 1)));
    delete(&stage, "_subjects/key");
    assert_eq!((verified(&stage), found(&stage, "user-2")), (vec![damaged; 3], (1, 1)));
    put(&stage, "_subjects/key", vec![7; 15]);
    let error = subject_files(&stage.view(), "user-2").unwrap_err().to_string();
    assert!(error.ends_with("_subjects/key: damaged: a key has 16 bytes, this has 15"), "{error}");
}

/// The next release says of one column more that it names a subject: what was written before is read.
#[test]
fn an_index_that_knows_fewer_columns_than_count_by_now_denies_nothing() {
    let columns = |payee: Column| {
        vec![Column::required("at", ColumnType::Timestamp), Column::nullable("payer", ColumnType::Text).subject(), payee]
    };
    let spec = |payee| TableSpec::new("t", "memory:///t", "at", columns(payee)).unwrap();
    let stage = stage(spec(Column::nullable("payee", ColumnType::Text)));
    let of = stage.spec.clone();
    let row = |id: u64| {
        out(&of, id, 1, &json!({"at": THREE + HOUR_MS * id as i64, "payer": format!("a{id}"), "payee": format!("b{id}")}))
    };
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, vec![row(1)])])).unwrap();
    assert_eq!((files(&stage, "b1"), found(&stage, "b1")), (vec![], (0, 0)), "nobody said that it names a subject");

    let next = Stage { spec: spec(Column::nullable("payee", ColumnType::Text).subject()), ..stage };
    let mut lane = next.lane(0);
    lane.fence(Token(2)).unwrap();
    lane.commit(&run(Some(1), vec![(2, vec![row(2)])])).unwrap();
    assert_eq!(files(&next, "b2"), [(0, Evidence::Unknown), (1, Evidence::Index)]);
    assert_eq!(files(&next, "a1"), [(0, Evidence::Index)]);
    assert_eq!((found(&next, "b1"), found(&next, "b2"), found(&next, "b3")), ((1, 1), (1, 1), (0, 0)));
    assert_eq!(verified(&next), [Verified::Whole, Verified::Whole]);
}
