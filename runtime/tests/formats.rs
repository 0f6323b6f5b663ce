//! Goal: what a release has written, every later one reads, and writing today gives the same bytes.
//! Method: golden files, never changed once released; a new version of a format gets a new file beside the old one.
//! `DISTRIBUTARY_GOLDEN=write` writes files that are missing.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use distributary_runtime::bus::Token;
use distributary_runtime::key::stable_hash;
use distributary_runtime::state::{
    Entries, KeyedState, Manifest, ManifestHead, ObjectHeader, ObjectWriter, Snapshot, StateObject, Written,
};
use distributary_runtime::time::Epoch;
use std::path::Path;

fn golden(name: &str, today: &[u8]) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var("DISTRIBUTARY_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&path, today).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == today, "{name}: today's bytes differ from those of version 1");
    kept.into()
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
