//! Problems as mixed integer programs, for a solver outside: one variable for each shard and places it may have.

use isobar_models::placement::{Placement, Problem, Seats, Weights, evaluate, node_uses};
use serde_json::{Value, json};

/// The program of a problem: what each choice of places of each shard costs without the nodes' part (ms/s) and puts on
/// nodes (requests/s, MiB), and what nodes take before it costs, and at all.
pub fn program(problem: &Problem) -> Value {
    let shards: Vec<Value> = (0..problem.shards.len()).map(|s| choices(problem, s)).collect();
    let nodes: Vec<Value> = problem
        .nodes
        .iter()
        .map(|node| {
            let mib = node.size_bytes_max as f64 / f64::from(1 << 20);
            json!([node.requests_per_s_target, node.requests_per_s_max, mib])
        })
        .collect();
    json!({ "shards": shards, "nodes": nodes, "overload_ms": problem.weights.overload_ms })
}

/// Every legal choice of places for a shard, priced by `evaluate` on a problem of this shard alone.
fn choices(problem: &Problem, s: usize) -> Value {
    let mut alone = Problem { shards: vec![problem.shards[s].clone()], ..problem.clone() };
    alone.weights = Weights { overload_ms: 0.0, ..problem.weights.clone() };
    let count = problem.rules[problem.shards[s].rule].replicas;
    let mut found = Vec::new();
    for replicas in subsets(problem.nodes.len(), count) {
        for leader in replicas.clone() {
            let seats = Seats { replicas: replicas.clone(), leader };
            let placement = Placement { seats: vec![seats] };
            let cost = evaluate(&alone, &placement).expect("of this problem");
            if cost.misplaced == 0 {
                let uses = node_uses(&alone, &placement).expect("of this problem");
                let used = uses.iter().enumerate().filter(|(n, _)| replicas.contains(n));
                let used = used.map(|(n, used)| {
                    let mib = used.size_bytes as f64 / f64::from(1 << 20);
                    json!([n, used.load_milli_per_s as f64 / 1e3, mib])
                });
                let used: Vec<Value> = used.collect();
                found.push(json!([cost.objective_ns_per_s as f64 / 1e6, used]));
            }
        }
    }
    Value::Array(found)
}

fn subsets(n: usize, k: usize) -> Vec<Vec<usize>> {
    if k == 0 {
        return vec![Vec::new()];
    }
    let with = |last: usize| {
        subsets(last, k - 1).into_iter().map(move |mut set| {
            set.push(last);
            set
        })
    };
    (k - 1..n).flat_map(with).collect()
}
