//! What came out of the jobs, read back from the bus.

use super::ALERTS;
use super::oracle::{Difference, Oracle};
use crate::cli::out::grouped;
use crate::cli::record::{self, Next};
use crate::cli::{context, dead_letter};
use crate::job::TierOf;
use crate::jobs::{Alert, Balance};
use crate::{Error, Result, run};
use distributary_connectors::lake::TableView;
use distributary_runtime::bus::{Bus, Record};
use distributary_runtime::settings::Settings;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const BALANCES: &str = "demo.balance";
pub(super) const TABLE: &str = "alerts";

/// See the module.
pub(super) struct Results {
    /// The alerts that stand, corrections applied.
    alerts: BTreeMap<Alert, i64>,
    /// The newest balance of each user.
    balances: BTreeMap<String, Balance>,
    /// How many dead letters each job has, by cause.
    dead_letters: Vec<(TierOf, BTreeMap<String, u64>)>,
    /// The alerts in the table.
    rows: BTreeMap<Alert, i64>,
}

/// A table; `None` as long as there is none.
pub(super) fn table(settings: &Settings, name: &str) -> Result<Option<TableView>> {
    let (store, lake) = run::open_lake(settings)?;
    let url =
        lake.join(&format!("{name}/")).map_err(|e| Error::refused(format!("{lake}: {e}"), "give the demo another folder"))?;
    TableView::open(&store, &url)
}

/// The alerts in the table.
pub(super) fn rows(settings: &Settings) -> Result<BTreeMap<Alert, i64>> {
    let mut lines = Vec::new();
    if let Some(view) = table(settings, TABLE)? {
        view.write_rows(&mut lines)?;
    }
    let mut rows = BTreeMap::new();
    for row in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let row =
            serde_json::from_slice(row).map_err(|e| Error::Damaged { object: "table alerts".into(), what: e.to_string() })?;
        *rows.entry(row).or_insert(0) += 1;
    }
    Ok(rows)
}

impl Results {
    pub(super) fn read(bus: &dyn Bus, jobs: &[TierOf], settings: &Settings) -> Result<Self> {
        let (mut alerts, mut balances) = (BTreeMap::new(), BTreeMap::new());
        each(bus, ALERTS, |record| {
            if let Some(alert) = read(&record) {
                *alerts.entry(alert).or_insert(0) += if is_addition(&record) { 1 } else { -1 };
            }
        })?;
        alerts.retain(|_, n| *n != 0);
        each(bus, BALANCES, |record| {
            if let Some(balance) = read::<Balance>(&record) {
                balances.insert(balance.user_id.clone(), balance);
            }
        })?;
        let dead_letters = jobs.iter().map(|job| Ok((*job, dead_letter::by_cause(bus, *job)?))).collect::<Result<_>>()?;
        Ok(Self { alerts, balances, dead_letters, rows: rows(settings)? })
    }

    /// What is lost and what is there too often.
    pub(super) fn compare(&self, oracle: &Oracle) -> Difference {
        let letters = self.dead_letters.iter().map(|(_, causes)| oracle.compare_dead_letters(causes.values().sum()));
        let results = oracle.compare_alerts(&self.alerts) + oracle.compare_alerts(&self.rows);
        letters.fold(results + oracle.compare_balances(&self.balances), |a, b| a + b)
    }

    /// The results beside what had to come.
    pub(super) fn lines(&self, oracle: &Oracle) -> Vec<String> {
        let mut lines = vec![String::new(), "Dead letters, one for each bad payment:".into()];
        for (job, causes) in &self.dead_letters {
            let letters = causes.values().sum();
            lines.push(format!("  {:>8}  of {job}, {} expected", grouped(letters), grouped(oracle.bad)));
        }
        if let Some((job, causes)) = self.dead_letters.first() {
            lines.push(format!("  those of {job} by cause:"));
            lines.extend(causes.iter().map(|(cause, n)| format!("  {:>8}  {cause}", grouped(*n))));
        }
        let (payments, users) = oracle.totals();
        let (alerts, expected) = (self.alerts.values().sum::<i64>(), oracle.alerts().len());
        lines.extend([
            String::new(),
            "Results, compared with a plain recomputation from the payments themselves:".into(),
            format!("  {alerts:>8}  alerts in the topic, {expected} expected"),
            format!("  {:>8}  alerts in the table, {expected} expected", self.rows.values().sum::<i64>()),
            format!("  {:>8}  balances over {} payments, {users} expected", self.balances.len(), grouped(payments)),
        ]);
        lines
    }
}

/// Whether a record adds a result; else it takes one back.
pub(super) fn is_addition(record: &Record) -> bool {
    record.header("op") != Some("-")
}

pub(super) fn read<T: DeserializeOwned>(record: &Record) -> Option<T> {
    serde_json::from_slice(record.value.as_deref()?).ok()
}

fn each(bus: &dyn Bus, topic: &str, mut each: impl FnMut(Record)) -> Result<()> {
    let id = context::find_topic(bus, topic)?.id;
    let take = |_, record| {
        each(record);
        Ok(Next::More)
    };
    record::read(bus, id, &record::whole(bus, id)?, take, || Ok(()))
}
