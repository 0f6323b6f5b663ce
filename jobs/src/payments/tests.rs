//! Goal: an oracle can rely on what the generator says. Method: random options, every record checked against its kind.

use super::{AMOUNT_FAILS, AMOUNT_PANICS, Generated, Kind, PaymentOptions, Payments, Poison};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

fn all(options: PaymentOptions) -> Vec<Generated> {
    Payments::new(options).unwrap().collect()
}

fn json(record: &Generated) -> Option<Value> {
    serde_json::from_slice(record.value.as_ref()?).ok()
}

/// The fields of a record that is a payment to a job.
fn payment(record: &Generated) -> Option<(String, String, i64, i64)> {
    let json = json(record)?;
    let text = |name: &str| json[name].as_str().map(str::to_string);
    text("merchant")?;
    Some((text("payment_id")?, text("user_id")?, json["amount_cents"].as_i64()?, json["at"].as_i64()?))
}

fn options() -> impl Strategy<Value = PaymentOptions> {
    let shares = (0u32..300, 0u32..300, 0u32..300);
    (0u64..3_000, 1u32..1_000, any::<u64>(), shares, 0u64..5_000).prop_map(|(count, users, seed, shares, out_of_order_ms)| {
        PaymentOptions {
            count,
            users,
            seed,
            bad_per_mille: shares.0,
            duplicates_per_mille: shares.1,
            late_per_mille: shares.2,
            out_of_order_ms,
            ..PaymentOptions::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_is_what_it_says(options in options()) {
        let records = all(options);
        prop_assert_eq!(records.len() as u64, options.count);
        let count = |is: fn(&Kind) -> bool| records.iter().filter(|r| is(&r.kind)).count() as u64;
        prop_assert_eq!(count(|k| matches!(k, Kind::Bad(_))), options.bad());
        prop_assert_eq!(count(|k| *k == Kind::Duplicate), options.duplicates());
        prop_assert_eq!(count(|k| *k == Kind::Late), options.late());
        prop_assert!(count(|k| *k == Kind::Bad(Poison::Oversized)) <= Poison::OVERSIZED_MAX);

        let mut seen = HashMap::new();
        for record in &records {
            let paid = payment(record);
            match record.kind {
                Kind::Good | Kind::Late => {
                    let (id, user, amount, at) = paid.unwrap();
                    prop_assert_eq!(user.as_bytes(), &record.key[..]);
                    prop_assert!(amount > 0);
                    let age = (record.timestamp.0 - at) as u64;
                    let late = if record.kind == Kind::Late { options.late_by_ms } else { 0 };
                    prop_assert!((late..=late + options.out_of_order_ms).contains(&age), "{age}");
                    prop_assert!(seen.insert(id, (record.kind, &record.key, &record.value)).is_none());
                }
                Kind::Duplicate => {
                    prop_assert_eq!(seen.get(&paid.unwrap().0), Some(&(Kind::Good, &record.key, &record.value)));
                }
                Kind::Bad(Poison::NotJson | Poison::Truncated) => prop_assert_eq!(json(record), None),
                Kind::Bad(Poison::Null) => prop_assert_eq!(&record.value, &None),
                Kind::Bad(Poison::WrongType | Poison::MissingField) => prop_assert!(json(record).is_some() && paid.is_none()),
                Kind::Bad(Poison::FarAhead) => prop_assert!(paid.unwrap().3 > record.timestamp.0 + 3_600_000),
                Kind::Bad(Poison::Panics) => prop_assert_eq!(paid.unwrap().2, AMOUNT_PANICS),
                Kind::Bad(Poison::Fails) => prop_assert_eq!(paid.unwrap().2, AMOUNT_FAILS),
                Kind::Bad(Poison::Oversized) => {
                    prop_assert!(paid.is_some() && record.value.as_ref().unwrap().len() > Poison::OVERSIZED_BYTES);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_in_any_order(options in options(), index in any::<u64>()) {
        let records = all(options);
        prop_assert_eq!(&records, &all(options));
        if options.count > 0 {
            let index = index % options.count;
            prop_assert_eq!(Payments::new(options).unwrap().record(index), records[index as usize].clone());
        }
    }
}

#[test]
fn another_seed_gives_another_stream() {
    let options = PaymentOptions { count: 100, ..PaymentOptions::default() };
    assert_ne!(all(options), all(PaymentOptions { seed: 2, ..options }));
}

/// The bytes are a promise: benches and demos of different days are compared.
#[test]
fn the_first_record_stays_as_it_is() {
    let first = Payments::new(PaymentOptions::default()).unwrap().record(0);
    assert_eq!(
        std::str::from_utf8(first.value.as_ref().unwrap()).unwrap(),
        "{\"payment_id\":\"f18d6ce9-3d6c-41ee-8b95-f66d327e8d78\",\"user_id\":\"u60440\",\"amount_cents\":2291,\
         \"merchant\":\"merchant-0784\",\"at\":1789999999264}"
    );
}

#[test]
fn a_hundredth_of_a_million_is_poison_of_every_kind() {
    let options = PaymentOptions { users: 1_000, ..PaymentOptions::default() };
    let payments = Payments::new(options).unwrap();
    let mut counts = BTreeMap::new();
    for index in 0..options.count {
        if let Kind::Bad(poison) = payments.kind(index) {
            *counts.entry(poison).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.values().sum::<u64>(), 10_000);
    assert_eq!(counts.remove(&Poison::Oversized), Some(Poison::OVERSIZED_MAX));
    assert_eq!(counts.len(), 8);
    assert!(counts.values().all(|n| (1_200..1_300).contains(n)), "{counts:?}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let usual = PaymentOptions::default();
    for options in [
        PaymentOptions { users: 0, ..usual },
        PaymentOptions { rate_per_s: 0, ..usual },
        PaymentOptions { bad_per_mille: 500, late_per_mille: 500, ..usual },
    ] {
        assert!(Payments::new(options).is_err());
    }
}
