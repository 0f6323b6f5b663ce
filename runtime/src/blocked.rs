//! Partitions that somebody's open transaction blocks: the log goes on, and no reader may see it. Blocked is not idle.

use crate::binding::Feed;
use crate::bus::Offset;
use crate::time::WallTime;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which partitions are blocked, and since when: a fold of what the readers report.
#[derive(Debug, Default)]
pub struct Blocked(BTreeMap<Feed, Since>);

/// A partition that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Where the oldest open transaction begins: the next offset to be read.
    pub position: Offset,
    /// Where the log ends behind it.
    pub end: Offset,
    /// When it was first seen so, for people.
    pub since: WallTime,
    /// The same on the monotonic scale that readers' reports are heard on.
    pub heard_at: Duration,
}

impl Blocked {
    /// A fetch was answered: nothing may be read at `position`, though the log goes on to `end`. Where the position is
    /// still the same, so is the transaction.
    pub fn hear(&mut self, feed: Feed, (position, end): (Offset, Offset), (now, heard_at): (WallTime, Duration)) {
        let new = Since { position, end, since: now, heard_at };
        let since = self.0.entry(feed).or_insert(new);
        *since = if since.position == position { Since { end, ..*since } } else { new };
    }

    /// The partition has brought something, or has nothing more.
    pub fn goes_on(&mut self, feed: Feed) {
        self.0.remove(&feed);
    }

    /// How long a partition has been blocked; no time when it is not.
    #[must_use]
    pub fn lasts(&self, feed: Feed, now: Duration) -> Duration {
        self.0.get(&feed).map_or(Duration::ZERO, |since| now.saturating_sub(since.heard_at))
    }

    /// Every blocked partition.
    pub fn iter(&self) -> impl Iterator<Item = (Feed, Since)> {
        self.0.iter().map(|(feed, since)| (*feed, *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::SourcePartition;
    use crate::bus::TopicId;

    #[test]
    fn a_partition_is_blocked_from_the_first_word_until_it_goes_on() {
        let feed = Feed { source: 0, partition: SourcePartition::Bus { topic: TopicId([1; 16]), partition: 2 } };
        let (mut blocked, at) = (Blocked::default(), |s: u64| (WallTime(s as i64 * 1_000), Duration::from_secs(s)));
        let lasts = |blocked: &Blocked, s| blocked.lasts(feed, Duration::from_secs(s)).as_secs();
        assert_eq!(lasts(&blocked, 5), 0);
        blocked.hear(feed, (Offset(7), Offset(9)), at(5));
        blocked.hear(feed, (Offset(7), Offset(12)), at(6));
        assert_eq!(lasts(&blocked, 8), 3);
        let since = Since { position: Offset(7), end: Offset(12), since: WallTime(5_000), heard_at: Duration::from_secs(5) };
        assert_eq!(blocked.iter().collect::<Vec<_>>(), [(feed, since)]);
        // Another transaction, behind the first.
        blocked.hear(feed, (Offset(10), Offset(12)), at(9));
        assert_eq!(lasts(&blocked, 10), 1);
        blocked.goes_on(feed);
        assert_eq!((lasts(&blocked, 20), blocked.iter().count()), (0, 0));
    }
}
