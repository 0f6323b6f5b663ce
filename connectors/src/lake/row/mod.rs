//! A row on its way into a table: bytes, written and read by the table's columns.
//!
//! The values stand in the order of the columns, little-endian, with nothing between them:
//!
//! | column | bytes |
//! |---|---|
//! | one that may be null, whatever its type | 0 for null; or 1, and then the value |
//! | `Bool` | 0 or 1 |
//! | `Int8` to `Int64`, `Float64` | 1 to 8 |
//! | `Decimal` | 16: the digits without the point |
//! | `Timestamp`, `Date` | 8: microseconds since 1970; 4: days since 1970 |
//! | `Text`, `Binary` | 4 with the length, and so many |
//! | `List` | 4 with the count, and the elements |
//! | `Struct` | its fields |
//!
//! The same result gives the same bytes, and bytes of the right length that are no row are an error. Such bytes are never kept for long:
//! who reads them has the columns they were written by.

mod decode;
mod encode;
mod json;
mod misfit;
mod read;
mod value;

#[cfg(test)]
mod tests;

pub(super) use decode::rows;
pub use encode::encode_row;
pub use json::row_json;
pub use misfit::Misfit;
