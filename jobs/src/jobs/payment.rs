//! The payment that the built-in jobs read.

use crate::payments::{AMOUNT_FAILS, AMOUNT_PANICS};
use crate::{Event, Flow, Result, Stream, Timestamp, hours};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A longer name of a merchant is a mistake of whoever sent it.
const MERCHANT_BYTES_MAX: usize = 1_000;

/// A card payment. Payments arrive up to two seconds out of order, so windows wait that long before they say anything.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", delay = "2s")]
pub struct Payment {
    /// Its event id.
    pub payment_id: Uuid,
    /// Who paid.
    pub user_id: String,
    /// How much.
    pub amount_cents: i64,
    /// To whom.
    pub merchant: String,
    /// When.
    pub at: Timestamp,
}

impl Payment {
    /// Every payment once: what cannot be one is a dead letter, what was sent twice is dropped.
    ///
    /// # Errors
    /// As [`Flow::read`].
    pub fn each_once<'s>(flow: &Flow<'s>) -> Result<Stream<'s, Self>> {
        Ok(flow.read::<Self>()?.filter(Self::is_valid).dedup("payments", hours(1)))
    }

    /// # Panics
    /// On the amount that the generator uses to show what a panic in a job does.
    fn is_valid(&self) -> Result<bool, &'static str> {
        assert!(self.amount_cents != AMOUNT_PANICS, "an amount that no card can pay");
        if self.amount_cents == AMOUNT_FAILS {
            return Err("a payment of less than nothing");
        }
        if self.merchant.len() > MERCHANT_BYTES_MAX {
            return Err("the merchant's name is too long");
        }
        Ok(true)
    }
}
