//! Commits that come twice, out of order, by two incarnations, and on a store that fails.

use super::faulty::Fault;
use super::*;
use crate::lake::rows::RowWriter;
use crate::lake::{Verified, Verifier};
use distributary_runtime::response::Response;
use distributary_runtime::sink::Guarantee;

#[test]
fn a_run_is_one_version_and_its_marker_comes_back() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    assert_eq!(TableSink::new(stage.spec.clone(), stage.store.clone()).guarantee(), Guarantee::ExactlyOnce);
    assert_eq!(lane.fence(Token(4)).unwrap(), None);
    let before = stage.snapshot().version;
    lane.commit(&run(None, vec![(1, vec![payment(1, THREE), payment(2, THREE + HOUR_MS)]), (2, vec![payment(3, THREE)])]))
        .unwrap();
    assert_eq!((stage.snapshot().version, stage.ids()), (before + 1, vec![1, 2, 3]));
    lane.commit(&run(Some(2), vec![(3, vec![])])).unwrap();
    assert_eq!(stage.lane(0).fence(Token(4)).unwrap(), Some(marker(3)), "a marker stands also where nothing was to be written");
}

#[test]
fn a_commit_that_comes_twice_or_out_of_order_is_refused() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    is_fenced(lane.commit(&run(None, vec![(1, vec![])])));
    is_fenced(lane.prepare(&run(None, vec![(1, vec![])])));
    lane.fence(Token(0)).unwrap();
    let first = run(None, vec![(1, vec![payment(1, THREE)])]);
    lane.commit(&first).unwrap();
    is_fenced(lane.commit(&first));
    is_fenced(lane.commit(&run(Some(2), vec![(3, vec![payment(2, THREE)])])));
    assert_eq!((stage.ids(), lane.fence(Token(0)).unwrap()), (vec![1], Some(marker(1))));
    lane.commit(&run(Some(1), vec![(2, vec![payment(2, THREE)])])).unwrap();
    assert_eq!(stage.ids(), [1, 2]);
}

#[test]
fn what_is_prepared_is_seen_by_nobody_before_its_commit_and_never_if_none_comes() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(0)).unwrap();
    let first = run(None, vec![(1, vec![payment(1, THREE)])]);
    lane.prepare(&first).unwrap();
    let written = stage.objects();
    assert!(written.iter().any(|path| path.contains("/part-1-0-")) && stage.ids().is_empty(), "{written:?}");
    drop(lane);
    let mut lane = stage.lane(0);
    assert_eq!(lane.fence(Token(1)).unwrap(), None, "crashed");
    lane.prepare(&first).unwrap();
    lane.commit(&first).unwrap();
    assert_eq!(stage.ids(), [1]);
    let parts = |objects: Vec<String>| objects.into_iter().filter(|path| path.contains("part-")).collect::<Vec<_>>();
    assert_eq!(parts(stage.objects()), parts(written), "the same run is the same file");
    lane.prepare(&run(Some(1), vec![(2, vec![payment(2, THREE)])])).unwrap();
    lane.commit(&run(Some(1), vec![(2, vec![payment(2, THREE)]), (3, vec![payment(3, THREE)])])).unwrap();
    assert_eq!(stage.ids(), [1, 2, 3], "another run than the prepared one");
}

#[test]
fn after_a_restart_the_old_incarnation_writes_nothing() {
    let stage = stage(payments());
    let (mut old, mut other_lane) = (stage.lane(0), stage.lane(1));
    old.fence(Token(3)).unwrap();
    other_lane.fence(Token(3)).unwrap();
    old.commit(&run(None, vec![(1, vec![payment(1, THREE)])])).unwrap();
    let mut new = stage.lane(0);
    assert_eq!(new.fence(Token(8)).unwrap(), Some(marker(1)));
    is_fenced(old.commit(&run(Some(1), vec![(2, vec![payment(2, THREE)])])));
    is_fenced(old.fence(Token(3)));
    new.commit(&run(Some(1), vec![(2, vec![payment(2, THREE)])])).unwrap();
    other_lane.commit(&run(None, vec![(1, vec![payment(9, THREE)])])).unwrap();
    assert_eq!(stage.ids(), [1, 2, 9]);
}

/// Three incarnations, one after the other, while their predecessors go on; and a second lane that is in everybody's way. The store is slow now
/// and then, so that others come in between.
#[test]
fn incarnations_that_race_leave_each_epoch_once() {
    const EPOCHS: u64 = 60;
    let stage = stage(payments());
    for turns in 0..40 {
        stage.objects.fail_next_put(["_delta_log", "part-"][usize::from(turns % 2)], Fault::Slow(5 * turns));
    }
    let goes_on = |token: u64, from: u64, mut lane: Box<dyn LaneSink>| {
        let found = lane.fence(Token(token)).map(|marker| marker.map_or(0, |m| m.epoch.0));
        let mut last = match found {
            Ok(last) => last,
            // A newer one was first.
            Err(error) => return assert_eq!(error.response(), Response::StopProcess, "{error}"),
        };
        while last < EPOCHS {
            let epoch = run((last > 0).then_some(last), vec![(last + 1, vec![payment(from + last + 1, THREE)])]);
            match lane.commit(&epoch) {
                Ok(()) => last += 1,
                Err(error) => return assert_eq!(error.response(), Response::StopProcess, "{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for token in [1, 2, 3] {
            let lane = stage.lane(0);
            scope.spawn(move || goes_on(token, 0, lane));
        }
        let lane = stage.lane(1);
        scope.spawn(move || goes_on(1, 1_000, lane));
    });
    let expected: Vec<_> = (1..=EPOCHS).chain(1_001..=1_000 + EPOCHS).map(u64::cast_signed).collect();
    assert_eq!(stage.ids(), expected);
    assert_eq!(stage.lane(0).fence(Token(3)).unwrap(), Some(marker(EPOCHS)));
}

#[test]
fn a_table_has_one_pipeline() {
    let stage = stage(payments());
    stage.lane(0).fence(Token(1)).unwrap();
    stage.lane(1).fence(Token(1)).unwrap();
    let sink = TableSink::new(stage.spec.clone(), stage.store.clone());
    let mut other = sink.open(&LaneContext { pipeline: "bi.lake.batch".into(), ..context(0) }).unwrap();
    let error = other.fence(Token(9)).unwrap_err().to_string();
    assert!(error.contains("it is written by the pipeline fraud.spend.batch") && error.contains("another name"), "{error}");
}

/// In one version, so that no reader sees rows of both, or of none.
#[test]
fn a_new_generation_takes_the_place_of_the_one_before() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    lane.commit(&run(None, vec![(1, vec![payment(1, THREE), payment(2, THREE + HOUR_MS)])])).unwrap();
    let previous = lane.fence(Token(2)).unwrap();
    let first = run(None, vec![(2, vec![payment(3, THREE), payment(4, THREE), OutRecord { diff: -1, ..payment(4, THREE) }])]);
    let generation = |run: Run| Run { previous, marker: Marker { generation: 3, ..run.marker }, ..run };
    lane.commit(&generation(first)).unwrap();
    assert_eq!((stage.ids(), stage.snapshot().files.len()), (vec![3], 1));
}

/// A compaction whose answer was lost replaces the files that the next run was written against: that run is written anew.
#[test]
fn a_run_that_was_written_against_files_that_have_gone_is_written_anew() {
    let stage = stage(payments());
    // Two processes, so that neither has compacted by itself.
    let mut lane = stage.lane(0);
    for epoch in 1..=16_u64 {
        if epoch % 8 == 1 {
            lane = stage.lane(0);
            lane.fence(Token(1)).unwrap();
        }
        lane.commit(&run((epoch > 1).then(|| epoch - 1), vec![(epoch, vec![payment(epoch, THREE)])])).unwrap();
    }
    let changes = vec![payment(17, THREE), OutRecord { diff: -1, ..payment(1, THREE) }];
    let next = run(Some(16), vec![(17, changes)]);
    lane.prepare(&next).unwrap();

    let mut log = DeltaLog::new(stage.store.clone(), Arc::new(stage.spec.clone()), "fraud.spend.batch", 0);
    let writer = RowWriter::new(Arc::new(stage.spec.clone()), stage.store.clone(), 0, 2).unwrap();
    let compacted = writer.compact(Token(1), &log.files().unwrap(), Epoch(0), WallTime(0)).unwrap().unwrap();
    assert!(log.replace(Token(1), &compacted.adds, &compacted.removes).unwrap());

    let error = lane.commit(&next).unwrap_err();
    assert_eq!((error.response(), lane.fence(Token(1)).unwrap()), (Response::Retry, Some(marker(16))), "{error}");
    lane.commit(&next).unwrap();
    assert_eq!(stage.ids(), (2..=17).collect::<Vec<_>>());
}

#[test]
fn a_lost_answer_is_found_to_stand() {
    let stage = stage(payments());
    let mut lane = stage.lane(0);
    lane.fence(Token(1)).unwrap();
    // The client asked again by itself: the version is taken, by itself.
    stage.objects.fail_next_put("_delta_log", Fault::AnswerLostThenRetried);
    lane.commit(&run(None, vec![(1, vec![payment(1, THREE)])])).unwrap();
    // It gave up: the runtime fences again and compares.
    stage.objects.fail_next_put("_delta_log", Fault::TimeoutAfter);
    let second = run(Some(1), vec![(2, vec![payment(2, THREE)])]);
    let error = lane.commit(&second).unwrap_err();
    assert_eq!((error.response(), lane.fence(Token(1)).unwrap()), (Response::Retry, Some(marker(2))), "{error}");
    lane.commit(&run(Some(2), vec![(3, vec![payment(3, THREE)])])).unwrap();
    assert_eq!((stage.ids(), stage.objects.faults_left()), (vec![1, 2, 3], 0));
}

#[test]
fn a_request_that_arrives_late_finds_its_version_taken() {
    let stage = stage(payments());
    let (mut old, mut new) = (stage.lane(0), stage.lane(0));
    old.fence(Token(1)).unwrap();
    let late = format!("_delta_log/{:020}.json", stage.snapshot().version + 1);
    new.fence(Token(2)).unwrap();
    let path = Path::from_url_path(stage.spec.url().join(&late).unwrap().path()).unwrap();
    let create = delta_kernel::object_store::PutMode::Create;
    let put = block_on(stage.objects.put_opts(&path, "{}".into(), create.into()));
    assert!(matches!(put, Err(delta_kernel::object_store::Error::AlreadyExists { .. })), "{put:?}");
    is_fenced(old.commit(&run(None, vec![(1, vec![payment(1, THREE)])])));
}

#[test]
fn what_failed_is_tried_again_and_stands_once() {
    for place in ["part-", "_delta_log"] {
        let stage = stage(payments());
        let mut lane = stage.lane(0);
        lane.fence(Token(1)).unwrap();
        let first = run(None, vec![(1, vec![payment(1, THREE)])]);
        for fault in [Fault::Unavailable, Fault::TooMany, Fault::TimeoutBefore] {
            stage.objects.fail_next_put(place, fault);
            let error = lane.commit(&first).unwrap_err();
            assert_eq!(error.response(), Response::Retry, "{error}");
            assert_eq!(lane.fence(Token(1)).unwrap(), None);
        }
        lane.commit(&first).unwrap();
        assert_eq!((stage.ids(), stage.objects.faults_left()), (vec![1], 0));
    }
}

#[test]
fn creating_a_table_may_fail_and_its_answer_may_be_lost() {
    for fault in Fault::ALL {
        let stage = stage(payments());
        stage.objects.fail_next_put("_delta_log", fault);
        let mut lane = stage.lane(0);
        let tried = lane.fence(Token(1)).map_err(|e| e.response());
        assert_eq!(tried, if fault.is_told() { Err(Response::Retry) } else { Ok(None) }, "{fault:?}");
        lane.fence(Token(1)).unwrap();
        lane.commit(&run(None, vec![(1, vec![payment(1, THREE)])])).unwrap();
        assert_eq!(stage.ids(), [1]);
    }
}

/// What the runtime does: after an error it fences until the lane answers, and compares. `None`: crashed, in doubt.
fn drive(lane: &mut dyn LaneSink, token: Token, run: &Run, crash: bool) -> Option<()> {
    const TRIES_MAX: u32 = 100;
    for _ in 0..TRIES_MAX {
        let error = match lane.commit(run) {
            Ok(()) => return Some(()),
            Err(_) if crash => return None,
            Err(error) => error,
        };
        assert_eq!(error.response(), Response::Retry, "{error}");
        let found = (0..TRIES_MAX).find_map(|_| match lane.fence(token) {
            Err(error) if error.response() == Response::Retry => None,
            found => Some(found.unwrap()),
        });
        match found.unwrap() {
            found if found == Some(run.marker) => return Some(()),
            found => assert_eq!(found, run.previous, "a lane shows what was before or what was written"),
        }
    }
    panic!("no end of faults");
}

/// A store that fails in every way at random, and a process that crashes in doubt: every epoch stands once.
#[test]
fn on_a_store_that_fails_at_random_each_epoch_stands_once() {
    // Enough for small files to be made into larger ones.
    const EPOCHS: u64 = 21;
    for seed in 0..50_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let stage = stage(payments());
        let (mut lane, mut token, mut last) = (stage.lane(0), 1, 0);
        lane.fence(Token(token)).unwrap();
        while last < EPOCHS {
            for _ in 0..random(3) {
                let fault = match Fault::ALL[random(Fault::ALL.len() as u64) as usize] {
                    Fault::Stray(_) => Fault::Stray(1 + random(40) as u8),
                    Fault::Slow(_) => Fault::Slow(random(100) as u8),
                    fault => fault,
                };
                stage.objects.fail_next_put(["part-", "_subjects", "_delta_log"][random(3) as usize], fault);
            }
            let next = last + 1;
            let mut changes = vec![payment(next, THREE)];
            // Every third epoch takes the row of the one before back.
            changes.extend((next % 3 == 0).then(|| OutRecord { diff: -1, ..payment(last, THREE) }));
            let run = run((last > 0).then_some(last), vec![(next, changes)]);
            let prepared = random(2) == 0 && lane.prepare(&run).is_ok();
            if drive(&mut *lane, Token(token), &run, random(4) == 0).is_some() {
                last += 1;
                continue;
            }
            (lane, token) = (stage.lane(0), token + 1);
            let found = (0..100).find_map(|_| lane.fence(Token(token)).ok()).unwrap();
            let found = found.map_or(0, |marker| marker.epoch.0);
            assert!(found == last || found == last + 1, "seed {seed}: {found} behind {last}, prepared: {prepared}");
            last = found;
        }
        let stand: Vec<_> = (1..=EPOCHS.cast_signed()).filter(|epoch| epoch % 3 != 2).collect();
        assert_eq!(stage.ids(), stand, "seed {seed}");
        // What was still on its way arrives, and changes nothing.
        (0..u8::MAX).for_each(|_| drop(stage.object("_delta_log/00000000000000000000.json")));
        assert_eq!(stage.ids(), stand, "seed {seed}");
        let (view, verified) = (stage.view(), Verified::Whole);
        let verifier = Verifier::new(&view).unwrap();
        assert!(view.files.iter().all(|file| verifier.verify(file).unwrap() == verified), "seed {seed}");
    }
}
