//! What a table is: where it stands, and its columns.

use super::schema;
use delta_kernel::schema::SchemaRef;
use distributary_runtime::error::{Error, Result};
use std::collections::BTreeSet;
use url::Url;

/// Columns of a table, those within structs included: a metadata action that every reader takes in one piece.
const COLUMNS_MAX: usize = 1_000;
/// Lists and structs within each other: what is deeper is no table any more, and every level is a call on the stack.
const DEPTH_MAX: usize = 16;
/// The most digits a decimal may have, in Delta as in Parquet.
const PRECISION_MAX: u8 = 38;

/// The type of a column. There is no unsigned one, because no warehouse has it: a u64 is `Decimal { precision: 20, scale: 0 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` or `false`.
    Bool,
    /// A whole number of 8 bits.
    Int8,
    /// A whole number of 16 bits.
    Int16,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number of 64 bits.
    Float64,
    /// An exact number, as a JSON number or as text, without an exponent. More digits behind the point than `scale` are
    /// refused unless they are zeros.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// Text.
    Text,
    /// A point in time, in UTC, kept in microseconds: milliseconds since 1970 as a whole number, or RFC 3339 text with an
    /// offset, of which digits behind the microsecond are cut off. Years 1 to 9999.
    Timestamp,
    /// A day, as `YYYY-MM-DD`.
    Date,
    /// A list.
    List {
        /// The type of its elements.
        element: Box<ColumnType>,
        /// Whether an element may be null.
        nullable: bool,
    },
    /// A struct.
    Struct(Vec<Column>),
}

/// What a column says about a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing that names a subject.
    #[default]
    Plain,
    /// It, or what is within it, names a subject: nothing of it ever stands in the table's log.
    Subject,
}

/// A column of a table, or a field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name: letters, digits and `_`, and no `_` first (that is where our own columns begin).
    pub name: String,
    /// Type.
    pub data_type: ColumnType,
    /// Whether it may be null; a row that lacks it has null.
    pub nullable: bool,
    /// What readers see as the column's comment.
    pub comment: Option<String>,
    /// What it says about a person.
    pub role: Role,
}

impl Column {
    /// A column that always has a value.
    pub fn required(name: impl Into<String>, data_type: ColumnType) -> Self {
        Self { name: name.into(), data_type, nullable: false, comment: None, role: Role::Plain }
    }

    /// A column that may be null.
    pub fn nullable(name: impl Into<String>, data_type: ColumnType) -> Self {
        Self { nullable: true, ..Self::required(name, data_type) }
    }

    /// With a comment.
    #[must_use]
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    /// As one that names a subject.
    #[must_use]
    pub fn subject(self) -> Self {
        Self { role: Role::Subject, ..self }
    }
}

/// A row table: one row per result, in folders of an hour of event time.
///
/// ```
/// use distributary_connectors::lake::{Column, ColumnType, TableSpec};
/// let columns = vec![
///     Column::required("user_id", ColumnType::Text).subject(),
///     Column::required("at", ColumnType::Timestamp).comment("when it was paid"),
/// ];
/// let payments = TableSpec::new("payments", "file:///lake/payments", "at", columns).unwrap();
/// assert!(payments.check(br#"{"user_id": "u1", "at": "2026-01-02T03:04:05Z"}"#).is_ok());
/// let misfit = payments.check(br#"{"user_id": "u1"}"#).unwrap_err();
/// assert_eq!(misfit.to_string(), "`at` is null or missing");
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
    /// A table at the folder `url` (`file:///dir`, `s3://bucket/dir`), whose rows lie in the hour of their column `event_time`.
    ///
    /// # Errors
    /// The address is none, a column cannot be one, or `event_time` is not a required timestamp that names no subject.
    pub fn new(name: impl Into<String>, url: &str, event_time: impl Into<String>, columns: Vec<Column>) -> Result<Self> {
        let (name, event_time) = (name.into(), event_time.into());
        let refuse = |what: String| Error::refused(format!("table `{name}`: {what}"), "change the table's definition");
        let url = folder(url).map_err(&refuse)?;
        let mut count = 0;
        check_columns(&columns, DEPTH_MAX, &mut count).map_err(&refuse)?;
        let time = columns.iter().find(|column| column.name == event_time);
        if !time.is_some_and(|c| c.data_type == ColumnType::Timestamp && !c.nullable && c.role == Role::Plain) {
            return Err(refuse(format!("its event time `{event_time}` must be a required timestamp that names no subject")));
        }
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
