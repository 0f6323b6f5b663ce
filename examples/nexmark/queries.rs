//! The queries as jobs. Each writes its answer as lines of text, because that is the form in which answers are compared.

use crate::events::{Auction, Bid, Person, Side};
use distributary::{
    Flow, Job, Result, Stream, all_last_by, avg, count, distinct, hopping, hours, job, last_by, max, min, secs, session, sum,
    top, topic, tumbling, when,
};
use std::cmp::Reverse;

/// Where every query writes.
pub(crate) const ANSWER: &str = "nexmark.answer";

/// By name. Of the benchmark's queries 6 and 10 have no answer to compare with.
pub(crate) const ALL: [(&str, Job); 22] = [
    ("q0", q0),
    ("q1", q1),
    ("q2", q2),
    ("q3", q3),
    ("q4", q4),
    ("q5", q5),
    ("q7", q7),
    ("q8", q8),
    ("q9", q9),
    ("q11", q11),
    ("q12e", q12e),
    ("q13", q13),
    ("q14", q14),
    ("q15", q15),
    ("q16", q16),
    ("q17", q17),
    ("q18", q18),
    ("q19", q19),
    ("q20", q20),
    ("q21", q21),
    ("q22", q22),
    ("q23s", q23s),
];

/// The fields of a line.
macro_rules! line {
    ($($field:expr),+ $(,)?) => { [$($field.to_string()),+].join(",") };
}

/// Long enough for any event to be sent again.
const HORIZON_H: u64 = 48;
/// Whoever is to be forgotten has so long to say so.
const CORRECTED_H: u64 = 30 * 24;

// As in the benchmark's SQL, a join keeps all that has come: so persons, auctions and bids are tables. Where it is much, only what the
// answer is made of goes into the join.

fn persons<'s>(flow: &Flow<'s>) -> Result<Stream<'s, Person>> {
    flow.correct_for(hours(CORRECTED_H));
    Ok(flow.read::<Person>()?.dedup("persons", hours(HORIZON_H)).as_table())
}

fn auctions<'s>(flow: &Flow<'s>) -> Result<Stream<'s, Auction>> {
    flow.correct_for(hours(CORRECTED_H));
    Ok(flow.read::<Auction>()?.dedup("auctions", hours(HORIZON_H)).as_table())
}

fn bids<'s>(flow: &Flow<'s>) -> Result<Stream<'s, Bid>> {
    flow.correct_for(hours(CORRECTED_H));
    Ok(flow.read::<Bid>()?.dedup("bids", hours(HORIZON_H)).as_table())
}

/// Dollars as euros, which have three decimals.
fn euros(dollars: i64) -> String {
    let thousandths = dollars * 908;
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// Every bid.
#[job(team = "nexmark")]
fn q0(flow: &Flow) -> Result<()> {
    let all = bids(flow)?.map(|b| line![b.auction, b.bidder, b.price, b.date_time.as_millis(), b.extra]);
    all.to(topic(ANSWER));
    Ok(())
}

/// Currency.
#[job(team = "nexmark")]
fn q1(flow: &Flow) -> Result<()> {
    let all = bids(flow)?.map(|b| line![b.auction, b.bidder, euros(b.price), b.date_time.as_millis(), b.extra]);
    all.to(topic(ANSWER));
    Ok(())
}

/// Some auctions.
#[job(team = "nexmark")]
fn q2(flow: &Flow) -> Result<()> {
    bids(flow)?.filter(|b| b.auction % 123 == 0).map(|b| line![b.auction, b.price]).to(topic(ANSWER));
    Ok(())
}

/// Who sells what in some states.
#[job(team = "nexmark")]
fn q3(flow: &Flow) -> Result<()> {
    let sellers = persons(flow)?.filter(|p| ["OR", "ID", "CA"].contains(&p.state.to_uppercase().as_str())).key_by(|p| p.id);
    let offers = auctions(flow)?.filter(|a| a.category == 10).key_by(|a| a.seller);
    offers.join("sellers", &sellers, |_, a, p| line![p.name, p.city, p.state, a.id]).to(topic(ANSWER));
    Ok(())
}

/// What auctions of each category end at.
#[job(team = "nexmark")]
fn q4(flow: &Flow) -> Result<()> {
    let offered = auctions(flow)?.map(|a| (a.id, a.category, a.date_time..=a.expires)).key_by(|a| a.0);
    let bids = bids(flow)?.map(|b| (b.auction, b.date_time, b.price)).key_by(|b| b.0);
    let prices = offered
        .join("offers", &bids, |id, (_, category, open), (_, at, price)| ((*id, *category), open.contains(at).then_some(*price)));
    let ends = prices.filter(|(_, price)| price.is_some()).key_by(|(of, _)| *of).aggregate("ends", max(|(_, price)| *price));
    let averages = ends.key_by(|end| end.key.1).aggregate("averages", avg(|end: &EndOf| end.value.unwrap_or_default()));
    averages.map(|of| line![of.key, of.value]).to(topic(ANSWER));
    Ok(())
}

/// The last price of an auction of a category.
type EndOf = distributary::PerKey<(u64, u64), Option<i64>>;

/// The auctions with the most bids in ten seconds, every two seconds.
#[job(team = "nexmark")]
fn q5(flow: &Flow) -> Result<()> {
    let windows = hopping(secs(10), secs(2));
    let counts = bids(flow)?.key_by(|b| b.auction).window(windows).aggregate("counts", count()).results().as_table();
    let most = counts.clone().key_by(|of| of.window).aggregate("most", max(|of: &distributary::PerWindow<u64, u64>| of.value));
    let hot = counts
        .key_by(|of| (of.window, of.value))
        .join("hot", &most.key_by(|most| (most.key, most.value)), |_, of, _| line![of.window.start.0, of.key, of.value]);
    hot.to(topic(ANSWER));
    Ok(())
}

/// The highest bids of ten seconds.
#[job(team = "nexmark")]
fn q7(flow: &Flow) -> Result<()> {
    let line_of = |b: &Bid| line![b.auction, b.bidder, b.price, b.date_time.as_millis(), b.extra];
    let highest = all_last_by(|b: &Bid| b.price, line_of);
    let windows = bids(flow)?.key_by(|_| ()).window(tumbling(secs(10))).aggregate("highest", highest).results();
    windows.flat_map(|of| of.value).to(topic(ANSWER));
    Ok(())
}

/// Who sells something in the ten seconds in which they came.
#[job(team = "nexmark")]
fn q8(flow: &Flow) -> Result<()> {
    let sold = auctions(flow)?.key_by(|a| (a.seller, a.date_time.floor(secs(10)))).aggregate("sold", count());
    let came = persons(flow)?.key_by(|p| (p.id, p.date_time.floor(secs(10))));
    let all = came.join("sellers", &sold.key_by(|of| of.key), |(id, start), p, _| line![id, p.name, start.as_millis()]);
    all.to(topic(ANSWER));
    Ok(())
}

/// The bid that wins each auction.
#[job(team = "nexmark")]
fn q9(flow: &Flow) -> Result<()> {
    let offered = auctions(flow)?.map(|a| {
        let (begins, ends) = (a.date_time.as_millis(), a.expires.as_millis());
        let what = line![a.item_name, a.description, a.initial_bid, a.reserve, begins, ends, a.seller, a.category, a.extra];
        (a.id, a.date_time..=a.expires, what)
    });
    let bids = bids(flow)?.map(|b| {
        let rank = (b.price, Reverse(b.date_time), Reverse(b.event_id));
        (b.auction, b.date_time, rank, line![b.bidder, b.price, b.date_time.as_millis(), b.extra])
    });
    let offers = offered.key_by(|a| a.0).join("offers", &bids.key_by(|b| b.0), |id, (_, open, what), (_, at, rank, bid)| {
        open.contains(at).then(|| (*id, *rank, line![id, what, id, bid]))
    });
    let wins = offers.flat_map(|offer| offer).key_by(|(id, ..)| *id).aggregate("wins", last_by(|o: &Offer| o.1, |o| o.2.clone()));
    wins.map(|of| of.value).to(topic(ANSWER));
    Ok(())
}

/// An auction, how good an offer for it is, and the line that says so.
type Offer = (u64, (i64, Reverse<distributary::Timestamp>, Reverse<u64>), String);

/// How often somebody bids without a pause of ten seconds, from when, and until when.
#[job(team = "nexmark")]
fn q11(flow: &Flow) -> Result<()> {
    let counts = bids(flow)?.key_by(|b| b.bidder).window(session(secs(10))).aggregate("counts", count());
    counts.map(|of| line![of.key, of.value, of.window.start.0, of.window.end.0]).to(topic(ANSWER));
    Ok(())
}

/// How often somebody bids in ten seconds.
#[job(team = "nexmark")]
fn q12e(flow: &Flow) -> Result<()> {
    let counts = bids(flow)?.key_by(|b| b.bidder).window(tumbling(secs(10))).aggregate("counts", count());
    counts.map(|of| line![of.key, of.value, of.window.start.0]).to(topic(ANSWER));
    Ok(())
}

/// Bids with what stands beside them.
#[job(team = "nexmark")]
fn q13(flow: &Flow) -> Result<()> {
    let side = flow.read::<Side>()?.as_table().key_by(|side| side.key);
    let all = bids(flow)?
        .key_by(|b| b.auction % 10_000)
        .join("side", &side, |_, b, side| line![b.auction, b.bidder, b.price, b.date_time.as_millis(), side.value]);
    all.to(topic(ANSWER));
    Ok(())
}

/// Bids of a size, by the time of day.
#[job(team = "nexmark")]
fn q14(flow: &Flow) -> Result<()> {
    let some = bids(flow)?.filter(|b| (1_000_000_001..50_000_000_000).contains(&(b.price * 908)));
    let all = some.map(|b| {
        let time = match b.date_time.as_millis().div_euclid(3_600_000).rem_euclid(24) {
            8..=18 => "dayTime",
            0..=6 | 20.. => "nightTime",
            _ => "otherTime",
        };
        let letters = b.extra.matches('c').count();
        line![b.auction, b.bidder, euros(b.price), time, b.date_time.as_millis(), b.extra, letters]
    });
    all.to(topic(ANSWER));
    Ok(())
}

/// `2024-02-28`, and `06:30` of it.
fn day_and_minute(b: &Bid) -> (String, String) {
    let text = b.date_time.to_string();
    (text[..10].to_string(), text[11..16].to_string())
}

fn is_low(b: &Bid) -> bool {
    b.price < 10_000
}

fn is_middle(b: &Bid) -> bool {
    (10_000..1_000_000).contains(&b.price)
}

fn is_high(b: &Bid) -> bool {
    b.price >= 1_000_000
}

/// Of all, of the low, the middle and the high: how many bids, bidders and auctions.
type Ranks = ((u64, u64, u64), Option<(u64, u64, u64)>, Option<(u64, u64, u64)>, Option<(u64, u64, u64)>);

fn ranks() -> impl distributary::Aggregate<Bid, Output = Ranks> {
    let three = || (count(), distinct(|b: &Bid| b.bidder), distinct(|b: &Bid| b.auction));
    (three(), when(is_low, three()), when(is_middle, three()), when(is_high, three()))
}

fn line_of((all, low, middle, high): Ranks) -> String {
    let [low, middle, high] = [low, middle, high].map(Option::unwrap_or_default);
    let four = [all, low, middle, high];
    let (counts, bidders, auctions) = (four.map(|of| of.0), four.map(|of| of.1), four.map(|of| of.2));
    [counts, bidders, auctions].as_flattened().iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Bids by day.
#[job(team = "nexmark")]
fn q15(flow: &Flow) -> Result<()> {
    let days = bids(flow)?.key_by(|b| day_and_minute(b).0).aggregate("days", ranks());
    days.map(|of| line![of.key, line_of(of.value)]).to(topic(ANSWER));
    Ok(())
}

/// Bids by channel and day.
#[job(team = "nexmark")]
fn q16(flow: &Flow) -> Result<()> {
    let days = bids(flow)?
        .key_by(|b| (b.channel.clone(), day_and_minute(b).0))
        .aggregate("days", (max(|b: &Bid| day_and_minute(b).1), ranks()));
    days.map(|of| line![of.key.0, of.key.1, of.value.0, line_of(of.value.1)]).to(topic(ANSWER));
    Ok(())
}

/// Bids by auction and day.
#[job(team = "nexmark")]
fn q17(flow: &Flow) -> Result<()> {
    let counts = (count(), when(is_low, count()), when(is_middle, count()), when(is_high, count()));
    let prices = (min(|b: &Bid| b.price), max(|b: &Bid| b.price), avg(|b: &Bid| b.price), sum(|b: &Bid| b.price));
    let days = bids(flow)?.key_by(|b| (b.auction, day_and_minute(b).0)).aggregate("days", (counts, prices));
    let all = days.map(|of| {
        let ((all, low, middle, high), (least, greatest, mean, sum)) = of.value;
        let [low, middle, high] = [low, middle, high].map(Option::unwrap_or_default);
        line![of.key.0, of.key.1, all, low, middle, high, least, greatest, mean, sum]
    });
    all.to(topic(ANSWER));
    Ok(())
}

/// The last bid of each bidder for each auction.
#[job(team = "nexmark")]
fn q18(flow: &Flow) -> Result<()> {
    let last = last_by(
        |b: &Bid| (b.date_time, b.event_id),
        |b| line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra],
    );
    bids(flow)?.key_by(|b| (b.bidder, b.auction)).aggregate("last", last).map(|of| of.value).to(topic(ANSWER));
    Ok(())
}

/// The ten best bids for each auction.
#[job(team = "nexmark")]
fn q19(flow: &Flow) -> Result<()> {
    let best = top(10, |b: &Bid| {
        let bid = line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra];
        (b.price, Reverse(b.date_time), Reverse(b.event_id), bid)
    });
    let all = bids(flow)?.key_by(|b| b.auction).aggregate("best", best);
    all.flat_map(|of| (1..).zip(of.value).map(|(rank, (.., bid))| line![bid, rank]).collect::<Vec<_>>()).to(topic(ANSWER));
    Ok(())
}

/// Bids with their auctions, of a category.
#[job(team = "nexmark")]
fn q20(flow: &Flow) -> Result<()> {
    let offers = auctions(flow)?.filter(|a| a.category == 10).key_by(|a| a.id);
    let all = bids(flow)?.key_by(|b| b.auction).join("offers", &offers, |_, b, a| {
        let bid = line![b.auction, b.bidder, b.price, b.channel, b.url, b.date_time.as_millis(), b.extra];
        let (begins, ends) = (a.date_time.as_millis(), a.expires.as_millis());
        line![bid, a.item_name, a.description, a.initial_bid, a.reserve, begins, ends, a.seller, a.category, a.extra]
    });
    all.to(topic(ANSWER));
    Ok(())
}

/// The channel of each bid by its number.
#[job(team = "nexmark")]
fn q21(flow: &Flow) -> Result<()> {
    let channel = |b: &Bid| match b.channel.to_lowercase().as_str() {
        "apple" => Some("0".to_string()),
        "google" => Some("1".to_string()),
        "facebook" => Some("2".to_string()),
        "baidu" => Some("3".to_string()),
        _ => b.url.split('&').find_map(|part| part.strip_prefix("channel_id=")).map(str::to_string),
    };
    let all = bids(flow)?.flat_map(move |b| channel(&b).map(|id| line![b.auction, b.bidder, b.price, b.channel, id]));
    all.to(topic(ANSWER));
    Ok(())
}

/// The folders of each bid's address.
#[job(team = "nexmark")]
fn q22(flow: &Flow) -> Result<()> {
    let all = bids(flow)?.map(|b| {
        let mut folders = b.url.split('/').skip(3).map(str::to_string);
        let mut folder = || folders.next().unwrap_or_default();
        line![b.auction, b.bidder, b.price, b.channel, folder(), folder(), folder()]
    });
    all.to(topic(ANSWER));
    Ok(())
}

/// Bids of those who sell something themselves.
#[job(team = "nexmark")]
fn q23s(flow: &Flow) -> Result<()> {
    let named = bids(flow)?
        .key_by(|b| b.bidder)
        .join("bidders", &persons(flow)?.key_by(|p| p.id), |id, b, p| (*id, b.event_id, p.name.clone()));
    let all = named
        .key_by(|of| of.0)
        .join("sellers", &auctions(flow)?.key_by(|a| a.seller), |_, (_, bid, name), a| line![bid, name, a.id]);
    all.to(topic(ANSWER));
    Ok(())
}
