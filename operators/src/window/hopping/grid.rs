//! *Pure*: how overlapping windows cut time into slices.

use super::super::terms::Terms;
use distributary_runtime::time::{EventTime, Watermark};

/// Windows begin at the multiples of `slide`, slices at those of the greatest common divisor of `size` and `slide`: no window begins or
/// ends within a slice. Windows stand as their starts. In 128 bits nothing overflows; windows that would begin before time does
/// are not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    size: i128,
    slide: i128,
    slice: i128,
}

/// A slice, the windows it is in, and how it stands with them in the open epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) start: i64,
    /// The first millisecond behind it.
    pub(super) end: i64,
    /// The first and the last window it is in.
    pub(super) first: i64,
    pub(super) last: i64,
    /// All windows take a record that has seen less.
    all_until: Watermark,
    /// Whether the last window takes nothing more, not even corrections.
    pub(super) is_gone: bool,
}

impl Grid {
    /// Both at least 1.
    pub(super) fn new(size_ms: i64, slide_ms: i64) -> Self {
        let (mut a, mut b) = (size_ms, slide_ms);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { size: size_ms.into(), slide: slide_ms.into(), slice: a.into() }
    }

    /// In how many slices a window is cut.
    pub(super) fn slices(&self) -> i64 {
        clamp(self.size / self.slice)
    }

    pub(super) fn place_of(&self, time: EventTime, terms: &Terms, watermark: Watermark) -> Place {
        let start = floor(time.0.into(), self.slice);
        let (first, last) = (self.first_with(clamp(start)), self.last_with(clamp(start)));
        let all_until = terms.late_from(self.end_of(first));
        let is_gone = first > last || watermark >= terms.gone_from(self.end_of(last));
        Place { start: clamp(start), end: clamp(start + self.slice), first, last, all_until, is_gone }
    }

    /// The first window with a slice that takes a record which has seen this much; none if it is late for all.
    #[inline]
    pub(super) fn first_that_takes(&self, place: &Place, seen: Watermark, terms: &Terms) -> Option<i64> {
        if place.is_gone {
            return None;
        }
        if seen < place.all_until {
            return Some(place.first);
        }
        let over = i128::from(seen.0) - self.size - i128::from(terms.lateness_ms);
        let first = clamp(floor(over, self.slide) + self.slide);
        (first <= place.last).then_some(first)
    }

    /// The first window that has this slice.
    pub(super) fn first_with(&self, slice: i64) -> i64 {
        let first = floor(i128::from(slice) - self.size, self.slide) + self.slide;
        if first < i64::MIN.into() { clamp(floor(i64::MIN.into(), self.slide) + self.slide) } else { clamp(first) }
    }

    /// The last window that has this slice.
    pub(super) fn last_with(&self, slice: i64) -> i64 {
        clamp(floor(slice.into(), self.slide))
    }

    /// The first and the last window that end behind the first and not behind the second of these.
    pub(super) fn ended_between(&self, before: Watermark, now: Watermark) -> Option<(i64, i64)> {
        let begun = |ended: Watermark| floor(i128::from(ended.0) - self.size, self.slide);
        let (from, to) = (begun(before) + self.slide, begun(now));
        // At the end of time all have ended.
        let to = if now.0 == i64::MAX { floor(now.0.into(), self.slide) } else { to };
        (from <= to).then(|| (clamp(from), clamp(to)))
    }

    /// These windows, from the first to the last.
    pub(super) fn windows(&self, first: i64, last: i64) -> impl Iterator<Item = i64> + use<> {
        let slide = clamp(self.slide);
        std::iter::successors(Some(first), move |start| start.checked_add(slide)).take_while(move |start| *start <= last)
    }

    /// The first millisecond behind a window.
    pub(super) fn end_of(&self, window: i64) -> EventTime {
        EventTime(window).plus_ms(clamp(self.size))
    }
}

fn floor(value: i128, step: i128) -> i128 {
    value.div_euclid(step) * step
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
