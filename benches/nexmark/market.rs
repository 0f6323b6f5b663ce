//! A marketplace made up: the kinds and sizes of events, the hot auctions, sellers and bidders of the benchmark's own generator.

use crate::common::pipeline::Place;
use crate::events::{Auction, Bid, Person, Side};
use distributary::Event;
use distributary_runtime::bus::{BusError, NewRecord, PartitionOffsets, Topic};
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::WallTime;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Of fifty events in a row one is a person, three are auctions, the others bids.
const GROUP: u64 = 50;
const AUCTIONS: u64 = 3;
/// 2024-02-28T06:30:00Z.
const BEGIN_MS: u64 = 1_709_101_800_000;
/// Events are out of order by less than this.
const DISORDER_MS: u64 = 500;
/// What comes last in each partition is so much later that every window closes.
const LAST_AFTER_MS: u64 = 3_600_000;
/// Of the table beside auctions, these keys are there: every third.
const SIDE_KEYS: u64 = 10_000;
const SIDE_STEP: usize = 3;
const FIRST_ID: u64 = 1_000;
/// One of so many auctions, sellers and bidders at a time is hot.
const HOT_EVERY: u64 = 100;
/// Bids go to one of so many of the newest auctions, and come from one of so many of the newest persons.
const OPEN_AUCTIONS: u64 = 100;
const ACTIVE_PERSONS: u64 = 1_000;
/// Records that are handed to the bus at once.
const BATCH: usize = 1_000;

const STATES: [&str; 6] = ["az", "ca", "id", "or", "wa", "wy"];
const CITIES: [&str; 5] = ["phoenix", "boise", "portland", "seattle", "cheyenne"];
const CHANNELS: [&str; 4] = ["Apple", "Google", "Facebook", "Baidu"];

/// Events at a steady rate of event time.
#[derive(Clone, Copy)]
pub(crate) struct Market {
    pub(crate) events: u64,
    pub(crate) rate_per_s: u64,
}

impl Market {
    /// Publishes all of them, and in each partition its last one again, much later: a repetition, which no query takes, that lets
    /// every window close.
    pub(crate) fn publish(self, place: &Place) -> Result<()> {
        let bus = place.client()?;
        let mut topics = BTreeMap::new();
        for name in [Person::TOPIC, Auction::TOPIC, Bid::TOPIC] {
            topics.insert(name, place.topic(name)?);
        }
        let mut last: BTreeMap<(&str, u32), u64> = BTreeMap::new();
        let mut waiting: BTreeMap<&str, Vec<(u64, NewRecord)>> = BTreeMap::new();
        for index in 0..=self.events {
            if index < self.events {
                let (topic, record) = self.record(index, self.time_ms(index))?;
                waiting.entry(topic).or_default().push((index, record));
            }
            for (topic, waiting) in &mut waiting {
                if waiting.len() == BATCH || index == self.events {
                    let (indices, records): (Vec<u64>, Vec<NewRecord>) = waiting.drain(..).unzip();
                    let places = bus.produce(topics[topic].id, records)?;
                    last.extend(places.iter().zip(indices).map(|((partition, _), index)| ((*topic, *partition), index)));
                }
            }
        }
        for ((topic, partition), index) in last {
            let (_, record) = self.record(index, self.time_ms(self.events) + LAST_AFTER_MS)?;
            bus.produce(topics[topic].id, vec![NewRecord { partition: Some(partition), ..record }])?;
        }
        let sides: Vec<NewRecord> = (0..SIDE_KEYS).step_by(SIDE_STEP).map(side).collect::<Result<_>>()?;
        place.publish(&place.topic(Side::TOPIC)?, sides.into_iter())
    }

    /// When an event happened.
    fn time_ms(self, index: u64) -> u64 {
        BEGIN_MS + index * 1_000 / self.rate_per_s + DISORDER_MS - Random(index).below(DISORDER_MS)
    }

    /// An event as its producer writes it: with the key that its type names.
    fn record(self, index: u64, time_ms: u64) -> Result<(&'static str, NewRecord)> {
        let (group, place) = (index / GROUP, index % GROUP);
        let mut random = Random(!index);
        let head = format!(r#"{{"event_id":{index},"date_time":{time_ms}"#);
        let (topic, rest) = match place {
            0 => (Person::TOPIC, person(group, &mut random)),
            1..=AUCTIONS => (Auction::TOPIC, self.auction(group, place - 1, time_ms, &mut random)),
            _ => (Bid::TOPIC, bid(group, &mut random)),
        };
        let text = format!(r#"{head},"type":"{topic}",{rest}}}"#);
        let key = match place {
            0 => key_of::<Person>(&text),
            1..=AUCTIONS => key_of::<Auction>(&text),
            _ => key_of::<Bid>(&text),
        };
        let timestamp = WallTime(time_ms.cast_signed());
        let record =
            NewRecord { partition: None, timestamp, key: key?.map(Into::into), value: Some(text.into()), headers: vec![] };
        Ok((topic, record))
    }

    fn auction(self, group: u64, of_group: u64, time_ms: u64, random: &mut Random) -> String {
        let id = FIRST_ID + group * AUCTIONS + of_group;
        // Three sellers of four are the hot one.
        let seller = match random.below(4) {
            0 => person_of(group, random),
            _ => FIRST_ID + group / HOT_EVERY * HOT_EVERY,
        };
        // As long as a hundred auctions are open, on average.
        let open_ms = (OPEN_AUCTIONS * GROUP / AUCTIONS * 1_000 / self.rate_per_s).max(1);
        let expires = time_ms + 1 + random.below(2 * open_ms);
        let (item, description) = (random.letters(20), random.letters(100));
        let initial = random.price();
        let (reserve, category) = (initial + random.price(), 10 + random.below(5));
        let long = 20 + random.below(30);
        let extra = random.letters(long);
        format!(
            r#""id":{id},"item_name":"{item}","description":"{description}","initial_bid":{initial},"reserve":{reserve},"expires":{expires},"seller":{seller},"category":{category},"extra":"{extra}""#
        )
    }
}

fn person(group: u64, random: &mut Random) -> String {
    let id = FIRST_ID + group;
    let (name, mail, extra) = (random.letters(12), random.letters(7), random.letters(50));
    let (city, state) = (random.one_of(&CITIES), random.one_of(&STATES));
    let card = 1_000_000_000_000_000 + random.below(9_000_000_000_000_000);
    format!(
        r#""id":{id},"name":"{name}","email_address":"{mail}@example.com","credit_card":"{card}","city":"{city}","state":"{state}","extra":"{extra}""#
    )
}

fn bid(group: u64, random: &mut Random) -> String {
    let newest = (group + 1) * AUCTIONS - 1;
    // Every other bid is for the hot auction, three of four are the hot bidder's.
    let auction = match random.below(2) {
        0 => newest - random.below(OPEN_AUCTIONS.min(newest + 1)),
        _ => newest / HOT_EVERY * HOT_EVERY,
    };
    let bidder = match random.below(4) {
        0 => person_of(group, random),
        _ => FIRST_ID + group / HOT_EVERY * HOT_EVERY + 1,
    };
    let price = random.price();
    let (channel, path, id) = match random.below(2) {
        0 => (random.one_of(&CHANNELS).to_string(), "abc/def/ghi".to_string(), String::new()),
        _ => {
            let number = random.below(10_000);
            let path = format!("{}/{}/{}", random.letters(3), random.letters(4), random.letters(3));
            // Nine of ten are named by number.
            let id = if random.below(10) > 0 { format!("&channel_id={}", number << 16) } else { String::new() };
            (format!("channel-{number}"), path, id)
        }
    };
    let long = 5 + random.below(10);
    let extra = random.letters(long);
    format!(
        r#""auction":{},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"https://www.nexmark.com/{path}/item.htm?query=1{id}","extra":"{extra}""#,
        FIRST_ID + auction
    )
}

fn side(key: u64) -> Result<NewRecord> {
    let text = format!(r#"{{"key":{key},"since":0,"value":"side-{key}"}}"#);
    let key = key_of::<Side>(&text)?.map(Into::into);
    Ok(NewRecord { partition: None, timestamp: WallTime(0), key, value: Some(text.into()), headers: vec![] })
}

/// One of the newest persons.
fn person_of(group: u64, random: &mut Random) -> u64 {
    FIRST_ID + group - random.below(ACTIVE_PERSONS.min(group + 1))
}

fn key_of<E: Event + for<'a> Deserialize<'a>>(text: &str) -> Result<Option<Vec<u8>>> {
    let event: E =
        serde_json::from_str(text).map_err(|e| Error::refused(format!("an event that was made up: {e}"), "mend it"))?;
    Ok(event.key())
}

/// A topic, and what stands in its partitions.
pub(crate) fn found(place: &Place, name: &str) -> Result<(Topic, Vec<PartitionOffsets>)> {
    let bus = place.client()?;
    let topic = bus.topic(name)?.ok_or_else(|| BusError::NoTopic(name.to_string()))?;
    let offsets = bus.offsets(topic.id)?;
    Ok((topic, offsets))
}

/// Numbers that look drawn: the same for the same event, whatever was made before.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn letters(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    /// From a dollar to a million, as many of each magnitude.
    fn price(&mut self) -> u64 {
        let magnitude = self.below(1 << 20) as f64 / f64::from(1 << 20) * 6.0;
        (10_f64.powf(magnitude) * 100.0).round() as u64
    }
}
