//! Fraud rings: accounts that share a device, or whose devices share an account, and so on.

use distributary::{Event, Flow, Result, Timestamp, job, upsert};
use serde::{Deserialize, Serialize};

/// So many accounts are a ring.
const RING_MIN: usize = 3;

/// A login.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "device-logins", id = "login", time = "at", subject = "account")]
pub(crate) struct Login {
    login: u64,
    account: String,
    device: String,
    at: Timestamp,
}

/// A ring, by its first account.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ring {
    first: String,
    accounts: Vec<String>,
}

/// Rings as they grow, merge, and fall apart when an account in the middle is deleted.
#[job(team = "fraud")]
pub(crate) fn rings(flow: &Flow) -> Result<()> {
    let uses = flow.read::<Login>()?.map(|l| (l.account, l.device));
    flow.view(
        "rings",
        |ring: &Ring| ring.first.clone(),
        move |v| {
            let uses = v.of("uses", &uses).distinct();
            // Of each account the first one that it is known to belong to; to begin with, itself.
            let alone = uses.map(|(account, _)| (account.clone(), account.clone())).distinct();
            let belongs = alone.iterate(|rounds, belongs| {
                let uses = uses.within(rounds);
                let by_account = uses.key_by(|u| u.0.clone());
                let devices = belongs.key_by(|b| b.0.clone()).join(&by_account, |_, b, u| (u.1.clone(), b.1.clone()));
                let devices = devices.key_by(|d| d.0.clone()).bottom(1);
                let by_device = uses.key_by(|u| u.1.clone());
                let accounts = devices.key_by(|d| d.0.clone()).join(&by_device, |_, d, u| (u.0.clone(), d.1.clone()));
                accounts.key_by(|a| a.0.clone()).bottom(1)
            });
            belongs.key_by(|b| b.1.clone()).reduce(|first, accounts| {
                let accounts: Vec<_> = accounts.iter().map(|(account, _)| account.0.clone()).collect();
                (accounts.len() >= RING_MIN).then(|| Ring { first: first.clone(), accounts })
            })
        },
    )
    .to(upsert("fraud.rings"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use distributary::TestJob;

    #[test]
    fn a_ring_falls_apart_without_its_middle() {
        let login = |login, account: &str, device: &str| Login {
            login,
            account: account.into(),
            device: device.into(),
            at: Timestamp::EPOCH,
        };
        let mut t = TestJob::new(rings);
        t.push(login(1, "ada", "x")).push(login(2, "bob", "x")).push(login(3, "bob", "y")).push(login(4, "eve", "y"));
        t.push(login(5, "joe", "z")).push(login(6, "ada", "x"));
        let ring = Ring { first: "ada".into(), accounts: ["ada", "bob", "eve"].map(String::from).into() };
        assert_eq!(t.rows("fraud.rings").read::<Ring>(), [ring]);
        assert!(t.stop().restart().delete("bob").rows("fraud.rings").is_empty());
    }
}
