//! How fast plans are made.

use isobar_controller::planner::{self, synthetic};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannerFigures {
    /// Nodes in the view.
    pub nodes: u64,
    /// Shards in the view.
    pub shards: u64,
    /// Plans made.
    pub plans: u64,
    /// Plans per second.
    pub plans_per_s: f64,
    /// Median time of one plan.
    pub p50_ms: f64,
    /// Longest time of one plan.
    pub max_ms: f64,
    /// Directives in one plan.
    pub directives: usize,
}

/// Plans the same synthetic view again and again for a while.
pub fn run(nodes: u64, shards: u64, seed: u64, length: Duration) -> PlannerFigures {
    let synthetic = synthetic::synthetic_input(nodes, shards, seed);
    let input = synthetic.input();
    let began = Instant::now();
    let mut times = Vec::new();
    let mut directives = 0;
    while began.elapsed() < length || times.is_empty() {
        let at = Instant::now();
        directives = planner::plan(&input).directives.len();
        times.push(at.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    PlannerFigures {
        nodes,
        shards,
        plans: times.len() as u64,
        plans_per_s: times.len() as f64 / began.elapsed().as_secs_f64(),
        p50_ms: times[times.len() / 2],
        max_ms: times[times.len() - 1],
        directives,
    }
}
