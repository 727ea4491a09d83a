//! What each model is to reach, and what others reached on the same rows.

use crate::Task;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// From the one to the other.
    Within(f64, f64),
}

impl Bound {
    /// Whether a figure is as it has to be.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Within(least, most) => (least..=most).contains(&value),
        }
    }
}

/// A goal on one set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The task.
    pub task: Task,
    /// The set's folder.
    pub set: &'static str,
    /// The figure; parts of groups with the groups' names before theirs.
    pub metric: &'static str,
    /// What it has to be.
    pub bound: Bound,
    /// What others reached on these rows.
    pub others: &'static str,
}

use Bound::{AtLeast, AtMost, Within};
use Task::{Anomaly, AnomalyMulti, Characterize, Forecast, Hazard, Prefetch};

const fn goal(
    task: Task,
    set: &'static str,
    metric: &'static str,
    bound: Bound,
    others: &'static str,
) -> Goal {
    Goal { task, set, metric, bound, others }
}

/// All goals.
#[rustfmt::skip]
pub const GOALS: &[Goal] = &[
    goal(Anomaly, "nab", "nab_standard", AtLeast(65.0), "ARTime 72.9, HTM 69.6, CAD OSE 65.6, random cut forest 49.3"),
    goal(Anomaly, "nab", "nab_low_fp", AtLeast(52.0), "seasonal residual 38.5"),
    goal(AnomalyMulti, "smd", "auc_pr", AtLeast(0.48), "PCA T²+Q smoothed 0.443, isolation forest 0.243"),
    goal(AnomalyMulti, "smd", "hit_at_3", AtLeast(0.6), ""),
    goal(AnomalyMulti, "asd", "auc_pr", AtLeast(0.40), "PCA T²+Q smoothed 0.365, isolation forest 0.216"),
    goal(Hazard, "azure_pdm_events", "f1", AtLeast(0.95), "LightGBM 0.953, random forest 0.943"),
    goal(Hazard, "azure_pdm_events", "event_recall", AtLeast(0.96), ""),
    goal(Hazard, "azure_pdm_events", "lead_median_h", AtLeast(20.0), ""),
    goal(Hazard, "backblaze_2013", "auc_pr", AtLeast(0.12), "LightGBM 0.044, with monotone counts 0.099, rule 0.019"),
    goal(Hazard, "backblaze_2013", "drive_recall_at_far_0.001", AtLeast(0.20), "LightGBM 0.105, 0.132, rule 0.026"),
    goal(Hazard, "backblaze_2013", "drive_recall_at_far_0.01", AtLeast(0.45), "LightGBM 0.263, 0.368, rule 0.368"),
    goal(Hazard, "backblaze_hds", "auc_pr", AtLeast(0.12), "LightGBM 0.100, rule 0.050"),
    goal(Hazard, "backblaze_hds", "drive_recall_at_far_0.001", AtLeast(0.15), "LightGBM 0.118, rule 0.098"),
    goal(Hazard, "backblaze_hds", "drive_recall_at_far_0.01", AtLeast(0.33), "LightGBM 0.256, rule 0.298"),
    goal(Hazard, "grid5000_availability", "ece", AtMost(0.01), ""),
    goal(Hazard, "lanl_failures", "ece", AtMost(0.01), ""),
    goal(Hazard, "titan_gpu_failures", "ece", AtMost(0.01), ""),
    goal(Forecast, "m4_hourly", "mase", AtMost(0.77), "LightGBM 0.786, MSTL+AutoETS 1.106, seasonal naive 1.212"),
    goal(Forecast, "m4_hourly", "smape", AtMost(8.9), "LightGBM 8.71, MSTL+AutoETS 13.19, seasonal naive 13.59"),
    goal(Forecast, "m4_hourly", "coverage_90", Within(0.87, 0.93), ""),
    goal(Prefetch, "cache_traces", "traces.cloudPhysicsIO.hit_ratio", AtLeast(0.36), "combination 0.352"),
    goal(Prefetch, "cache_traces", "traces.P3.hit_ratio", AtLeast(0.38), "combination 0.369"),
    goal(Prefetch, "cache_traces", "traces.P6.hit_ratio", AtLeast(0.71), "combination 0.706"),
    goal(Prefetch, "cache_traces", "traces.OLTP.shuffled_hit_ratio", AtLeast(0.60), "combination 0.582"),
    goal(Prefetch, "cache_traces", "traces.cloudPhysicsIO.precision", AtLeast(0.70), ""),
    goal(Prefetch, "cache_traces", "traces.P3.precision", AtLeast(0.70), ""),
    goal(Prefetch, "cache_traces", "traces.P6.precision", AtLeast(0.70), ""),
    goal(Prefetch, "cache_traces", "traces.OLTP.shuffled_precision", AtLeast(0.70), ""),
    goal(Prefetch, "cache_traces", "least_above_lru", AtLeast(-0.005), "combination -0.012 (web12 renumbered)"),
    goal(Characterize, "ycsb", "ari", AtLeast(0.95), ""),
    goal(Characterize, "ycsb", "nmi", AtLeast(0.9), ""),
    goal(Characterize, "ycsb", "period_recall", AtLeast(0.95), ""),
    goal(Characterize, "ycsb", "false_period_rate", AtMost(0.01), ""),
];
