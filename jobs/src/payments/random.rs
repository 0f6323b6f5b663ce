//! Numbers that look random and are a pure function of seed and index.

/// SplitMix64 (Steele, Lea, Flood 2014): each record has a stream of its own, so that records do not depend on the
/// order in which they are made.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(seed: u64, index: u64) -> Self {
        let mut outer = Self(seed);
        Self(outer.next() ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..end`; 0 when that is empty.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From `0..end`, low ones more often: the square of an even draw.
    pub(super) fn low(&mut self, end: u32) -> u32 {
        let even = self.next() >> 32;
        let square = (even * even) >> 32;
        ((square * u64::from(end)) >> 32) as u32
    }
}
