//! The gap to the exact optimum.

mod exact;

use exact::optimum;
use isobar_models::placement::{
    Budget, Placement, Problem, evaluate, lower_bound, solve,
    synthetic::{self, Recipe},
};

fn objective(problem: &Problem, placement: &Placement) -> f64 {
    let cost = evaluate(problem, placement).expect("of this problem");
    assert_eq!((cost.misplaced, cost.overflow_ppb), (0, 0));
    cost.objective_ns_per_s as f64
}

/// The value below which a share of the values lies.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Steps of the exact search; beyond them its lower bound stands for the optimum, which makes gaps look larger.
const STEPS: u64 = 5_000_000;

#[test]
fn what_is_left_out_does_not_change_the_optimum() {
    for seed in 0..4 {
        let recipe = Recipe { shards: 6, nodes: 4, regions: 3, slack: 1.4, target: 1.1 };
        let problem = synthetic::problem(&recipe, seed);
        let found = solve(&problem, &Budget::for_shards(6), seed).expect("solvable");
        let with = optimum(&problem, Some(&found), STEPS).expect("there is one");
        let without = optimum(&problem, None, 10 * STEPS).expect("there is one");
        assert!(with.certain && without.certain, "{seed}");
        let (a, b) =
            (objective(&problem, &with.placement), objective(&problem, &without.placement));
        assert!((a / b - 1.0).abs() < 1e-6, "{seed}: {a} {b}");
        assert!(
            with.bound_ms_per_s * 1e6 <= b * (1.0 + 1e-9),
            "{seed}: {} {b}",
            with.bound_ms_per_s
        );
    }
}

#[test]
fn the_gap_is_small_and_bounds_are_bounds() {
    let recipe = Recipe { shards: 24, nodes: 6, regions: 3, slack: 1.3, target: 1.1 };
    let (mut gaps, mut proven) = (Vec::new(), 0);
    for seed in 0..12 {
        let problem = synthetic::problem(&recipe, seed);
        let found = solve(&problem, &Budget::for_shards(24), seed).expect("solvable");
        let exact = optimum(&problem, Some(&found), STEPS).expect("there is one");
        let (found, best) = (objective(&problem, &found), objective(&problem, &exact.placement));
        let bound = lower_bound(&problem, found as i64, 200).expect("valid") as f64;
        assert!(bound <= best * (1.0 + 1e-9), "{seed}: {bound} {best}");
        proven += usize::from(exact.certain);
        let floor = if exact.certain { best } else { exact.bound_ms_per_s * 1e6 };
        gaps.push(found / floor - 1.0);
    }
    let (median, p95) = (quantile(&gaps, 0.5), quantile(&gaps, 0.95));
    println!("{proven} of 12 proven, gaps {gaps:?}");
    assert!(median <= 0.02 && p95 <= 0.05, "{gaps:?}");
}

/// `cargo test -p isobar-models --release --test placement -- --ignored --nocapture`
#[test]
#[ignore = "minutes: the figures of docs/src/models/placement.md"]
fn figures() {
    println!(
        "shards × nodes | problems | proven | gap median | p95 | worst | gap to the bound, median, p95"
    );
    for (shards, nodes, regions, seeds) in
        [(20, 6, 3, 40), (50, 6, 3, 30), (100, 6, 3, 20), (200, 6, 3, 20), (200, 8, 4, 10)]
    {
        let recipe = Recipe { shards, nodes, regions, slack: 1.3, target: 1.1 };
        let (mut gaps, mut to_bound, mut proven) = (Vec::new(), Vec::new(), 0);
        for seed in 0..seeds {
            let problem = synthetic::problem(&recipe, seed);
            let found = solve(&problem, &Budget::for_shards(shards), seed).expect("solvable");
            let exact = optimum(&problem, Some(&found), 100 * STEPS).expect("there is one");
            let (found, best) =
                (objective(&problem, &found), objective(&problem, &exact.placement));
            proven += usize::from(exact.certain);
            let floor = if exact.certain { best } else { exact.bound_ms_per_s * 1e6 };
            gaps.push(100.0 * (found / floor - 1.0));
            to_bound.push(100.0 * (found / (exact.bound_ms_per_s * 1e6) - 1.0));
        }
        println!(
            "{shards} × {nodes} | {seeds} | {proven} | {:.2} % | {:.2} % | {:.2} % | {:.2} %, {:.2} %",
            quantile(&gaps, 0.5),
            quantile(&gaps, 0.95),
            quantile(&gaps, 1.0),
            quantile(&to_bound, 0.5),
            quantile(&to_bound, 0.95),
        );
    }
}
