//! The columns of a table, as data: part of the plan of a job that writes one.

use serde::{Deserialize, Serialize};

/// The type of a column. There is no unsigned one, because no warehouse has it: a u64 is `Decimal { precision: 20, scale: 0 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Bytes. Of a type that calls itself bytes (`bytes::Bytes`, `serde_bytes`); a `Vec<u8>` is a list of numbers.
    Binary,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Nothing that names a subject.
    #[default]
    Plain,
    /// It, or what is within it, names a subject: nothing of it ever stands in the table's log.
    Subject,
}

/// A column of a table, or a field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
