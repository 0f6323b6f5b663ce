//! Why a result is no row.

use super::value::Reason;
use std::fmt;

/// What does not fit: names the field and the reason, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A field does not fit its column.
    #[error("{} {reason}", Place(field))]
    Field {
        /// Path of the column, `a.b`; `[]` stands for an element of a list. Empty for the row itself.
        field: String,
        /// Why.
        reason: &'static str,
    },
    /// There is a field that is no column. It is not named: its name is the producer's word, as a value is.
    #[error("{} has a field that is no column of the table", Place(within))]
    Unknown {
        /// Path of the struct it stands in, empty for the row itself.
        within: String,
    },
}

impl Misfit {
    /// Of the value itself; [`Misfit::within`] says where it stands.
    pub(super) fn of(reason: Reason) -> Self {
        Self::Field { field: String::new(), reason }
    }

    /// Of a struct that has a field too many.
    pub(super) fn unknown() -> Self {
        Self::Unknown { within: String::new() }
    }

    pub(super) fn within(self, name: &str) -> Self {
        let path = |inner: String| match inner.as_str() {
            "" => name.to_string(),
            element if element.starts_with('[') => format!("{name}{element}"),
            field => format!("{name}.{field}"),
        };
        match self {
            Self::Field { field, reason } => Self::Field { field: path(field), reason },
            Self::Unknown { within } => Self::Unknown { within: path(within) },
        }
    }
}

/// What a type says when it refuses to be written may show a value: it is dropped.
impl serde::ser::Error for Misfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::of("is refused by its own type")
    }
}

/// A path, as messages name it.
struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("the row"),
            path => write!(f, "`{path}`"),
        }
    }
}
