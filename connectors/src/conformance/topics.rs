//! Topics: made once, known by their id, gone when deleted.

use super::{Case, Ground, START, poll_error, read, record, series};
use distributary_runtime::bus::{BusError, Offset, TopicForm, TopicSpec};

pub(super) const CASES: &[Case] = &[
    Case { name: "a topic is created once and stands as it was made", needs: None, show: created_once },
    Case { name: "names and partition numbers that cannot be are refused", needs: None, show: bad_specs },
    Case { name: "a topic that is not there", needs: None, show: not_there },
    Case { name: "a deleted topic is gone for everybody who knew it", needs: None, show: deleted },
    Case { name: "a re-created topic is another one", needs: None, show: recreated },
    Case { name: "partitions can be added, and read", needs: None, show: added_partitions },
];

fn created_once(g: &Ground) {
    let spec = TopicSpec {
        name: g.name("Orders_1-a.b"),
        partitions: 3,
        form: TopicForm::Upsert,
        retention_ms: None,
        retention_bytes: Some(1 << 30),
    };
    assert!(g.bus.create_topic(&spec).unwrap());
    let topic = g.bus.topic(&spec.name).unwrap().unwrap();
    assert_eq!(topic.spec, spec);
    assert!(!g.bus.create_topic(&TopicSpec { partitions: 7, ..spec.clone() }).unwrap(), "it exists");
    assert_eq!((g.make)().topic(&spec.name).unwrap(), Some(topic.clone()), "unchanged, and the same for every handle");
    let other = g.topic("another", 1);
    assert_ne!(other, topic.id);
    let listed = g.bus.topics().unwrap();
    assert!(listed.contains(&topic) && listed.iter().any(|t| t.id == other));
    assert!(listed.is_sorted_by(|a, b| a.spec.name < b.spec.name), "by name, each once");
    assert_eq!(g.ends(topic.id), [0, 0, 0]);
}

fn bad_specs(g: &Ground) {
    for name in ["", ".", "..", "a b", "a/b", "ü", "a\n", &"x".repeat(300)] {
        let result = g.bus.create_topic(&TopicSpec::new(name, 1));
        assert!(matches!(result, Err(BusError::Invalid(_))), "{name:?}: {result:?}");
    }
    let result = g.bus.create_topic(&TopicSpec::new(g.name("none"), 0));
    assert!(matches!(result, Err(BusError::Invalid(_))), "{result:?}");
    assert_eq!(g.bus.topic(&g.name("none")).unwrap(), None);
}

fn not_there(g: &Ground) {
    let name = g.name("nobody");
    assert_eq!(g.bus.topic(&name).unwrap(), None);
    assert!(matches!(g.bus.delete_topic(&name), Err(BusError::NoTopic(n)) if n == name));
    assert!(matches!(g.bus.add_partitions(&name, 2), Err(BusError::NoTopic(n)) if n == name));
}

fn deleted(g: &Ground) {
    let topic = g.topic("t", 1);
    g.bus.produce(topic, vec![record(0, "k", "v")]).unwrap();
    let mut consumer = g.bus.consumer(topic, &[(0, START)]).unwrap();
    read(&mut *consumer, 1);
    g.bus.delete_topic(&g.name("t")).unwrap();
    assert_eq!(g.bus.topic(&g.name("t")).unwrap(), None);
    for error in [
        poll_error(&mut *consumer),
        poll_error(&mut *consumer),
        g.bus.offsets(topic).unwrap_err(),
        g.bus.produce(topic, vec![record(0, "k", "v")]).unwrap_err(),
        g.bus.consumer(topic, &[(0, START)]).err().unwrap(),
    ] {
        assert!(matches!(error, BusError::TopicChanged { topic: t } if t == topic), "{error:?}");
    }
}

fn recreated(g: &Ground) {
    let old = g.topic("t", 1);
    g.bus.produce(old, series(0, 0..5)).unwrap();
    let mut consumer = g.bus.consumer(old, &[(0, Offset(5))]).unwrap();
    g.bus.delete_topic(&g.name("t")).unwrap();
    let new = g.topic("t", 1);
    assert_ne!(old, new);
    assert_eq!(g.ends(new), [0], "nothing of the old one is left");
    g.bus.produce(new, series(0, 0..9)).unwrap();
    for error in [poll_error(&mut *consumer), g.bus.produce(old, series(0, 0..1)).unwrap_err()] {
        assert!(matches!(error, BusError::TopicChanged { topic } if topic == old), "{error:?}");
    }
    assert_eq!(g.ends(new), [9], "a producer that knew the old topic wrote nothing");
}

fn added_partitions(g: &Ground) {
    let topic = g.topic("t", 1);
    g.bus.produce(topic, series(0, 0..3)).unwrap();
    let mut consumer = g.bus.consumer(topic, &[(0, START)]).unwrap();
    assert!(matches!(consumer.assign(1, START), Err(BusError::NoPartition { partition: 1, .. })));
    let early = g.bus.produce(topic, vec![record(1, "k", "v")]);
    assert!(matches!(early, Err(BusError::NoPartition { partition: 1, .. })), "{early:?}");
    (g.make)().add_partitions(&g.name("t"), 3).unwrap();
    assert_eq!(g.bus.topic(&g.name("t")).unwrap().map(|t| (t.id, t.spec.partitions)), Some((topic, 3)), "the same topic");
    assert_eq!(g.ends(topic), [3, 0, 0]);
    g.bus.produce(topic, vec![record(2, "k", "v")]).unwrap();
    consumer.assign(2, START).unwrap();
    assert_eq!(read(&mut *consumer, 4).len(), 4);
    g.bus.add_partitions(&g.name("t"), 3).unwrap();
    assert!(matches!(g.bus.add_partitions(&g.name("t"), 2), Err(BusError::Invalid(_))), "they are never taken away");
}
