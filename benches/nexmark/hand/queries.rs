//! A loop for each query. What a row consists of is copied from `examples/nexmark/queries.rs`: that is the author's work on either side.

use super::{Input, Item, Repeated};
use crate::events::{Auction, Bid, Person};
use crate::rows::Writer;
use distributary::Timestamp;
use distributary_runtime::error::Result;
use hashbrown::{HashMap, HashSet};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The fields of a line.
macro_rules! line {
    ($($field:expr),+ $(,)?) => { [$($field.to_string()),+].join(",") };
}

const WINDOW_MS: i64 = 10_000;
const SLICE_MS: i64 = 2_000;
const GAP_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
const BEST: usize = 10;

/// Dollars as euros, which have three decimals.
fn euros(dollars: i64) -> String {
    let thousandths = dollars * 908;
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// Every event is a bid.
fn bids(input: &mut Input, mut take: impl FnMut(Bid)) -> Result<()> {
    input.each(Repeated::Dropped, |item| {
        if let Item::Bid(bid) = item {
            take(bid);
        }
    })
}

pub(super) fn q0(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| out.row(&line![b.auction, b.bidder, b.price, b.date_time.as_millis(), b.extra]))
}

pub(super) fn q1(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| out.row(&line![b.auction, b.bidder, euros(b.price), b.date_time.as_millis(), b.extra]))
}

pub(super) fn q2(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| {
        if b.auction % 123 == 0 {
            out.row(&line![b.auction, b.price]);
        }
    })
}

/// Sellers are kept, and of others that there are such; what is sold by somebody unknown waits.
pub(super) fn q3(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut sellers: HashMap<u64, Option<Person>> = HashMap::new();
    let mut waiting: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut say = |p: &Person, auction: u64| out.row(&line![p.name, p.city, p.state, auction]);
    input.each(Repeated::Dropped, |item| match item {
        Item::Person(p) => {
            let (id, auctions) = (p.id, waiting.remove(&p.id));
            let seller = ["OR", "ID", "CA"].contains(&p.state.to_uppercase().as_str()).then_some(p);
            if let Some(p) = &seller {
                auctions.into_iter().flatten().for_each(|auction| say(p, auction));
            }
            sellers.insert(id, seller);
        }
        Item::Auction(a) if a.category == 10 => match sellers.get(&a.seller) {
            Some(Some(p)) => say(p, a.id),
            Some(None) => {}
            None => waiting.entry(a.seller).or_default().push(a.id),
        },
        _ => {}
    })
}

/// Gives every bid with its auction, once both are there; `keep` says what is kept of an auction, or that nobody wants its bids.
fn offers<A>(
    input: &mut Input,
    keep: impl Fn(Auction) -> Option<A>,
    mut take: impl FnMut(u64, &mut A, Bid),
) -> Result<HashMap<u64, Option<A>>> {
    let mut auctions: HashMap<u64, Option<A>> = HashMap::new();
    let mut waiting: HashMap<u64, Vec<Bid>> = HashMap::new();
    input.each(Repeated::Dropped, |item| match item {
        Item::Auction(a) => {
            let id = a.id;
            let mut kept = keep(a);
            for bid in waiting.remove(&id).into_iter().flatten() {
                if let Some(auction) = &mut kept {
                    take(id, auction, bid);
                }
            }
            auctions.insert(id, kept);
        }
        Item::Bid(bid) => match auctions.get_mut(&bid.auction) {
            Some(Some(auction)) => take(bid.auction, auction, bid),
            Some(None) => {}
            None => waiting.entry(bid.auction).or_default().push(bid),
        },
        _ => {}
    })?;
    Ok(auctions)
}

pub(super) fn q4(input: &mut Input, out: &mut Writer) -> Result<()> {
    struct Open {
        times: (Timestamp, Timestamp),
        category: u64,
        price: Option<i64>,
    }
    let keep = |a: Auction| Some(Open { times: (a.date_time, a.expires), category: a.category, price: None });
    let auctions = offers(input, keep, |_, open, b| {
        if (open.times.0..=open.times.1).contains(&b.date_time) {
            open.price = open.price.max(Some(b.price));
        }
    })?;
    let mut ends: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
    for (category, price) in auctions.values().flatten().filter_map(|open| Some((open.category, open.price?))) {
        let (sum, count) = ends.entry(category).or_default();
        *sum += price;
        *count += 1;
    }
    ends.into_iter().for_each(|(category, (sum, count))| out.row(&line![category, sum.div_euclid(count)]));
    Ok(())
}

/// Counts by slices of two seconds; of five slices a window is made when time has passed it.
pub(super) fn q5(input: &mut Input, out: &mut Writer) -> Result<()> {
    const SLICES: i64 = WINDOW_MS / SLICE_MS;
    let mut slices: BTreeMap<i64, HashMap<u64, u64>> = BTreeMap::new();
    // The first window that has not been said.
    let mut next: Option<i64> = None;
    input.each(Repeated::Dropped, |item| match item {
        Item::Bid(b) => {
            let slice = b.date_time.as_millis().div_euclid(SLICE_MS);
            *slices.entry(slice).or_default().entry(b.auction).or_default() += 1;
        }
        Item::Passed(watermark) => {
            while let Some((first, last)) = slices.first_key_value().map(|s| *s.0).zip(slices.last_key_value().map(|s| *s.0)) {
                let start = next.unwrap_or(first - SLICES + 1).max(first - SLICES + 1);
                if start > last || (start + SLICES) * SLICE_MS > watermark {
                    break;
                }
                let mut counts: HashMap<u64, u64> = HashMap::new();
                for (auction, count) in slices.range(start..start + SLICES).flat_map(|(_, counts)| counts) {
                    *counts.entry(*auction).or_default() += count;
                }
                let most = counts.values().max().copied().unwrap_or_default();
                for (auction, count) in counts.iter().filter(|(_, count)| **count == most) {
                    out.row(&line![start * SLICE_MS, auction, count]);
                }
                slices.retain(|slice, _| *slice > start);
                next = Some(start + 1);
            }
        }
        _ => {}
    })
}

/// Of each window the highest price and the bids of that price.
pub(super) fn q7(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut windows: BTreeMap<i64, (i64, Vec<Bid>)> = BTreeMap::new();
    input.each(Repeated::Dropped, |item| match item {
        Item::Bid(b) => {
            let (highest, bids) = windows.entry(b.date_time.as_millis().div_euclid(WINDOW_MS)).or_insert((i64::MIN, Vec::new()));
            if b.price > *highest {
                *highest = b.price;
                bids.clear();
            }
            if b.price == *highest {
                bids.push(b);
            }
        }
        Item::Passed(watermark) => {
            while let Some((_, (_, bids))) = passed(&mut windows, watermark) {
                for b in bids {
                    out.row(&line![b.auction, b.bidder, b.price, b.date_time.as_millis(), b.extra]);
                }
            }
        }
        _ => {}
    })
}

/// The first of these windows, if time has passed it.
fn passed<W>(windows: &mut BTreeMap<i64, W>, watermark: i64) -> Option<(i64, W)> {
    let first = windows.first_entry()?;
    ((first.key() + 1) * WINDOW_MS <= watermark).then(|| first.remove_entry())
}

/// Of each window who came, and who sold.
pub(super) fn q8(input: &mut Input, out: &mut Writer) -> Result<()> {
    #[derive(Default)]
    struct Open {
        came: HashMap<u64, String>,
        sold: HashSet<u64>,
    }
    let mut windows: BTreeMap<i64, Open> = BTreeMap::new();
    input.each(Repeated::Dropped, |item| match item {
        Item::Person(p) => {
            let open = windows.entry(p.date_time.as_millis().div_euclid(WINDOW_MS)).or_default();
            open.came.insert(p.id, p.name);
        }
        Item::Auction(a) => {
            windows.entry(a.date_time.as_millis().div_euclid(WINDOW_MS)).or_default().sold.insert(a.seller);
        }
        Item::Passed(watermark) => {
            while let Some((window, open)) = passed(&mut windows, watermark) {
                for (id, name) in open.came.iter().filter(|(id, _)| open.sold.contains(*id)) {
                    out.row(&line![id, name, window * WINDOW_MS]);
                }
            }
        }
        _ => {}
    })
}

pub(super) fn q9(input: &mut Input, out: &mut Writer) -> Result<()> {
    let auctions = offers(
        input,
        |a| Some((a, None::<Bid>)),
        |_, (a, best), b| {
            let is_better = |best: &Bid| rank(&b) > rank(best);
            if (a.date_time..=a.expires).contains(&b.date_time) && best.as_ref().is_none_or(is_better) {
                *best = Some(b);
            }
        },
    )?;
    for (a, b) in auctions.into_values().flatten().filter_map(|(a, best)| Some((a, best?))) {
        let (begins, ends) = (a.date_time.as_millis(), a.expires.as_millis());
        let auction =
            line![a.id, a.item_name, a.description, a.initial_bid, a.reserve, begins, ends, a.seller, a.category, a.extra];
        let bid = line![b.auction, b.bidder, b.price, b.date_time.as_millis(), b.extra];
        out.row(&line![auction, bid]);
    }
    Ok(())
}

/// The highest, of these the first.
fn rank(b: &Bid) -> (i64, Reverse<Timestamp>, Reverse<u64>) {
    (b.price, Reverse(b.date_time), Reverse(b.event_id))
}

/// Of each bidder the sessions that are open, most often one; and when to look whether one of them has ended.
pub(super) fn q11(input: &mut Input, out: &mut Writer) -> Result<()> {
    struct Session {
        first: i64,
        last: i64,
        count: u64,
    }
    let mut open: HashMap<u64, Vec<Session>> = HashMap::new();
    let mut looks: BinaryHeap<Reverse<(i64, u64)>> = BinaryHeap::new();
    input.each(Repeated::Dropped, |item| match item {
        Item::Bid(b) => {
            let at = b.date_time.as_millis();
            let sessions = open.entry(b.bidder).or_default();
            if sessions.is_empty() {
                looks.push(Reverse((at + GAP_MS, b.bidder)));
            }
            let mut session = Session { first: at, last: at, count: 1 };
            sessions.retain(|other| {
                let is_apart = at >= other.last + GAP_MS || other.first >= at + GAP_MS;
                if !is_apart {
                    session.first = session.first.min(other.first);
                    session.last = session.last.max(other.last);
                    session.count += other.count;
                }
                is_apart
            });
            sessions.push(session);
        }
        Item::Passed(watermark) => {
            while let Some(&Reverse((at, bidder))) = looks.peek()
                && at <= watermark
            {
                looks.pop();
                let Some(sessions) = open.get_mut(&bidder) else { continue };
                sessions.retain(|Session { first, last, count }| {
                    let (end, is_open) = (last + GAP_MS, last + GAP_MS > watermark);
                    if !is_open {
                        out.row(&line![bidder, count, first, end]);
                    }
                    is_open
                });
                match sessions.iter().map(|session| session.last + GAP_MS).min() {
                    Some(end) => looks.push(Reverse((end, bidder))),
                    None => drop(open.remove(&bidder)),
                }
            }
        }
        _ => {}
    })
}

pub(super) fn q12e(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut windows: BTreeMap<i64, HashMap<u64, u64>> = BTreeMap::new();
    input.each(Repeated::Dropped, |item| match item {
        Item::Bid(b) => {
            *windows.entry(b.date_time.as_millis().div_euclid(WINDOW_MS)).or_default().entry(b.bidder).or_default() += 1;
        }
        Item::Passed(watermark) => {
            while let Some((window, counts)) = passed(&mut windows, watermark) {
                counts.into_iter().for_each(|(bidder, count)| out.row(&line![bidder, count, window * WINDOW_MS]));
            }
        }
        _ => {}
    })
}

pub(super) fn q13(input: &mut Input, out: &mut Writer) -> Result<()> {
    let sides = input.sides()?;
    bids(input, |b| {
        if let Some(side) = sides.get(&(b.auction % 10_000)) {
            out.row(&line![b.auction, b.bidder, b.price, b.date_time.as_millis(), side]);
        }
    })
}

pub(super) fn q14(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| {
        if (1_000_000_001..50_000_000_000).contains(&(b.price * 908)) {
            let time = match b.date_time.as_millis().div_euclid(3_600_000).rem_euclid(24) {
                8..=18 => "dayTime",
                0..=6 | 20.. => "nightTime",
                _ => "otherTime",
            };
            let letters = b.extra.matches('c').count();
            out.row(&line![b.auction, b.bidder, euros(b.price), time, b.date_time.as_millis(), b.extra, letters]);
        }
    })
}

/// Of all, of the low, the middle and the high: how many bids, bidders and auctions; as bits, among which each was seen.
#[derive(Default)]
struct Ranks {
    counts: [[u64; 4]; 3],
    bidders: HashMap<u64, u8>,
    auctions: HashMap<u64, u8>,
}

impl Ranks {
    fn take(&mut self, b: &Bid) {
        let rank = 1 + usize::from(b.price >= 10_000) + usize::from(b.price >= 1_000_000);
        let bits = 1 | 1 << rank;
        let new = |seen: &mut u8| bits & !std::mem::replace(seen, *seen | bits);
        let (bidder, auction) =
            (new(self.bidders.entry(b.bidder).or_default()), new(self.auctions.entry(b.auction).or_default()));
        for (counts, new) in self.counts.iter_mut().zip([bits, bidder, auction]) {
            for of in [0, rank] {
                counts[of] += u64::from(new >> of & 1);
            }
        }
    }

    fn line(&self) -> String {
        self.counts.as_flattened().iter().map(u64::to_string).collect::<Vec<_>>().join(",")
    }
}

pub(super) fn q15(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut days: HashMap<i64, Ranks> = HashMap::new();
    bids(input, |b| days.entry(b.date_time.as_millis().div_euclid(DAY_MS)).or_default().take(&b))?;
    for (day, ranks) in days {
        let text = Timestamp::from_millis(day * DAY_MS).to_string();
        out.row(&line![&text[..10], ranks.line()]);
    }
    Ok(())
}

/// Of a day the time of its last bid, which has the day and its last minute.
pub(super) fn q16(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut days: HashMap<(String, i64), (Timestamp, Ranks)> = HashMap::new();
    bids(input, |mut b| {
        let channel = std::mem::take(&mut b.channel);
        let (last, ranks) = days.entry((channel, b.date_time.as_millis().div_euclid(DAY_MS))).or_default();
        *last = b.date_time.max(*last);
        ranks.take(&b);
    })?;
    for ((channel, _), (last, ranks)) in days {
        let text = last.to_string();
        out.row(&line![channel, &text[..10], &text[11..16], ranks.line()]);
    }
    Ok(())
}

pub(super) fn q17(input: &mut Input, out: &mut Writer) -> Result<()> {
    #[derive(Default)]
    struct Day {
        ranks: [u64; 3],
        least: i64,
        greatest: i64,
        sum: i64,
    }
    let mut days: HashMap<(u64, i64), Day> = HashMap::new();
    bids(input, |b| {
        let new = || Day { least: i64::MAX, greatest: i64::MIN, ..Day::default() };
        let day = days.entry((b.auction, b.date_time.as_millis().div_euclid(DAY_MS))).or_insert_with(new);
        day.ranks[usize::from(b.price >= 10_000) + usize::from(b.price >= 1_000_000)] += 1;
        day.least = day.least.min(b.price);
        day.greatest = day.greatest.max(b.price);
        day.sum += b.price;
    })?;
    for ((auction, day), Day { ranks, least, greatest, sum }) in days {
        let ([low, middle, high], all) = (ranks, ranks.iter().sum::<u64>());
        let text = Timestamp::from_millis(day * DAY_MS).to_string();
        out.row(&line![auction, &text[..10], all, low, middle, high, least, greatest, sum.div_euclid(all.cast_signed()), sum]);
    }
    Ok(())
}

pub(super) fn q18(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut last: HashMap<(u64, u64), Bid> = HashMap::new();
    bids(input, |b| match last.get_mut(&(b.bidder, b.auction)) {
        Some(kept) if (kept.date_time, kept.event_id) > (b.date_time, b.event_id) => {}
        Some(kept) => *kept = b,
        None => drop(last.insert((b.bidder, b.auction), b)),
    })?;
    for b in last.into_values() {
        out.row(&line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra]);
    }
    Ok(())
}

pub(super) fn q19(input: &mut Input, out: &mut Writer) -> Result<()> {
    let mut best: HashMap<u64, Vec<Bid>> = HashMap::new();
    bids(input, |b| {
        let best = best.entry(b.auction).or_default();
        let place = best.partition_point(|other| rank(other) > rank(&b));
        if place < BEST {
            best.truncate(BEST - 1);
            best.insert(place, b);
        }
    })?;
    for best in best.into_values() {
        for (rank, b) in (1..).zip(best) {
            let bid = line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra];
            out.row(&line![bid, rank]);
        }
    }
    Ok(())
}

pub(super) fn q20(input: &mut Input, out: &mut Writer) -> Result<()> {
    let say = |_, a: &mut Auction, b: Bid| {
        let bid = line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra];
        let (begins, ends) = (a.date_time.as_millis(), a.expires.as_millis());
        out.row(&line![bid, a.item_name, a.description, a.initial_bid, a.reserve, begins, ends, a.seller, a.category, a.extra]);
    };
    offers(input, |a| (a.category == 10).then_some(a), say).map(drop)
}

pub(super) fn q21(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| {
        let id = match b.channel.to_lowercase().as_str() {
            "apple" => Some("0".to_string()),
            "google" => Some("1".to_string()),
            "facebook" => Some("2".to_string()),
            "baidu" => Some("3".to_string()),
            _ => b.url.split('&').find_map(|part| part.strip_prefix("channel_id=")).map(str::to_string),
        };
        if let Some(id) = id {
            out.row(&line![b.auction, b.bidder, b.price, b.channel, id]);
        }
    })
}

pub(super) fn q22(input: &mut Input, out: &mut Writer) -> Result<()> {
    bids(input, |b| {
        let mut folders = b.url.split('/').skip(3).map(str::to_string);
        let mut folder = || folders.next().unwrap_or_default();
        out.row(&line![b.auction, b.bidder, b.price, b.channel, folder(), folder(), folder()]);
    })
}

/// Whoever bids and sells: what bids, under what name, and what for sale.
pub(super) fn q23s(input: &mut Input, out: &mut Writer) -> Result<()> {
    #[derive(Default)]
    struct Somebody {
        name: Option<String>,
        bids: Vec<u64>,
        auctions: Vec<u64>,
    }
    let mut all: HashMap<u64, Somebody> = HashMap::new();
    let mut say = |name: &Option<String>, bids: &[u64], auctions: &[u64]| {
        let Some(name) = name else { return };
        for bid in bids {
            auctions.iter().for_each(|auction| out.row(&line![bid, name, auction]));
        }
    };
    input.each(Repeated::Dropped, |item| match item {
        Item::Person(p) => {
            let of = all.entry(p.id).or_default();
            of.name = Some(p.name);
            say(&of.name, &of.bids, &of.auctions);
        }
        Item::Bid(b) => {
            let of = all.entry(b.bidder).or_default();
            of.bids.push(b.event_id);
            say(&of.name, &[b.event_id], &of.auctions);
        }
        Item::Auction(a) => {
            let of = all.entry(a.seller).or_default();
            of.auctions.push(a.id);
            say(&of.name, &of.bids, &[a.id]);
        }
        _ => {}
    })
}
