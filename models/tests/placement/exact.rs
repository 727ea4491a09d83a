//! The exact optimum by branch and bound, with Lagrangian prices for the nodes' room.

use isobar_models::placement::{
    Node, NodeUse, Placement, Problem, Seats, Weights, evaluate, node_uses,
};

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
}

/// The best placement, or `None` if there is none. A known placement only serves to leave out what no better one can
/// contain. Without it nothing is priced and nothing left out: every placement is tried.
pub fn optimum(problem: &Problem, known: Option<&Placement>, steps: u64) -> Option<Exact> {
    let choices: Vec<Vec<Choice>> =
        (0..problem.shards.len()).map(|s| choices(problem, s)).collect();
    let Some(known) = known else {
        let free = Prices(vec![[0.0; 3]; problem.nodes.len()]);
        let mut search = Search::new(problem, &choices, &free, steps);
        search.place(0.0);
        let (placement, certain) = (search.placement()?, search.steps_left > 0);
        return Some(Exact { placement, certain, bound_ms_per_s: f64::MIN });
    };
    let cost = evaluate(problem, known).expect("of this problem");
    let most = cost.objective_ns_per_s as f64 / 1e6;
    let (bound_ms_per_s, prices) = dual(problem, &choices, most);
    let mut search = Search::new(problem, &choices, &prices, steps);
    // One that costs the same is found again, so that what is returned was found here.
    search.best.0 = most * (1.0 + 1e-9);
    search.place(0.0);
    let certain = search.steps_left > 0;
    let placement = search.placement().unwrap_or_else(|| known.clone());
    Some(Exact { placement, certain, bound_ms_per_s })
}

/// What nodes take: per request above the target, per request at all, per MiB.
#[derive(Clone)]
struct Prices(Vec<[f64; 3]>);

fn used(choice: &Choice, n: usize) -> [f64; 3] {
    let load = choice.uses[n].load_milli_per_s as f64 / 1e3;
    [load, load, choice.uses[n].size_bytes as f64 / f64::from(1 << 20)]
}

/// What each node has of it.
fn room(node: &Node) -> [f64; 3] {
    let mib = node.size_bytes_max as f64 / f64::from(1 << 20);
    [node.requests_per_s_target, node.requests_per_s_max, mib]
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
    let rooms: Vec<[f64; 3]> = problem.nodes.iter().map(room).collect();
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

/// Depth first, the shard with the fewest choices first, its cheapest choice first; a branch is left when what it must
/// cost at the prices is no less than the best placement found.
struct Search<'a> {
    problem: &'a Problem,
    /// The shards' numbers, in the order in which they are placed.
    order: Vec<usize>,
    /// Choices of each, with what they cost at the prices, cheapest first.
    choices: Vec<Vec<(f64, &'a Choice)>>,
    /// What the shards from each place in the order on cost at least.
    least: Vec<f64>,
    /// What the prices give back for the nodes' room.
    back: f64,
    /// Requests and MiB of each node so far.
    taken: Vec<[f64; 2]>,
    chosen: Vec<usize>,
    best: (f64, Option<Vec<usize>>),
    steps_left: u64,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, choices: &'a [Vec<Choice>], prices: &Prices, steps: u64) -> Self {
        let mut order: Vec<usize> = (0..choices.len()).collect();
        order.sort_by_key(|s| choices[*s].len());
        let priced = |s: &usize| {
            let mut list: Vec<(f64, &Choice)> =
                choices[*s].iter().map(|choice| (prices.of(choice), choice)).collect();
            list.sort_by(|a, b| a.0.total_cmp(&b.0));
            list
        };
        let priced: Vec<_> = order.iter().map(priced).collect();
        let mut least = vec![0.0; priced.len() + 1];
        for (s, list) in priced.iter().enumerate().rev() {
            least[s] = least[s + 1] + list.first().map_or(f64::INFINITY, |(price, _)| *price);
        }
        let back = prices
            .0
            .iter()
            .zip(&problem.nodes)
            .map(|(price, node)| price.iter().zip(room(node)).map(|(p, r)| p * r).sum::<f64>());
        let back = back.sum();
        Self {
            problem,
            order,
            choices: priced,
            least,
            back,
            taken: vec![[0.0; 2]; problem.nodes.len()],
            chosen: Vec::new(),
            best: (f64::INFINITY, None),
            steps_left: steps,
        }
    }

    /// What a full placement costs; infinite where it does not fit.
    fn cost(&self) -> f64 {
        let own = self.chosen.iter().zip(&self.choices).map(|(at, list)| list[*at].1.cost_ms_per_s);
        let nodes = self.problem.nodes.iter().zip(&self.taken).map(|(node, [load, mib])| {
            let [target, most, size] = room(node);
            let fits = *load <= most * (1.0 + 1e-12) && *mib <= size * (1.0 + 1e-12);
            let over = self.problem.weights.overload_ms * (load - target).max(0.0);
            if fits { over } else { f64::INFINITY }
        });
        own.sum::<f64>() + nodes.sum::<f64>()
    }

    fn take(&mut self, choice: &Choice, sign: f64) {
        for (n, taken) in self.taken.iter_mut().enumerate() {
            let [load, _, mib] = used(choice, n);
            taken[0] += sign * load;
            taken[1] += sign * mib;
        }
    }

    fn place(&mut self, paid: f64) {
        let s = self.chosen.len();
        if s == self.choices.len() {
            let cost = self.cost();
            if cost < self.best.0 {
                self.best = (cost, Some(self.chosen.clone()));
            }
            return;
        }
        for at in 0..self.choices[s].len() {
            let (price, choice) = self.choices[s][at];
            let bound = paid + price + self.least[s + 1] - self.back;
            if self.steps_left == 0 || bound >= self.best.0 - 1e-9 * self.best.0.abs() {
                return;
            }
            self.steps_left -= 1;
            self.take(choice, 1.0);
            self.chosen.push(at);
            self.place(paid + price);
            self.chosen.pop();
            self.take(choice, -1.0);
        }
    }

    fn placement(&self) -> Option<Placement> {
        let mut seats: Vec<Option<Seats>> = vec![None; self.order.len()];
        for ((s, list), at) in self.order.iter().zip(&self.choices).zip(self.best.1.as_ref()?) {
            seats[*s] = Some(list[*at].1.seats.clone());
        }
        Some(Placement { seats: seats.into_iter().collect::<Option<_>>()? })
    }
}
