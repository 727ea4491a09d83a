//! Gradient boosted trees on histograms, for rare events and for forecasts.
//!
//! Second-order boosting (Friedman 2001; Chen and Guestrin, KDD 2016) on at most 255 bins a feature, trees grown leaf by
//! leaf with the histogram of one child had by subtraction (Ke et al., NIPS 2017). Features are `f32`, NaN means missing
//! and goes the way that was better in training. The same rows, settings and seed give the same model.
//!
//! At positive rates under 0.1 % a leaf may hold one positive and next to no hessian: its step would be thousands.
//! [`BoostConfig::min_child_hessian`] and [`BoostConfig::max_delta_step`] hold that, and boosting begins at the base
//! rate, not at one half.
//!
//! ```
//! use isobar_models::boost::{BoostConfig, Booster, Columns, Loss};
//! let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
//! let y: Vec<f64> = x.iter().map(|&x| if x > 60.0 { 5.0 } else { 1.0 }).collect();
//! let columns = Columns::new(vec![x]).unwrap();
//! let config = BoostConfig { trees: 50, min_child_hessian: 5.0, ..BoostConfig::of(Loss::Squared) };
//! let model = Booster::fit(&columns, &y, None, &config).unwrap();
//! assert!((model.predict_row(&[80.0]) - 5.0).abs() < 0.1);
//! ```

mod bins;
mod columns;
mod config;
mod grow;
mod histogram;
mod loss;
mod model;
mod random;
mod split;
#[cfg(test)]
mod tests;
mod tree;

pub use bins::Binned;
pub use columns::Columns;
pub use config::{BoostConfig, BoostError, Loss};
pub use model::Booster;
pub use tree::{Node, Tree};
