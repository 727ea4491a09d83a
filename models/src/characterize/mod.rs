//! What kind of workload a shard has: its class among others, its seasons, who is accessed together, and when it changed.
//!
//! Each answer comes with a guard against seeing what is not there: classes are as many as a Bayesian information criterion
//! pays for, a season must beat the noise of a series that hangs together, a change must be worth its penalty.

mod agreement;
mod changes;
mod classes;
mod communities;
mod features;
mod louvain;
mod periods;
mod spectrum;

pub use agreement::{adjusted_rand_index, normalized_mutual_information};
pub use changes::{change_points, sliding_changes};
pub use classes::{Classes, k_means_classes};
pub use communities::{CoAccess, communities, components, sparsified};
pub use features::{FEATURES, Traffic, WorkloadFeatures};
pub use periods::{SeasonConfig, autocorrelation_period, seasons};
