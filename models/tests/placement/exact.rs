//! The exact optimum by mixed integer programming: one variable for each shard and places it may have.

use std::{sync::mpsc, thread, time::Duration};

use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution, SolverModel, Variable, constraint,
    microlp, variable,
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

/// The answer of the exact solver.
pub struct Exact {
    /// The best placement, or the known one if the time was up before a better one was found.
    pub placement: Placement,
    /// Whether it is certain that there is no better one.
    pub certain: bool,
    /// A lower bound of the objective, milliseconds waited per second.
    pub bound_ms_per_s: f64,
    /// Binary variables of the full problem, and those that were not ruled out before it was solved.
    pub variables: (usize, usize),
}

/// The best placement, or `None` if there is none. A known placement only serves to rule out choices that no better one
/// can contain: those that cost more than the whole gap at the prices of the dual problem.
pub fn optimum(problem: &Problem, known: Option<&Placement>, time_limit_s: f64) -> Option<Exact> {
    let mut choices: Vec<Vec<Choice>> =
        (0..problem.shards.len()).map(|s| choices(problem, s)).collect();
    let all = choices.iter().map(Vec::len).sum();
    let mut bound_ms_per_s = 0.0;
    if let Some(placement) = known {
        let cost = evaluate(problem, placement).expect("of this problem");
        let most = cost.objective_ns_per_s as f64 / 1e6;
        let (bound, prices) = dual(problem, &choices, most);
        bound_ms_per_s = bound;
        for list in &mut choices {
            let least = list.iter().map(|c| prices.of(c)).fold(f64::MAX, f64::min);
            list.retain(|c| bound + prices.of(c) - least <= most * (1.0 + 1e-9));
        }
    }
    let variables = (all, choices.iter().map(Vec::len).sum());
    let (placement, certain) = match solve_within(problem, choices, time_limit_s) {
        Some(Ok(placement)) => (placement, true),
        // Nothing is left but what costs as much as the known one.
        Some(Err(ResolutionError::Infeasible)) => (known?.clone(), true),
        Some(Err(_)) | None => (known?.clone(), false),
    };
    Some(Exact { placement, certain, bound_ms_per_s, variables })
}

/// What nodes take: per request above the target, per request at all, per MiB.
#[derive(Clone)]
struct Prices(Vec<[f64; 3]>);

fn used(choice: &Choice, n: usize) -> [f64; 3] {
    let load = choice.uses[n].load_milli_per_s as f64 / 1e3;
    [load, load, choice.uses[n].size_bytes as f64 / f64::from(1 << 20)]
}

impl Prices {
    fn of(&self, choice: &Choice) -> f64 {
        let node = |(n, price): (usize, &[f64; 3])| {
            used(choice, n).iter().zip(price).map(|(x, p)| x * p).sum::<f64>()
        };
        choice.cost_ms_per_s + self.0.iter().enumerate().map(node).sum::<f64>()
    }
}

/// Subgradients on the explicit lists: not the code that is tested.
fn dual(problem: &Problem, choices: &[Vec<Choice>], most: f64) -> (f64, Prices) {
    let room = |n: usize| {
        let node = &problem.nodes[n];
        let mib = node.size_bytes_max as f64 / f64::from(1 << 20);
        [node.requests_per_s_target, node.requests_per_s_max, mib]
    };
    let rooms: Vec<[f64; 3]> = (0..problem.nodes.len()).map(room).collect();
    let mut prices = Prices(vec![[0.0; 3]; rooms.len()]);
    let mut way = prices.0.clone();
    let (mut best, mut step, mut quiet) = ((f64::MIN, prices.clone()), 1.0, 0);
    for _ in 0..3_000 {
        let mut bound = 0.0;
        let mut excess: Vec<[f64; 3]> = rooms.iter().map(|r| r.map(|x| -x)).collect();
        for list in choices {
            let cheapest = |a: &&Choice, b: &&Choice| prices.of(a).total_cmp(&prices.of(b));
            let Some(choice) = list.iter().min_by(cheapest) else { continue };
            bound += prices.of(choice);
            for (n, sum) in excess.iter_mut().enumerate() {
                sum.iter_mut().zip(used(choice, n)).for_each(|(s, x)| *s += x);
            }
        }
        for (price, room) in prices.0.iter().zip(&rooms) {
            bound -= price.iter().zip(room).map(|(p, r)| p * r).sum::<f64>();
        }
        quiet += 1;
        if bound > best.0 {
            (best, quiet) = ((bound, prices.clone()), 0);
        } else if quiet > 15 {
            (step, quiet, prices) = (step * 0.7, 0, best.1.clone());
        }
        let mut square = 0.0;
        for n in 0..rooms.len() {
            for k in 0..3 {
                let slope = excess[n][k] / rooms[n][k].max(1e-9);
                let idle = prices.0[n][k] <= 0.0 && slope < 0.0;
                way[n][k] = if idle { 0.0 } else { slope + 0.6 * way[n][k] };
                square += way[n][k] * way[n][k];
            }
        }
        let length = step * (most - bound).max(0.0) / f64::max(square, 1e-12);
        for n in 0..rooms.len() {
            for k in 0..3 {
                let cap = if k == 0 { problem.weights.overload_ms } else { f64::MAX };
                let moved = prices.0[n][k] + length * way[n][k] / rooms[n][k].max(1e-9);
                prices.0[n][k] = moved.clamp(0.0, cap);
            }
        }
    }
    best
}

/// `None` when the time is up. The solver cannot be stopped: its thread is then left to itself until the test ends.
fn solve_within(
    problem: &Problem,
    choices: Vec<Vec<Choice>>,
    time_limit_s: f64,
) -> Option<Result<Placement, ResolutionError>> {
    let (answer, answered) = mpsc::channel();
    let problem = problem.clone();
    thread::spawn(move || answer.send(solve_exactly(&problem, choices)));
    answered.recv_timeout(Duration::from_secs_f64(time_limit_s)).ok()
}

/// The mixed integer program over the choices that are left.
fn solve_exactly(
    problem: &Problem,
    choices: Vec<Vec<Choice>>,
) -> Result<Placement, ResolutionError> {
    let mut variables = ProblemVariables::new();
    let mut objective = Expression::from(0.0);
    let nodes = problem.nodes.len();
    let (mut load, mut mib) =
        (vec![Expression::from(0.0); nodes], vec![Expression::from(0.0); nodes]);
    let mut chosen: Vec<Vec<(Variable, Choice)>> = Vec::new();
    for list in choices {
        let mut with = Vec::new();
        for choice in list {
            let x = variables.add(variable().binary());
            objective += choice.cost_ms_per_s * x;
            for n in 0..nodes {
                let [requests, _, size] = used(&choice, n);
                load[n] += requests * x;
                mib[n] += size * x;
            }
            with.push((x, choice));
        }
        chosen.push(with);
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
        model = model.with(constraint!(load[n].clone() <= node.requests_per_s_max));
        let most = node.size_bytes_max as f64 / f64::from(1 << 20);
        model = model.with(constraint!(mib[n].clone() <= most));
    }
    let solution = model.solve()?;
    let pick = |list: Vec<(Variable, Choice)>| {
        let one = list.into_iter().find(|(x, _)| solution.value(*x) > 0.5);
        one.map(|(_, choice)| choice.seats).expect("one of each list, by the constraint")
    };
    Ok(Placement { seats: chosen.into_iter().map(pick).collect() })
}
