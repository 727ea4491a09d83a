//! What forecasting costs: 1,000 shards read from 3 regions, 1,024 windows each.
//!
//! `cargo run -p isobar-models --example cost`

#![allow(clippy::disallowed_methods)] // an example may read files and the clock; the library may not

use isobar_models::{BookConfig, ForecastBook, book::SeriesInput};
use std::{collections::BTreeMap, time::Instant};

const SHARDS: u64 = 1_000;
const REGIONS: u64 = 3;
const WINDOWS: usize = 1_024;

fn main() {
    let data: BTreeMap<(u64, u64), Vec<Option<f64>>> = (0..SHARDS)
        .flat_map(|shard| (0..REGIONS).map(move |region| (shard, region)))
        .map(|(shard, region)| ((shard, region), series(shard * REGIONS + region)))
        .collect();
    let inputs: BTreeMap<_, _> =
        data.iter().map(|(&key, windows)| (key, SeriesInput { windows, at_unix_s: 0 })).collect();
    let config = BookConfig {
        refit_values_per_tick: 100 * WINDOWS,
        refit_windows: 1_000,
        ..BookConfig::default()
    };
    let mut book = ForecastBook::new(config);
    let mut ticks = Vec::new();
    for tick in 0..40 {
        let begun = Instant::now();
        book.tick(tick, &inputs);
        ticks.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    let n = (SHARDS * REGIONS) as f64;
    let refitting: f64 = ticks[..30].iter().sum::<f64>() / 30.0;
    let quiet: f64 = ticks[30..].iter().sum::<f64>() / 10.0;
    let mut used = BTreeMap::<&str, usize>::new();
    for key in data.keys() {
        *used.entry(book.champion(key).map_or("none", |c| c.model.as_str())).or_default() += 1;
    }
    println!("series {n}, windows {WINDOWS}, champions {used:?}");
    println!(
        "tick without a new champion: {quiet:.1} ms, {:.1} µs per series",
        quiet * 1_000.0 / n
    );
    println!("choosing a champion: {:.0} µs per series", (refitting - quiet) * 10.0);
}

/// A third with a season, a third that only scatters, a third that wanders.
fn series(seed: u64) -> Vec<Option<f64>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut wander = 50.0;
    (0..WINDOWS)
        .map(|i| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 33) as f64 / (1_u64 << 31) as f64 - 0.5;
            wander = (wander + 2.0 * noise).max(0.0);
            Some(match seed % 3 {
                0 => 40.0 + 20.0 * (i as f64 / 96.0 * std::f64::consts::TAU).sin() + 5.0 * noise,
                1 => 20.0 + 10.0 * noise,
                _ => wander,
            })
        })
        .collect()
}
