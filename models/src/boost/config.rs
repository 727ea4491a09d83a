//! What a booster is told.

use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Log loss of targets in 0..=1; predictions are probabilities.
    Logistic,
    /// Squared error; predicts the mean.
    Squared,
    /// Absolute error; predicts the median. Leaves hold medians of residuals, so outliers do not pull them.
    Absolute,
    /// Pinball loss; predicts this quantile, between 0 and 1.
    Quantile(f64),
}

impl Loss {
    /// The quantile that a leaf is set to, for the losses that have one.
    pub(super) fn quantile(self) -> Option<f64> {
        match self {
            Self::Logistic | Self::Squared => None,
            Self::Absolute => Some(0.5),
            Self::Quantile(quantile) => Some(quantile),
        }
    }
}

/// Settings of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoostConfig {
    /// What is minimised.
    pub loss: Loss,
    /// Trees.
    pub trees: usize,
    /// Share of each tree's step that is taken.
    pub learning_rate: f64,
    /// Leaves of a tree at most; the leaf with the largest gain is split first.
    pub max_leaves: usize,
    /// Levels of splits at most.
    pub max_depth: usize,
    /// Bins of a feature at most, 2 to 255. Of no meaning where a table comes in bins.
    pub max_bins: usize,
    /// Least sum of hessians in a leaf. A row has the hessian p(1-p) with [`Loss::Logistic`] and 1 else, times its weight:
    /// for the other losses this is the least number of rows.
    pub min_child_hessian: f64,
    /// Added to a leaf's hessian: draws small leaves to 0.
    pub l2: f64,
    /// A split must gain more than this.
    pub min_gain: f64,
    /// Largest step of a leaf before the learning rate; 0 is no limit.
    pub max_delta_step: f64,
    /// Where boosting begins, on the scale of scores (log odds); what the targets' mean or quantile says where `None`.
    pub base_score: Option<f64>,
    /// Extra weight of rows with a target above one half, [`Loss::Logistic`] only.
    pub positive_weight: f64,
    /// Share of rows that each tree sees.
    pub row_fraction: f64,
    /// Share of features that each tree sees.
    pub feature_fraction: f64,
    /// By feature: 1 where the prediction may only rise with it, -1 where only fall, 0 free. Empty: all free. Not with the
    /// losses that set leaves to quantiles.
    pub monotone: Vec<i8>,
    /// For the choice of rows and features.
    pub seed: u64,
}

impl BoostConfig {
    /// Moderate settings for a loss.
    pub fn of(loss: Loss) -> Self {
        let min_child_hessian = if loss == Loss::Logistic { 1.0 } else { 20.0 };
        Self {
            loss,
            trees: 200,
            learning_rate: 0.1,
            max_leaves: 31,
            max_depth: 32,
            max_bins: 255,
            min_child_hessian,
            l2: 1.0,
            min_gain: 0.0,
            max_delta_step: 0.0,
            base_score: None,
            positive_weight: 1.0,
            row_fraction: 1.0,
            feature_fraction: 1.0,
            monotone: Vec::new(),
            seed: 1,
        }
    }

    pub(super) fn check(&self, features: usize) -> Result<(), BoostError> {
        let share = |x: f64| x > 0.0 && x <= 1.0;
        let amount = |x: f64| x.is_finite() && x >= 0.0;
        let quantiles = self.loss.quantile();
        let rules = [
            (self.trees <= super::tree::MAX_TREES, "trees: too many"),
            (share(self.learning_rate), "learning_rate: above 0, at most 1"),
            ((2..=super::tree::MAX_LEAVES).contains(&self.max_leaves), "max_leaves: 2 to 4096"),
            ((1..=64).contains(&self.max_depth), "max_depth: 1 to 64"),
            ((2..=255).contains(&self.max_bins), "max_bins: 2 to 255"),
            // Below this a leaf may be nothing but rounding.
            (
                self.min_child_hessian >= 1e-6 && self.min_child_hessian.is_finite(),
                "min_child_hessian: at least 1e-6",
            ),
            (amount(self.l2), "l2: not negative"),
            (amount(self.min_gain), "min_gain: not negative"),
            (amount(self.max_delta_step), "max_delta_step: not negative"),
            (self.base_score.is_none_or(f64::is_finite), "base_score: finite"),
            (
                self.positive_weight > 0.0 && self.positive_weight.is_finite(),
                "positive_weight: above 0",
            ),
            (share(self.row_fraction), "row_fraction: above 0, at most 1"),
            (share(self.feature_fraction), "feature_fraction: above 0, at most 1"),
            (quantiles.is_none_or(|q| q > 0.0 && q < 1.0), "quantile: between 0 and 1"),
            (
                self.monotone.is_empty() || self.monotone.len() == features,
                "monotone: one for each feature, or none",
            ),
            (self.monotone.iter().all(|c| (-1..=1).contains(c)), "monotone: -1, 0 or 1"),
            (
                quantiles.is_none() || self.monotone.iter().all(|&c| c == 0),
                "monotone: not with absolute and quantile loss",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(BoostError::Config(what)),
            None => Ok(()),
        }
    }
}

/// Why a booster cannot be fitted or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoostError {
    /// Sizes do not fit together, or are none or too many.
    #[error("the table does not fit: {0}")]
    Shape(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Config(&'static str),
    /// A target or weight is not usable.
    #[error("row {row}: {what}")]
    Row {
        /// Counted from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What was read is no booster.
    #[error("not a booster: {0}")]
    Model(String),
}
