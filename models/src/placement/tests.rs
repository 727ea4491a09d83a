//! What must hold of every placement, on made and on random problems.

use super::synthetic::{self, Recipe};
use super::*;
use proptest::prelude::*;

fn budget(evaluations_max: u64) -> Budget<'static> {
    Budget { evaluations_max, stop: None }
}

/// Two regions 10 ms apart; nodes 0 and 1 in the first, 2 and 3 in the second, each in a zone of its own.
fn two_regions() -> Problem {
    let node = |n: usize| Node {
        region: n / 2,
        zone: n,
        size_bytes_max: 1 << 30,
        requests_per_s_max: 1e6,
        requests_per_s_target: 1e6,
        state: NodeState::Open,
    };
    let rule = Rule { replicas: 2, acks: 2, spread: Spread::Zones, regions_allowed: vec![true; 2] };
    let demand =
        Demand { region: 1, reads_near_per_s: 5.0, reads_leader_per_s: 20.0, writes_per_s: 3.0 };
    let shard = Shard { size_bytes: 1 << 20, demand: vec![demand], ..Shard::default() };
    Problem {
        regions: 2,
        rtt_ms: vec![1.0, 10.0, 10.0, 1.0],
        nodes: (0..4).map(node).collect(),
        rules: vec![rule],
        shards: vec![shard],
        weights: Weights::default(),
    }
}

fn seats(replicas: &[usize], leader: usize) -> Seats {
    Seats { replicas: replicas.to_vec(), leader }
}

#[test]
fn costs_are_as_by_hand() {
    let mut problem = two_regions();
    problem.weights.write = 2.0;
    problem.nodes[0].requests_per_s_target = 20.0;
    problem.weights.copy_ms_per_s_per_mib = 7.0;
    problem.weights.leader_change_ms_per_s = 11.0;
    (problem.shards[0].replicas_now, problem.shards[0].leader_now) = (vec![0, 1], Some(1));
    let cost = evaluate(&problem, &Placement { seats: vec![seats(&[0, 2], 0)] }).expect("fits");
    // Reads: 20 at 10 ms to the leader, 5 at 1 ms to node 2. Writes: 3 at 10 ms and 10 ms more to the quorum.
    assert_eq!(cost.read_wait_ns_per_s, 205_000_000);
    assert_eq!(cost.write_wait_ns_per_s, 60_000_000);
    // Node 0 leads: 20 reads and 3 writes, 3 above its target, at 50 ms each. One MiB copied, one leader changed.
    assert_eq!(cost.overload_milli_per_s, 3_000);
    assert_eq!(cost.objective_ns_per_s, (205 + 2 * 60 + 150 + 7 + 11) * 1_000_000);
    assert_eq!((cost.copied_bytes, cost.leaders_changed), (1 << 20, 1));
    assert_eq!((cost.misplaced, cost.overflow_ppb, cost.crossing_milli_per_s), (0, 0, 23_000));
    let uses = node_uses(&problem, &Placement { seats: vec![seats(&[0, 2], 0)] }).expect("fits");
    assert_eq!((uses[0].load_milli_per_s, uses[2].load_milli_per_s), (23_000, 8_000));
    assert_eq!((uses[0].leaders, uses[2].leaders, uses[1].replicas), (1, 0, 0));
}

#[test]
fn what_breaks_a_rule_is_counted() {
    let mut problem = two_regions();
    problem.rules[0].regions_allowed[0] = false;
    problem.nodes[3].state = NodeState::Leaving;
    let count =
        |seats| evaluate(&problem, &Placement { seats: vec![seats] }).expect("fits").misplaced;
    assert_eq!(count(seats(&[0, 2], 2)), 1, "residency");
    assert_eq!(count(seats(&[2, 3], 2)), 1, "a leaving node");
    assert_eq!(count(seats(&[2], 2)), 1, "a replica missing");
    assert_eq!(count(seats(&[2, 2], 2)), 2, "twice on a node, so twice in a zone");
    assert_eq!(count(seats(&[0, 2], 3)), 3, "a leader that holds nothing and leaves");
    problem.nodes[2].size_bytes_max = (1 << 20) - 1;
    let cost = evaluate(&problem, &Placement { seats: vec![seats(&[2, 3], 2)] }).expect("fits");
    assert!(cost.overflow_ppb > 0);
    assert!(evaluate(&problem, &Placement { seats: vec![seats(&[2, 4], 2)] }).is_err());
    assert!(evaluate(&problem, &Placement::default()).is_err());
}

#[test]
fn an_earlier_field_of_the_cost_outranks_later_ones() {
    let safe = Cost { objective_ns_per_s: i64::MAX, ..Cost::default() };
    assert!(safe < Cost { misplaced: 1, ..Cost::default() });
    assert!(safe < Cost { overflow_ppb: 1, ..Cost::default() });
    let still = Cost { copied_bytes: 0, objective_ns_per_s: 5, ..Cost::default() };
    assert!(still < Cost { copied_bytes: 1, objective_ns_per_s: 5, ..Cost::default() });
}

/// A small random problem: any states, limits from ample to too tight, some shards placed already.
fn random_problem(seed: u64) -> Problem {
    let mut dice = dice::Dice::new(seed);
    let recipe = Recipe {
        shards: 1 + dice.below(12),
        nodes: 3 + dice.below(5),
        regions: 2 + dice.below(3),
        slack: 1.0 + dice.share(),
        target: 1.0 + dice.share() / 2.0,
    };
    let mut problem = synthetic::problem(&recipe, seed);
    for rule in &mut problem.rules {
        rule.replicas = 1 + dice.below(3);
        rule.acks = 1 + dice.below(rule.replicas);
        rule.spread = [Spread::Nodes, Spread::Zones, Spread::Regions][dice.below(3)];
    }
    for node in &mut problem.nodes {
        node.state = match dice.below(8) {
            0 => NodeState::Closed,
            1 => NodeState::Leaving,
            _ => NodeState::Open,
        };
    }
    let nodes = problem.nodes.len();
    for shard in &mut problem.shards {
        if dice.below(2) == 0 {
            let mut order: Vec<usize> = (0..nodes).collect();
            dice.shuffle(&mut order);
            order.truncate(1 + dice.below(3));
            shard.leader_now = (dice.below(4) > 0).then_some(order[0]);
            shard.replicas_now = order;
        }
    }
    problem.weights.write = 0.5 + dice.share();
    problem.weights.copy_ms_per_s_per_mib = dice.share();
    problem.weights.leader_change_ms_per_s = 20.0 * dice.share();
    problem
}

proptest! {
    /// The promise: what comes out keeps every hard limit, by a reckoning that is not the solver's own.
    #[test]
    fn nothing_that_is_given_breaks_a_limit(seed: u64, evaluations in 0_u64..60_000) {
        let problem = random_problem(seed);
        match solve(&problem, &budget(evaluations), seed) {
            Ok(placement) => {
                let cost = evaluate(&problem, &placement).expect("of this problem");
                prop_assert_eq!((cost.misplaced, cost.overflow_ppb), (0, 0));
            }
            Err(Unsolved::Infeasible(why) | Unsolved::NotFound(why)) => prop_assert!(!why.is_empty()),
            Err(Unsolved::Invalid(why)) => prop_assert!(false, "{}", why),
        }
    }

    /// Books kept by differences agree with a reckoning from nothing, wherever the search has been.
    #[test]
    fn the_books_are_right(seed: u64) {
        let problem = random_problem(seed);
        let g = Ground::new(&problem).expect("valid");
        prop_assume!(infeasible::prove(&g).is_ok());
        let budget = budget(20_000);
        let (mut search, mut dice) = (Search::new(&g, &budget), Dice::new(seed));
        let prices = bound::guide(&g).0;
        let open = construct::keep(&mut search);
        insert(&mut search, &mut dice, &prices, open);
        descend(&mut search, &mut dice, &prices, Some(Price::MAX));
        polish(&mut search, &mut dice, &prices);
        let placement = Placement { seats: search.seats.iter().map(Seat::seats).collect() };
        let (cost, total) = (evaluate(&problem, &placement).expect("fits"), search.total());
        prop_assert_eq!(cost.objective_ns_per_s, total.ns_per_s);
        prop_assert_eq!(cost.overflow_ppb, total.overflow.unsigned_abs());
        let uses = node_uses(&problem, &placement).expect("fits");
        for (n, used) in uses.iter().enumerate() {
            prop_assert_eq!(used.load_milli_per_s, search.desk.load[n]);
            prop_assert_eq!(used.size_bytes, search.desk.bytes[n].unsigned_abs());
        }
        let bound = lower_bound(&problem, cost.objective_ns_per_s, 30).expect("valid");
        prop_assert!(total.overflow > 0 || bound <= cost.objective_ns_per_s, "{}", bound);
    }

    /// Whatever stands in a problem, there is an answer.
    #[test]
    fn nonsense_is_refused(seed: u64, what in 0_usize..12, x in proptest::num::f64::ANY) {
        let mut problem = random_problem(seed);
        match what {
            0 => problem.regions = (x.abs() as usize).min(1 << 40),
            1 => problem.rtt_ms[0] = x,
            2 => problem.nodes[0].requests_per_s_max = x,
            3 => problem.nodes[0].requests_per_s_target = x,
            4 => problem.nodes[0].region = 99,
            5 => problem.rules[0].replicas = seed as usize % 12,
            6 => problem.rules[0].acks = seed as usize % 12,
            7 => problem.shards[0].size_bytes = seed,
            8 => problem.shards[0].demand[0].writes_per_s = x,
            9 => problem.shards[0].replicas_now = vec![seed as usize % 12; seed as usize % 9],
            10 => problem.weights.overload_ms = x,
            _ => problem.weights.gain_share_min = x,
        }
        let answer = solve(&problem, &budget(2_000), seed);
        if what == 4 {
            prop_assert!(matches!(answer, Err(Unsolved::Invalid(_))));
        }
    }
}

/// The optimum by trying everything; `None` if there is no placement.
fn by_force(problem: &Problem) -> Option<(Cost, Placement)> {
    let mut best: Option<(Cost, Placement)> = None;
    let mut picked = Placement::default();
    force(problem, &mut picked, &mut best);
    best
}

fn force(problem: &Problem, picked: &mut Placement, best: &mut Option<(Cost, Placement)>) {
    let s = picked.seats.len();
    if s == problem.shards.len() {
        let cost = evaluate(problem, picked).expect("fits");
        let legal = cost.misplaced == 0 && cost.overflow_ppb == 0;
        if legal && best.as_ref().is_none_or(|b| cost.objective_ns_per_s < b.0.objective_ns_per_s) {
            *best = Some((cost, picked.clone()));
        }
        return;
    }
    let (n, count) = (problem.nodes.len(), problem.rules[problem.shards[s].rule].replicas);
    for set in (0..1_usize << n).filter(|set| set.count_ones() as usize == count) {
        let replicas: Vec<usize> = (0..n).filter(|i| set >> i & 1 == 1).collect();
        for leader in replicas.clone() {
            picked.seats.push(Seats { replicas: replicas.clone(), leader });
            force(problem, picked, best);
            picked.seats.pop();
        }
    }
}

#[test]
fn tiny_problems_are_solved_exactly_and_then_nothing_moves() {
    let (mut solvable, mut hopeless) = (0, 0);
    for seed in 0..40 {
        let mut problem = random_problem(seed);
        problem.shards.truncate(3);
        problem.nodes.truncate(4);
        for shard in &mut problem.shards {
            (shard.replicas_now, shard.leader_now) = (Vec::new(), None);
        }
        let answer = solve(&problem, &budget(100_000), seed);
        let Some((cost, placement)) = by_force(&problem) else {
            assert!(answer.is_err(), "{seed}");
            hopeless += 1;
            continue;
        };
        let found = evaluate(&problem, &answer.expect("there is one")).expect("fits");
        assert_eq!(found.objective_ns_per_s, cost.objective_ns_per_s, "{seed}");
        let bound = lower_bound(&problem, cost.objective_ns_per_s, 100).expect("valid");
        assert!(bound <= cost.objective_ns_per_s, "{seed}");
        for (shard, seats) in problem.shards.iter_mut().zip(&placement.seats) {
            (shard.replicas_now, shard.leader_now) = (seats.replicas.clone(), Some(seats.leader));
        }
        assert_eq!(solve(&problem, &budget(100_000), seed + 1), Ok(placement), "{seed}");
        solvable += 1;
    }
    assert!(solvable >= 10 && hopeless >= 5, "{solvable} {hopeless}");
}
