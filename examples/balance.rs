//! The balance of each account, as it is now, in a topic that keeps the newest record of each key. What would overdraw an
//! account is a dead letter, with the reason.
//!
//! `cargo run --example balance -- run balance`

use distributary::{Event, Flow, Result, Timestamp, job, upsert};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "bookings", id = "id", time = "at", subject = "account")]
struct Booking {
    id: u64,
    account: String,
    cents: i64,
    at: Timestamp,
}

/// The balance of each account.
#[job(team = "payments")]
pub fn balance(flow: &Flow) -> Result<()> {
    flow.read::<Booking>()?
        .key_by(|b| b.account.clone())
        .fold("balance", 0, |balance, booking, diff| {
            *balance += booking.cents * diff;
            if *balance < 0 { Err("the account would be overdrawn") } else { Ok(()) }
        })
        .to(upsert("payments.balance"));
    Ok(())
}

distributary::main!(balance);

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::{TestJob, secs};

    fn booking(id: u64, account: &str, cents: i64) -> Booking {
        Booking { id, account: account.into(), cents, at: secs(id).into() }
    }

    #[test]
    fn an_account_is_never_overdrawn() {
        let mut t = TestJob::new(balance);
        t.push(booking(1, "a1", 100)).push(booking(2, "a2", 50)).push(booking(3, "a1", -30)).push(booking(4, "a2", -80));
        let balances: Vec<_> = t.rows("payments.balance").json().iter().map(|b| b["value"].clone()).collect();
        assert_eq!(balances, [70, 50]);
        assert_eq!(t.dead_letters().json()[0]["id"], 4);
    }
}
