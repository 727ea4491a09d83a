//! The cache as a whole, on made workloads whose right answer is known.

use super::*;
use crate::prefetch::Lru;
use crate::prefetch::index::mixed;
use proptest::prelude::*;

fn request(key: u64) -> Request {
    Request { key, length: 1, size_bytes: 4096 }
}

fn small() -> Settings {
    Settings { tracked_ids: 4096, ..Settings::default() }
}

/// Hit ratio of ours and of LRU over the second half of these keys.
fn replay(keys: &[u64], capacity: usize, settings: &Settings) -> (f64, f64, EdgeCache) {
    let mut ours = EdgeCache::new(capacity, settings).expect("legal");
    let mut lru = Lru::new(capacity);
    let (mut hits, mut lru_hits) = (0, 0);
    for (i, &key) in keys.iter().enumerate() {
        let (hit, lru_hit) = (ours.request(request(key)).is_hit(), lru.request(key));
        if i >= keys.len() / 2 {
            hits += usize::from(hit);
            lru_hits += usize::from(lru_hit);
        }
    }
    let half = (keys.len() - keys.len() / 2) as f64;
    (hits as f64 / half, lru_hits as f64 / half, ours)
}

#[test]
fn a_loop_of_scattered_keys_is_foreseen() {
    let keys: Vec<u64> = (0..20_000).map(|i| mixed(i % 2000)).collect();
    let (ours, lru, cache) = replay(&keys, 40, &small());
    assert_eq!(lru, 0.0);
    assert!(ours > 0.98, "{ours}");
    let counts = cache.counts();
    assert!(counts.used as f64 > 0.98 * counts.issued as f64, "{counts:?}");
    let learned = cache.sources();
    let streams = learned.iter().filter(|(s, _)| matches!(s, Source::Sequential | Source::Stride));
    assert!(streams.map(|(_, count)| count.issued).sum::<u64>() < 100, "{learned:?}");
}

#[test]
fn interleaved_streams_and_strides_are_read_ahead() {
    // Five streams by turns, each key new: two of step 1, three of step 24.
    let keys: Vec<u64> = (0..10_000_u64)
        .map(|i| (i % 5) * 1_000_000_000 + i / 5 * if i % 5 < 2 { 1 } else { 24 })
        .collect();
    let requests = keys.iter().map(|&key| Request { key, length: 24, size_bytes: 1 });
    let mut cache = EdgeCache::new(100, &small()).expect("legal");
    let hits = requests.filter(|&r| cache.request(r).is_hit()).count();
    assert!(hits > 9000, "{hits}");
}

#[test]
fn keys_that_come_soon_after_one_another_are_associated() {
    // A pair far apart in the key space, 1 to 6 requests of noise between them, and each pair rare.
    let mut keys = Vec::new();
    for i in 0..30_000_u64 {
        let pair = mixed(i) % 300;
        keys.push(pair * 2_000_003);
        for noise in 0..1 + mixed(i * 7) % 6 {
            keys.push(1 << 40 | mixed(i * 31 + noise) >> 20);
        }
        keys.push(pair * 2_000_003 + 777_777);
    }
    let settings = Settings { tracked_ids: 1 << 17, ..Settings::default() };
    let (_, _, cache) = replay(&keys, 40, &settings);
    let sources = cache.sources();
    let (_, found) = sources.iter().find(|(s, _)| *s == Source::Association).expect("all listed");
    assert!(found.used > 20_000, "of 30,000 pairs: {sources:?}");
    assert!(cache.counts().used as f64 > 0.9 * cache.counts().issued as f64, "{sources:?}");
}

#[test]
fn where_nothing_can_be_foreseen_almost_nothing_is_fetched_and_lru_is_kept_up_with() {
    // Independent draws, the smaller keys the likelier; close keys have nothing to do with each other.
    let keys: Vec<u64> =
        (0..60_000).map(|i| (mixed(i) % 3000) * (mixed(i + 1) % 3000) / 3000).collect();
    let (ours, lru, cache) = replay(&keys, 300, &small());
    assert!(ours > lru - 0.005, "{ours} {lru}");
    assert!(cache.counts().issued < 600, "{:?}", cache.counts());
    // Never the same key twice.
    let keys: Vec<u64> = (0..20_000).map(mixed).collect();
    let (ours, _, cache) = replay(&keys, 300, &small());
    assert_eq!(ours, 0.0);
    assert!(cache.counts().issued < 200, "{:?}", cache.counts());
}

#[test]
fn the_guard_keeps_up_with_lru_where_its_like_is_hard_to_beat() {
    // A working set that just fits and moves on: what counts is what was used last, not how often.
    let keys: Vec<u64> = (0..200_000_u64).map(|i| i / 3000 * 45 + mixed(i) % 90).collect();
    for capacity in [88, 90, 100] {
        let (ours, lru, _) = replay(&keys, capacity, &small());
        assert!(ours > lru - 0.005, "capacity {capacity}: {ours} {lru}");
    }
}

#[test]
fn the_budget_is_kept() {
    let keys: Vec<u64> = (0..20_000).map(|i| mixed(i % 2000)).collect();
    let settings = Settings { budget_bytes_per_byte: 0.25, ..small() };
    let (_, _, cache) = replay(&keys, 40, &settings);
    let Counts { requests, issued, .. } = cache.counts();
    assert!(issued as f64 <= 0.25 * requests as f64 + 64.0 && issued > requests / 8, "{issued}");
    let settings = Settings { budget_bytes_per_byte: 0.0, ..small() };
    assert_eq!(replay(&keys, 40, &settings).2.counts().issued, 0);
}

#[test]
fn at_most_64_bytes_for_each_tracked_id() {
    for tracked_ids in [64, 4096, 5000, 1 << 18] {
        let cache = EdgeCache::new(10, &Settings { tracked_ids, ..small() }).expect("legal");
        assert!(cache.bytes_per_tracked_id() <= 64.0, "{}", cache.bytes_per_tracked_id());
    }
}

proptest! {
    #[test]
    fn any_requests_keep_the_capacity_and_repeat(
        keys in prop::collection::vec(prop_oneof![0_u64..40, any::<u64>()], 1..600),
        capacity in 0_usize..20,
        length in prop_oneof![0_u64..5, any::<u64>()],
    ) {
        let settings = Settings { tracked_ids: 64, threshold: 0.0, ..Settings::default() };
        let mut caches = [0, 1].map(|_| EdgeCache::new(capacity, &settings).expect("legal"));
        let mut seen = keys.clone();
        for &key in &keys {
            let request = Request { key, length, size_bytes: (key % 9000) as u32 };
            let held = caches[0].holds(key);
            let outcome = caches[0].request(request);
            prop_assert_eq!(outcome.is_hit(), held);
            prop_assert_eq!(outcome, caches[1].request(request));
            seen.extend(caches[0].fetches());
            prop_assert_eq!(caches[0].fetches(), caches[1].fetches());
        }
        seen.sort_unstable();
        seen.dedup();
        let held = seen.iter().filter(|&&key| caches[0].holds(key)).count();
        prop_assert!(held <= capacity);
        prop_assert!(caches[0].counts().used <= caches[0].counts().issued);
    }
}
