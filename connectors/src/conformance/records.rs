//! Records: they come back as they were written, in order, all of a call or none.

use super::{Case, Ground, Need, THEN, at, read_while, record, series, value};
use bytes::Bytes;
use distributary_runtime::bus::{BusError, NewRecord, Offset};
use distributary_runtime::key::java_partition;
use distributary_runtime::time::WallTime;

const BY_TIME: Need = Need { name: "offsets_by_time", has: |f| f.offsets_by_time };

pub(super) const CASES: &[Case] = &[
    Case { name: "records come back as they were written", needs: None, show: round_trip },
    Case { name: "a key decides the partition as in the Java client", needs: None, show: partitioner },
    Case { name: "offsets follow each other in each partition", needs: None, show: offsets_follow },
    Case { name: "a call writes all its records or none", needs: None, show: all_or_none },
    Case { name: "records up to the bound are taken, larger ones refused", needs: None, show: size_bound },
    Case { name: "concurrent producers lose nothing and keep their order", needs: None, show: concurrent },
    Case { name: "offsets are found by time", needs: Some(BY_TIME), show: by_time },
];

fn round_trip(g: &Ground) {
    let topic = g.topic("t", 1);
    let some = |b: &'static [u8]| Some(Bytes::from_static(b));
    let header = |name: &'static str, value: &'static [u8]| (name.into(), value.into());
    let earliest = g.bus.features().earliest.0;
    let written: Vec<NewRecord> = [
        (1, some(b"k"), some(b"v"), vec![]),
        (1_234_567_890_123, some(b""), some(b""), vec![header("op", b"-"), header("op", b"+"), header("leer", b"")]),
        (3, None, some(b"\xff\x00\n"), vec![header("b\u{fc}", &[0, 255])]),
        (2, some(b"\x00"), None, vec![]),
        (earliest.max(0), None, None, vec![]),
    ]
    .into_iter()
    .map(|(ms, key, value, headers)| NewRecord { partition: Some(0), timestamp: WallTime(ms), key, value, headers })
    .collect();
    let places = g.bus.produce(topic, written.clone()).unwrap();
    let read = g.all(topic, 0);
    assert_eq!(places, read.iter().map(|r| (0, r.offset)).collect::<Vec<_>>());
    let read: Vec<NewRecord> = read
        .into_iter()
        .map(|r| NewRecord { partition: Some(0), timestamp: r.timestamp, key: r.key, value: r.value, headers: r.headers })
        .collect();
    assert_eq!(read, written);
    assert_eq!(g.bus.produce(topic, vec![]).unwrap(), []);
}

fn partitioner(g: &Ground) {
    let topic = g.topic("t", 7);
    let keys: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let unplaced = |key: &String| NewRecord { partition: None, ..record(0, key, "v") };
    let places = g.bus.produce(topic, keys.iter().map(unplaced).collect()).unwrap();
    for (key, (partition, _)) in keys.iter().zip(places) {
        assert_eq!(partition, java_partition(key.as_bytes(), 7), "{key}");
    }
    let keyless = NewRecord { partition: None, key: None, ..record(0, "", "v") };
    assert_eq!(g.bus.produce(topic, vec![keyless]).unwrap()[0].0, 0, "without a key: partition 0");
}

fn offsets_follow(g: &Ground) {
    let topic = g.topic("t", 2);
    let first = g.bus.produce(topic, vec![record(1, "a", "0"), record(0, "b", "1"), record(1, "c", "2")]).unwrap();
    assert_eq!(first, [(1, Offset(0)), (0, Offset(0)), (1, Offset(1))], "in the order of the call");
    assert_eq!(g.bus.produce(topic, vec![record(1, "d", "3")]).unwrap(), [(1, Offset(2))]);
    assert_eq!((g.starts(topic), g.ends(topic)), (vec![0, 0], vec![1, 3]));
    assert_eq!((g.values(topic, 0), g.values(topic, 1)), (vec!["1".into()], vec!["0".into(), "2".into(), "3".into()]));
}

fn all_or_none(g: &Ground) {
    let topic = g.topic("t", 1);
    let result = g.bus.produce(topic, vec![record(0, "k", "v"), record(1, "k", "v")]);
    assert!(matches!(result, Err(BusError::NoPartition { partition: 1, .. })), "{result:?}");
    let huge = "x".repeat(g.bus.features().record_bytes_max as usize + 1);
    assert!(g.bus.produce(topic, vec![record(0, "k", "v"), record(0, "k", &huge)]).is_err());
    assert_eq!(g.ends(topic), [0]);
}

fn size_bound(g: &Ground) {
    let (topic, max) = (g.topic("t", 1), g.bus.features().record_bytes_max as usize);
    g.bus.produce(topic, vec![record(0, "k", &"x".repeat(max))]).unwrap();
    let error = g.bus.produce(topic, vec![record(0, "k", &"x".repeat(max + 1))]).unwrap_err();
    assert!(matches!(error, BusError::TooLarge { max: m, .. } if m == max as u64), "{error:?}");
    assert!(!error.to_string().contains("xxx"), "an error never holds content");
    assert_eq!(g.all(topic, 0).iter().map(|r| value(r).len()).collect::<Vec<_>>(), [max]);
}

fn concurrent(g: &Ground) {
    const THREADS: u64 = 4;
    const CALLS: u64 = 25;
    let topic = g.topic("t", 2);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let bus = (g.make)();
            scope.spawn(move || {
                for call in 0..CALLS {
                    let value = format!("{thread}:{call}");
                    bus.produce(topic, vec![record(0, "k", &value), record(1, "k", &value)]).unwrap();
                }
            });
        }
    });
    for partition in 0..2 {
        let values = g.values(topic, partition);
        for thread in 0..THREADS {
            let own: Vec<&String> = values.iter().filter(|v| v.starts_with(&format!("{thread}:"))).collect();
            let expected: Vec<String> = (0..CALLS).map(|call| format!("{thread}:{call}")).collect();
            assert_eq!(own, expected.iter().collect::<Vec<_>>());
        }
        assert_eq!(values.len() as u64, THREADS * CALLS);
    }
}

fn by_time(g: &Ground) {
    let topic = g.topic("t", 2);
    let times = [10, 30, 20, 40];
    g.bus.produce(topic, times.iter().map(|ms| at(0, "k", Some("v"), WallTime(THEN.0 + ms))).collect()).unwrap();
    g.bus.produce(topic, series(1, 0..1)).unwrap();
    let find = |ms: i64| g.bus.offsets_at(topic, WallTime(THEN.0 + ms)).unwrap();
    let first = |ms: i64| find(ms)[0];
    let expected = [0, 0, 1, 3, 4].map(|offset| (0, Offset(offset)));
    assert_eq!([first(0), first(10), first(11), first(31), first(41)], expected, "the end when there is none");
    assert_eq!(find(0).iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [0, 1]);
    let mut consumer = g.bus.consumer(topic, &[(0, Offset(3))]).unwrap();
    assert_eq!(read_while(&mut *consumer, |b| b.is_empty())[0].timestamp, WallTime(THEN.0 + 40));
}
