//! The exact optimum by mixed integer programming: one variable for each shard and places it may have.

use good_lp::{
    Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, microlp, variable,
};
use isobar_models::placement::{NodeUse, Placement, Problem, Seats, Weights, evaluate, node_uses};

/// Places of a shard: what they cost without the nodes' part, and what they put on each node.
struct Choice {
    seats: Seats,
    cost_ms_per_s: f64,
    uses: Vec<NodeUse>,
}

/// Every legal choice of places for a shard, priced by `evaluate` on a problem of this shard alone.
fn choices(problem: &Problem, s: usize) -> Vec<Choice> {
    let mut alone = Problem { shards: vec![problem.shards[s].clone()], ..problem.clone() };
    alone.weights = Weights { overload_ms: 0.0, ..problem.weights.clone() };
    let count = problem.rules[problem.shards[s].rule].replicas;
    let mut found = Vec::new();
    for replicas in subsets(problem.nodes.len(), count) {
        for leader in replicas.clone() {
            let seats = Seats { replicas: replicas.clone(), leader };
            let placement = Placement { seats: vec![seats.clone()] };
            let cost = evaluate(&alone, &placement).expect("of this problem");
            if cost.misplaced == 0 {
                let uses = node_uses(&alone, &placement).expect("of this problem");
                let cost_ms_per_s = cost.objective_ns_per_s as f64 / 1e6;
                found.push(Choice { seats, cost_ms_per_s, uses });
            }
        }
    }
    found
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

/// What a choice costs at the prices of nodes, by which choices that no better placement can contain are left out.
pub struct Reduced {
    /// Binary variables of the full problem.
    pub all: usize,
    /// Of them, those that were left.
    pub left: usize,
}

/// The best placement, or `None` if there is none at all. With a known placement's objective only what could be better
/// is looked for; its own is then the optimum if nothing is found.
pub fn optimum(problem: &Problem) -> Option<Placement> {
    let mut variables = ProblemVariables::new();
    let mut objective = Expression::from(0.0);
    let nodes = problem.nodes.len();
    let (mut load, mut mib) =
        (vec![Expression::from(0.0); nodes], vec![Expression::from(0.0); nodes]);
    let mut chosen: Vec<Vec<(Variable, Choice)>> = Vec::new();
    for s in 0..problem.shards.len() {
        let mut list = Vec::new();
        for choice in choices(problem, s) {
            let x = variables.add(variable().binary());
            objective += choice.cost_ms_per_s * x;
            for (n, used) in choice.uses.iter().enumerate() {
                load[n] += used.load_milli_per_s as f64 / 1e3 * x;
                mib[n] += used.size_bytes as f64 / f64::from(1 << 20) * x;
            }
            list.push((x, choice));
        }
        chosen.push(list);
    }
    let over: Vec<Variable> = (0..nodes).map(|_| variables.add(variable().min(0.0))).collect();
    for o in &over {
        objective += problem.weights.overload_ms * *o;
    }
    let mut model = variables.minimise(objective).using(microlp);
    for list in &chosen {
        let one: Expression = list.iter().map(|(x, _)| *x).sum();
        model = model.with(constraint!(one == 1));
    }
    for (n, node) in problem.nodes.iter().enumerate() {
        let extra: Expression = load[n].clone() - over[n];
        model = model.with(constraint!(extra <= node.requests_per_s_target));
        if node.requests_per_s_max.is_finite() {
            model = model.with(constraint!(load[n].clone() <= node.requests_per_s_max));
        }
        if node.size_bytes_max < u64::MAX {
            let most = node.size_bytes_max as f64 / f64::from(1 << 20);
            model = model.with(constraint!(mib[n].clone() <= most));
        }
    }
    let solution = model.solve().ok()?;
    let pick = |list: Vec<(Variable, Choice)>| {
        list.into_iter().find(|(x, _)| solution.value(*x) > 0.5).map(|(_, c)| c.seats)
    };
    Some(Placement { seats: chosen.into_iter().map(pick).collect::<Option<_>>()? })
}
