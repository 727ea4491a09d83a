//! Hybrid logical clock (Kulkarni et al., 2014): 48 bits of Unix milliseconds and a 16-bit counter.

use crate::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of a row: when it was written by the hybrid clock, and which node assigned it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Hybrid clock reading. Zero: no row.
    pub hlc: u64,
    /// The node that assigned it.
    pub origin: NodeId,
}

impl Version {
    /// The version of a row that does not exist.
    pub const ABSENT: Self = Self { hlc: 0, origin: NodeId(0) };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.hlc >> 16, self.hlc & 0xffff, self.origin)
    }
}

impl std::str::FromStr for Version {
    type Err = String;

    /// Reads what `Display` writes; `0` is [`Version::ABSENT`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            format!(
                "`{text}` is not a row version: write it as shown, `MS.COUNT@nNODE`, or 0 for no row"
            )
        };
        if text == "0" {
            return Ok(Self::ABSENT);
        }
        let (clock, node) = text.split_once('@').ok_or_else(bad)?;
        let (ms, count) = clock.split_once('.').ok_or_else(bad)?;
        let ms: u64 = ms.parse().map_err(|_| bad())?;
        let count: u16 = count.parse().map_err(|_| bad())?;
        if ms >> 48 != 0 {
            return Err(bad());
        }
        let origin = node.parse().map_err(|_| bad())?;
        Ok(Self { hlc: ms << 16 | u64::from(count), origin })
    }
}

/// A hybrid clock. Time is an argument: it never reads a clock itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hlc {
    last: u64,
}

impl Hlc {
    /// The next reading: later than every reading given or observed before.
    pub fn tick(&mut self, now_unix_ms: u64) -> u64 {
        self.last = (now_unix_ms << 16).max(self.last + 1);
        self.last
    }

    /// Takes notice of a reading made elsewhere.
    pub fn observe(&mut self, reading: u64) {
        self.last = self.last.max(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_repeat_or_go_back() {
        let mut clock = Hlc::default();
        let a = clock.tick(1_000);
        let b = clock.tick(1_000);
        let c = clock.tick(999);
        assert!(a < b && b < c);
        clock.observe(5_000 << 16);
        assert!(clock.tick(1_001) > 5_000 << 16);
    }

    #[test]
    fn versions_read_back_as_shown() {
        let version = Version { hlc: 1_700_000_000_123 << 16 | 7, origin: NodeId(3) };
        assert_eq!(version.to_string().parse(), Ok(version));
        assert_eq!("0".parse(), Ok(Version::ABSENT));
        assert!("12@n1".parse::<Version>().is_err());
    }
}
