//! The three kinds of events, as topics of their own.

use distributary::{Event, Timestamp};
use serde::{Deserialize, Serialize};

/// Somebody who sells and bids.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "person", id = "event_id", time = "date_time", subject = "id", delay = "200s", max_ahead = "1h")]
pub(crate) struct Person {
    pub(crate) event_id: u64,
    pub(crate) date_time: Timestamp,
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) city: String,
    pub(crate) state: String,
}

/// Something for sale.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "auction", id = "event_id", time = "date_time", subject = "seller", delay = "200s", max_ahead = "1h")]
pub(crate) struct Auction {
    pub(crate) event_id: u64,
    pub(crate) date_time: Timestamp,
    pub(crate) id: u64,
    pub(crate) item_name: String,
    pub(crate) description: String,
    pub(crate) initial_bid: i64,
    pub(crate) reserve: i64,
    pub(crate) expires: Timestamp,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: String,
}

/// What somebody would pay.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "bid", id = "event_id", time = "date_time", subject = "bidder", delay = "200s", max_ahead = "1h")]
pub(crate) struct Bid {
    pub(crate) event_id: u64,
    pub(crate) date_time: Timestamp,
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: i64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) extra: String,
}

/// What stands beside auctions: a table of its own.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "side_input", id = "key", time = "since", no_personal_data)]
pub(crate) struct Side {
    pub(crate) key: u64,
    pub(crate) since: Timestamp,
    pub(crate) value: String,
}
