//! Arrivals in windows of fixed length. A window without enough reports is a gap, never a zero.

use crate::view::ArrivalRate;
use isobar_api::{NodeId, Region, ShardId, report::NodeReport};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Share of a window that a node's reports must cover for its counts to be believed.
const COVERAGE_MIN: f64 = 0.5;

/// Rates of one shard by region of the client.
pub(crate) type Rates = BTreeMap<Option<Region>, ArrivalRate>;

/// One finished window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredWindow", into = "StoredWindow")]
pub(crate) struct ClosedWindow {
    /// Its start, Unix milliseconds, a multiple of its length.
    pub(crate) start_unix_ms: u64,
    /// Its length.
    pub(crate) window_ms: u64,
    /// Shards with their rates; `None`: too little was heard, a gap.
    pub(crate) shards: BTreeMap<ShardId, Option<Rates>>,
}

/// Region, reads per second, writes per second.
type StoredRate = (Option<Region>, f64, f64);

/// The stored form: lists, because JSON has only text as keys.
#[derive(Clone, Serialize, Deserialize)]
struct StoredWindow {
    start_unix_ms: u64,
    window_ms: u64,
    shards: Vec<(ShardId, Option<Vec<StoredRate>>)>,
}

impl From<ClosedWindow> for StoredWindow {
    fn from(window: ClosedWindow) -> Self {
        let list = |rates: Rates| {
            rates.into_iter().map(|(r, a)| (r, a.reads_per_s, a.writes_per_s)).collect()
        };
        Self {
            start_unix_ms: window.start_unix_ms,
            window_ms: window.window_ms,
            shards: window.shards.into_iter().map(|(s, rates)| (s, rates.map(list))).collect(),
        }
    }
}

impl From<StoredWindow> for ClosedWindow {
    fn from(stored: StoredWindow) -> Self {
        let rates = |list: Vec<StoredRate>| {
            let rate =
                |(r, reads_per_s, writes_per_s)| (r, ArrivalRate { reads_per_s, writes_per_s });
            list.into_iter().map(rate).collect()
        };
        Self {
            start_unix_ms: stored.start_unix_ms,
            window_ms: stored.window_ms,
            shards: stored.shards.into_iter().map(|(s, list)| (s, list.map(rates))).collect(),
        }
    }
}

/// Requests of one node for one shard from one region.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    reads: u64,
    writes: u64,
}

/// What the fold knows of a shard when a window closes.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Nodes that hold a replica and are not dead: all of them must have reported.
    pub(super) nodes: Vec<NodeId>,
    /// Whether the shard existed before the window began.
    pub(super) whole: bool,
}

/// The window being filled, and the last rates of each shard.
#[derive(Debug, Default)]
pub(super) struct Windows {
    window_ms: u64,
    start_unix_ms: Option<u64>,
    counts: BTreeMap<(ShardId, NodeId, Option<Region>), Count>,
    covered_ms: BTreeMap<NodeId, u64>,
    last: BTreeMap<ShardId, (u32, Rates)>,
}

impl Windows {
    /// Changes the length of windows; what was being filled is dropped.
    pub(super) fn set_length(&mut self, window_ms: u64) {
        if self.window_ms != window_ms {
            *self = Self { window_ms, ..Self::default() };
        }
    }

    /// Counts one report, at the time it arrived.
    pub(super) fn add(&mut self, report: &NodeReport) {
        let covered = self.covered_ms.entry(report.node_id).or_default();
        *covered = covered.saturating_add(report.interval_ms);
        for replica in &report.replicas {
            for arrivals in &replica.arrivals {
                let key = (replica.shard.shard_id, report.node_id, arrivals.region.clone());
                let count = self.counts.entry(key).or_default();
                let reads = arrivals.reads.saturating_add(arrivals.scans);
                count.reads = count.reads.saturating_add(reads);
                count.writes = count.writes.saturating_add(arrivals.writes);
            }
        }
    }

    /// Closes the window if its time is over. A first, partial window is dropped; windows in which
    /// the controller slept are simply absent.
    pub(super) fn close(
        &mut self,
        shards: &BTreeMap<ShardId, Expected>,
        now_unix_ms: u64,
    ) -> Option<ClosedWindow> {
        let current = now_unix_ms - now_unix_ms % self.window_ms.max(1);
        let next = current.saturating_add(self.window_ms);
        // A start beyond the next window: the clock was set back since.
        let Some(start) = self.start_unix_ms.filter(|start| *start <= next) else {
            self.start_unix_ms = Some(next);
            self.clear();
            return None;
        };
        if start > now_unix_ms {
            self.clear();
            return None;
        }
        if start == current {
            return None;
        }
        let closed = ClosedWindow {
            start_unix_ms: start,
            window_ms: self.window_ms,
            shards: shards.iter().map(|(id, what)| (*id, self.rates(*id, what))).collect(),
        };
        self.start_unix_ms = Some(current);
        self.clear();
        self.remember(&closed);
        Some(closed)
    }

    /// Takes a closed window from before a restart.
    pub(super) fn remember(&mut self, window: &ClosedWindow) {
        for (shard, rates) in &window.shards {
            if let Some(rates) = rates {
                let seen = self.last.get(shard).map_or(0, |(n, _)| *n);
                self.last.insert(*shard, (seen.saturating_add(1), rates.clone()));
            }
        }
    }

    /// Windows seen and last rates of a shard.
    pub(super) fn last(&self, shard: ShardId) -> (u32, Rates) {
        self.last.get(&shard).cloned().unwrap_or_default()
    }

    fn clear(&mut self) {
        self.counts.clear();
        self.covered_ms.clear();
    }

    fn rates(&self, shard: ShardId, expected: &Expected) -> Option<Rates> {
        #[allow(clippy::cast_precision_loss)] // milliseconds of a window
        let covered = |node: &NodeId| self.covered_ms.get(node).copied().unwrap_or(0) as f64;
        #[allow(clippy::cast_precision_loss)]
        let enough_ms = self.window_ms as f64 * COVERAGE_MIN;
        let unheard = expected.nodes.iter().any(|node| covered(node) < enough_ms);
        if unheard || !expected.whole || expected.nodes.is_empty() {
            return None;
        }
        let mut rates = Rates::new();
        let from = (shard, NodeId(0), None);
        let upto = (ShardId(shard.0.saturating_add(1)), NodeId(0), None);
        for ((_, node, region), count) in self.counts.range(from..upto) {
            let seconds = covered(node) / 1_000.0;
            if seconds > 0.0 {
                let rate = rates.entry(region.clone()).or_default();
                #[allow(clippy::cast_precision_loss)] // counts of one window
                {
                    rate.reads_per_s += count.reads as f64 / seconds;
                    rate.writes_per_s += count.writes as f64 / seconds;
                }
            }
        }
        Some(rates)
    }
}

impl Windows {
    /// Forgets shards that are not there any more.
    pub(super) fn retain(&mut self, shards: &BTreeSet<ShardId>) {
        self.last.retain(|shard, _| shards.contains(shard));
    }
}
