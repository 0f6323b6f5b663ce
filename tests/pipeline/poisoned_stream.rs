//! The generator's payments with all kinds of poison among them, through the built-in job `balance`, against an oracle
//! that adds up what the generator says it made.

use crate::rig::{Rig, header};
use distributary::jobs::{Balance, balance};
use distributary::payments::{Generated, Kind, PaymentOptions, Payments, Poison};
use distributary_runtime::bus::{NewRecord, Offset, Record, TopicId};
use distributary_runtime::time::{WallTime, monotonic};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const PARTITIONS: u32 = 4;
const LETTERS: &str = "demo.balance.dead-letters";
/// Records that are published in one go.
const CHUNK: usize = 2_000;

/// What has to come out.
#[derive(Default)]
pub(crate) struct Truth {
    /// What was published at each position that no job can use.
    letters: BTreeMap<(u32, Offset), (Option<Poison>, NewRecord)>,
    balances: BTreeMap<String, Balance>,
}

/// Publishes a whole stream, and behind it one tombstone in each partition: when those are dead letters, all is done.
pub(crate) fn publish(rig: &Rig, options: PaymentOptions) -> Truth {
    let topic = rig.topic("payments", PARTITIONS);
    let mut truth = Truth::default();
    let mut stream = Payments::new(options).unwrap();
    loop {
        let chunk: Vec<Generated> = stream.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        publish_chunk(rig, topic, chunk, &mut truth);
    }
    for partition in 0..PARTITIONS {
        let end = NewRecord { partition: Some(partition), timestamp: WallTime(7), key: None, value: None, headers: vec![] };
        let at = rig.publish("payments", vec![end.clone()])[0];
        truth.letters.insert(at, (None, end));
    }
    truth
}

fn publish_chunk(rig: &Rig, topic: TopicId, chunk: Vec<Generated>, truth: &mut Truth) {
    use distributary_runtime::bus::Bus as _;
    let kinds: Vec<Kind> = chunk.iter().map(|g| g.kind).collect();
    let records: Vec<NewRecord> = chunk.into_iter().map(NewRecord::from).collect();
    let positions = rig.bus.produce(topic, records.clone()).unwrap();
    for ((kind, record), at) in kinds.into_iter().zip(records).zip(positions) {
        match kind {
            Kind::Bad(poison) => drop(truth.letters.insert(at, (Some(poison), record))),
            Kind::Duplicate => {}
            Kind::Good | Kind::Late => truth.count(&record),
        }
    }
}

impl Truth {
    /// How many dead letters there have to be.
    pub(crate) fn letters(&self) -> usize {
        self.letters.len()
    }

    fn count(&mut self, record: &NewRecord) {
        let payment: distributary::jobs::Payment = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let user_id = payment.user_id.clone();
        let none = Balance { user_id: payment.user_id, payments: 0, amount_cents: 0 };
        let stands = self.balances.entry(user_id).or_insert(none);
        stands.payments += 1;
        stands.amount_cents += payment.amount_cents;
    }

    /// Every dead letter is there once, with its cause, its position and its original bytes, and nothing else is.
    pub(crate) fn assert_letters(&self, found: &[Record]) {
        assert_eq!(found.len(), self.letters.len(), "dead letters");
        let mut missing = self.letters.clone();
        for letter in found {
            assert_eq!(header(letter, "source-topic"), "payments");
            let partition = header(letter, "source-partition").parse().unwrap();
            let at = (partition, Offset(header(letter, "source-offset").parse().unwrap()));
            let Some((poison, original)) = missing.remove(&at) else { panic!("{at:?} is no poison, or here twice") };
            assert_eq!((&letter.key, &letter.value), (&original.key, &original.value), "the bytes at {at:?}");
            assert_eq!(header(letter, "source-timestamp-ms"), original.timestamp.0.to_string());
            let (cause, wanted) = (header(letter, "cause"), cause_of(poison));
            assert!(cause.starts_with(wanted), "{at:?} is {poison:?}, its cause `{cause}`");
        }
    }

    /// Everything that was not poison counts, once.
    pub(crate) fn assert_balances(&self, rig: &Rig) {
        let mut newest = BTreeMap::new();
        for record in rig.all("demo.balance") {
            newest.insert(record.key, record.value);
        }
        let found: Vec<Balance> = newest.into_values().flatten().map(|v| serde_json::from_slice(&v).unwrap()).collect();
        let found: BTreeMap<String, Balance> = found.into_iter().map(|b| (b.user_id.clone(), b)).collect();
        assert!(found == self.balances, "the balances of {} and {} users differ", found.len(), self.balances.len());
    }
}

fn cause_of(poison: Option<Poison>) -> &'static str {
    match poison {
        Some(Poison::NotJson) => "undecodable: not UTF-8 at byte 0",
        Some(Poison::Truncated) => "undecodable: JSON ends early",
        None | Some(Poison::Null) => "null value",
        Some(Poison::WrongType) => "undecodable: expected integer, found text in field amount_cents",
        Some(Poison::MissingField) => "undecodable: missing field amount_cents",
        Some(Poison::FarAhead) => "absurd event time",
        Some(Poison::Panics) => "panicked: an amount that no card can pay",
        Some(Poison::Fails) => "a payment of less than nothing",
        Some(Poison::Oversized) => "the merchant's name is too long",
    }
}

/// Runs the job until everything is done, crashing it as often as `crashes` says, evenly among the dead letters. Returns
/// how long it ran.
pub(crate) fn run(rig: &Rig, truth: &Truth, crashes: usize) -> Duration {
    let began = monotonic();
    for crash in 1..=crashes {
        let running = rig.start(balance);
        rig.read(LETTERS, truth.letters() * crash / (crashes + 1));
        running.crash();
    }
    let running = rig.start(balance);
    rig.read(LETTERS, truth.letters());
    let took = began.elapsed();
    running.stop();
    truth.assert_letters(&rig.all(LETTERS));
    truth.assert_balances(rig);
    took
}
