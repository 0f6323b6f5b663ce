//! What a table is: where it stands, and its columns.

use super::schema;
use delta_kernel::schema::SchemaRef;
use distributary_runtime::error::{Error, Result};
use distributary_runtime::table::{Column, ColumnType, Role};
use std::collections::BTreeSet;
use url::Url;

/// Columns of a table, those within structs included: a metadata action that every reader takes in one piece.
const COLUMNS_MAX: usize = 1_000;
/// The longest name of a table: that of a folder.
const NAME_MAX: usize = 200;
/// Lists and structs within each other: what is deeper is no table any more, and every level is a call on the stack.
const DEPTH_MAX: usize = 16;
/// The most digits a decimal may have, in Delta as in Parquet.
const PRECISION_MAX: u8 = 38;

/// A row table: one row per result, in folders of an hour of event time.
///
/// ```
/// use distributary_connectors::lake::TableSpec;
/// use distributary_runtime::table::{Column, ColumnType};
/// let columns = vec![
///     Column::required("user_id", ColumnType::Text).subject(),
///     Column::required("at", ColumnType::Timestamp).comment("when it was paid"),
/// ];
/// let payments = TableSpec::new("payments", "file:///lake/payments", "at", columns).unwrap();
/// assert_eq!(payments.url().as_str(), "file:///lake/payments/");
/// ```
#[derive(Clone, Debug)]
pub struct TableSpec {
    name: String,
    url: Url,
    event_time: String,
    columns: Vec<Column>,
    schema: SchemaRef,
}

impl TableSpec {
    /// A table at the folder `url` (`file:///dir`, `s3://bucket/dir`), whose rows lie in the hour of their column `event_time` (a field of a
    /// struct is named by its path: `window.start`).
    ///
    /// # Errors
    /// The address is none, a column cannot be one, or `event_time` is not a required timestamp that names no subject.
    pub fn new(name: impl Into<String>, url: &str, event_time: impl Into<String>, columns: Vec<Column>) -> Result<Self> {
        let (name, event_time) = (name.into(), event_time.into());
        let refuse = |what: String| Error::refused(format!("table `{name}`: {what}"), "change the table's definition");
        let url = folder(url).map_err(&refuse)?;
        check_table(&name, &event_time, &columns).map_err(&refuse)?;
        let schema = schema::of_table(&columns).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { name, url, event_time, columns, schema })
    }

    /// The table's name in messages and in the names of its lanes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder it stands in; ends with `/`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The column whose hour a row lies in.
    #[must_use]
    pub fn event_time(&self) -> &str {
        &self.event_time
    }

    /// The columns, without those that are added to every table.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Everything a reader sees: the columns, `_origin`, `event_date` and `event_hour`.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

/// Whether there can be a table of this name and these columns, whose rows lie in the hour of `event_time`.
///
/// # Errors
/// What is wrong with them.
pub fn check_table(name: &str, event_time: &str, columns: &[Column]) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(plain) || name.starts_with(['.', '_']) {
        return Err(format!("a name has 1 to {NAME_MAX} letters, digits, `.`, `_` and `-`, a letter or digit first"));
    }
    check_columns(columns, DEPTH_MAX, &mut 0)?;
    match is_event_time(columns, event_time) {
        true => Ok(()),
        false => Err(format!("its event time `{event_time}` must be a required timestamp that names no subject")),
    }
}

fn is_event_time(columns: &[Column], path: &str) -> bool {
    let (name, within) = path.split_once('.').map_or((path, None), |(name, within)| (name, Some(within)));
    let column = columns.iter().find(|column| column.name == name && !column.nullable && column.role == Role::Plain);
    match (column.map(|column| &column.data_type), within) {
        (Some(ColumnType::Struct(fields)), Some(within)) => is_event_time(fields, within),
        (Some(ColumnType::Timestamp), None) => true,
        _ => false,
    }
}

fn folder(url: &str) -> Result<Url, String> {
    let mut url = Url::parse(url).map_err(|e| format!("`{url}` is no address: {e}"))?;
    if url.cannot_be_a_base() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{url}` is not the address of a folder"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn check_columns(columns: &[Column], depth: usize, count: &mut usize) -> Result<(), String> {
    if columns.is_empty() {
        return Err("a table and a struct have at least one column".into());
    }
    let mut names = BTreeSet::new();
    for column in columns {
        let name = &column.name;
        *count += 1;
        if *count > COLUMNS_MAX {
            return Err(format!("more than {COLUMNS_MAX} columns"));
        }
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || name.is_empty() || name.starts_with('_') {
            return Err(format!("`{name}` cannot be the name of a column: letters, digits and `_`, and no `_` first"));
        }
        if schema::PARTITION_COLUMNS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(format!("`{name}` is a column that every table has"));
        }
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(format!("`{name}` stands twice (readers do not tell capitals apart)"));
        }
        check_type(&column.data_type, depth, count).map_err(|what| format!("`{name}`: {what}"))?;
    }
    Ok(())
}

fn check_type(data_type: &ColumnType, depth: usize, count: &mut usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("nested more than {DEPTH_MAX} deep")) };
    match data_type {
        ColumnType::Decimal { precision, scale } if !(1..=PRECISION_MAX).contains(precision) || scale > precision => {
            Err(format!("decimal({precision}, {scale}) has more digits than the {PRECISION_MAX} there are, or none"))
        }
        ColumnType::List { element, .. } => check_type(element, depth, count),
        ColumnType::Struct(columns) => check_columns(columns, depth, count),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
