//! The verdict on an archive: read back, it is the topic, record by record.

use crate::findings::Findings;
use crate::ledger::PAYMENTS;
use crate::{Result, outside};
use distributary::run;
use distributary_connectors::lake::{Archive, TableView, archive_of};
use distributary_runtime::bus::{Bus, Offset, Record, TopicId};
use distributary_runtime::key::stable_hash;
use distributary_runtime::settings::Settings;
use std::collections::BTreeMap;

/// Compares the archive of the payments in this lake with the topic.
///
/// # Errors
/// The bus or the lake failed.
pub(crate) fn judge(bus: &dyn Bus, payments: TopicId, lake: &str, findings: &mut Findings) -> Result<()> {
    let mut published: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    outside::read(bus, payments, &BTreeMap::new(), |partition, record| {
        published.entry(partition).or_default().push(digest(record));
        Ok(())
    })?;
    let lake = if lake.contains("://") { lake.to_string() } else { format!("file://{lake}") };
    let (store, folder) = run::open_lake(&Settings { lake: Some(lake), ..Settings::default() })?;
    let topic = bus.topic(PAYMENTS)?.ok_or("there are no payments")?;
    let archive = Archive::open(&store, &folder, &topic)?.ok_or("there is no archive")?;
    let mut reader = archive.read(published.keys().map(|partition| (*partition, Offset(0))).collect());
    let mut archived: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    while let Some(records) = reader.read()? {
        for (partition, records) in records {
            archived.entry(partition).or_default().extend(records.iter().map(digest));
        }
    }
    for (partition, expected) in &published {
        let found = archived.get(partition).map_or(&[][..], Vec::as_slice);
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        let place =
            || format!("archive of {PAYMENTS}[{partition}]: {} records of {}, other from {same} on", found.len(), expected.len());
        findings.lost((expected.len() - same) as u64, place);
        findings.duplicated((found.len() - same) as u64, place);
    }
    // What stands twice, the reader passes over.
    let view = TableView::open(&store, &folder.join(&format!("{}/", archive_of(PAYMENTS)))?)?.ok_or("there is no table")?;
    let read: usize = archived.values().map(Vec::len).sum();
    findings.duplicated(view.rows().saturating_sub(read as u64), || format!("archive of {PAYMENTS}: {} rows", view.rows()));
    Ok(())
}

fn digest(record: &Record) -> u64 {
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect::<Vec<(&str, &[u8])>>();
    stable_hash(&(record.offset.0, record.timestamp.0, record.key.as_deref(), record.value.as_deref(), headers))
}
