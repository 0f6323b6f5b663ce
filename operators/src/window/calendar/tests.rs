//! Where days and months begin, by clocks that people have really set.

use super::cut::CALENDAR_MS;
use super::{Calendar, daily, monthly};
use crate::Window;
use chrono::DateTime;
use distributary_runtime::time::EventTime;

fn at(text: &str) -> EventTime {
    EventTime(text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_millis())
}

fn check(windows: &Calendar, within: &str, start: &str, end: &str) {
    let window = Window { start: at(start), end: at(end) };
    assert_eq!(windows.window_of(at(within)), window, "{within}");
    assert_eq!(windows.window_of(window.start), window, "{within}, its start");
    assert_eq!(windows.window_of(EventTime(window.end.0 - 1)), window, "{within}, its end");
    assert_eq!(windows.window_of(window.end).start, window.end, "{within}, behind it");
}

#[test]
fn days_begin_at_local_midnight() {
    let vienna = daily("Europe/Vienna");
    check(&vienna, "2025-03-30T00:30:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z");
    check(&vienna, "2025-03-30T01:30:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z");
    check(&vienna, "2025-10-26T00:30:00Z", "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z");
    check(&vienna, "2025-07-01T12:00:00Z", "2025-06-30T22:00:00Z", "2025-07-01T22:00:00Z");
    check(&monthly("Europe/Vienna"), "2025-03-30T01:30:00Z", "2025-02-28T23:00:00Z", "2025-03-31T22:00:00Z");
    check(&monthly("UTC"), "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
    check(&daily("Asia/Kathmandu"), "2025-01-01T18:14:59Z", "2024-12-31T18:15:00Z", "2025-01-01T18:15:00Z");
}

/// Clocks that skip midnight, show it twice, go back over it, or skip a whole day.
#[test]
fn days_follow_each_other_whatever_clocks_do() {
    check(&daily("America/Sao_Paulo"), "2017-10-15T12:00:00Z", "2017-10-15T03:00:00Z", "2017-10-16T02:00:00Z");
    check(&daily("America/Havana"), "2025-11-02T12:00:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
    check(&daily("America/St_Johns"), "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
    check(&daily("Pacific/Apia"), "2011-12-30T11:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    check(&daily("Pacific/Apia"), "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
}

#[test]
fn calendars_have_no_end() {
    for windows in [daily("Europe/Vienna"), monthly("Pacific/Apia")] {
        for time in [i64::MIN, -CALENDAR_MS - 1, -CALENDAR_MS, 0, CALENDAR_MS - 1, CALENDAR_MS, i64::MAX] {
            let window = windows.window_of(EventTime(time));
            assert!(window.start.0 <= time && (time < window.end.0 || time == i64::MAX), "{window:?}");
            assert_eq!(windows.window_of(window.start), window);
        }
    }
}
