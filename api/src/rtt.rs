//! Round-trip times between regions.

use crate::ids::Region;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Round-trip times in milliseconds, by unordered pair of regions. What is unknown is `None`, not zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RttMatrix {
    pairs: BTreeMap<Region, BTreeMap<Region, f64>>,
}

impl<'de> Deserialize<'de> for RttMatrix {
    /// A file may state each pair once.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let stated = BTreeMap::<Region, BTreeMap<Region, f64>>::deserialize(d)?;
        let mut pairs = stated.clone();
        for (a, row) in stated {
            for (b, rtt_ms) in row {
                pairs.entry(b).or_default().entry(a.clone()).or_insert(rtt_ms);
            }
        }
        Ok(Self { pairs })
    }
}

impl RttMatrix {
    /// Records a measurement for both directions.
    pub fn set(&mut self, a: &Region, b: &Region, rtt_ms: f64) {
        self.pairs.entry(a.clone()).or_default().insert(b.clone(), rtt_ms);
        self.pairs.entry(b.clone()).or_default().insert(a.clone(), rtt_ms);
    }

    /// The round-trip time; within one region zero unless measured.
    pub fn get(&self, a: &Region, b: &Region) -> Option<f64> {
        let known = self.pairs.get(a).and_then(|row| row.get(b)).copied();
        known.or_else(|| (a == b).then_some(0.0))
    }

    /// Regions that occur, in name order.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.pairs.keys()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Only the rows and columns of the given regions.
    #[must_use]
    pub fn restricted_to(&self, regions: &[Region]) -> Self {
        let mut out = Self::default();
        for a in regions {
            for b in regions {
                if let Some(rtt_ms) = self.get(a, b) {
                    out.set(a, b, rtt_ms);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_not_zero_but_home_is() {
        let [a, b] = ["eu", "us"].map(|r| Region::new(r).expect("legal"));
        let mut rtt = RttMatrix::default();
        assert_eq!(rtt.get(&a, &b), None);
        assert_eq!(rtt.get(&a, &a), Some(0.0));
        rtt.set(&a, &b, 80.0);
        assert_eq!(rtt.get(&b, &a), Some(80.0));
        let text = serde_json::to_string(&rtt).expect("plain data");
        assert_eq!(serde_json::from_str::<RttMatrix>(&text).expect("own text"), rtt);
        let once = serde_json::from_str::<RttMatrix>(r#"{"eu":{"us":80}}"#).expect("one direction");
        assert_eq!(once, rtt);
    }
}
