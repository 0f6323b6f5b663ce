//! Goal: every kind of store does the same, a checkpoint comes back from it, and damage is found and told apart from a store
//! that fails. Method: the same script on each store; then objects are cut, changed and deleted under it.

use super::*;
use crate::bus::Token;
use crate::key::{key_group, stable_hash};
use crate::state::{KeyedState, ManifestHead, ObjectHeader, ObjectWriter, Snapshot, Written};
use crate::time::Epoch;

fn stores() -> (tempfile::TempDir, Vec<CheckpointStore>) {
    let directory = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(directory.path().join("not/yet/there")).unwrap();
    let stores = [url.as_str(), "memory:///", "memory:///below/here"];
    (directory, stores.map(|url| CheckpointStore::open(url).unwrap()).into())
}

#[test]
fn stores_put_get_list_and_delete_alike() {
    let (_directory, stores) = stores();
    for store in stores {
        assert_eq!(store.list("state/p/").unwrap(), []);
        for name in ["state/p/2/b", "state/p/1/a", "state/pq/1/c"] {
            store.put(Step::StatePut, name, "old".into()).unwrap();
            store.put(Step::StatePut, name, Bytes::from(name.to_string())).unwrap();
        }
        let names: Vec<_> = store.list("state/p/").unwrap().into_iter().map(|s| (s.name, s.bytes)).collect();
        assert_eq!(names, [("state/p/1/a".to_string(), 11), ("state/p/2/b".to_string(), 11)]);
        assert_eq!(store.clone().get("state/p/2/b").unwrap(), "state/p/2/b");
        store.delete("state/p/2/b").unwrap();
        store.delete("state/p/2/b").unwrap();
        assert!(matches!(store.get("state/p/2/b"), Err(Error::Damaged { .. })));
        assert_eq!(store.list("state").unwrap().len(), 2);
    }
}

#[test]
fn a_handle_serves_several_threads() {
    let (_directory, stores) = stores();
    for store in stores {
        std::thread::scope(|scope| {
            for i in 0..4 {
                let store = store.clone();
                scope.spawn(move || {
                    for j in 0..20 {
                        let name = format!("state/p/{i}/{j}");
                        store.put(Step::StatePut, &name, Bytes::from(name.clone())).unwrap();
                        assert_eq!(store.get(&name).unwrap(), name);
                    }
                });
            }
        });
        assert_eq!(store.list("state").unwrap().len(), 80);
    }
}

#[test]
fn a_url_that_names_no_store_is_refused_with_a_remedy() {
    for url in ["checkpoints", "file://host/x", "ftp://x/y", "nothing:///x"] {
        let error = CheckpointStore::open(url).map(drop).unwrap_err().to_string();
        assert!(error.contains(url) && error.contains("give `file:///"), "{error}");
    }
}

/// One snapshot of two workers' states into the store, on top of `previous`.
fn checkpoint(
    store: &CheckpointStore,
    previous: Option<&Manifest>,
    epoch: u64,
    workers: &mut [KeyedState<u64, i64>],
) -> Manifest {
    let mut written = Vec::<Written>::new();
    for (worker, state) in (0..).zip(workers) {
        let mut object = ObjectWriter::new(ObjectHeader {
            pipeline: "fraud.spend".into(),
            generation: 1,
            epoch: Epoch(epoch),
            token: Token(5),
            worker,
            state: "sum".into(),
            type_fingerprint: 1,
        });
        state.begin_snapshot();
        while let Some(slice) = state.drain_slice().unwrap() {
            object.push(&slice);
        }
        let (name, bytes, told) = object.finish();
        store.put(Step::StatePut, &name, bytes).unwrap();
        written.push(told);
    }
    let head = ManifestHead {
        pipeline: "fraud.spend".into(),
        generation: 1,
        epoch: Epoch(epoch),
        fingerprint: 1,
        token: Token(5),
        positions: Vec::new(),
    };
    let manifest = Manifest::merge(previous, head, written).unwrap();
    store.put(Step::ManifestPut, &manifest.name(), manifest.encode()).unwrap();
    manifest
}

fn two_checkpoints(store: &CheckpointStore) -> Manifest {
    let mut workers = [KeyedState::new(), KeyedState::new()];
    let add = |keys: std::ops::Range<u64>, workers: &mut [KeyedState<u64, i64>]| {
        for key in keys {
            let hash = stable_hash(&key);
            let worker = &mut workers[usize::from(key_group(hash)) % 2];
            worker.modify_or_insert_with(hash, &key, || 0, |sum| *sum += key as i64);
        }
    };
    add(0..5_000, &mut workers);
    let first = checkpoint(store, None, 10, &mut workers);
    add(0..100, &mut workers);
    checkpoint(store, Some(&first), 20, &mut workers)
}

#[test]
fn a_checkpoint_comes_back_on_any_number_of_workers() {
    let (_directory, stores) = stores();
    for store in stores {
        let name = two_checkpoints(&store).name();
        let manifest = store.manifest(&name).unwrap();
        let state = manifest.state("sum").unwrap();
        assert!(state.groups.values().any(|chain| chain.len() == 2));
        for workers in [1, 2, 3] {
            let mut keys = 0;
            for worker in 0..workers {
                let mut restored = KeyedState::<u64, i64>::new();
                store
                    .read_state(state, |group| group % workers == worker, |group, slices| restored.restore(group, slices))
                    .unwrap();
                for (_, key, sum) in (0..=255).flat_map(|group| restored.iter(group)) {
                    assert_eq!(*sum, *key as i64 * if *key < 100 { 2 } else { 1 });
                }
                keys += restored.len();
            }
            assert_eq!(keys, 5_000);
        }
        let report = store.verify(&name).unwrap();
        assert_eq!((report.objects, report.slices), (4, manifest.slices().count()));
        assert_eq!(report.damages, Vec::<String>::new());
    }
}

#[test]
fn damage_is_found_by_verify_and_by_a_restore() {
    let (_directory, stores) = stores();
    for store in stores {
        let manifest = two_checkpoints(&store);
        let read = || store.read_state(manifest.state("sum").unwrap(), |_| true, |_, _| Ok(()));
        let object = manifest.slices().next().unwrap().object.clone();
        let victim = manifest.slices().filter(|at| at.object == object).max_by_key(|at| at.offset).unwrap();
        let sound = store.get(&object).unwrap();
        let mut flipped = sound.to_vec();
        flipped[(victim.offset + victim.len / 2) as usize] ^= 1;
        let in_victim = (victim.offset + victim.len / 2) as usize;
        for damaged in [Some(flipped.into()), Some(sound.slice(..in_victim)), Some(Bytes::new()), None] {
            match damaged {
                Some(bytes) => store.put(Step::StatePut, &object, bytes).unwrap(),
                None => store.delete(&object).unwrap(),
            }
            let damages = store.verify(&manifest.name()).unwrap().damages;
            assert!(damages.len() == 1 && damages[0].contains(&object), "{damages:?}");
            assert!(matches!(read(), Err(Error::Damaged { .. })));
            assert!(matches!(store.get_range(victim), Err(Error::Damaged { .. })));
        }
        store.put(Step::StatePut, &object, sound).unwrap();
        read().unwrap();
        assert_eq!(store.verify(&manifest.name()).unwrap().damages, Vec::<String>::new());
        store.put(Step::ManifestPut, &manifest.name(), manifest.encode().slice(1..)).unwrap();
        assert!(matches!(store.verify(&manifest.name()), Err(Error::Damaged { .. })));
    }
}
