//! What a shard's traffic looks like in numbers.

use serde::{Deserialize, Serialize};

/// How many numbers describe a shard.
pub const FEATURES: usize = 8;

/// Traffic of one shard over some minutes, as counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Point reads.
    pub reads: f64,
    /// Overwrites.
    pub updates: f64,
    /// New keys.
    pub inserts: f64,
    /// Range reads.
    pub scans: f64,
    /// Reads followed by a write of the same key.
    pub read_modify_writes: f64,
    /// Share of the accesses that fell on the hottest hundredth of the keys accessed.
    pub hot_share: f64,
    /// Share of the accesses that fell on the newest tenth of all keys.
    pub new_share: f64,
    /// Operations in each second.
    pub per_second: Vec<f64>,
}

/// A point in the space that shards are compared in. Shares are stretched by the arcsine of the root, which gives a counted
/// share the same spread wherever it lies; the rate is a logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadFeatures(pub [f64; FEATURES]);

impl WorkloadFeatures {
    /// Names in order.
    pub const NAMES: [&'static str; FEATURES] = [
        "read_share",
        "insert_share",
        "scan_share",
        "read_modify_write_share",
        "hot_share",
        "new_share",
        "rate_per_s",
        "burstiness",
    ];

    /// From counts; all are finite, also for a shard without traffic.
    pub fn of(traffic: &Traffic) -> Self {
        let parts = [traffic.reads, traffic.inserts, traffic.scans, traffic.read_modify_writes];
        let total = parts.iter().sum::<f64>() + traffic.updates;
        let share = |part: f64| stretch(if total > 0.0 { part / total } else { 0.0 });
        let count = traffic.per_second.len().max(1) as f64;
        let rate = traffic.per_second.iter().sum::<f64>() / count;
        let variance =
            traffic.per_second.iter().map(|v| (v - rate) * (v - rate)).sum::<f64>() / count;
        // 0 for arrivals by chance (variance = mean), towards 1 for bursts.
        let burstiness = if rate > 0.0 { (variance - rate) / (variance + rate) } else { 0.0 };
        let [reads, inserts, scans, both] = parts.map(share);
        let found = [
            reads,
            inserts,
            scans,
            both,
            stretch(traffic.hot_share),
            stretch(traffic.new_share),
            rate.max(0.0).ln_1p() / 4.0,
            burstiness,
        ];
        Self(found.map(|v| if v.is_finite() { v } else { 0.0 }))
    }
}

fn stretch(share: f64) -> f64 {
    if share.is_finite() { share.clamp(0.0, 1.0).sqrt().asin() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_say_what_was_counted() {
        let traffic = Traffic {
            reads: 50.0,
            updates: 50.0,
            hot_share: 1.0,
            per_second: vec![0.0, 200.0],
            ..Traffic::default()
        };
        let WorkloadFeatures(f) = WorkloadFeatures::of(&traffic);
        assert!((f[0] - std::f64::consts::FRAC_PI_4).abs() < 1e-12, "half of it reads: {f:?}");
        assert_eq!((f[1], f[2], f[3]), (0.0, 0.0, 0.0));
        assert!((f[7] - 9900.0 / 10_100.0).abs() < 1e-12, "bursts: {f:?}");
        let empty = WorkloadFeatures::of(&Traffic { hot_share: f64::NAN, ..Traffic::default() });
        assert_eq!(empty.0, [0.0; FEATURES]);
    }
}
