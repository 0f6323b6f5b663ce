//! `table`: the tables of the lake, as their readers see them.

use super::context::Context;
use super::out::{Out, bytes, grouped};
use crate::{Error, Result, run};
use distributary_connectors::lake::TableView;
use serde::Serialize;
use std::process::ExitCode;

/// Look at the tables in the lake.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    List(List),
    Show(Show),
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

#[derive(Serialize)]
struct Listed {
    name: String,
    url: String,
    version: u64,
    rows: u64,
    files: usize,
    bytes: u64,
}

impl Listed {
    fn of(name: &str, url: &str, view: &TableView) -> Self {
        let bytes = view.files.iter().map(|file| file.size_bytes).sum();
        Self { name: name.into(), url: url.into(), version: view.version, rows: view.rows(), files: view.files.len(), bytes }
    }
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let mut out = Out::new();
        match self {
            Self::List(args) => args.run(context, &mut out)?,
            Self::Show(args) => args.run(context, &mut out)?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self, context: &Context<'_>, out: &mut Out) -> Result<()> {
        let (store, lake) = run::open_lake(&context.settings()?)?;
        let mut listed = Vec::new();
        for name in store.folders(&lake)? {
            let (url, view) = open(context, &name)?;
            listed.extend(view.map(|view| Listed::of(&name, &url, &view)));
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
        let (url, view) = open(context, &self.name)?;
        let Some(view) = view else {
            return Err(Error::refused(
                format!("there is no table at {url}"),
                "see `table list`; the setting `lake` says where tables are",
            ));
        };
        if self.rows {
            return view.write_rows(out.writer());
        }
        let listed = Listed::of(&self.name, &url, &view);
        if self.json {
            return out.json(&listed);
        }
        let Listed { version, rows, files, bytes: size, .. } = listed;
        out.line(&url)?;
        out.line(format_args!("version {version}, {} rows in {files} files, {}", grouped(rows), bytes(size)))?;
        out.line("")?;
        let row = |column: &distributary_connectors::lake::ColumnView| {
            let nullable = if column.nullable { "nullable" } else { "" };
            [column.name.clone(), column.data_type.clone(), nullable.into(), column.comment.clone().unwrap_or_default()]
        };
        // Where a row comes from is for auditors: `--rows` shows it.
        let columns = view.columns.iter().filter(|column| !column.name.starts_with('_'));
        out.table(["COLUMN", "TYPE", "", "COMMENT"], &columns.map(row).collect::<Vec<_>>())
    }
}

fn open(context: &Context<'_>, name: &str) -> Result<(String, Option<TableView>)> {
    let (store, lake) = run::open_lake(&context.settings()?)?;
    let url = lake
        .join(&format!("{name}/"))
        .map_err(|e| Error::refused(format!("`{name}` is no name of a table: {e}"), "see `table list`"))?;
    Ok((url.to_string(), TableView::open(&store, &url)?))
}
