//! The one objective. The order of the fields is their priority: the first that differs decides.

use isobar_api::plan::ScoreTerm;

/// What a change costs or leaves behind; smaller is better everywhere. Integers, so that the order is total and
/// the same on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score {
    /// Live voters beyond a bare majority: the fewer, the more urgent the change.
    pub voters_spare: i64,
    /// Regions that the voters could span but would not.
    pub regions_missing: i64,
    /// Voters that would share a zone with another.
    pub zones_shared: i64,
    /// Change of the time readers wait, microseconds per second, pessimistic; negative is a gain.
    pub read_wait_us_per_s: i64,
    /// Load of the node that takes over, milli-requests per second.
    pub node_load_milli: i64,
    /// Bytes to copy.
    pub copy_bytes: i64,
    /// Replicas that the target holds.
    pub node_replicas: i64,
    /// Decides what is left, from the seed.
    pub tie: u64,
}

impl Score {
    /// The terms as they are shown. The tie-breaker has no meaning for people and is left out.
    pub(crate) fn terms(&self) -> Vec<ScoreTerm> {
        let terms = [
            ("voters_spare", self.voters_spare as f64),
            ("regions_missing", self.regions_missing as f64),
            ("zones_shared", self.zones_shared as f64),
            ("read_wait_ms_per_s", self.read_wait_us_per_s as f64 / 1e3),
            ("node_requests_per_s", self.node_load_milli as f64 / 1e3),
            ("copy_bytes", self.copy_bytes as f64),
            ("node_replicas", self.node_replicas as f64),
        ];
        terms.into_iter().map(|(name, value)| ScoreTerm { name: name.into(), value }).collect()
    }
}

/// A figure in thousandths, as an integer. Infinite and undefined values saturate (`NaN` becomes 0).
pub(crate) fn milli(value: f64) -> i64 {
    (value * 1e3).round() as i64
}

/// A number without pattern from the seed and two ids (SplitMix64), to break ties evenly.
pub(crate) fn tie(seed: u64, a: u64, b: u64) -> u64 {
    let mut x = seed ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.rotate_left(32);
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_fields_outrank_later_ones() {
        let safe = Score { voters_spare: 1, read_wait_us_per_s: -1_000_000, ..Score::default() };
        let urgent = Score { voters_spare: 0, node_load_milli: i64::MAX, ..Score::default() };
        assert!(urgent < safe);
        assert_eq!(safe.terms()[3].value, -1_000.0);
    }

    #[test]
    fn odd_numbers_do_not_break_the_order() {
        assert_eq!(milli(f64::NAN), 0);
        assert_eq!(milli(f64::INFINITY), i64::MAX);
        assert_ne!(tie(1, 2, 3), tie(2, 2, 3));
    }
}
