//! Reading the bytes of a row, from the front. Nothing is believed: what they do not hold is an error.

use super::value::{self, Reason};

/// What says that there is no value.
pub(super) const ABSENT: u8 = 0;
/// What stands before a value that might not be there.
pub(super) const PRESENT: u8 = 1;

pub(super) fn array<const N: usize>(row: &mut &[u8]) -> Result<[u8; N], Reason> {
    let (first, rest) = row.split_first_chunk().ok_or("ends too early")?;
    *row = rest;
    Ok(*first)
}

/// A truth value, or whether a value is there.
pub(super) fn flag(row: &mut &[u8]) -> Result<bool, Reason> {
    match array(row)? {
        [ABSENT] => Ok(false),
        [PRESENT] => Ok(true),
        _ => Err("has a flag that is neither 0 nor 1"),
    }
}

/// Whether a value follows.
pub(super) fn is_there(row: &mut &[u8], nullable: bool) -> Result<bool, Reason> {
    if nullable { flag(row) } else { Ok(true) }
}

pub(super) fn count(row: &mut &[u8]) -> Result<u32, Reason> {
    array(row).map(u32::from_le_bytes)
}

pub(super) fn bytes<'a>(row: &mut &'a [u8]) -> Result<&'a [u8], Reason> {
    let length = count(row)? as usize;
    let (bytes, rest) = row.split_at_checked(length).ok_or("ends too early")?;
    *row = rest;
    Ok(bytes)
}

pub(super) fn text<'a>(row: &mut &'a [u8]) -> Result<&'a str, Reason> {
    std::str::from_utf8(bytes(row)?).map_err(|_| "has a text that is not UTF-8")
}

/// The digits without the point.
pub(super) fn decimal(row: &mut &[u8], precision: u8) -> Result<i128, Reason> {
    value::digits(i128::from_le_bytes(array(row)?), precision)
}

/// Microseconds since 1970.
pub(super) fn timestamp(row: &mut &[u8]) -> Result<i64, Reason> {
    value::micros(i64::from_le_bytes(array(row)?))
}

/// Days since 1970.
pub(super) fn day(row: &mut &[u8]) -> Result<i32, Reason> {
    value::days(i32::from_le_bytes(array(row)?).into())
}

/// Behind the last value.
pub(super) fn end(row: &[u8]) -> Result<(), Reason> {
    if row.is_empty() { Ok(()) } else { Err("has bytes behind its end") }
}
