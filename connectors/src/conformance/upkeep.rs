//! Retention and compaction: what goes, what stays, and that offsets are never used again.

use super::{Case, Ground, Need, START, THEN, at, numbers, read, record, series, value};
use distributary_runtime::bus::{BusError, NewRecord, Offset, TopicSpec};
use distributary_runtime::time::WallTime;

const COMPACTION: Need = Need { name: "compaction", has: |f| f.compaction };
const ON_CALL: Need = Need { name: "upkeep_on_call", has: |f| f.upkeep_on_call };
const COMPACTION_ON_CALL: Need = Need { name: "upkeep_on_call", has: |f| f.compaction && f.upkeep_on_call };
const HOUR_MS: i64 = 3_600_000;

pub(super) const CASES: &[Case] = &[
    Case { name: "old records go by their time", needs: Some(ON_CALL), show: by_time },
    Case { name: "the oldest records go by size", needs: Some(ON_CALL), show: by_size },
    Case { name: "a log that was emptied goes on where it was", needs: Some(ON_CALL), show: emptied },
    Case { name: "what is kept for ever is left alone", needs: None, show: kept },
    Case { name: "a row needs a key", needs: Some(COMPACTION), show: keyless },
    Case { name: "an upsert topic keeps the newest record of each key", needs: Some(COMPACTION_ON_CALL), show: compacted },
    Case { name: "a tombstone goes when everybody has seen it", needs: Some(COMPACTION_ON_CALL), show: tombstones },
];

fn after(hours: i64) -> WallTime {
    WallTime(THEN.0 + hours * HOUR_MS)
}

fn by_time(g: &Ground) {
    let topic = g.create(TopicSpec { retention_ms: Some(10 * HOUR_MS as u64), ..TopicSpec::new("t", 2) });
    for (hours, value) in [(0, "a"), (4, "b"), (1, "c"), (5, "d")] {
        g.bus.produce(topic, vec![at(0, "k", Some(value), after(hours))]).unwrap();
    }
    g.bus.maintain(after(10)).unwrap();
    assert_eq!(g.values(topic, 0), ["a", "b", "c", "d"], "exactly as old as allowed");
    g.bus.maintain(after(12)).unwrap();
    assert_eq!(g.values(topic, 0), ["b", "c", "d"], "what stands behind a younger record stays with it");
    g.bus.maintain(after(12)).unwrap();
    assert_eq!((g.starts(topic), g.ends(topic)), (vec![1, 0], vec![4, 0]));
    let gone = g.bus.consumer(topic, &[(0, START)]).err().expect("the first record is gone");
    assert!(matches!(gone, BusError::OutOfRange { log_start: Offset(1), .. }), "{gone:?}");
}

fn by_size(g: &Ground) {
    const BOUND: u64 = 100 << 10;
    let topic = g.create(TopicSpec { retention_ms: None, retention_bytes: Some(BOUND), ..TopicSpec::new("t", 1) });
    let large = "x".repeat(10 << 10);
    g.bus.produce(topic, (0..9).map(|_| record(0, "k", &large)).collect()).unwrap();
    g.bus.maintain(THEN).unwrap();
    assert_eq!(g.all(topic, 0).len(), 9, "below the bound");
    for _ in 0..5 {
        g.bus.produce(topic, (0..9).map(|_| record(0, "k", &large)).collect()).unwrap();
    }
    g.bus.maintain(THEN).unwrap();
    let left = g.all(topic, 0);
    let bytes: u64 = left.iter().map(|r| r.bytes()).sum();
    assert!(bytes <= BOUND && bytes > BOUND / 2, "{bytes} bytes stay");
    assert_eq!(left.last().map(|r| r.offset), Some(Offset(53)), "the newest ones");
}

fn emptied(g: &Ground) {
    let topic = g.create(TopicSpec { retention_ms: Some(1), ..TopicSpec::new("t", 1) });
    let mut consumer = g.bus.consumer(topic, &[(0, START)]).unwrap();
    g.bus.produce(topic, series(0, 0..2_500)).unwrap();
    read(&mut *consumer, 2_500);
    g.bus.maintain(after(1)).unwrap();
    assert_eq!((g.starts(topic), g.ends(topic)), (vec![2_500], vec![2_500]));
    assert_eq!(g.bus.produce(topic, vec![record(0, "k", "new")]).unwrap(), [(0, Offset(2_500))]);
    assert_eq!(value(&read(&mut *consumer, 1)[0]), "new", "who had read everything misses nothing");
}

fn kept(g: &Ground) {
    let (journal, forever) = (g.create(TopicSpec::journal("j")), g.topic("t", 1));
    for topic in [journal, forever] {
        g.bus.produce(topic, series(0, 0..20)).unwrap();
    }
    g.bus.maintain(after(24 * 365 * 100)).unwrap();
    for topic in [journal, forever] {
        assert_eq!(g.values(topic, 0), numbers(0..20), "same keys, very old, and yet there");
    }
}

fn compacted(g: &Ground) {
    let topic = g.create(TopicSpec::upsert("t", 2));
    let write = |values: &[(&str, &str)]| {
        g.bus.produce(topic, values.iter().map(|(k, v)| record(0, k, v)).collect()).unwrap();
    };
    write(&[("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3"), ("b", "2")]);
    let rows = || g.all(topic, 0).iter().map(|r| (r.offset.0, value(r))).collect::<Vec<_>>();
    let row = |offset: u64, value: &str| (offset, value.to_string());
    for _ in 0..2 {
        g.bus.maintain(THEN).unwrap();
        assert_eq!(rows(), [row(3, "1"), row(4, "3"), row(5, "2")], "newest of each key, at its own offset");
    }
    assert_eq!(g.ends(topic), [6, 0]);
    write(&[("c", "2"), ("d", "1"), ("c", "3")]);
    (g.make)().maintain(THEN).unwrap();
    assert_eq!(rows(), [row(4, "3"), row(5, "2"), row(7, "1"), row(8, "3")], "also against what was compacted before");
    let mut consumer = g.bus.consumer(topic, &[(0, START)]).unwrap();
    assert_eq!(read(&mut *consumer, 4)[0].offset, Offset(4), "a position may lie in a hole");
}

fn keyless(g: &Ground) {
    let topic = g.create(TopicSpec::upsert("t", 1));
    let keyless = NewRecord { key: None, ..record(0, "", "v") };
    let result = g.bus.produce(topic, vec![record(0, "k", "v"), keyless]);
    assert!(matches!(result, Err(BusError::Invalid(_))), "{result:?}");
    assert_eq!(g.ends(topic), [0]);
}

fn tombstones(g: &Ground) {
    let topic = g.create(TopicSpec::upsert("t", 1));
    let rows = || g.all(topic, 0).iter().map(|r| (r.offset.0, r.value.is_some())).collect::<Vec<_>>();
    g.bus.produce(topic, vec![record(0, "a", "1"), record(0, "b", "1"), at(0, "a", None, THEN)]).unwrap();
    g.bus.maintain(after(1)).unwrap();
    assert_eq!(rows(), [(1, true), (2, false)], "the value is gone, its tombstone stays for readers who are behind");
    g.bus.maintain(after(24 * 30)).unwrap();
    assert_eq!(rows(), [(1, true)]);
    assert_eq!(g.bus.produce(topic, vec![record(0, "a", "2")]).unwrap(), [(0, Offset(3))]);
}
