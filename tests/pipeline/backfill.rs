//! A backfill reads the same records at other speeds, in other epochs, on other workers. The same records are late, and every
//! result comes to the same.

use crate::rig::{Payment, Rig, by_generation, header, payment_in};
use distributary::{Flow, Result, count, job, secs, topic, tumbling};
use distributary_runtime::bus::Record;
use distributary_runtime::journal::StartRequest;
use std::collections::BTreeMap;

/// Payments of each user in ten seconds, corrected for three.
#[job(team = "fraud")]
pub(crate) fn tally(flow: &Flow) -> Result<()> {
    let windows = flow.read::<Payment>()?.key_by(|p| p.user.clone()).window(tumbling(secs(10)).lateness(secs(3)));
    windows.aggregate("tally", count()).to(topic("fraud.tallies"));
    Ok(())
}

pub(crate) const PARTITIONS: u32 = 3;
pub(crate) const SECONDS: u64 = 150;
/// When all windows that count are over.
pub(crate) const END: u64 = 1_000;

/// The payments of a partition: mostly in order, some late enough to correct a result, some too late.
pub(crate) fn seconds(partition: u32) -> impl Iterator<Item = u64> {
    (0..SECONDS).map(move |i| match (i + u64::from(partition)) % 11 {
        3 => i.saturating_sub(6),
        7 => i.saturating_sub(12),
        9 => i.saturating_sub(40),
        _ => i,
    })
}

/// By user and window: how many, after all corrections.
pub(crate) fn tallies(records: &[Record]) -> BTreeMap<(String, i64), i64> {
    let mut tallies = BTreeMap::new();
    for record in records {
        let row: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let of = (row["key"].as_str().unwrap().to_string(), row["window"]["start"].as_i64().unwrap());
        let sign = if header(record, "op") == "-" { -1 } else { 1 };
        *tallies.entry(of).or_default() += sign * row["value"].as_i64().unwrap();
    }
    tallies.retain(|(_, start), _| *start < END as i64 * 1_000);
    tallies
}

/// Which records were late, by their bytes.
pub(crate) fn late(records: &[Record]) -> Vec<(String, String)> {
    let text = |bytes: &Option<bytes::Bytes>| String::from_utf8(bytes.as_ref().unwrap().to_vec()).unwrap();
    let mut late: Vec<_> = records.iter().map(|r| (text(&r.key), text(&r.value))).collect();
    late.sort_unstable();
    late
}

#[test]
fn the_same_records_are_late_and_the_results_are_the_same() {
    let mut rig = Rig::new();
    (rig.settings.epoch_records_max, rig.settings.workers) = (7, 1);
    rig.topic("payments", PARTITIONS);
    (0..PARTITIONS).for_each(|partition| rig.bus.trickles(partition, 3));
    let running = rig.start(tally);
    let mut payments: Vec<_> = (0..PARTITIONS).map(|p| (p, seconds(p).chain([END]))).collect();
    // As it happens: a little of each partition, again and again.
    loop {
        let piece: Vec<_> = payments
            .iter_mut()
            .flat_map(|(p, ids)| ids.by_ref().take(10).map(|id| payment_in(*p, id)).collect::<Vec<_>>())
            .collect();
        if piece.is_empty() {
            break;
        }
        rig.publish("payments", piece);
    }
    // All that is not late is counted, once.
    let all = i64::from(PARTITIONS) * SECONDS as i64;
    let refused = |rig: &Rig| rig.all("fraud.tally.late").len() as i64;
    let live = rig.read_until("fraud.tallies", |records| tallies(records).values().sum::<i64>() + refused(&rig) == all);
    running.stop();
    let live_late = late(&rig.all("fraud.tally.late"));
    assert!(live_late.len() > 20 && live.iter().any(|r| header(r, "op") == "-"), "late: {}", live_late.len());

    for (workers, epoch_records_max, slow) in [(2, 1_000, 0), (3, 11, 2)] {
        (rig.settings.workers, rig.settings.epoch_records_max) = (workers, epoch_records_max);
        (0..PARTITIONS).for_each(|partition| rig.bus.trickles(partition, if partition == slow { 2 } else { 1_000 }));
        let before = (rig.all("fraud.tallies").len(), rig.all("fraud.tally.late").len());
        let running = rig.start_with(tally, |options| options.request = StartRequest::FromZero);
        let generation = workers.to_string();
        let of = |records: &[Record]| -> Vec<Record> {
            records.iter().filter(|r| header(r, "generation") == generation).cloned().collect()
        };
        rig.read_until("fraud.tallies", |records| tallies(&of(records)) == tallies(&live));
        running.stop();
        assert!(rig.all("fraud.tallies").len() > before.0 && rig.all("fraud.tally.late").len() > before.1);
        assert_eq!(late(&of(&rig.all("fraud.tally.late"))), live_late, "{workers} workers");
        assert_eq!(tallies(&of(&rig.all("fraud.tallies"))), tallies(&live), "{workers} workers");
    }
    let (first, _) = by_generation(rig.all("fraud.tallies"));
    assert_eq!(first.len(), live.len(), "what stood there stands there");
}
