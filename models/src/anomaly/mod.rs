//! Unusual values of one signal, as they come: streaming, adaptive, a few KiB for each series.
//!
//! A [`Detector`] keeps seven views of a series: three of how far it is from what this hour of the day usually brings
//! ([`Evidence::HourSpread`], [`Evidence::HourLevel`], [`Evidence::HourRatio`]), its level against the last thousand points, its
//! last step, how long it has not changed, and how long nothing came. Each view gives a residual. What a residual is worth
//! is read from the residuals the same view gave before, with half of the weight on the newest few thousand: the *tail
//! score* `-log10 p` of a conformal test (Laxhammar and Falkman, "Conformal prediction for distribution-independent
//! anomaly detection in streaming vessel data", 2010). So a noisy series does not alert more often than a quiet one, and no
//! series needs settings of its own.
//!
//! The four views of the level are joined by the power mean of order 4, between their maximum and their mean: a series that
//! is odd in all of them is odder than in one. The others count for half, and thus only when they are far beyond what was
//! ever seen. One [`Alert`](Verdict::alert) is raised for an incident: none follows within a fixed number of points.

mod detector;
mod evidence;
mod grouping;
mod hours;
mod settings;
mod tail;
#[cfg(test)]
mod tests;

pub use detector::{Detector, Verdict};
pub use evidence::Evidence;
pub use grouping::Grouping;
pub use settings::{Settings, SettingsError};
