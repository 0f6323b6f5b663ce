//! What was changed after the fact: rows that came into hours that had been complete, or went out of them, day by day.
//!
//! A lane's commit says through when the table is complete, but for what comes late. What a later commit of the lane does to an hour before that
//! is a correction: a late row, one that is taken back, another result of a window. It is read from the log alone, which says how many
//! rows the files have that come and go: of an hour that has both, the difference came or went, and the rest stands in files that
//! were written again, in which as many rows may have been exchanged for others. Versions that only join files (`OPTIMIZE`) change
//! no row, and do not count.

use super::action::{Action, each_version, versions};
use super::delta::{entries, entry_of};
use super::store::TableStore;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::time::{EventTime, WallTime};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use url::Url;

/// What was changed after the fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corrections {
    /// The oldest version whose log is still there: what was changed behind it is told.
    pub since_version: u64,
    /// When that was written, in milliseconds since 1970.
    pub since: WallTime,
    /// In the order of the days; those of which nothing is told are as they were.
    pub days: Vec<CorrectedDay>,
}

/// A day (of the event time, in UTC) that had hours that were complete, and were changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorrectedDay {
    /// The day.
    pub day: Date,
    /// By how many rows files of its hours became more.
    pub rows_added: u64,
    /// By how many they became fewer.
    pub rows_removed: u64,
    /// Rows in files that took the place of others, in which rows may have been exchanged.
    pub rows_rewritten: u64,
    /// When that was last so, in milliseconds since 1970.
    pub last_changed: WallTime,
    /// In which version.
    pub version: u64,
}

/// Rows of an hour in one version.
#[derive(Default)]
struct Change {
    come: u64,
    go: u64,
}

/// Through when the table was complete, for each lane that has said so.
type Complete = HashMap<String, EventTime>;

/// What was changed after the fact in the table in this folder, as far back as its log reaches.
///
/// # Errors
/// The store failed, there is no table, or its log does not decode.
pub fn corrected(store: &TableStore, url: &Url) -> Result<Corrections> {
    let versions = versions(store, url)?;
    let Some((first, later)) = versions.split_first() else {
        return Err(Error::refused(format!("there is no table at {url}"), "see `table list`"));
    };
    let mut complete: Complete =
        entries(store, url, *first)?.into_iter().filter_map(|(lane, entry)| Some((lane, entry.complete_through?))).collect();
    let mut days = BTreeMap::new();
    each_version(store, url, later, |version, actions| {
        let at = written_at(&actions);
        for (day, change) in changes(&actions, &mut complete) {
            let told = CorrectedDay { day, rows_added: 0, rows_removed: 0, rows_rewritten: 0, last_changed: at, version };
            let told = days.entry(day).or_insert(told);
            told.rows_added += change.come.saturating_sub(change.go);
            told.rows_removed += change.go.saturating_sub(change.come);
            told.rows_rewritten += change.come.min(change.go);
            (told.last_changed, told.version) = (at, version);
        }
    })?;
    let mut since = WallTime::default();
    each_version(store, url, &[*first], |_, actions| since = written_at(&actions))?;
    Ok(Corrections { since_version: *first, since, days: days.into_values().collect() })
}

/// What a version changes in hours that were complete before it; each hour with its day. Behind it `complete` is what the version says.
fn changes(actions: &[Action], complete: &mut Complete) -> Vec<(Date, Change)> {
    let lanes = actions.iter().filter_map(|action| action.domain_metadata.as_ref());
    let mut lanes = lanes.filter_map(|said| entry_of(&said.domain, &said.configuration));
    // A version is one lane's; one of no lane changes no row.
    let Some((lane, entry)) = lanes.next() else { return Vec::new() };
    let before = complete.get(&lane).copied();
    match entry.complete_through {
        Some(through) => complete.insert(lane, through),
        None => complete.remove(&lane),
    };
    let Some(before) = before else { return Vec::new() };
    let mut hours: BTreeMap<(Date, i8), Change> = BTreeMap::new();
    for action in actions {
        for (file, comes) in [(&action.add, true), (&action.remove, false)] {
            let Some(file) = file.as_ref().filter(|file| file.data_change) else { continue };
            let Some((day, hour)) = file.hour().filter(|(day, hour)| end_of(*day, *hour).is_some_and(|end| end <= before)) else {
                continue;
            };
            let change = hours.entry((day, hour)).or_default();
            *(if comes { &mut change.come } else { &mut change.go }) += file.rows().unwrap_or_default();
        }
    }
    hours.into_iter().map(|((day, _), change)| (day, change)).collect()
}

fn end_of(day: Date, hour: i8) -> Option<EventTime> {
    let begin = day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?;
    Some(EventTime(begin.timestamp().checked_add(1.hour()).ok()?.as_millisecond()))
}

fn written_at(actions: &[Action]) -> WallTime {
    let info = actions.iter().find_map(|action| action.commit_info.as_ref());
    WallTime(info.map_or(0, |info| info.timestamp))
}
