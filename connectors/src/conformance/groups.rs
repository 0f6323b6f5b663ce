//! Group offsets: what lag tools see.

use super::{Case, Ground};
use distributary_runtime::bus::Offset;

pub(super) const CASES: &[Case] = &[Case { name: "a group's offsets are what was published last", needs: None, show: published }];

fn published(g: &Ground) {
    let (topic, other, group) = (g.topic("t", 3), g.topic("o", 1), g.name("team"));
    assert_eq!(g.bus.group(&group, topic).unwrap(), []);
    assert!(!g.bus.groups().unwrap().contains(&group));
    g.bus.commit_group(&group, topic, &[(2, Offset(7)), (0, Offset(4))]).unwrap();
    g.bus.commit_group(&group, other, &[(0, Offset(1))]).unwrap();
    for _ in 0..2 {
        g.bus.commit_group(&group, topic, &[(2, Offset(9))]).unwrap();
        assert_eq!((g.make)().group(&group, topic).unwrap(), [(0, Offset(4)), (2, Offset(9))]);
    }
    assert_eq!(g.bus.group(&group, other).unwrap(), [(0, Offset(1))]);
    assert_eq!(g.bus.groups().unwrap().iter().filter(|name| **name == group).count(), 1);
    g.bus.delete_topic(&g.name("t")).unwrap();
    assert_eq!(g.bus.group(&group, topic).unwrap(), []);
}
