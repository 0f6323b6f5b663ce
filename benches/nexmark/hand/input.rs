//! Reads topics to their ends, on the thread that calls.

use crate::common::pipeline::Place;
use crate::events::{Auction, Bid, Person, Side};
use crate::market::found;
use distributary::{Event, Timestamp};
use distributary_runtime::bus::{Consumer, Offset, Record};
use distributary_runtime::error::{Error, Result};
use hashbrown::{HashMap, HashSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How far behind the newest event a watermark is: as the types of the events say.
const DELAY_MS: i64 = 200_000;
/// How long the bus may take to say something.
const WAIT: Duration = Duration::from_millis(100);

/// What a loop is given.
pub(crate) enum Item {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
    Side(Side),
    /// Nothing before this time, in milliseconds, comes any more.
    Passed(i64),
}

/// What becomes of an event that was there before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    Dropped,
    Kept,
}

/// The topics of a query.
pub(crate) struct Input {
    topics: Vec<TopicInput>,
}

struct TopicInput {
    name: String,
    consumer: Box<dyn Consumer>,
    /// Where each partition is, and where it ends.
    partitions: BTreeMap<u32, (Offset, Offset)>,
    /// The newest event of each partition.
    newest: BTreeMap<u32, i64>,
    ids: HashSet<u64>,
}

impl Input {
    /// Opens the topics.
    pub(crate) fn open(place: &Place, topics: &[String]) -> Result<Self> {
        let bus = place.client()?;
        let open = |name: &String| {
            let (topic, found) = found(place, name)?;
            let positions: Vec<_> = found.iter().map(|at| (at.partition, at.log_start)).collect();
            Ok(TopicInput {
                name: name.clone(),
                consumer: bus.consumer(topic.id, &positions)?,
                newest: found.iter().map(|at| (at.partition, i64::MIN)).collect(),
                partitions: found.iter().map(|at| (at.partition, (at.log_start, at.end))).collect(),
                ids: HashSet::new(),
            })
        };
        Ok(Self { topics: topics.iter().map(open).collect::<Result<_>>()? })
    }

    /// Reads the table beside auctions to its end, ahead of everything else.
    pub(crate) fn sides(&mut self) -> Result<HashMap<u64, String>> {
        let mut sides = HashMap::new();
        for topic in self.topics.iter_mut().filter(|topic| topic.name == Side::TOPIC) {
            while topic.has_more() {
                topic.poll(Repeated::Kept, &mut |item| {
                    if let Item::Side(side) = item {
                        sides.insert(side.key, side.value);
                    }
                })?;
            }
        }
        Ok(sides)
    }

    /// Hands over every event, and whenever it is known, how far event time has come.
    pub(crate) fn each(&mut self, repeated: Repeated, mut take: impl FnMut(Item)) -> Result<()> {
        while self.topics.iter().any(TopicInput::has_more) {
            for topic in self.topics.iter_mut().filter(|topic| topic.has_more()) {
                topic.poll(repeated, &mut take)?;
            }
            let newest = self.topics.iter().flat_map(|topic| topic.newest.values()).min();
            take(Item::Passed(newest.copied().unwrap_or(i64::MIN).saturating_sub(DELAY_MS)));
        }
        Ok(())
    }
}

impl TopicInput {
    fn has_more(&self) -> bool {
        self.partitions.values().any(|(at, end)| at < end)
    }

    fn poll(&mut self, repeated: Repeated, take: &mut impl FnMut(Item)) -> Result<()> {
        for batch in self.consumer.poll(WAIT)? {
            if let Some((at, _)) = self.partitions.get_mut(&batch.partition) {
                *at = batch.position;
            }
            let newest = self.newest.entry(batch.partition).or_insert(i64::MIN);
            for record in &batch.records {
                let (id, time, item) = match self.name.as_str() {
                    Person::TOPIC => event(record, |p: &Person| (p.event_id, p.date_time), Item::Person)?,
                    Auction::TOPIC => event(record, |a: &Auction| (a.event_id, a.date_time), Item::Auction)?,
                    Side::TOPIC => event(record, |s: &Side| (s.key, s.since), Item::Side)?,
                    _ => event(record, |b: &Bid| (b.event_id, b.date_time), Item::Bid)?,
                };
                *newest = (*newest).max(time.as_millis());
                if repeated == Repeated::Kept || self.ids.insert(id) {
                    take(item);
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn event<'a, E: Deserialize<'a>>(
    record: &'a Record,
    about: impl Fn(&E) -> (u64, Timestamp),
    item: impl Fn(E) -> Item,
) -> Result<(u64, Timestamp, Item)> {
    let value = record.value.as_deref().unwrap_or_default();
    let event: E = serde_json::from_slice(value).map_err(|e| Error::refused(format!("an event: {e}"), "publish it anew"))?;
    let (id, time) = about(&event);
    Ok((id, time, item(event)))
}
