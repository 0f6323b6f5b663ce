//! `table corrected`: what came into a table, or went out of it, when its hours had been complete already.

use super::folder;
use crate::Result;
use crate::cli::context::Context;
use crate::cli::out::{Out, grouped, time};
use distributary_connectors::lake::{self, CorrectedDay};

/// Show what was changed after the fact, by day: rows that came late into hours that had been complete, or were taken back.
///
/// A reader that has copied a day reads it again if it was changed after that. Rows in files that were written again may have been exchanged for as
/// many others.
#[derive(clap::Args)]
pub(in crate::cli) struct Corrected {
    /// The table.
    name: String,
    /// How many days of event time (UTC), the newest of those changed; 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: usize,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl Corrected {
    pub(super) fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, url) = folder(context, &self.name)?;
        let mut corrected = lake::corrected(&store, &url)?;
        let skip = if self.days == 0 { 0 } else { corrected.days.len().saturating_sub(self.days) };
        corrected.days.drain(..skip);
        if self.json {
            return out.json(&corrected);
        }
        let (version, at) = (corrected.since_version, time(corrected.since));
        out.line(format_args!("{}: the log reaches back to version {version}, of {at}", self.name))?;
        if corrected.days.is_empty() {
            return out.line("since then nothing has come into hours that were complete, and nothing has gone");
        }
        let row = |day: &CorrectedDay| {
            let [added, removed, rewritten] = [day.rows_added, day.rows_removed, day.rows_rewritten].map(grouped);
            [day.day.to_string(), added, removed, rewritten, time(day.last_changed), grouped(day.version)]
        };
        let rows: Vec<_> = corrected.days.iter().map(row).collect();
        out.table(["DAY", "ROWS +", "ROWS -", "REWRITTEN", "LAST CHANGED", "VERSION"], &rows)
    }
}
