//! Heavy hitters by the Space-Saving algorithm (Metwally et al. 2005): a bounded table that never misses a key
//! above `1 / capacity` of the requests.

use isobar_api::report::HotKey;

/// How many counters are kept per key reported; more counters, tighter bounds.
const COUNTERS_PER_KEY: usize = 4;
/// Keys below this share are not hot, whatever their rank.
const SHARE_MIN: f64 = 0.01;

#[derive(Clone, Debug)]
struct Counter {
    hash: u64,
    key: Vec<u8>,
    count: u64,
    /// What the counter had inherited when this key took it over: the count may be too high by as much.
    error: u64,
}

/// A bounded table of the most frequent keys.
#[derive(Clone, Debug)]
pub struct HotKeys {
    counters: Vec<Counter>,
    report_max: usize,
    total: u64,
}

impl HotKeys {
    /// A table that reports up to `report_max` keys (1 to 64).
    pub fn new(report_max: usize) -> Self {
        Self { counters: Vec::new(), report_max: report_max.clamp(1, 64), total: 0 }
    }

    /// Counts a key with a weight (how many requests the sampled one stands for).
    pub fn add(&mut self, key: &[u8], weight: u64) {
        self.total += weight;
        let hash = fnv1a(key);
        if let Some(counter) = self.counters.iter_mut().find(|c| c.hash == hash && c.key == key) {
            counter.count += weight;
            return;
        }
        if self.counters.len() < self.report_max * COUNTERS_PER_KEY {
            self.counters.push(Counter { hash, key: key.to_vec(), count: weight, error: 0 });
            return;
        }
        let least = self
            .counters
            .iter_mut()
            .min_by_key(|c| c.count)
            .expect("the table is full, and its capacity is at least four");
        least.error = least.count;
        least.count += weight;
        least.hash = hash;
        least.key.clear();
        least.key.extend_from_slice(key);
    }

    /// The keys that surely took at least 1 % of the requests, largest first, and starts anew.
    ///
    /// The share is a lower bound, so that even traffic over many keys never looks hot.
    pub fn take(&mut self) -> Vec<HotKey> {
        let total = std::mem::take(&mut self.total).max(1) as f64;
        let mut counters = std::mem::take(&mut self.counters);
        counters.sort_by(|a, b| {
            (b.count - b.error).cmp(&(a.count - a.error)).then_with(|| a.key.cmp(&b.key))
        });
        counters
            .iter()
            .map(|c| (c, (c.count - c.error) as f64 / total))
            .take_while(|&(_, share)| share >= SHARE_MIN)
            .take(self.report_max)
            .map(|(c, share)| HotKey { key: isobar_api::table::key_to_text(&c.key), share })
            .collect()
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn a_key_with_a_tenth_of_the_requests_is_found_with_its_share() {
        let (mut hot, mut rng) = (HotKeys::new(16), Seeded::new(7));
        for i in 0..50_000_u64 {
            if i % 10 == 0 {
                hot.add(b"sale", 1);
            } else {
                hot.add(&rng.next().to_be_bytes(), 1);
            }
        }
        let found = hot.take();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].key, "sale");
        assert!(found[0].share > 0.08 && found[0].share <= 0.1, "{found:?}");
    }

    #[test]
    fn even_traffic_has_no_hot_key_and_memory_stays_bounded() {
        let mut hot = HotKeys::new(16);
        for i in 0..100_000_u64 {
            hot.add(&(i % 5_000).to_be_bytes(), 1);
        }
        assert_eq!(hot.counters.len(), 64);
        assert!(hot.take().is_empty());
        assert!(hot.take().is_empty(), "taking starts anew");
    }

    #[test]
    fn largest_first_and_binary_keys_are_printable() {
        let mut hot = HotKeys::new(2);
        hot.add(b"a", 3);
        hot.add(&[0, 255], 6);
        hot.add(b"c", 1);
        let keys: Vec<_> = hot.take().into_iter().map(|k| (k.key, k.share)).collect();
        assert_eq!(keys, [("\\x00\\xff".to_owned(), 0.6), ("a".to_owned(), 0.3)]);
    }
}
