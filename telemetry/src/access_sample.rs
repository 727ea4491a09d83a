//! A sample of the keys asked for recently, and the keys that cut it into eight equal parts: where to split a shard.

use crate::seeded::Seeded;

/// Below this many keys the cuts would be chance.
const KEYS_MIN: usize = 32;
/// A cut needs no more of a key than this; what lies behind hardly changes the order.
const KEY_BYTES_KEPT: usize = 256;

/// A reservoir (algorithm R) whose past fades: [`AccessSample::fade`] makes new keys weigh more than old ones.
#[derive(Clone, Debug)]
pub struct AccessSample {
    keys: Vec<Vec<u8>>,
    capacity: usize,
    /// Weight of everything the reservoir stands for.
    seen: f64,
    rng: Seeded,
}

impl AccessSample {
    /// A reservoir of up to `capacity` keys (32 to 4096).
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(KEYS_MIN, 4_096);
        Self { keys: Vec::new(), capacity, seen: 0.0, rng: Seeded::new(seed) }
    }

    /// Offers a key that stands for `weight` requests.
    pub fn offer(&mut self, key: &[u8], weight: u64) {
        let key = &key[..key.len().min(KEY_BYTES_KEPT)];
        self.seen += weight as f64;
        if self.keys.len() < self.capacity {
            self.keys.push(key.to_vec());
        } else if self.rng.unit() * self.seen < self.capacity as f64 * weight as f64 {
            let slot = self.rng.below(self.capacity);
            self.keys[slot].clear();
            self.keys[slot].extend_from_slice(key);
        }
    }

    /// Lets the past weigh only `keep` (0 to 1) of what it did.
    pub fn fade(&mut self, keep: f64) {
        // Never below the keys held: otherwise the next few requests would replace the whole sample.
        self.seen = (self.seen * keep.clamp(0.0, 1.0)).max(self.keys.len() as f64);
    }

    /// The seven keys (printable) that cut the recent requests into eight equal parts, ascending; a hot key may
    /// stand there several times. Empty while too few keys were seen.
    pub fn octiles(&self) -> Vec<String> {
        if self.keys.len() < KEYS_MIN {
            return Vec::new();
        }
        let mut sorted: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        sorted.sort_unstable();
        (1..8).map(|i| isobar_api::table::key_to_text(sorted[i * sorted.len() / 8])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(sample: &AccessSample) -> Vec<u64> {
        sample.octiles().iter().map(|k| k.parse().unwrap()).collect()
    }

    #[test]
    fn even_traffic_is_cut_evenly() {
        let mut sample = AccessSample::new(1_024, 1);
        for i in 0..200_000_u64 {
            sample.offer(format!("{:06}", i * 7_919 % 80_000).as_bytes(), 1);
        }
        for (i, cut) in cuts(&sample).into_iter().enumerate() {
            let exact = (i as i64 + 1) * 10_000;
            assert!((cut as i64 - exact).abs() < 4_000, "{cut} for {exact}");
        }
    }

    #[test]
    fn the_past_fades() {
        let mut sample = AccessSample::new(256, 1);
        for i in 0..10_000 {
            sample.offer(format!("{i:06}").as_bytes(), 1);
        }
        for round in 0..20 {
            sample.fade(0.5);
            for i in 0..500 {
                sample.offer(format!("{:06}", 500_000 + round * 500 + i).as_bytes(), 1);
            }
        }
        let left = sample.keys.iter().filter(|k| k.as_slice() < b"500000".as_slice()).count();
        assert!(left <= 2, "{left} keys of a time long gone");
    }

    #[test]
    fn without_fading_every_time_weighs_the_same() {
        let mut sample = AccessSample::new(1_024, 3);
        (0..40_000).for_each(|i| sample.offer(format!("{i:06}").as_bytes(), 1));
        assert!((cuts(&sample)[3] as i64 - 20_000).abs() < 3_000, "{:?}", cuts(&sample));
    }

    #[test]
    fn too_few_keys_give_no_cut_and_a_seed_replays() {
        let mut sample = AccessSample::new(256, 1);
        (0..31_u8).for_each(|i| sample.offer(&[b'a' + i % 26], 1));
        assert!(sample.octiles().is_empty());
        let run = |seed| {
            let mut sample = AccessSample::new(64, seed);
            (0..5_000).for_each(|i| sample.offer(format!("{i:06}").as_bytes(), 3));
            sample.octiles()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }
}
