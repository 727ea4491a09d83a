//! The fitted model.

use super::bins::Binned;
use super::columns::{Columns, MAX_FEATURES};
use super::config::{BoostConfig, BoostError, Loss};
use super::grow::grow;
use super::histogram::Grad;
use super::loss::{Goal, sigmoid};
use super::random::Random;
use super::tree::{MAX_TREES, Tree};
use serde::{Deserialize, Serialize};

/// Boosted trees. What is read back is checked: features and children in range, no cycles, all numbers finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Booster {
    loss: Loss,
    base_score: f64,
    trees: Vec<Tree>,
    gains: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    loss: Loss,
    base_score: f64,
    trees: Vec<Tree>,
    gains: Vec<f64>,
}

impl TryFrom<Stored> for Booster {
    type Error = BoostError;

    fn try_from(stored: Stored) -> Result<Self, BoostError> {
        let features = stored.gains.len();
        let bad = |what: &str| Err(BoostError::Model(what.into()));
        if features == 0 || features > MAX_FEATURES || stored.trees.len() > MAX_TREES {
            return bad("no features, or too many features or trees");
        }
        if !stored.base_score.is_finite() || stored.gains.iter().any(|gain| !gain.is_finite()) {
            return bad("a number is not finite");
        }
        if stored.loss.quantile().is_some_and(|q| !(q > 0.0 && q < 1.0)) {
            return bad("the quantile is not between 0 and 1");
        }
        stored.trees.iter().try_for_each(|tree| tree.check(features))?;
        let Stored { loss, base_score, trees, gains } = stored;
        Ok(Self { loss, base_score, trees, gains })
    }
}

impl Booster {
    /// Fits trees one after the other, each to what the ones before leave. `targets` (and `weights`, not negative) are by
    /// row; rows of weight 0 are not learned from. Work is about rows x features x trees x log2(leaves); memory one byte
    /// a value, 24 a row and 16 for each bin and leaf.
    pub fn fit(
        columns: &Columns,
        targets: &[f64],
        weights: Option<&[f64]>,
        config: &BoostConfig,
    ) -> Result<Self, BoostError> {
        config.check(columns.features())?;
        let binned = Binned::new(columns, config.max_bins)?;
        Ok(Self::fit_binned(&binned, targets, weights, config)?.0)
    }

    /// [`Booster::fit`] for several fits to one table, which is cut into bins once. Gives the scores of all rows, too
    /// ([`Booster::score_row`]): those of weight 0 are scored by trees that have not seen them, as cross-validation wants.
    pub fn fit_binned(
        binned: &Binned,
        targets: &[f64],
        weights: Option<&[f64]>,
        config: &BoostConfig,
    ) -> Result<(Self, Vec<f64>), BoostError> {
        config.check(binned.features())?;
        check_rows(binned.rows(), targets, weights, config)?;
        let goal = Goal { config, targets, weights };
        let base_score = goal.base_score();
        let mut scores = vec![base_score; binned.rows()];
        let mut grads: Vec<Grad> = vec![[0.0; 2]; binned.rows()];
        let mut random = Random::new(config.seed);
        let mut gains = vec![0.0; binned.features()];
        let mut trees = Vec::with_capacity(config.trees);
        let counts = |row: u32| weights.is_none_or(|weights| weights[row as usize] > 0.0);
        for _ in 0..config.trees {
            goal.gradients(&scores, &mut grads);
            let (rows, others): (Vec<u32>, Vec<u32>) = (0..binned.rows() as u32)
                .partition(|&row| random.chance(config.row_fraction) && counts(row));
            let chosen = random.choose(binned.features(), config.feature_fraction);
            let mut grown = grow(config, binned, &chosen, rows, &grads);
            if let Some(quantile) = config.loss.quantile() {
                grown.for_each_leaf(|rows, step| {
                    if !rows.is_empty() {
                        *step = goal.residual_quantile(quantile, rows, &scores);
                    }
                });
            }
            grown.for_each_leaf(|rows, step| {
                for &row in rows {
                    scores[row as usize] += *step * config.learning_rate;
                }
            });
            for &row in &others {
                scores[row as usize] += grown.step_of(binned, row) * config.learning_rate;
            }
            for &(feature, gain) in &grown.gains {
                gains[feature] += gain;
            }
            trees.push(grown.into_tree(config.learning_rate));
        }
        Ok((Self { loss: config.loss, base_score, trees, gains }, scores))
    }

    /// The prediction for one row: a probability with [`Loss::Logistic`], else on the scale of the targets. A row that is
    /// too short lacks its last features.
    pub fn predict_row(&self, row: &[f32]) -> f64 {
        let score = self.score_row(row);
        if self.loss == Loss::Logistic { sigmoid(score) } else { score }
    }

    /// The sum of the trees: log odds with [`Loss::Logistic`].
    pub fn score_row(&self, row: &[f32]) -> f64 {
        self.base_score + self.trees.iter().map(|tree| tree.leaf(row).value).sum::<f64>()
    }

    /// The predictions for all rows of a table.
    pub fn predict(&self, columns: &Columns) -> Vec<f64> {
        let mut row = Vec::with_capacity(columns.features());
        let predict = |at| {
            columns.row_into(at, &mut row);
            self.predict_row(&row)
        };
        (0..columns.rows()).map(predict).collect()
    }

    /// By feature: how much its splits on the row's way moved the score (Saabas 2014). Their sum and the score that a row
    /// without a way would have is [`Booster::score_row`].
    pub fn contributions(&self, row: &[f32]) -> Vec<f64> {
        let mut by_feature = vec![0.0; self.features()];
        for tree in &self.trees {
            tree.contributions(row, &mut by_feature);
        }
        by_feature
    }

    /// Features it was fitted to.
    pub fn features(&self) -> usize {
        self.gains.len()
    }

    /// By feature: the sum of what its splits gained in training.
    pub fn gains(&self) -> &[f64] {
        &self.gains
    }

    /// The score before any tree.
    pub fn base_score(&self) -> f64 {
        self.base_score
    }

    /// The trees, to be written in another format.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// What it was fitted to.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The model of its first trees only.
    pub fn truncated(&self, trees: usize) -> Self {
        let trees = self.trees.iter().take(trees).cloned().collect();
        Self { trees, gains: self.gains.clone(), ..*self }
    }
}

fn check_rows(
    rows: usize,
    targets: &[f64],
    weights: Option<&[f64]>,
    config: &BoostConfig,
) -> Result<(), BoostError> {
    if targets.len() != rows || weights.is_some_and(|weights| weights.len() != rows) {
        let what = format!("{rows} rows, but {} targets or other weights", targets.len());
        return Err(BoostError::Shape(what));
    }
    let logistic = config.loss == Loss::Logistic;
    for (row, target) in targets.iter().enumerate() {
        if !target.is_finite() || logistic && !(0.0..=1.0).contains(target) {
            return Err(BoostError::Row { row, what: "its target is not finite, or not in 0..=1" });
        }
    }
    let weights = weights.unwrap_or_default();
    for (row, weight) in weights.iter().enumerate() {
        if !(weight.is_finite() && *weight >= 0.0) {
            return Err(BoostError::Row { row, what: "its weight is not finite or is negative" });
        }
    }
    if !weights.is_empty() && weights.iter().sum::<f64>() <= 0.0 {
        return Err(BoostError::Shape("all weights are 0".into()));
    }
    Ok(())
}
