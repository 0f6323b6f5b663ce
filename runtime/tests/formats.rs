//! Goal: what a release has written, every later one reads, and writing today gives the same bytes.
//! Method: golden files, never changed once released; a new version of a format gets a new file beside the old one.
//! `DISTRIBUTARY_GOLDEN=write` writes files that are missing.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use distributary_runtime::binding::{
    Binding, Control, Feed, Lift, OpenRecall, PartitionPosition, Positions, Range, RecallFacts, SourcePartition,
};
use distributary_runtime::bus::{Offset, Token, TopicId};
use distributary_runtime::journal::{Checkpoint, Entry, Fact, Incarnation, Start};
use distributary_runtime::key::stable_hash;
use distributary_runtime::layout::{Layout, Output};
use distributary_runtime::state::{
    Entries, KeyedState, Manifest, ManifestHead, ObjectHeader, ObjectWriter, Snapshot, StateObject, Written,
};
use distributary_runtime::time::{Epoch, EventTime, WallTime};
use std::path::{Path, PathBuf};

fn golden(name: &str, today: &[u8]) -> Bytes {
    let path = path(name);
    if !path.exists() && std::env::var("DISTRIBUTARY_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, today).unwrap();
    }
    let kept = kept(name);
    assert!(kept == today, "{name}: today's bytes differ from those that were released");
    kept
}

fn kept(name: &str) -> Bytes {
    std::fs::read(path(name)).unwrap().into()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

type State = KeyedState<String, (i64, Option<u32>)>;

fn set(state: &mut State, key: &str, value: Option<(i64, Option<u32>)>) {
    state.update(stable_hash(&key), &key.to_string(), |v| *v = value);
}

/// The object of one snapshot.
fn object(state: &mut State, epoch: u64) -> (String, Bytes, Written) {
    let mut writer = ObjectWriter::new(ObjectHeader {
        pipeline: "fraud.spend/streaming".into(),
        generation: 2,
        epoch: Epoch(epoch),
        token: Token(300),
        worker: 1,
        state: "spend".into(),
        type_fingerprint: 0x0123_4567_89ab_cdef,
    });
    state.begin_snapshot();
    while let Some(slice) = state.drain_slice().unwrap() {
        writer.push(&slice);
    }
    writer.finish()
}

/// Two snapshots; in the second a key has changed, one is gone and one is new.
fn history() -> [(String, Bytes, Written); 2] {
    let mut state = State::new();
    let keys: Vec<String> = (0..2_000).map(|i| format!("u{i}")).collect();
    keys.iter().zip(0..).for_each(|(key, i)| set(&mut state, key, Some((i - 10, (i % 2 == 0).then_some(7)))));
    let first = object(&mut state, 41);
    set(&mut state, "u0", Some((-10_000, None)));
    set(&mut state, "u1", None);
    set(&mut state, "größer", Some((i64::MAX, Some(u32::MAX))));
    [first, object(&mut state, 42)]
}

#[test]
fn state_objects_of_version_1() {
    let [_, (name, today, _)] = history();
    assert_eq!(name, "state/fraud.spend=2fstreaming/2/00000000000000000042/spend-w1-300.state");
    let read = StateObject::read(&name, &golden("state-v1.object", &today)).unwrap();
    assert_eq!((read.header.pipeline.as_str(), read.header.epoch, read.header.worker), ("fraud.spend/streaming", Epoch(42), 1));
    assert_eq!(read.header.type_fingerprint, 0x0123_4567_89ab_cdef);
    let entries = read.slices.iter().flat_map(|(.., bytes)| Entries::of(bytes)).map(Result::unwrap);
    let mut entries: Vec<(&[u8], Option<&[u8]>)> = entries.collect();
    entries.sort_unstable();
    let largest = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\xff\xff\xff\xff\x0f";
    let known: [(&[u8], Option<&[u8]>); 3] =
        [(b"\x02u0", Some(b"\x9f\x9c\x01\x00")), (b"\x02u1", None), ("\u{8}größer".as_bytes(), Some(largest))];
    assert_eq!(entries, known);
}

#[test]
fn manifests_of_version_1() {
    let head = |epoch| ManifestHead {
        pipeline: "fraud.spend/streaming".into(),
        generation: 2,
        epoch: Epoch(epoch),
        fingerprint: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        token: Token(300),
        positions: b"opaque".to_vec(),
    };
    let [(first, _, one), (second, _, two)] = history();
    let before = Manifest::merge(None, head(41), [one]).unwrap();
    let today = Manifest::merge(Some(&before), head(42), [two]).unwrap();
    let read = Manifest::decode("manifest-v1", &golden("manifest-v1", &today.encode())).unwrap();
    assert_eq!(read, today);
    assert_eq!(read.name(), "state/fraud.spend=2fstreaming/2/00000000000000000042/manifest-300");
    assert_eq!(read.objects().into_iter().collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(read.state("spend").unwrap().groups.values().map(Vec::len).max(), Some(2));
}

fn feed(source: u16, partition: SourcePartition) -> Feed {
    Feed { source, partition }
}

fn bus(partition: u32) -> SourcePartition {
    SourcePartition::Bus { topic: TopicId(*b"0123456789abcdef"), partition }
}

/// One entry of every kind, and every kind of source partition.
fn entries(layout: Layout) -> [(&'static str, Fact); 5] {
    let start = Start {
        generation: 2,
        layout: layout.clone(),
        at: WallTime(1_750_000_000_000),
        positions: vec![(feed(0, bus(0)), Offset(0)), (feed(1, bus(300)), Offset(u64::MAX))],
        accepted_gaps: vec![(feed(0, bus(1)), Offset(5), Offset(70_000))],
    };
    let range = |source, partition, max_time| Range {
        feed: feed(source, partition),
        from: Offset(70_000),
        upto: Offset(70_300),
        records: 299,
        max_time,
    };
    let binding = Binding {
        epoch: Epoch(4_711),
        closed_at: WallTime(1_750_000_000_010),
        watermark: EventTime(-1),
        ranges: vec![
            range(0, bus(1), EventTime(1_749_999_999_999)),
            range(1, SourcePartition::Archive { slice: 9 }, EventTime::MIN),
            range(1, SourcePartition::Recall { deletion: 3 }, EventTime(i64::MAX)),
            range(2, SourcePartition::Control { partition: 0 }, EventTime(0)),
        ],
        lifts: vec![Lift { feed: feed(0, bus(1)), to: EventTime(1_749_999_000_000) }],
        controls: vec![Control::Checkpoint],
    };
    let nothing = Binding {
        epoch: Epoch(u64::MAX),
        closed_at: WallTime(-5),
        watermark: EventTime::MIN,
        ranges: Vec::new(),
        lifts: Vec::new(),
        controls: Vec::new(),
    };
    let checkpoint = Checkpoint {
        epoch: Epoch(4_711),
        generation: 2,
        layout,
        manifest: "state/fraud.spend/2/00000000000000004711/manifest-300".into(),
        checksum: 0xfedc_ba98_7654_3210,
    };
    [
        ("start", Fact::Start(start)),
        ("binding", Fact::Binding(binding)),
        ("binding-of-nothing", Fact::Binding(nothing)),
        ("checkpoint", Fact::Checkpoint(checkpoint)),
        ("retire", Fact::Retire { epoch: Epoch(4_000) }),
    ]
}

const INCARNATION: Incarnation = Incarnation(0xfeed_0000_0000_0000_0000_0000_0000_beef);
const FINGERPRINT: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

/// Of the layout they knew the fingerprint only.
#[test]
fn journal_entries_of_version_1() {
    for (name, fact) in entries(Layout { fingerprint: FINGERPRINT, ..Layout::default() }) {
        let kept = kept(&format!("journal-v1/{name}"));
        assert_eq!(Entry::decode(Offset(0), &kept).unwrap(), Entry { incarnation: INCARNATION, fact }, "{name}");
    }
}

#[test]
fn journal_entries_of_version_2() {
    let output = Output { name: "fraud.spend".into(), id: TopicId(*b"fedcba9876543210"), partitions: 300 };
    let layout = Layout { fingerprint: FINGERPRINT, plan: r#"{"nodes":[]}"#.into(), lanes: 2, outputs: vec![output] };
    for (name, fact) in entries(layout) {
        let entry = Entry { incarnation: INCARNATION, fact };
        let kept = golden(&format!("journal-v2/{name}"), &entry.encode());
        assert_eq!(Entry::decode(Offset(0), &kept).unwrap(), entry, "{name}");
    }
}

/// They stand in manifests, as opaque bytes.
fn positions() -> Positions {
    let at =
        |resume, watermark| PartitionPosition { resume: Offset(resume), watermark, last_data_at: WallTime(1_750_000_000_000) };
    Positions {
        epoch: Epoch(4_711),
        closed_at: WallTime(1_750_000_000_010),
        watermark: Some(EventTime(1_749_999_000_000)),
        feeds: [(feed(0, bus(1)), at(70_300, EventTime(1_749_999_999_999))), (feed(1, bus(0)), at(0, EventTime::MIN))].into(),
        recalls: RecallFacts::default(),
    }
}

/// They told nothing of recalls.
#[test]
fn positions_of_version_1() {
    assert_eq!(Positions::decode(&kept("positions-v1")).unwrap(), positions());
}

#[test]
fn positions_of_version_2() {
    let recalls = RecallFacts {
        since: [(feed(0, bus(1)), Offset(300))].into(),
        lifts: [(feed(0, bus(1)), vec![(Offset(70_000), EventTime(-1)), (Offset(70_299), EventTime(1_749_999_000_000))])].into(),
        open: [(7, OpenRecall { upto: Offset(9), bound: [(feed(0, bus(1)), Offset(70_300))].into() })].into(),
    };
    let positions = Positions { recalls, ..positions() };
    let kept = golden("positions-v2", &positions.encode());
    assert_eq!(Positions::decode(&kept).unwrap(), positions);
}
