//! Consumers: from a position on, without a gap, or with an error that says why not.

use super::{Case, Ground, PATIENCE, START, numbers, poll_error, read, read_while, record, series, value};
use distributary_runtime::bus::{Batch, BusError, Consumer, Offset, TopicSpec};
use distributary_runtime::time::monotonic;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case { name: "a consumer reads from its positions on", needs: None, show: from_positions },
    Case { name: "long logs come in bounded batches without a gap", needs: None, show: long_log },
    Case { name: "several consumers do not feel each other", needs: None, show: several },
    Case { name: "a paused partition delivers nothing and loses nothing", needs: None, show: pause },
    Case { name: "a drained partition says so", needs: None, show: drained },
    Case { name: "a waiting consumer wakes for another's record", needs: None, show: wakes },
    Case { name: "positions outside the log are refused", needs: None, show: out_of_range },
    Case { name: "records that go under a reader end it", needs: None, show: gone_under_reader },
];

fn from_positions(g: &Ground) {
    let topic = g.topic("t", 3);
    for partition in 0..3 {
        g.bus.produce(topic, series(partition, 0..10)).unwrap();
    }
    let mut consumer = g.bus.consumer(topic, &[(0, Offset(7)), (2, Offset(10))]).unwrap();
    let records = read(&mut *consumer, 3);
    assert_eq!(records.iter().map(value).collect::<Vec<_>>(), numbers(7..10));
    consumer.assign(1, Offset(9)).unwrap();
    assert_eq!(read(&mut *consumer, 1)[0].offset, Offset(9));
    g.bus.produce(topic, vec![record(2, "k", "new")]).unwrap();
    assert_eq!(value(&read(&mut *consumer, 1)[0]), "new");
}

fn long_log(g: &Ground) {
    const RECORDS: u64 = 5_000;
    let topic = g.topic("t", 2);
    for chunk in 0..10 {
        let range = chunk * RECORDS / 10..(chunk + 1) * RECORDS / 10;
        g.bus.produce(topic, [series(0, range.clone()), series(1, range)].concat()).unwrap();
    }
    let mut consumer = g.bus.consumer(topic, &[(0, START), (1, START)]).unwrap();
    let mut read: [Vec<String>; 2] = Default::default();
    let (start, mut next) = (monotonic(), [START; 2]);
    while read.iter().any(|r| r.len() < RECORDS as usize) {
        assert!(start.elapsed() < PATIENCE);
        for Batch { partition, records, position, end } in consumer.poll(Duration::from_millis(100)).unwrap() {
            let (i, bytes) = (partition as usize, records.iter().map(|r| r.bytes()).sum::<u64>());
            assert!(bytes <= 4 << 20, "a batch of {bytes} bytes");
            assert!(records.iter().all(|r| (next[i]..position).contains(&r.offset)) && position <= end);
            next[i] = position;
            read[i].extend(records.iter().map(value));
        }
    }
    assert_eq!(read, [numbers(0..RECORDS), numbers(0..RECORDS)]);
}

fn several(g: &Ground) {
    let topic = g.topic("t", 1);
    g.bus.produce(topic, series(0, 0..100)).unwrap();
    let mut first = g.bus.consumer(topic, &[(0, START)]).unwrap();
    let mut second = (g.make)().consumer(topic, &[(0, Offset(50))]).unwrap();
    assert_eq!((read(&mut *first, 100).len(), read(&mut *second, 50).len()), (100, 50));
    drop(first);
    g.bus.produce(topic, series(0, 100..101)).unwrap();
    assert_eq!(value(&read(&mut *second, 1)[0]), "100");
}

fn pause(g: &Ground) {
    let topic = g.topic("t", 2);
    let mut consumer = g.bus.consumer(topic, &[(0, START), (1, START)]).unwrap();
    consumer.pause(&[1]);
    g.bus.produce(topic, [series(1, 0..5), series(0, 0..5)].concat()).unwrap();
    let mut seen = Vec::new();
    let start = monotonic();
    while seen.len() < 5 && start.elapsed() < PATIENCE {
        let batches = consumer.poll(Duration::from_millis(100)).unwrap();
        assert!(batches.iter().all(|b| b.partition == 0), "a paused partition is silent, also about its end");
        seen.extend(batches.into_iter().flat_map(|b| b.records).map(|r| value(&r)));
    }
    assert_eq!(seen, numbers(0..5));
    consumer.pause(&[0]);
    g.bus.produce(topic, series(0, 5..6)).unwrap();
    assert_eq!(read(&mut *consumer, 5).iter().map(value).collect::<Vec<_>>(), numbers(0..5), "the other one's");
    consumer.pause(&[]);
    assert_eq!(value(&read(&mut *consumer, 1)[0]), "5");
}

fn drained(g: &Ground) {
    let topic = g.topic("t", 2);
    g.bus.produce(topic, series(0, 0..3)).unwrap();
    let mut consumer = g.bus.consumer(topic, &[(0, START), (1, START)]).unwrap();
    // Twice: the evidence comes again, at least every second.
    for _ in 0..2 {
        let (start, mut evidence) = (monotonic(), [false; 2]);
        while evidence != [true; 2] {
            assert!(start.elapsed() < Duration::from_secs(5), "no evidence that the partitions are drained");
            for batch in consumer.poll(Duration::from_secs(2)).unwrap() {
                let end = if batch.partition == 0 { 3 } else { 0 };
                assert_eq!(batch.end, Offset(end));
                evidence[batch.partition as usize] |= batch.position == batch.end;
            }
        }
    }
    assert!(time_of_empty_poll(&mut *consumer) < Duration::from_secs(1), "a poll that may not wait does not");
}

fn time_of_empty_poll(consumer: &mut dyn Consumer) -> Duration {
    let start = monotonic();
    assert!(consumer.poll(Duration::ZERO).unwrap().iter().all(|b| b.records.is_empty()));
    start.elapsed()
}

fn wakes(g: &Ground) {
    let topic = g.topic("t", 1);
    let mut consumer = g.bus.consumer(topic, &[(0, START)]).unwrap();
    let other = (g.make)();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(&mut *consumer, 1));
        other.produce(topic, series(0, 0..1)).unwrap();
        assert_eq!(value(&reader.join().unwrap()[0]), "0");
    });
}

fn out_of_range(g: &Ground) {
    let topic = g.create(TopicSpec::journal("t"));
    g.bus.produce(topic, series(0, 0..10)).unwrap();
    g.bus.truncate_journal(topic, Offset(4)).unwrap();
    for resume in [0, 3, 11] {
        let error = g.bus.consumer(topic, &[(0, Offset(resume))]).err().expect("out of range");
        let expected = (0, Offset(resume), Offset(4), Offset(10));
        match error {
            BusError::OutOfRange { partition, resume, log_start, end, .. } => {
                assert_eq!((partition, resume, log_start, end), expected);
            }
            other => panic!("{other:?}"),
        }
    }
    let none = g.bus.consumer(topic, &[(1, START)]).err().expect("no such partition");
    assert!(matches!(none, BusError::NoPartition { partition: 1, .. }), "{none:?}");
    let mut consumer = g.bus.consumer(topic, &[(0, Offset(4))]).unwrap();
    assert_eq!(read(&mut *consumer, 6).iter().map(value).collect::<Vec<_>>(), numbers(4..10));
    assert_eq!(read_while(&mut *g.bus.consumer(topic, &[(0, Offset(10))]).unwrap(), |b| b.is_empty()), []);
}

fn gone_under_reader(g: &Ground) {
    // More than a client fetches ahead of its reader: what was fetched in time is there.
    const RECORDS: u64 = 16;
    const BYTES: u64 = 900_000;
    let topic = g.create(TopicSpec::journal("t"));
    for n in 0..RECORDS {
        g.bus.produce(topic, vec![record(0, "k", &noise(n, BYTES))]).unwrap();
    }
    let mut ahead = g.bus.consumer(topic, &[(0, Offset(RECORDS))]).unwrap();
    let mut behind = g.bus.consumer(topic, &[(0, START)]).unwrap();
    behind.pause(&[0]);
    behind.poll(Duration::ZERO).unwrap();
    g.bus.truncate_journal(topic, Offset(RECORDS)).unwrap();
    behind.pause(&[]);
    let error = poll_error(&mut *behind);
    let says_so = |resume: Offset, log_start| resume < log_start && log_start == Offset(RECORDS);
    assert!(matches!(error, BusError::OutOfRange { resume, log_start, .. } if says_so(resume, log_start)), "{error:?}");
    g.bus.produce(topic, series(0, 5..6)).unwrap();
    assert_eq!(value(&read(&mut *ahead, 1)[0]), "5", "who has read them does not care");
}

/// Letters that no compression makes shorter.
fn noise(seed: u64, bytes: u64) -> String {
    let mut state = seed;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..bytes).map(letter).collect()
}
