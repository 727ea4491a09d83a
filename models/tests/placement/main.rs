//! The gap to the exact optimum. The optima are HiGHS's: `optima.csv`, made by
//!
//! ```sh
//! ISOBAR_PROGRAMS=/tmp/programs cargo test -p isobar-models --test placement write_the_programs -- --ignored
//! python models/tests/placement/optima.py /tmp/programs > models/tests/placement/optima.csv
//! ```

mod exact;

use isobar_models::placement::{
    Budget, Problem, evaluate, lower_bound, solve,
    synthetic::{self, Recipe},
};
use std::path::Path;

/// Shards, nodes, regions, problems.
const SIZES: [(usize, usize, usize, u64); 5] =
    [(24, 6, 3, 20), (50, 6, 3, 20), (100, 6, 3, 10), (200, 6, 3, 10), (200, 8, 4, 5)];

fn problem((shards, nodes, regions, _): (usize, usize, usize, u64), seed: u64) -> Problem {
    synthetic::problem(&Recipe { shards, nodes, regions, slack: 1.3, target: 1.1 }, seed)
}

fn name((shards, nodes, _, _): (usize, usize, usize, u64), seed: u64) -> String {
    format!("{shards}x{nodes}-{seed:02}")
}

/// The best objective known of a problem and a bound that none is below, ms/s.
fn optimum(name: &str) -> (f64, f64) {
    let line = include_str!("optima.csv").lines().find(|line| line.split(',').next() == Some(name));
    let mut numbers = line.expect("each problem has a line").split(',').skip(1);
    let mut number = || numbers.next().expect("three columns").parse().expect("a number");
    (number(), number())
}

/// The value below which a share of the values lies.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

#[test]
fn the_gap_to_the_exact_optimum_is_small_and_bounds_are_bounds() {
    let mut all = Vec::new();
    println!("shards × nodes | problems | gap median | p95 | worst | gap of the own bound, median");
    for size in SIZES {
        let (mut gaps, mut own) = (Vec::new(), Vec::new());
        for seed in 0..size.3 {
            let (problem, name) = (problem(size, seed), name(size, seed));
            let (best, least) = optimum(&name);
            let found = solve(&problem, &Budget::for_shards(size.0), seed).expect("solvable");
            let cost = evaluate(&problem, &found).expect("of this problem");
            assert_eq!((cost.misplaced, cost.overflow_ppb), (0, 0), "{name}");
            let objective = cost.objective_ns_per_s as f64 / 1e6;
            assert!(
                objective >= least * (1.0 - 1e-5),
                "{name}: {objective} below {least}: another problem"
            );
            let bound =
                lower_bound(&problem, cost.objective_ns_per_s, 200).expect("valid") as f64 / 1e6;
            assert!(bound <= best * (1.0 + 1e-5), "{name}: {bound} {best}");
            // Where the optimum is not proven, its bound makes the gap look larger than it is.
            gaps.push(objective / least - 1.0);
            own.push(objective / bound - 1.0);
        }
        println!(
            "{} × {} | {} | {:.2} % | {:.2} % | {:.2} % | {:.2} %",
            size.0,
            size.1,
            size.3,
            100.0 * quantile(&gaps, 0.5),
            100.0 * quantile(&gaps, 0.95),
            100.0 * quantile(&gaps, 1.0),
            100.0 * quantile(&own, 0.5),
        );
        all.extend(gaps);
    }
    let (median, p95) = (quantile(&all, 0.5), quantile(&all, 0.95));
    assert!(median <= 0.02 && p95 <= 0.05, "median {median}, p95 {p95}");
}

#[test]
#[ignore = "writes the problems for the exact solver into ISOBAR_PROGRAMS"]
fn write_the_programs() {
    let folder = std::env::var("ISOBAR_PROGRAMS").expect("ISOBAR_PROGRAMS names a folder");
    std::fs::create_dir_all(&folder).expect("made");
    for size in SIZES {
        for seed in 0..size.3 {
            let path = Path::new(&folder).join(format!("{}.json", name(size, seed)));
            std::fs::write(path, exact::program(&problem(size, seed)).to_string())
                .expect("written");
        }
    }
}
