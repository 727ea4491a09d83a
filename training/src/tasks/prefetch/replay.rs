//! Replays a workload: the first part warms the cache up, the second half is counted.

use isobar_models::prefetch::{
    EdgeCache, InvalidSettings, Lru, Outcome, ReadAhead, Request, Settings,
};

/// What the counted half gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Requests whose key was in the cache, prefetched or not.
    pub(super) hit_ratio: f64,
    /// Of the keys prefetched in the counted half, those used in it before they fell out; 1 where none was prefetched.
    pub(super) precision: f64,
    pub(super) issued_per_request: f64,
}

/// Places in the cache: this share of the distinct keys, rounded down.
pub(super) fn capacity(keys: usize, share: f64) -> usize {
    (keys as f64 * share) as usize
}

/// Replays through the model. Returns the model too, with what it has learned.
pub(super) fn model(
    requests: &[Request],
    capacity: usize,
    settings: &Settings,
) -> Result<(Figures, EdgeCache), InvalidSettings> {
    let mut cache = EdgeCache::new(capacity, settings)?;
    let figures = count(requests, |request| {
        let outcome = cache.request(*request);
        (outcome, cache.fetches().len() as u64)
    });
    Ok((figures, cache))
}

/// Replays through plain LRU.
pub(super) fn lru(requests: &[Request], capacity: usize) -> Figures {
    let mut lru = Lru::new(capacity);
    count(requests, |request| match lru.request(request.key) {
        true => (Outcome::Hit, 0),
        false => (Outcome::Miss, 0),
    })
}

/// Replays through LRU that reads the next keys ahead.
pub(super) fn read_ahead(requests: &[Request], capacity: usize, ahead: u64) -> Figures {
    let mut cache = ReadAhead::new(capacity, ahead);
    count(requests, |request| {
        let before = cache.issued();
        (cache.request(request.key), cache.issued() - before)
    })
}

fn count(requests: &[Request], mut serve: impl FnMut(&Request) -> (Outcome, u64)) -> Figures {
    let half = requests.len() / 2;
    let (mut hits, mut used, mut issued) = (0_u64, 0_u64, 0_u64);
    for (place, request) in requests.iter().enumerate() {
        let (outcome, fetched) = serve(request);
        let Some(counted) = place.checked_sub(half) else {
            continue;
        };
        hits += u64::from(outcome.is_hit());
        issued += fetched;
        // What was prefetched in the warming half is no credit to this one.
        if let Outcome::PrefetchHit { waited } = outcome {
            used += u64::from(waited as usize <= counted);
        }
    }
    let counted = (requests.len() - half).max(1) as f64;
    Figures {
        hit_ratio: hits as f64 / counted,
        precision: if issued == 0 { 1.0 } else { used as f64 / issued as f64 },
        issued_per_request: issued as f64 / counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(keys: impl Iterator<Item = u64>) -> Vec<Request> {
        keys.map(|key| Request { key, length: 1, size_bytes: 1 }).collect()
    }

    #[test]
    fn the_counted_half_is_counted_by_hand() {
        // Warm: 1 2 3; counted: 1 4 1. Two places.
        let trace = requests([1, 2, 3, 1, 4, 1].into_iter());
        let figures = lru(&trace, 2);
        assert_eq!(figures.hit_ratio, 1.0 / 3.0);
        assert_eq!((figures.precision, figures.issued_per_request), (1.0, 0.0));
        // Read-ahead of one, eight places: counted are 2 (was read ahead while warming: a hit, no credit),
        // 3 (read ahead by 2: credit), 9 (missed). 2 issued 3, 3 issued 4, 9 issued 10.
        let trace = requests([50, 60, 1, 2, 3, 9].into_iter());
        let figures = read_ahead(&trace, 8, 1);
        assert_eq!(figures.hit_ratio, 2.0 / 3.0);
        assert_eq!((figures.precision, figures.issued_per_request), (1.0 / 3.0, 1.0));
    }
}
