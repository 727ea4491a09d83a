//! The model: trees and calibration by horizon.

use super::Isotonic;
use crate::boost::{BoostError, Booster};
use serde::{Deserialize, Serialize};

const MAX_HORIZONS: usize = 16;
const MAX_MEMBERS: usize = 64;

/// What is known of one horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Horizon {
    /// "Fails within this", h.
    pub hours: f64,
    /// Trees of different seeds; their scores are averaged.
    pub members: Vec<Booster>,
    /// From the averaged score (log odds) to a probability.
    pub calibration: Isotonic,
    /// An alert is raised from this probability on.
    pub raise: f64,
    /// And cleared below this one.
    pub clear: f64,
}

/// Probabilities of failure within each of several horizons. What is read back is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct HazardModel {
    horizons: Vec<Horizon>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    horizons: Vec<Horizon>,
}

impl TryFrom<Stored> for HazardModel {
    type Error = BoostError;

    fn try_from(stored: Stored) -> Result<Self, BoostError> {
        Self::new(stored.horizons)
    }
}

impl HazardModel {
    /// Horizons ascending, all with members of the same features.
    pub fn new(horizons: Vec<Horizon>) -> Result<Self, BoostError> {
        let bad = |what: &str| Err(BoostError::Model(what.into()));
        if horizons.is_empty() || horizons.len() > MAX_HORIZONS {
            return bad("1 to 16 horizons");
        }
        if !horizons.windows(2).all(|pair| pair[0].hours < pair[1].hours) {
            return bad("the horizons do not ascend");
        }
        let features = horizons[0].members.first().map(Booster::features);
        for horizon in &horizons {
            let members = &horizon.members;
            if members.is_empty() || members.len() > MAX_MEMBERS {
                return bad("1 to 64 members");
            }
            if members.iter().any(|member| Some(member.features()) != features) {
                return bad("members of different features");
            }
            let levels = [horizon.raise, horizon.clear];
            if !(horizon.hours > 0.0 && horizon.hours.is_finite())
                || levels.iter().any(|level| !(0.0..=1.0).contains(level))
            {
                return bad("a horizon or a threshold is out of range");
            }
        }
        Ok(Self { horizons })
    }

    /// The horizons, ascending.
    pub fn horizons(&self) -> &[Horizon] {
        &self.horizons
    }

    /// Features of a row.
    pub fn features(&self) -> usize {
        self.horizons[0].members[0].features()
    }

    /// By horizon: what to rank units by (log odds before the calibration, which has flat parts).
    pub fn scores(&self, row: &[f32]) -> Vec<f64> {
        self.horizons.iter().map(|horizon| horizon.score(row)).collect()
    }

    /// By horizon: the probability of a failure within it. A longer one is never less likely.
    pub fn probabilities(&self, row: &[f32]) -> Vec<f64> {
        let mut least = 0.0;
        let probability = |horizon: &Horizon| {
            least = horizon.calibration.at(horizon.score(row)).max(least);
            least
        };
        self.horizons.iter().map(probability).collect()
    }

    /// By feature, how it moved the score of the first horizon, averaged over the members.
    pub fn reasons(&self, row: &[f32]) -> Vec<f64> {
        let members = &self.horizons[0].members;
        let mut sum = vec![0.0; self.features()];
        for member in members {
            for (sum, part) in sum.iter_mut().zip(member.contributions(row)) {
                *sum += part / members.len() as f64;
            }
        }
        sum
    }
}

impl Horizon {
    /// What to rank units by: the average log odds of the members.
    pub fn score(&self, row: &[f32]) -> f64 {
        let sum: f64 = self.members.iter().map(|member| member.score_row(row)).sum();
        sum / self.members.len() as f64
    }
}

/// The probability from which an alert costs less than silence, where a missed failure costs `missed` and a false alarm
/// `false_alarm`: Elkan, IJCAI 2001.
pub fn threshold_of_costs(missed: f64, false_alarm: f64) -> f64 {
    false_alarm / (false_alarm + missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::{BoostConfig, Columns, Loss};

    fn horizon(hours: f64, share: u32) -> Horizon {
        let x: Vec<f32> = (0..1_000).map(|i| i as f32).collect();
        let y: Vec<f64> = (0..1_000).map(|i| f64::from(u8::from(i >= 1_000 - share))).collect();
        let config = BoostConfig { trees: 20, ..BoostConfig::of(Loss::Logistic) };
        let member = Booster::fit(&Columns::new(vec![x.clone()]).unwrap(), &y, None, &config);
        let member = member.unwrap();
        let rows = x.iter().zip(&y).map(|(&x, &y)| (member.score_row(&[x]), y, 1.0));
        let calibration = Isotonic::fit(rows).unwrap();
        Horizon { hours, members: vec![member], calibration, raise: 0.5, clear: 0.25 }
    }

    #[test]
    fn a_longer_horizon_is_never_less_likely() {
        // Planted the wrong way round: the day has more failures than the week.
        let model = HazardModel::new(vec![horizon(24.0, 300), horizon(168.0, 100)]).unwrap();
        for x in [0.0, 750.0, 950.0] {
            let p = model.probabilities(&[x]);
            assert!(p[0] <= p[1] && p.iter().all(|p| (0.0..=1.0).contains(p)), "{x}: {p:?}");
        }
        assert!(model.probabilities(&[950.0])[0] > 0.9);
        assert!(model.reasons(&[950.0])[0] > 0.0);
        assert_eq!(threshold_of_costs(9.0, 1.0), 0.1);
    }

    #[test]
    fn a_model_out_of_order_is_refused() {
        assert!(HazardModel::new(vec![]).is_err());
        assert!(HazardModel::new(vec![horizon(24.0, 300), horizon(24.0, 300)]).is_err());
        let nobody = Horizon { members: vec![], ..horizon(24.0, 300) };
        assert!(HazardModel::new(vec![nobody]).is_err());
        let wild = Horizon { raise: f64::NAN, ..horizon(24.0, 300) };
        assert!(HazardModel::new(vec![wild]).is_err());
    }
}
