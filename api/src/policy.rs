//! The policy: what the controller may do, how far and how fast. A file that operators edit.

use crate::error::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How much the controller does by itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Plans are made and recorded, nothing is carried out but repair and drain.
    #[default]
    Observe,
    /// Directives wait for a person's decision; repair and drain do not.
    Propose,
    /// Directives are carried out within the budgets.
    Act,
}

impl FromStr for Mode {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        match text {
            "observe" => Ok(Self::Observe),
            "propose" => Ok(Self::Propose),
            "act" => Ok(Self::Act),
            _ => Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!("`{text}` is not a mode: observe, propose or act"),
            )),
        }
    }
}
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Propose => "propose",
            Self::Act => "act",
        })
    }
}

/// The whole policy. Every field has a default; unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Looking.
    pub observe: ObservePolicy,
    /// Moving leaders and replicas towards readers and away from load.
    pub balance: BalancePolicy,
    /// Cutting shards.
    pub split: SplitPolicy,
    /// Joining cold neighbours.
    pub merge: MergePolicy,
    /// Replacing what was lost.
    pub repair: RepairPolicy,
    /// Limits over everything.
    pub budget: BudgetPolicy,
}

/// Looking: how much must be seen before anything is advised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObservePolicy {
    /// Length of a telemetry window, seconds.
    pub window_s: u64,
    /// Windows that a shard needs before it is balanced.
    pub windows_min: u32,
    /// A report older than this is "unknown", seconds.
    pub stale_after_s: u64,
    /// How far ahead arrivals are forecast, windows.
    pub horizon_windows: u32,
}
impl Default for ObservePolicy {
    fn default() -> Self {
        Self { window_s: 10, windows_min: 6, stale_after_s: 10, horizon_windows: 6 }
    }
}

/// Balancing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancePolicy {
    /// Smallest gain in mean read round-trip time worth a leader transfer, milliseconds.
    pub gain_ms_min: f64,
    /// Smallest gain as a share of the present value, 0 to 1.
    pub gain_share_min: f64,
    /// Load difference between nodes that is left alone, as a share of the mean, 0 to 1.
    pub dead_band_share: f64,
    /// Largest part of the load gap that one move may carry, 0 to 1.
    pub gap_share_max: f64,
    /// Seconds a shard is left alone after a move.
    pub dwell_s: u64,
    /// Moves of one shard in an hour.
    pub moves_per_shard_hour: u32,
    /// Reads per second below which a shard is not worth moving.
    pub reads_per_s_min: f64,
    /// Whether replicas may move, or only leadership.
    pub move_replicas: bool,
}
impl Default for BalancePolicy {
    fn default() -> Self {
        Self {
            gain_ms_min: 2.0,
            gain_share_min: 0.1,
            dead_band_share: 0.1,
            gap_share_max: 0.2,
            dwell_s: 300,
            moves_per_shard_hour: 2,
            reads_per_s_min: 1.0,
            move_replicas: true,
        }
    }
}

/// Splitting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitPolicy {
    /// Requests per second (lower bound of the forecast) above which a shard is cut.
    pub requests_per_s_max: f64,
    /// Bytes above which a shard is cut.
    pub size_bytes_max: u64,
    /// Share of one key above which cutting is useless and is not tried, 0 to 1.
    pub hot_key_share_max: f64,
    /// Seconds a shard is left uncut after it was made.
    pub dwell_s: u64,
}
impl Default for SplitPolicy {
    fn default() -> Self {
        Self {
            requests_per_s_max: 2_500.0,
            size_bytes_max: 4 << 30,
            hot_key_share_max: 0.5,
            dwell_s: 60,
        }
    }
}

/// Merging. Far below the limits of splitting, so that what was joined is not cut again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MergePolicy {
    /// Whether neighbours are merged at all.
    pub enabled: bool,
    /// Requests per second that both may have together (upper bounds of the forecasts), as a share of
    /// `split.requests_per_s_max`, 0 to 0.5.
    pub load_share_max: f64,
    /// Bytes that both may have together, as a share of `split.size_bytes_max`, 0 to 0.5.
    pub size_share_max: f64,
    /// Seconds that both must have been left as they are.
    pub dwell_s: u64,
}
impl Default for MergePolicy {
    fn default() -> Self {
        Self { enabled: false, load_share_max: 0.2, size_share_max: 0.25, dwell_s: 3_600 }
    }
}

/// Repairing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairPolicy {
    /// Seconds a node may be silent before its replicas are replaced.
    pub dead_after_s: u64,
    /// Share of nodes that may be dead at once before repair waits for a person, 0 to 1.
    pub dead_share_max: f64,
}
impl Default for RepairPolicy {
    fn default() -> Self {
        Self { dead_after_s: 300, dead_share_max: 0.4 }
    }
}

/// Limits over everything. Repair has its own share that balancing cannot take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetPolicy {
    /// Directives in flight for balancing, splitting and draining.
    pub active_max: u32,
    /// Directives in flight for repair, besides.
    pub repair_active_max: u32,
    /// Directives in flight that copy data to or from one node.
    pub copies_per_node_max: u32,
    /// Bytes that one directive may copy.
    pub copy_bytes_max: u64,
    /// Seconds without progress after which a step is aborted.
    pub stall_s: u64,
    /// Seconds after which a directive that has not started is dropped.
    pub expire_s: u64,
}
impl Default for BudgetPolicy {
    fn default() -> Self {
        Self {
            active_max: 8,
            repair_active_max: 8,
            copies_per_node_max: 2,
            copy_bytes_max: 8 << 30,
            stall_s: 30,
            expire_s: 60,
        }
    }
}

/// The active policy, or what a new one would change: the answer to `Controller.Policy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyState {
    /// Version in force after the request.
    pub version: u64,
    /// Whether this only shows what would change.
    pub dry_run: bool,
    /// Keys that differ from the version before, in key order.
    pub changes: Vec<PolicyChange>,
    /// The policy: in force, or as it would be after a dry run.
    pub policy: Policy,
    /// Its text, with the comments of whoever wrote it.
    pub toml: String,
}

/// One key whose value changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// The key, for instance `balance.dwell_s`.
    pub key: String,
    /// Its value before.
    pub old: String,
    /// Its value after.
    pub new: String,
}

impl Policy {
    /// Refuses what contradicts itself.
    pub fn validate(&self) -> Result<(), ApiError> {
        let mut wrong = Vec::new();
        let mut need = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        need((1..=3_600).contains(&self.observe.window_s), "observe.window_s must be 1 to 3600");
        need(self.observe.windows_min >= 1, "observe.windows_min must be at least 1");
        // Further than the history reaches, nothing can be told; and every window costs memory.
        need(
            (1..=720).contains(&self.observe.horizon_windows),
            "observe.horizon_windows must be 1 to 720",
        );
        need(self.observe.stale_after_s >= 2, "observe.stale_after_s must be at least 2");
        need(self.balance.gain_ms_min >= 0.0, "balance.gain_ms_min must not be negative");
        need(self.balance.reads_per_s_min >= 0.0, "balance.reads_per_s_min must not be negative");
        need(share(self.balance.gain_share_min), "balance.gain_share_min must be 0 to 1");
        need(share(self.balance.dead_band_share), "balance.dead_band_share must be 0 to 1");
        need(
            share(self.balance.gap_share_max) && self.balance.gap_share_max <= 0.5,
            "balance.gap_share_max must be 0 to 0.5: more than half only swaps the hot node",
        );
        need(
            self.balance.moves_per_shard_hour >= 1,
            "balance.moves_per_shard_hour must be at least 1",
        );
        need(self.split.requests_per_s_max > 0.0, "split.requests_per_s_max must be positive");
        need(self.split.size_bytes_max >= 1 << 20, "split.size_bytes_max must be at least 1 MiB");
        need(share(self.split.hot_key_share_max), "split.hot_key_share_max must be 0 to 1");
        let low = |x: f64| (0.0..=0.5).contains(&x);
        need(
            low(self.merge.load_share_max) && low(self.merge.size_share_max),
            "merge.load_share_max and merge.size_share_max must be 0 to 0.5: what is joined must not be cut again",
        );
        need(
            self.merge.dwell_s >= self.split.dwell_s,
            "merge.dwell_s must not be shorter than split.dwell_s",
        );
        need(share(self.repair.dead_share_max), "repair.dead_share_max must be 0 to 1");
        need(
            self.repair.dead_after_s >= self.observe.stale_after_s,
            "repair.dead_after_s must not be shorter than observe.stale_after_s",
        );
        need(self.budget.active_max >= 1, "budget.active_max must be at least 1");
        need(self.budget.repair_active_max >= 1, "budget.repair_active_max must be at least 1");
        need(self.budget.copies_per_node_max >= 1, "budget.copies_per_node_max must be at least 1");
        need(self.budget.stall_s >= 1, "budget.stall_s must be at least 1");
        if wrong.is_empty() {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::BadPolicy, wrong.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_valid_and_contradictions_are_named() {
        Policy::default().validate().expect("defaults hold");
        let mut policy = Policy::default();
        policy.balance.gap_share_max = 0.9;
        policy.budget.active_max = 0;
        policy.balance.reads_per_s_min = f64::NAN;
        policy.observe.window_s = 7_200;
        policy.merge.load_share_max = 0.6;
        policy.merge.dwell_s = 1;
        policy.observe.horizon_windows = u32::MAX;
        let error = policy.validate().expect_err("contradictions");
        for key in [
            "gap_share_max",
            "active_max",
            "reads_per_s_min",
            "window_s",
            "horizon",
            "merge.load",
            "merge.dwell",
        ] {
            assert!(error.message.contains(key), "{key} is not in: {error}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<Policy>(r#"{"balance":{"dwel_s":3}}"#).is_err());
    }
}
