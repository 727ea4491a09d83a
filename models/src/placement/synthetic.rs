//! Problems of any size from a seed, for tests and figures.

use super::dice::Dice;
use super::problem::{Demand, Node, NodeState, Problem, Rule, Shard, Spread, Weights};

/// What kind of problem is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Shards.
    pub shards: usize,
    /// Nodes, dealt out to the regions.
    pub nodes: usize,
    /// Regions with nodes and clients, in two zones each.
    pub regions: usize,
    /// Capacity over what is needed, bytes and load, at least 1.
    pub slack: f64,
    /// A node's target over its fair share of the load.
    pub target: f64,
}

/// A problem: regions at random points of the Earth, shards with homes and heavy-tailed load, three rules (anywhere,
/// zones apart; a majority of the regions; one region of a majority may not be used), mixed reads and writes.
pub fn problem(recipe: &Recipe, seed: u64) -> Problem {
    let mut dice = Dice::new(seed);
    let regions = recipe.regions;
    let points: Vec<[f64; 3]> = (0..regions).map(|_| point(&mut dice)).collect();
    let mut rtt_ms = vec![0.0; regions * regions];
    for a in 0..regions {
        for b in 0..regions {
            let dot: f64 = points[a].iter().zip(&points[b]).map(|(x, y)| x * y).sum();
            // Half round the Earth takes about 250 ms there and back.
            rtt_ms[a * regions + b] =
                if a == b { 0.5 } else { 2.0 + 80.0 * dot.clamp(-1.0, 1.0).acos() };
        }
    }
    let rules = rules(regions, &mut dice);
    let shards: Vec<Shard> =
        (0..recipe.shards).map(|_| shard(&rules, regions, &mut dice)).collect();
    let (mut bytes, mut load) = (0.0, 0.0);
    for shard in &shards {
        let replicas = rules[shard.rule].replicas as f64;
        bytes += replicas * shard.size_bytes as f64;
        for d in &shard.demand {
            load += d.reads_near_per_s + d.reads_leader_per_s + replicas * d.writes_per_s;
        }
    }
    let share = |total: f64| total / recipe.nodes as f64;
    let node = |n: usize| Node {
        region: n % regions,
        zone: (n % regions) * 2 + (n / regions) % 2,
        size_bytes_max: (share(bytes) * recipe.slack) as u64,
        requests_per_s_max: share(load) * recipe.slack.max(recipe.target) * 1.1,
        requests_per_s_target: share(load) * recipe.target,
        state: NodeState::Open,
    };
    let nodes = (0..recipe.nodes).map(node).collect();
    Problem { regions, rtt_ms, nodes, rules, shards, weights: Weights::default() }
}

fn point(dice: &mut Dice) -> [f64; 3] {
    let (z, turn) = (2.0 * dice.share() - 1.0, std::f64::consts::TAU * dice.share());
    let r = (1.0 - z * z).sqrt();
    [r * turn.cos(), r * turn.sin(), z]
}

fn rules(regions: usize, dice: &mut Dice) -> Vec<Rule> {
    let rule = |spread, regions_allowed| Rule { replicas: 3, acks: 2, spread, regions_allowed };
    let mut order: Vec<usize> = (0..regions).collect();
    dice.shuffle(&mut order);
    let most = (regions / 2 + 1).max(2).min(regions);
    let within = (0..regions).map(|r| order[..most].contains(&r)).collect();
    vec![
        rule(Spread::Zones, vec![true; regions]),
        rule(Spread::Zones, within),
        Rule { replicas: 1, acks: 1, spread: Spread::Nodes, regions_allowed: vec![true; regions] },
    ]
}

fn shard(rules: &[Rule], regions: usize, dice: &mut Dice) -> Shard {
    let rule = [0, 0, 0, 1, 1, 2][dice.below(6)].min(rules.len() - 1);
    let home = dice.below(regions);
    // Pareto with exponent 1.2, cut at thirty times the least: what is hotter is split.
    let rate = 10.0 * (1.0 - 0.983 * dice.share()).powf(-1.0 / 1.2);
    let (reads, near) = (0.5 + 0.5 * dice.share(), dice.share());
    let demand = (0..regions).map(|region| {
        let part =
            if region == home { 2.0 + 4.0 * dice.share() } else { dice.share() / regions as f64 };
        let rate = rate * part;
        Demand {
            region,
            reads_near_per_s: rate * reads * near,
            reads_leader_per_s: rate * reads * (1.0 - near),
            writes_per_s: rate * (1.0 - reads),
        }
    });
    let demand = demand.collect();
    let size_bytes = (64 << 20) + (dice.share() * f64::from(256 << 20)) as u64;
    Shard { rule, size_bytes, demand, replicas_now: Vec::new(), leader_now: None }
}
