//! What the fuzz tests share: how often, how bytes are damaged, and how much memory reading them may take.

use proptest::{prelude::*, sample::Index, test_runner::Config};

/// As many cases as `ISOBAR_FUZZ_CASES` says.
pub fn config() -> Config {
    let cases = std::env::var("ISOBAR_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(256), ..Config::default() }
}

/// Flipped bits, and a cut.
#[derive(Clone, Debug)]
pub struct Damage {
    flips: Vec<(Index, u8)>,
    cut: Option<Index>,
}

impl Damage {
    /// The bytes, damaged.
    pub fn of(&self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for (at, bit) in self.flips.iter().filter(|_| !whole.is_empty()) {
            bytes[at.index(whole.len())] ^= 1 << bit;
        }
        bytes.truncate(self.cut.map_or(whole.len(), |cut| cut.index(whole.len() + 1)));
        bytes
    }
}

/// Some damage, or none.
pub fn damage() -> impl Strategy<Value = Damage> {
    let flips = prop::collection::vec((any::<Index>(), 0..8_u8), 0..4);
    let cut = prop::option::weighted(0.3, any::<Index>());
    (flips, cut).prop_map(|(flips, cut)| Damage { flips, cut })
}

/// A length that the input only claims may take this much: serde makes room for at most 1 MiB ahead in each list.
const CLAIMED_BYTES_MAX: u64 = 3 << 20;
/// What one byte may become: the smallest entry of a log takes a few bytes, and some hundred in memory.
const GROWTH_MAX: u64 = 256;

/// Reads, and holds that this takes not far more memory than so many bytes warrant. Only this thread's memory counts.
pub fn read_within<T>(bytes: usize, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let taken = allocation_counter::measure(|| result = Some(read()));
    let most = CLAIMED_BYTES_MAX + GROWTH_MAX * bytes as u64;
    assert!(taken.bytes_max <= most, "{bytes} bytes took {} of memory", taken.bytes_max);
    result.expect("it was read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "of memory")]
    fn too_much_memory_is_noticed() {
        read_within(10, || Vec::<u8>::with_capacity(4 << 20).len());
    }

    proptest! {
        #[test]
        fn what_is_not_damaged_is_the_same(bytes: Vec<u8>) {
            prop_assert_eq!(Damage { flips: Vec::new(), cut: None }.of(&bytes), bytes);
        }
    }
}
