//! `table`: the tables of the lake, as their readers see them, and what they no longer need.

mod corrected;
mod find;

use super::context::Context;
use super::out::{Out, bytes, grouped};
use super::progress::Progress;
use crate::{Error, Result, Timestamp, run};
use distributary_connectors::lake::{self, ColumnView, TableStore, TableView, Verified, Verifier, Version};
use distributary_runtime::time::{Clock, SystemClock, WallTime};
use serde::Serialize;
use std::process::ExitCode;
use url::Url;

/// Look at the tables in the lake, and clean them up.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    List(List),
    Show(Show),
    History(History),
    Corrected(corrected::Corrected),
    Verify(Verify),
    Find(find::Find),
    Vacuum(Vacuum),
}

/// List the tables with their versions, rows and files.
#[derive(clap::Args)]
pub(super) struct List {
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Show the columns of a table, or its rows.
#[derive(clap::Args)]
pub(super) struct Show {
    /// The table.
    name: String,
    /// All rows, as lines of JSON.
    #[arg(long, conflicts_with = "json")]
    rows: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Show the versions of a table: when, what was done, which epoch, how many files and rows.
#[derive(clap::Args)]
pub(super) struct History {
    /// The table.
    name: String,
    /// How many, the newest; 0 shows all that are kept.
    #[arg(short, default_value_t = 20)]
    n: usize,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Read all files of a table to their ends and compare them with its log and their subject indexes; status 1 if anything is damaged.
#[derive(clap::Args)]
pub(super) struct Verify {
    /// The table.
    name: String,
}

/// Delete what no reader of a table needs any more: files that were replaced or never committed, and old log.
///
/// A reader that has opened a version may need its files as long as it reads: that is the grace. Time travel goes back as far.
#[derive(clap::Args)]
pub(super) struct Vacuum {
    /// The table.
    name: String,
    /// How long after they were replaced files are kept, such as `7d` or `12h`; at least an hour, which a commit may take.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = grace_ms)]
    grace: i64,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

/// The shortest grace: what a writer has written ahead and not yet committed must not go.
const GRACE_MIN_MS: i64 = 3_600_000;

fn grace_ms(text: &str) -> Result<i64, String> {
    let span: jiff::Span = text.parse().map_err(|_| "write a time such as `7d` or `12h`".to_string())?;
    let ms = span.total((jiff::Unit::Millisecond, jiff::SpanRelativeTo::days_are_24_hours()));
    match ms.map_err(|e| e.to_string())? as i64 {
        ms if ms >= GRACE_MIN_MS => Ok(ms),
        _ => Err("at least an hour: a job may just be writing files that it has not committed".to_string()),
    }
}

#[derive(Serialize)]
struct Listed {
    name: String,
    url: String,
    version: u64,
    rows: u64,
    files: usize,
    bytes: u64,
    /// What happened before this is in it, except what came late.
    complete_through_ms: Option<i64>,
}

impl Listed {
    fn of(name: &str, url: &str, view: &TableView) -> Self {
        let bytes = view.files.iter().map(|file| file.size_bytes).sum();
        Self {
            name: name.into(),
            url: url.into(),
            version: view.version,
            rows: view.rows(),
            files: view.files.len(),
            bytes,
            complete_through_ms: view.complete_through.map(|at| at.0),
        }
    }
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let (mut out, mut sound) = (Out::new(), true);
        match self {
            Self::List(args) => args.run(context, &mut out)?,
            Self::Show(args) => args.run(context, &mut out)?,
            Self::History(args) => args.run(context, &mut out)?,
            Self::Corrected(args) => args.run(context, &mut out)?,
            Self::Verify(args) => sound = args.run(context, &mut out)?,
            Self::Find(args) => args.run(context, &mut out)?,
            Self::Vacuum(args) => args.run(context, &mut out)?,
        }
        out.flush()?;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl List {
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, lake) = run::open_lake(&context.settings()?)?;
        let mut listed = Vec::new();
        for name in store.folders(&lake)? {
            let url = lake.join(&format!("{name}/")).map_err(|_| none_at(&lake))?;
            listed.extend(TableView::open(&store, &url)?.map(|view| Listed::of(&name, url.as_str(), &view)));
        }
        if self.json {
            return out.json(&listed);
        }
        let row = |t: &Listed| [t.name.clone(), grouped(t.version), grouped(t.rows), grouped(t.files as u64), bytes(t.bytes)];
        out.table(["NAME", "VERSION", "ROWS", "FILES", "SIZE"], &listed.iter().map(row).collect::<Vec<_>>())
    }
}

impl Show {
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, url) = folder(context, &self.name)?;
        let view = TableView::open(&store, &url)?.ok_or_else(|| none_at(&url))?;
        if self.rows {
            return view.write_rows(out.writer());
        }
        let listed = Listed::of(&self.name, url.as_str(), &view);
        if self.json {
            return out.json(&listed);
        }
        let Listed { version, rows, files, bytes: size, .. } = listed;
        out.line(&url)?;
        out.line(format_args!("version {version}, {} rows in {files} files, {}", grouped(rows), bytes(size)))?;
        if let Some(at) = view.complete_through {
            out.line(format_args!("complete through {}, but for what comes late", Timestamp::from(at)))?;
        }
        out.line("")?;
        let row = |column: &ColumnView| {
            let nullable = if column.nullable { "nullable" } else { "" };
            [column.name.clone(), column.data_type.clone(), nullable.into(), column.comment.clone().unwrap_or_default()]
        };
        // Where a row comes from is for auditors: `--rows` shows it.
        let columns = view.columns.iter().filter(|column| !column.name.starts_with('_'));
        out.table(["COLUMN", "TYPE", "", "COMMENT"], &columns.map(row).collect::<Vec<_>>())
    }
}

impl History {
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, url) = folder(context, &self.name)?;
        let versions = lake::history(&store, &url, if self.n == 0 { usize::MAX } else { self.n })?;
        if versions.is_empty() {
            return Err(none_at(&url));
        }
        if self.json {
            return out.json(&versions);
        }
        let row = |v: &Version| {
            let [version, added, removed, rows] = [v.version, v.files_added, v.files_removed, v.rows_added].map(grouped);
            let at = Timestamp::from_millis(v.at.0).to_string();
            [version, at, v.operation.clone(), v.epoch.map_or("-".into(), grouped), added, removed, rows]
        };
        let rows: Vec<_> = versions.iter().map(row).collect();
        out.table(["VERSION", "AT", "OPERATION", "EPOCH", "FILES +", "FILES -", "ROWS +"], &rows)
    }
}

impl Verify {
    /// Whether all is well.
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<bool> {
        let (store, url) = folder(context, &self.name)?;
        let view = TableView::open(&store, &url)?.ok_or_else(|| none_at(&url))?;
        let mut progress = Progress::new("verifying files", Some(view.files.len() as u64));
        let verifier = Verifier::new(&view)?;
        let (mut damages, mut without_index) = (Vec::new(), 0);
        for file in &view.files {
            match verifier.verify(file)? {
                Verified::Whole => {}
                Verified::WithoutIndex => without_index += 1,
                Verified::Damaged(damage) => damages.push(format!("{}: {damage}", file.path)),
            }
            progress.add(1);
        }
        progress.finish();
        damages.iter().try_for_each(|damage| out.line(format_args!("  {damage}")))?;
        if without_index > 0 {
            out.line(format_args!(
                "  {} files are older than subject indexes: `table find` reads them all",
                grouped(without_index)
            ))?;
        }
        let verdict = if damages.is_empty() { "whole" } else { "DAMAGED" };
        let (files, rows) = (view.files.len(), grouped(view.rows()));
        out.line(format_args!("{} version {}: {rows} rows in {files} files: {verdict}", self.name, view.version))?;
        Ok(damages.is_empty())
    }
}

impl Vacuum {
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, url) = folder(context, &self.name)?;
        let since = WallTime(SystemClock.now().0 - self.grace);
        let gone = lake::vacuum(&store, &url, since, self.dry_run)?;
        let would = if self.dry_run { "would delete" } else { "deleted" };
        let [files, indexes, log] = [gone.files, gone.indexes, gone.log_objects].map(grouped);
        let size = bytes(gone.bytes);
        out.line(format_args!("{}: {would} {files} files, {indexes} indexes and {log} objects of the log, {size}", self.name))
    }
}

fn none_at(url: &Url) -> Error {
    Error::refused(format!("there is no table at {url}"), "see `table list`; the setting `lake` says where tables are")
}

fn folder(context: &Context<'_>, name: &str) -> Result<(TableStore, Url)> {
    let (store, lake) = run::open_lake(&context.settings()?)?;
    let url = lake
        .join(&format!("{name}/"))
        .map_err(|e| Error::refused(format!("`{name}` is no name of a table: {e}"), "see `table list`"))?;
    Ok((store, url))
}
