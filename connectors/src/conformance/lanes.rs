//! Lanes: records of several topics and a marker in one step, for one owner.

use super::{Case, Ground, Need, PATIENCE, numbers, series};
use distributary_runtime::bus::{Bus, BusError, LaneCommit, Marker, NewRecord, Token, TopicId};
use distributary_runtime::time::{Epoch, monotonic};

const ATOMIC: Need = Need { name: "atomic_lanes", has: |f| f.atomic_lanes };

pub(super) const CASES: &[Case] = &[
    Case { name: "a lane commits to several topics and remembers its marker", needs: Some(ATOMIC), show: commits },
    Case { name: "an older incarnation is refused", needs: Some(ATOMIC), show: older_token },
    Case { name: "a commit on another marker is refused", needs: Some(ATOMIC), show: other_marker },
    Case { name: "a commit that fails leaves nothing", needs: Some(ATOMIC), show: nothing_half },
    Case { name: "lanes do not feel each other", needs: Some(ATOMIC), show: independent },
    Case { name: "of two owners at once only the newer commits", needs: Some(ATOMIC), show: two_owners },
];

fn marker(epoch: u64) -> Marker {
    Marker { generation: 3, epoch: Epoch(epoch) }
}

struct Lane<'a> {
    bus: &'a dyn Bus,
    name: String,
}

impl Lane<'_> {
    fn commit(
        &self,
        token: u64,
        previous: Option<Marker>,
        next: Marker,
        records: Vec<(TopicId, NewRecord)>,
    ) -> Result<(), BusError> {
        self.bus.commit_lane(&LaneCommit { lane: self.name.clone(), token: Token(token), previous, marker: next, records })
    }

    fn fence(&self, token: u64) -> Result<Option<Marker>, BusError> {
        self.bus.fence_lane(&self.name, Token(token))
    }
}

fn lane<'a>(g: &'a Ground, name: &str) -> Lane<'a> {
    Lane { bus: &*g.bus, name: g.name(name) }
}

fn to(topic: TopicId, records: Vec<NewRecord>) -> Vec<(TopicId, NewRecord)> {
    records.into_iter().map(|r| (topic, r)).collect()
}

fn is_fenced(result: Result<impl std::fmt::Debug, BusError>) {
    assert!(matches!(result, Err(BusError::Fenced { .. })), "{result:?}");
}

fn commits(g: &Ground) {
    let (a, b, lane) = (g.topic("a", 2), g.topic("b", 1), lane(g, "l"));
    assert_eq!(lane.fence(5).unwrap(), None, "nothing visible yet");
    let first = [to(a, series(1, 0..2)), to(b, series(0, 0..3)), to(a, series(1, 2..4))].concat();
    lane.commit(5, None, marker(10), first).unwrap();
    lane.commit(5, Some(marker(10)), marker(11), to(b, series(0, 3..4))).unwrap();
    lane.commit(5, Some(marker(11)), marker(15), vec![]).unwrap();
    assert_eq!((g.values(a, 0), g.values(a, 1), g.values(b, 0)), (vec![], numbers(0..4), numbers(0..4)), "in their order");
    assert_eq!((g.make)().fence_lane(&lane.name, Token(5)).unwrap(), Some(marker(15)), "fencing again tells the marker");
    let restarted = Marker { generation: 4, epoch: Epoch(2) };
    lane.commit(5, Some(marker(15)), restarted, vec![]).unwrap();
    assert_eq!(lane.fence(6).unwrap(), Some(restarted), "a new generation may begin anywhere");
}

fn older_token(g: &Ground) {
    let (topic, lane) = (g.topic("t", 1), lane(g, "l"));
    is_fenced(lane.commit(1, None, marker(1), to(topic, series(0, 0..1))));
    lane.fence(1).unwrap();
    lane.commit(1, None, marker(1), vec![]).unwrap();
    assert_eq!(lane.fence(2).unwrap(), Some(marker(1)));
    is_fenced(lane.commit(1, Some(marker(1)), marker(2), to(topic, series(0, 0..1))));
    is_fenced(lane.fence(1));
    is_fenced(lane.commit(3, Some(marker(1)), marker(2), to(topic, series(0, 0..1))));
    assert_eq!(g.values(topic, 0), numbers(0..0));
    lane.commit(2, Some(marker(1)), marker(2), to(topic, series(0, 0..1))).unwrap();
}

fn other_marker(g: &Ground) {
    let (topic, lane) = (g.topic("t", 1), lane(g, "l"));
    lane.fence(1).unwrap();
    is_fenced(lane.commit(1, Some(marker(0)), marker(1), to(topic, series(0, 0..1))));
    lane.commit(1, None, marker(7), to(topic, series(0, 0..1))).unwrap();
    // The same commit once more, and one that overtakes.
    is_fenced(lane.commit(1, None, marker(7), to(topic, series(0, 0..1))));
    is_fenced(lane.commit(1, Some(marker(8)), marker(9), to(topic, series(0, 0..1))));
    assert_eq!((g.values(topic, 0), lane.fence(1).unwrap()), (numbers(0..1), Some(marker(7))));
}

fn nothing_half(g: &Ground) {
    let (here, gone, lane) = (g.topic("here", 1), g.topic("gone", 1), lane(g, "l"));
    g.bus.delete_topic(&g.name("gone")).unwrap();
    lane.fence(1).unwrap();
    let result = lane.commit(1, None, marker(1), [to(here, series(0, 0..9)), to(gone, series(0, 0..1))].concat());
    assert!(matches!(result, Err(BusError::TopicChanged { topic }) if topic == gone), "{result:?}");
    let result = lane.commit(1, None, marker(1), [to(here, series(0, 0..9)), to(here, series(1, 0..1))].concat());
    assert!(matches!(result, Err(BusError::NoPartition { partition: 1, .. })), "{result:?}");
    assert_eq!((g.values(here, 0), lane.fence(1).unwrap()), (vec![], None));
}

fn independent(g: &Ground) {
    let (topic, one, two) = (g.topic("t", 1), lane(g, "1"), lane(g, "2"));
    one.fence(9).unwrap();
    one.commit(9, None, marker(5), to(topic, series(0, 0..1))).unwrap();
    assert_eq!(two.fence(4).unwrap(), None);
    two.commit(4, None, marker(1), to(topic, series(0, 1..2))).unwrap();
    assert_eq!((one.fence(9).unwrap(), two.fence(4).unwrap()), (Some(marker(5)), Some(marker(1))));
    assert_eq!(g.values(topic, 0), numbers(0..2));
}

/// The older owner commits until it is refused, the newer takes over somewhere in between: each epoch stands once.
///
/// Both do what a pipeline does. A commit that is neither done nor refused is in doubt, and to fence again tells what stands: a broker
/// that is just shutting an owner out may answer a commit of either with any error.
fn two_owners(g: &Ground) {
    const EPOCHS: u64 = 60;
    let topic = g.topic("t", 1);
    let name = g.name("l");
    let work = |token: u64, bus: &dyn Bus, mut stands: Result<Option<Marker>, BusError>| {
        let (lane, start) = (Lane { bus, name: name.clone() }, monotonic());
        loop {
            let previous = match stands {
                Ok(previous) => previous,
                Err(BusError::Fenced { .. }) => return,
                Err(error) => {
                    assert!(start.elapsed() < PATIENCE, "token {token}: {error}");
                    stands = lane.fence(token);
                    continue;
                }
            };
            let epoch = previous.map_or(0, |m| m.epoch.0 + 1);
            if epoch == EPOCHS {
                return;
            }
            let commit = lane.commit(token, previous, marker(epoch), to(topic, series(0, epoch..epoch + 1)));
            stands = commit.map(|()| Some(marker(epoch)));
        }
    };
    g.bus.fence_lane(&name, Token(1)).unwrap();
    std::thread::scope(|scope| {
        let old = (g.make)();
        let (name, work) = (&name, &work);
        scope.spawn(move || work(1, &*old, Ok(None)));
        let new = (g.make)();
        scope.spawn(move || {
            let taken = new.fence_lane(name, Token(2));
            work(2, &*new, taken);
        });
    });
    assert_eq!(g.values(topic, 0), numbers(0..EPOCHS));
}
