//! One value on its way into a column: exact, or refused with a reason that never shows it.

use jiff::Timestamp;
use jiff::civil::{Date, date};

/// Why a value does not fit. A fixed text, so that no value can get into it.
pub(super) type Reason = &'static str;

/// 0001-01-01 and 10000-01-01 in microseconds: what RFC 3339, folders and warehouses can name lies between.
const TIMESTAMP_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;
/// 0001-01-01 and 10000-01-01 in days.
const DAYS: std::ops::Range<i64> = -719_162..2_932_897;
/// Length of `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;
pub(super) const OUT_OF_RANGE: Reason = "is out of the range of the column's type";
const TOO_LARGE: Reason = "has more digits in front of the point than the column";

/// A value as its type writes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Bool(bool),
    /// A whole number.
    Whole(i128),
    /// A finite number.
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List,
    /// A struct, a map, a tuple, or a variant that carries data.
    Object,
}

pub(super) fn boolean(value: Value<'_>) -> Result<bool, Reason> {
    match value {
        Value::Bool(value) => Ok(value),
        _ => Err("is neither true nor false"),
    }
}

/// Text may be of any length: the bus bounds records.
#[inline]
pub(super) fn text(value: Value<'_>) -> Result<&str, Reason> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err("is no text"),
    }
}

pub(super) fn bytes(value: Value<'_>) -> Result<&[u8], Reason> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err("is no bytes"),
    }
}

#[inline]
pub(super) fn integer<T: TryFrom<i128>>(value: Value<'_>) -> Result<T, Reason> {
    match value {
        Value::Whole(number) => T::try_from(number).map_err(|_| OUT_OF_RANGE),
        Value::Float(_) => Err("is no whole number"),
        _ => Err("is no number"),
    }
}

/// The nearest there is.
pub(super) fn float(value: Value<'_>) -> Result<f64, Reason> {
    match value {
        Value::Whole(number) => Ok(number as f64),
        Value::Float(number) => Ok(number),
        _ => Err("is no number"),
    }
}

/// The digits without the point, as a decimal column holds them.
pub(super) fn decimal(value: Value<'_>, precision: u8, scale: u8) -> Result<i128, Reason> {
    match value {
        Value::Whole(number) => {
            let number = number.checked_mul(10_i128.pow(u32::from(scale))).ok_or(TOO_LARGE)?;
            digits(number, precision)
        }
        // The shortest digits that name it, as JSON has them.
        Value::Float(number) => parse_decimal(&serde_json::Value::from(number).to_string(), precision, scale),
        Value::Text(text) => parse_decimal(text, precision, scale),
        _ => Err("is no number"),
    }
}

/// If they are not too many.
pub(super) fn digits(value: i128, precision: u8) -> Result<i128, Reason> {
    let fits = value.unsigned_abs() < 10_u128.pow(u32::from(precision));
    if fits { Ok(value) } else { Err(TOO_LARGE) }
}

fn parse_decimal(number: &str, precision: u8, scale: u8) -> Result<i128, Reason> {
    let (negative, figures) = match number.strip_prefix('-') {
        Some(figures) => (true, figures),
        None => (false, number),
    };
    let (whole, fraction) = figures.split_once('.').unwrap_or((figures, ""));
    let bytes = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || figures.ends_with('.') || !bytes.clone().all(|b| b.is_ascii_digit()) {
        return Err("is no decimal number without an exponent");
    }
    let places = usize::from(scale);
    let (kept, rest) = fraction.split_at(fraction.len().min(places));
    if rest.bytes().any(|b| b != b'0') {
        return Err("has more digits behind the point than the column");
    }
    let figures = whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', places - kept.len()));
    let value = figures.map(|b| i128::from(b - b'0')).try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    let value = digits(value.ok_or(TOO_LARGE)?, precision)?;
    Ok(if negative { -value } else { value })
}

/// Microseconds since 1970.
#[inline]
pub(super) fn timestamp(value: Value<'_>) -> Result<i64, Reason> {
    let at = match value {
        Value::Whole(_) | Value::Float(_) => integer::<i64>(value)?.checked_mul(1_000),
        Value::Text(text) => {
            let at: Timestamp = text.parse().map_err(|_| "is no time of RFC 3339 with an offset")?;
            i64::try_from(at.as_nanosecond().div_euclid(1_000)).ok()
        }
        _ => return Err("is no time: neither milliseconds nor text"),
    };
    micros(at.unwrap_or(i64::MAX))
}

/// If they lie in a year that has a name.
#[inline]
pub(super) fn micros(at: i64) -> Result<i64, Reason> {
    if TIMESTAMP_US.contains(&at) { Ok(at) } else { Err("is a time outside the years 1 to 9999") }
}

/// Days since 1970.
pub(super) fn day(value: Value<'_>) -> Result<i32, Reason> {
    let Value::Text(text) = value else { return Err("is no day: no text") };
    let day: Option<Date> = (text.len() == DATE_BYTES).then(|| text.parse().ok()).flatten();
    days(day.ok_or("is no day as YYYY-MM-DD")?.duration_since(date(1970, 1, 1)).as_hours() / 24)
}

/// If they lie in a year that has a name.
pub(super) fn days(day: i64) -> Result<i32, Reason> {
    let day = Some(day).filter(|day| DAYS.contains(day)).and_then(|day| i32::try_from(day).ok());
    day.ok_or("is a day outside the years 1 to 9999")
}

#[cfg(test)]
mod tests {
    use super::{OUT_OF_RANGE, Value, day, decimal, float, integer, timestamp};
    use Value::{Bytes, Float, Text, Whole};

    #[test]
    fn a_whole_number_is_exact_or_refused() {
        assert_eq!(integer::<i8>(Whole(-128)), Ok(-128));
        assert_eq!(integer::<i8>(Whole(128)), Err(OUT_OF_RANGE));
        assert_eq!(integer::<i64>(Whole(i64::MAX.into())), Ok(i64::MAX));
        assert_eq!(integer::<i64>(Whole(u64::MAX.into())), Err(OUT_OF_RANGE));
        assert_eq!(integer::<i64>(Float(1.0)), Err("is no whole number"));
        assert_eq!(integer::<i64>(Text("1")), Err("is no number"));
        assert_eq!((float(Whole(3)), float(Text("1"))), (Ok(3.0), Err("is no number")));
        assert_eq!(super::text(Bytes(b"x")), Err("is no text"));
        assert_eq!(super::bytes(Text("x")), Err("is no bytes"));
    }

    #[test]
    fn a_decimal_is_exact_or_refused() {
        for (text, expected) in
            [("12.3", Ok(1_230)), ("-0.05", Ok(-5)), ("7", Ok(700)), ("1.200", Ok(120)), ("-999.99", Ok(-99_999))]
        {
            assert_eq!(decimal(Text(text), 5, 2), expected);
            assert_eq!(decimal(Float(text.parse().unwrap()), 5, 2), expected);
        }
        let (behind, front) =
            ("has more digits behind the point than the column", "has more digits in front of the point than the column");
        let none = "is no decimal number without an exponent";
        for (text, expected) in
            [("1.234", behind), ("1000", front), ("1e2", none), ("", none), ("1.", none), (".5", none), ("--1", none)]
        {
            assert_eq!(decimal(Text(text), 5, 2), Err(expected), "{text}");
        }
        assert_eq!((decimal(Whole(-999), 5, 2), decimal(Whole(1_000), 5, 2)), (Ok(-99_900), Err(front)));
        assert_eq!((decimal(Float(1.234), 5, 2), decimal(Float(1e-9), 5, 2)), (Err(behind), Err(none)));
        assert_eq!((decimal(Whole(u64::MAX.into()), 20, 0), decimal(Whole(i128::MIN), 38, 2)), (Ok(u64::MAX.into()), Err(front)));
        let most = "9".repeat(38);
        assert_eq!(decimal(Text(&most), 38, 0).map(|d| d.to_string()), Ok(most.clone()));
        assert_eq!(decimal(Text(&format!("{most}0")), 38, 0), Err(front));
        assert_eq!(decimal(Text(&"9".repeat(60)), 38, 0), Err(front));
    }

    #[test]
    fn a_time_is_milliseconds_or_text_with_an_offset() {
        assert_eq!(timestamp(Whole(1500)), Ok(1_500_000));
        assert_eq!(timestamp(Text("1970-01-01T01:00:01.000001+01:00")), Ok(1_000_001));
        assert_eq!(timestamp(Text("1969-12-31T23:59:59.9999999Z")), Ok(-1));
        assert_eq!(timestamp(Text("1970-01-01T00:00:00")), Err("is no time of RFC 3339 with an offset"));
        assert_eq!(timestamp(Whole(253_402_300_800_000)), Err("is a time outside the years 1 to 9999"));
        assert_eq!(timestamp(Whole(i64::MAX.into())), Err("is a time outside the years 1 to 9999"));
        assert_eq!(timestamp(Float(1.5)), Err("is no whole number"));
    }

    #[test]
    fn a_day_is_a_day() {
        assert_eq!((day(Text("1970-01-02")), day(Text("1969-12-31"))), (Ok(1), Ok(-1)));
        for text in ["1970-1-2", "19700102", "2026-02-30", "1970-01-02T00:00Z"] {
            assert_eq!(day(Text(text)), Err("is no day as YYYY-MM-DD"), "{text}");
        }
        assert_eq!((day(Text("0001-01-01")), day(Text("9999-12-31"))), (Ok(-719_162), Ok(2_932_896)));
        assert_eq!(day(Text("0000-12-31")), Err("is a day outside the years 1 to 9999"));
    }
}
