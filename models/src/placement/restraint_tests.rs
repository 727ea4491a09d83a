//! What is well placed stays; what cannot be placed is said by name; effort is bounded.

use super::synthetic::{self, Recipe};
use super::*;

fn recipe(shards: usize) -> Recipe {
    Recipe { shards, nodes: 8, regions: 4, slack: 1.3, target: 1.1 }
}

fn budget(evaluations_max: u64) -> Budget<'static> {
    Budget { evaluations_max, stop: None }
}

/// The problem with a placement as its present layout.
fn placed(problem: &Problem, placement: &Placement) -> Problem {
    let mut problem = problem.clone();
    for (shard, seats) in problem.shards.iter_mut().zip(&placement.seats) {
        (shard.replicas_now, shard.leader_now) = (seats.replicas.clone(), Some(seats.leader));
    }
    problem
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let problem = synthetic::problem(&recipe(40), 1);
    let bytes = |seed| {
        let placement = solve(&problem, &budget(300_000), seed).expect("solvable");
        serde_json::to_string(&placement).expect("plain data")
    };
    assert_eq!(bytes(1), bytes(1));
    assert_eq!(problem, synthetic::problem(&recipe(40), 1));
    assert_ne!(problem, synthetic::problem(&recipe(40), 2));
}

#[test]
fn a_settled_layout_stays_within_the_dead_band() {
    let mut problem = synthetic::problem(&recipe(60), 3);
    problem.weights.gain_share_min = 0.03;
    let placement = solve(&problem, &budget(2_000_000), 1).expect("solvable");
    let again = placed(&problem, &placement);
    for seed in 2..5 {
        assert_eq!(solve(&again, &budget(500_000), seed).as_ref(), Ok(&placement), "{seed}");
    }
}

#[test]
fn copies_are_weighed_against_waiting() {
    let problem = synthetic::problem(&recipe(60), 4);
    let hashed = solve(&problem, &budget(0), 1).expect("solvable");
    let mut problem = placed(&problem, &hashed);
    let before = evaluate(&problem, &hashed).expect("fits").objective_ns_per_s;
    let mut last = (u64::MAX, 0);
    for weight in [0.0, 5.0, 1e5] {
        problem.weights.copy_ms_per_s_per_mib = weight;
        let placement = solve(&problem, &budget(500_000), 1).expect("solvable");
        let cost = evaluate(&problem, &placement).expect("fits");
        assert!(cost.objective_ns_per_s <= before, "{weight}: never worse than to stay");
        assert!(cost.copied_bytes <= last.0, "{weight}: {} after {}", cost.copied_bytes, last.0);
        last = (cost.copied_bytes, cost.objective_ns_per_s);
    }
    assert_eq!(last.0, 0, "at such a price nothing is copied");
}

#[test]
fn a_leaving_node_is_emptied_and_the_rest_hardly_moves() {
    let mut problem = synthetic::problem(&recipe(60), 5);
    let placement = solve(&problem, &budget(2_000_000), 1).expect("solvable");
    problem = placed(&problem, &placement);
    problem.weights.copy_ms_per_s_per_mib = 1_000.0;
    problem.nodes.iter_mut().for_each(|n| n.size_bytes_max *= 2);
    problem.nodes.iter_mut().for_each(|n| n.requests_per_s_max *= 2.0);
    problem.nodes[2].state = NodeState::Leaving;
    let after = solve(&problem, &budget(500_000), 1).expect("solvable");
    let mut forced = 0;
    for (s, seats) in after.seats.iter().enumerate() {
        assert!(!seats.replicas.contains(&2));
        forced +=
            u64::from(placement.seats[s].replicas.contains(&2)) * problem.shards[s].size_bytes;
    }
    let cost = evaluate(&problem, &after).expect("fits");
    assert_eq!((cost.misplaced, cost.overflow_ppb), (0, 0));
    assert_eq!(cost.copied_bytes, forced, "only what was on the node is copied");
}

#[test]
fn closed_nodes_take_nothing_and_leaders_follow_readers() {
    let mut problem = synthetic::problem(&recipe(60), 6);
    let placement = solve(&problem, &budget(500_000), 1).expect("solvable");
    problem = placed(&problem, &placement);
    problem.nodes[1].state = NodeState::Closed;
    // The audience of every shard is now somewhere else.
    for d in problem.shards.iter_mut().flat_map(|s| &mut s.demand) {
        d.region = (d.region + 1) % 4;
    }
    let after = solve(&problem, &budget(500_000), 1).expect("solvable");
    let (old, new) =
        (evaluate(&problem, &placement).expect("fits"), evaluate(&problem, &after).expect("fits"));
    assert!(new.objective_ns_per_s < old.objective_ns_per_s * 9 / 10);
    for (was, is) in placement.seats.iter().zip(&after.seats) {
        assert!(was.replicas.contains(&1) || !is.replicas.contains(&1));
        assert!(was.leader == 1 || is.leader != 1);
    }
}

#[test]
fn the_budget_and_the_caller_end_the_search() {
    let problem = synthetic::problem(&recipe(60), 7);
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let stopped = Budget { evaluations_max: u64::MAX, stop: Some(&stop) };
    let placement = solve(&problem, &stopped, 1).expect("solvable");
    assert_eq!(evaluate(&problem, &placement).expect("fits").misplaced, 0);
    assert!(asked.get() < 20, "{}", asked.get());
    let poor = solve(&problem, &budget(0), 1).expect("solvable");
    let rich = solve(&problem, &budget(1_000_000), 1).expect("solvable");
    let cost = |p| evaluate(&problem, &p).expect("fits").objective_ns_per_s;
    assert!(cost(rich) < cost(poor));
}

#[test]
fn what_is_impossible_is_said_by_name() {
    let fine = synthetic::problem(&recipe(20), 8);
    let why = |change: &dyn Fn(&mut Problem)| {
        let mut problem = fine.clone();
        change(&mut problem);
        match solve(&problem, &budget(20_000), 1) {
            Err(Unsolved::Infeasible(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let one_region = |p: &mut Problem| p.rules[0].regions_allowed = vec![true, false, false, false];
    let places = Unsatisfied::Places { shard: 0, spread: Spread::Zones, places: 2, replicas: 3 };
    let mut shards =
        why(&one_region).into_iter().filter(|w| matches!(w, Unsatisfied::Places { .. }));
    let Some(Unsatisfied::Places { shard, .. }) = shards.next() else {
        panic!("no place is missing")
    };
    assert_eq!(fine.shards[shard].rule, 0);
    assert!(places.to_string().contains("wants 3 zones, 2 are allowed"));
    let large = why(&|p| p.shards[3].size_bytes = 1 << 50);
    assert!(large.iter().any(|w| matches!(w, Unsatisfied::Size { shard: 3, places: 0, .. })));
    let small =
        why(&|p| p.nodes.iter_mut().for_each(|n| n.size_bytes_max = n.size_bytes_max / 10 * 7));
    assert!(small.iter().any(|w| matches!(w, Unsatisfied::Bytes { .. })), "{small:?}");
    let slow = why(&|p| p.nodes.iter_mut().for_each(|n| n.requests_per_s_max /= 2.0));
    assert!(slow.iter().any(|w| matches!(w, Unsatisfied::Requests { .. })), "{slow:?}");
    let shut = why(&|p| {
        p.nodes.iter_mut().for_each(|n| n.state = NodeState::Closed);
        p.shards.iter_mut().for_each(|s| s.replicas_now = (0..8).collect());
    });
    assert!(shut.iter().any(|w| matches!(w, Unsatisfied::Leader { .. })), "{shut:?}");
}

#[test]
fn what_is_only_not_found_is_not_called_impossible() {
    // Three shards of 40 on two nodes of 60: enough in sum, and no way to do it.
    let mut problem =
        synthetic::problem(&Recipe { shards: 3, nodes: 2, regions: 2, slack: 2.0, target: 2.0 }, 1);
    problem
        .rules
        .iter_mut()
        .for_each(|r| (r.replicas, r.acks, r.regions_allowed) = (1, 1, vec![true; 2]));
    problem.shards.iter_mut().for_each(|s| s.size_bytes = 40);
    problem.nodes.iter_mut().for_each(|n| n.size_bytes_max = 60);
    let answer = solve(&problem, &budget(20_000), 1);
    let Err(Unsolved::NotFound(why)) = answer else { panic!("{answer:?}") };
    assert!(why.iter().any(|w| matches!(w, Unsatisfied::Node { bytes_over: 20, .. })), "{why:?}");
}
