//! Seeded numbers for the choice of rows and features: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True for this share of calls.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        share >= 1.0 || ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// This share of 0..count, at least one, in order.
    pub(super) fn choose(&mut self, count: usize, share: f64) -> Vec<usize> {
        let wanted = ((count as f64 * share).round() as usize).clamp(1, count.max(1));
        let mut all: Vec<usize> = (0..count).collect();
        for at in 0..wanted.min(count) {
            let other = at + (self.next() % (count - at) as u64) as usize;
            all.swap(at, other);
        }
        all.truncate(wanted);
        all.sort_unstable();
        all
    }
}
