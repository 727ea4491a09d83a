//! How a reading stands among those of units of the same make at the same time.
//!
//! Makers count differently: 100 reallocated sectors are common with one make and a bad sign with another. Which they
//! are the fleet itself says, without any failure having to be seen.

use std::collections::BTreeMap;

/// Readings of whole fleets at moments some time apart, by make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerReadings {
    step_h: f64,
    /// By make and number of the moment: for each gauge the readings, ascending.
    moments: BTreeMap<(u32, i64), Vec<Vec<f32>>>,
}

/// A rank is no more than this: a reading above all others of a large fleet.
const MAX_RANK: f64 = 0.9999;

impl PeerReadings {
    /// Without readings; one moment each `step_h`.
    pub fn new(step_h: f64) -> Self {
        Self { step_h, moments: BTreeMap::new() }
    }

    fn moment(&self, at_h: f64) -> i64 {
        (at_h / self.step_h).floor() as i64
    }

    /// The moments from `first_h` to `last_h`, h: at these the readings of a unit that is watched so long belong here.
    pub fn moments_h(&self, first_h: f64, last_h: f64) -> impl Iterator<Item = f64> + use<> {
        let step_h = self.step_h;
        let first = (first_h / step_h).ceil() as i64;
        (first..=self.moment(last_h)).map(move |moment| moment as f64 * step_h)
    }

    /// Adds the readings of one unit at one moment; what is not given is left out.
    pub fn add(&mut self, make: u32, at_h: f64, readings: impl IntoIterator<Item = f32>) {
        let moment = self.moments.entry((make, self.moment(at_h))).or_default();
        for (gauge, reading) in readings.into_iter().enumerate() {
            if moment.len() <= gauge {
                moment.resize(gauge + 1, Vec::new());
            }
            if !reading.is_nan() {
                moment[gauge].push(reading);
            }
        }
    }

    /// Must be called after the last [`PeerReadings::add`].
    pub fn sort(&mut self) {
        for readings in self.moments.values_mut().flatten() {
            readings.sort_unstable_by(f32::total_cmp);
        }
    }

    /// How rare a reading is among its peers at the last moment up to `now_h`: -ln of the share above it, those equal to it
    /// counted half. A share of one half where it is not given or there are no peers.
    pub fn rarity(&self, make: u32, now_h: f64, gauge: usize, reading: f32) -> f32 {
        let peers = self.moments.get(&(make, self.moment(now_h))).and_then(|m| m.get(gauge));
        let rank = match peers {
            Some(peers) if !peers.is_empty() && !reading.is_nan() => {
                let below = peers.partition_point(|&other| other < reading);
                let same = peers.partition_point(|&other| other <= reading) - below;
                (below as f64 + same as f64 / 2.0) / peers.len() as f64
            }
            _ => 0.5,
        };
        -(1.0 - rank.min(MAX_RANK)).ln() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_with_one_make_is_common_with_another() {
        let mut peers = PeerReadings::new(24.0);
        for unit in 0..100 {
            peers.add(1, 48.0, [if unit < 98 { 0.0 } else { 50.0 }]);
            peers.add(2, 48.0, [unit as f32]);
            // The next day all have much.
            peers.add(1, 72.0, [500.0]);
        }
        peers.add(1, 49.0, [f32::NAN]);
        peers.sort();
        let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6, "{a} {b}");
        near(peers.rarity(1, 50.0, 0, 50.0), -(0.01_f64.ln()));
        near(peers.rarity(1, 50.0, 0, 1.0), -(0.02_f64.ln()));
        near(peers.rarity(1, 50.0, 0, 0.0), -(0.51_f64.ln()));
        near(peers.rarity(2, 50.0, 0, 50.0), -(0.495_f64.ln()));
        near(peers.rarity(2, 50.0, 0, 1e9), -(1e-4_f64.ln()));
        for (make, now_h, reading) in [(3, 50.0, 1.0), (1, 24.0, 1.0), (1, 50.0, f32::NAN)] {
            near(peers.rarity(make, now_h, 0, reading), 2f64.ln());
        }
        assert_eq!(peers.moments_h(25.0, 97.0).collect::<Vec<_>>(), [48.0, 72.0, 96.0]);
    }
}
