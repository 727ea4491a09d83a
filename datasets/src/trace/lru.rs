//! The trivial baseline of every cache figure.

use crate::trace::Trace;
use std::collections::{BTreeMap, HashMap};

/// The share of accesses that an LRU cache of this many keys would have held, from cold.
pub fn lru_hit_ratio(trace: &Trace, capacity_keys: usize) -> f64 {
    let mut last_use: HashMap<u64, u64> = HashMap::new();
    let mut by_age: BTreeMap<u64, u64> = BTreeMap::new();
    let mut hits = 0_u64;
    for (now, access) in (0_u64..).zip(&trace.accesses) {
        if let Some(before) = last_use.insert(access.key, now) {
            by_age.remove(&before);
            hits += 1;
        }
        by_age.insert(now, access.key);
        if by_age.len() > capacity_keys
            && let Some((_, oldest)) = by_age.pop_first()
        {
            last_use.remove(&oldest);
        }
    }
    hits as f64 / trace.accesses.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Access, Op};

    #[test]
    fn the_least_recently_used_goes_first() {
        let access = |key| Access { at_ms: None, op: Op::Read, key, size_bytes: None };
        let accesses = [1, 2, 1, 3, 1, 2].map(access).to_vec();
        let trace = Trace { name: "t".into(), accesses };
        // With two places, 3 drives out 2 and not 1.
        assert!((lru_hit_ratio(&trace, 2) - 2.0 / 6.0).abs() < 1e-12);
        assert_eq!(lru_hit_ratio(&trace, 0), 0.0);
    }
}
