//! One value of a row's JSON on its way into a column: exact, or refused with a reason that never shows the value.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use std::str::FromStr;

/// Why a value does not fit. A fixed text, so that no value can get into it.
pub(super) type Reason = &'static str;

/// 0001-01-01 and 10000-01-01 in microseconds: what RFC 3339, folders and warehouses can name lies between.
const TIMESTAMP_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;
/// Of what are no bytes.
pub(super) const NO_BYTES: Reason = "is no list of bytes";
/// Length of `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;

/// A value as it stands in the JSON.
#[derive(Clone, Copy, Debug)]
pub(super) enum Json<'a> {
    /// `null`, or not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// Text, unescaped.
    Text(&'a str),
    /// `[..]`
    List,
    /// `{..}`
    Object,
}

pub(super) fn boolean(json: Json<'_>) -> Result<bool, Reason> {
    match json {
        Json::Bool(value) => Ok(value),
        _ => Err("is neither true nor false"),
    }
}

/// Text may be of any length: the bus bounds records.
pub(super) fn text(json: Json<'_>) -> Result<&str, Reason> {
    match json {
        Json::Text(text) => Ok(text),
        _ => Err("is no text"),
    }
}

pub(super) fn integer<T: FromStr>(json: Json<'_>) -> Result<T, Reason> {
    let Json::Number(number) = json else { return Err("is no number") };
    number.parse().map_err(|_| match number.contains(['.', 'e', 'E']) {
        true => "is no whole number",
        false => "is out of the range of the column's type",
    })
}

pub(super) fn float(json: Json<'_>) -> Result<f64, Reason> {
    let Json::Number(number) = json else { return Err("is no number") };
    let value = number.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or("is out of the range of the column's type")
}

/// The digits without the point, as a decimal column holds them.
pub(super) fn decimal(json: Json<'_>, precision: u8, scale: u8) -> Result<i128, Reason> {
    let (Json::Number(number) | Json::Text(number)) = json else { return Err("is no number") };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let bytes = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || digits.ends_with('.') || !bytes.clone().all(|b| b.is_ascii_digit()) {
        return Err("is no decimal number without an exponent");
    }
    let places = usize::from(scale);
    let (kept, rest) = fraction.split_at(fraction.len().min(places));
    if rest.bytes().any(|b| b != b'0') {
        return Err("has more digits behind the point than the column");
    }
    let digits = whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', places - kept.len()));
    let value = digits.map(|b| i128::from(b - b'0')).try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    match value.filter(|value| *value < 10_i128.pow(u32::from(precision))) {
        Some(value) => Ok(if negative { -value } else { value }),
        None => Err("has more digits in front of the point than the column"),
    }
}

/// Microseconds since 1970.
pub(super) fn timestamp(json: Json<'_>) -> Result<i64, Reason> {
    let micros = match json {
        Json::Number(_) => integer::<i64>(json)?.checked_mul(1_000),
        Json::Text(text) => {
            let at: Timestamp = text.parse().map_err(|_| "is no time of RFC 3339 with an offset")?;
            i64::try_from(at.as_nanosecond().div_euclid(1_000)).ok()
        }
        _ => return Err("is no time: neither milliseconds nor text"),
    };
    micros.filter(|micros| TIMESTAMP_US.contains(micros)).ok_or("is a time outside the years 1 to 9999")
}

/// Days since 1970.
pub(super) fn day(json: Json<'_>) -> Result<i32, Reason> {
    let Json::Text(text) = json else { return Err("is no day: no text") };
    let day: Option<Date> = (text.len() == DATE_BYTES).then(|| text.parse().ok()).flatten();
    let hours = day.ok_or("is no day as YYYY-MM-DD")?.duration_since(date(1970, 1, 1)).as_hours();
    i32::try_from(hours / 24).map_err(|_| "is a day outside the years 1 to 9999")
}

#[cfg(test)]
mod tests {
    use super::{Json, day, decimal, float, integer, timestamp};
    use Json::{Number, Text};

    #[test]
    fn a_whole_number_is_exact_or_refused() {
        assert_eq!(integer::<i8>(Number("-128")), Ok(-128));
        assert_eq!(integer::<i8>(Number("128")), Err("is out of the range of the column's type"));
        assert_eq!(integer::<i64>(Number("9223372036854775807")), Ok(i64::MAX));
        assert_eq!(integer::<i64>(Number("1.0")), Err("is no whole number"));
        assert_eq!(integer::<i64>(Text("1")), Err("is no number"));
        assert_eq!(float(Number("1e400")), Err("is out of the range of the column's type"));
    }

    #[test]
    fn a_decimal_is_exact_or_refused() {
        for (text, expected) in
            [("12.3", Ok(1_230)), ("-0.05", Ok(-5)), ("7", Ok(700)), ("1.200", Ok(120)), ("-999.99", Ok(-99_999))]
        {
            assert_eq!(decimal(Number(text), 5, 2), expected);
            assert_eq!(decimal(Text(text), 5, 2), expected);
        }
        let (behind, front) =
            ("has more digits behind the point than the column", "has more digits in front of the point than the column");
        let none = "is no decimal number without an exponent";
        for (text, expected) in
            [("1.234", behind), ("1000", front), ("1e2", none), ("", none), ("1.", none), (".5", none), ("--1", none)]
        {
            assert_eq!(decimal(Text(text), 5, 2), Err(expected), "{text}");
        }
        let most = "9".repeat(38);
        assert_eq!(decimal(Text(&most), 38, 0).map(|d| d.to_string()), Ok(most.clone()));
        assert_eq!(decimal(Text(&format!("{most}0")), 38, 0), Err(front));
        assert_eq!(decimal(Text(&"9".repeat(60)), 38, 0), Err(front));
    }

    #[test]
    fn a_time_is_milliseconds_or_text_with_an_offset() {
        assert_eq!(timestamp(Number("1500")), Ok(1_500_000));
        assert_eq!(timestamp(Text("1970-01-01T01:00:01.000001+01:00")), Ok(1_000_001));
        assert_eq!(timestamp(Text("1969-12-31T23:59:59.9999999Z")), Ok(-1));
        assert_eq!(timestamp(Text("1970-01-01T00:00:00")), Err("is no time of RFC 3339 with an offset"));
        assert_eq!(timestamp(Number("253402300800000")), Err("is a time outside the years 1 to 9999"));
        assert_eq!(timestamp(Number("9223372036854775807")), Err("is a time outside the years 1 to 9999"));
    }

    #[test]
    fn a_day_is_a_day() {
        assert_eq!((day(Text("1970-01-02")), day(Text("1969-12-31"))), (Ok(1), Ok(-1)));
        for text in ["1970-1-2", "19700102", "2026-02-30", "1970-01-02T00:00Z"] {
            assert_eq!(day(Text(text)), Err("is no day as YYYY-MM-DD"), "{text}");
        }
    }
}
