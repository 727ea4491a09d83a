//! Series and graphs with a known truth, from a seed.

use isobar_models::characterize::CoAccess;
use std::f64::consts::TAU;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(super) fn even(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `bound`, which is above 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.even() * bound as f64) as usize
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.even()).ln()).sqrt() * (TAU * self.even()).cos()
    }

    /// A power law with density x^-exponent between the bounds.
    fn power_law(&mut self, low: f64, high: f64, exponent: f64) -> f64 {
        let power = 1.0 - exponent;
        let (a, b) = (low.powf(power), high.powf(power));
        (a + self.even() * (b - a)).powf(1.0 / power)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// 5 to 12 seasons of 6 to 168 steps: a wave, a wave with an overtone, a plateau or a short peak; on noise of half to
/// its whole deviation that may hang together, on a trend or a slow walk.
pub(super) fn seasonal_series(rng: &mut Rng) -> (Vec<f64>, usize) {
    let period = [6, 7, 12, 24, 48, 60, 96, 144, 168][rng.below(9)];
    let length = (period * (5 + rng.below(8))).max(120) + rng.below(period);
    let (shape, phase) = (rng.below(4), rng.below(period));
    let course = |at: usize| {
        let part = ((at + phase) % period) as f64 / period as f64;
        match shape {
            0 => (TAU * part).sin(),
            1 => (TAU * part).sin() + 0.5 * (2.0 * TAU * part + 1.0).sin(),
            2 => f64::from(u8::from(part < 0.35)),
            _ => (-((part - 0.5) * 6.0).powi(2)).exp(),
        }
    };
    let mean = (0..period).map(course).sum::<f64>() / period as f64;
    let deviation =
        ((0..period).map(|at| (course(at) - mean).powi(2)).sum::<f64>() / period as f64).sqrt();
    let noise = 0.5 + 0.5 * rng.even();
    let (together, slope) = (0.5 * rng.even(), 2.0 * (rng.even() - 0.5) / length as f64);
    let walking = if rng.even() < 0.3 { 0.05 } else { 0.0 };
    let (mut red, mut walk) = (0.0, 0.0);
    let series = (0..length)
        .map(|at| {
            red = together * red + (1.0 - together * together).sqrt() * rng.normal();
            walk += walking * rng.normal();
            10.0 + (course(at) - mean) / deviation + noise * red + slope * at as f64 + walk
        })
        .collect();
    (series, period)
}

/// White noise or a random walk of 150 to 1,200 steps.
pub(super) fn noise_series(rng: &mut Rng, walking: bool) -> Vec<f64> {
    let length = 150 + rng.below(1050);
    let mut at = 0.0;
    (0..length)
        .map(|_| {
            at = if walking { at + rng.normal() } else { rng.normal() };
            at
        })
        .collect()
}

/// 400 steps with 0 to 5 changes of level of at least two deviations, 30 steps or more apart, on noise that hangs together a
/// little; with the places.
pub(super) fn changing_series(rng: &mut Rng) -> (Vec<f64>, Vec<usize>) {
    const LENGTH: usize = 400;
    let mut places: Vec<usize> = Vec::new();
    for _ in 0..rng.below(6) {
        let place = 30 + rng.below(LENGTH - 60);
        if places.iter().all(|&known| known.abs_diff(place) >= 30) {
            places.push(place);
        }
    }
    places.sort_unstable();
    let (mut level, mut red) = (0.0, 0.0);
    let together = 0.3 * rng.even();
    let mut series = Vec::with_capacity(LENGTH);
    for at in 0..LENGTH {
        if places.contains(&at) {
            let size = 2.0 + 2.0 * rng.even();
            level += if rng.even() < 0.5 { size } else { -size };
        }
        red = together * red + (1.0 - together * together).sqrt() * rng.normal();
        series.push(level + red);
    }
    (series, places)
}

/// A co-access graph with planted communities after Lancichinetti, Fortunato and Radicchi (2008): degrees and sizes of communities by a
/// power law, and each node has the share `mixing` of its edges to other communities.
pub(super) fn graph(rng: &mut Rng, nodes: usize, mixing: f64) -> (Vec<CoAccess>, Vec<usize>) {
    let mut truth = Vec::with_capacity(nodes);
    let mut community = 0;
    while truth.len() < nodes {
        let size = rng.power_law(20.0, 80.0, 1.5) as usize;
        // A rest too small for a community of its own joins the last.
        let size = if nodes - truth.len() < size + 20 { nodes - truth.len() } else { size };
        truth.extend(std::iter::repeat_n(community, size));
        community += 1;
    }
    let degrees: Vec<f64> = (0..nodes).map(|_| rng.power_law(8.0, 50.0, 2.5)).collect();
    let mut edges = Vec::new();
    for group in 0..community {
        let inside = |node: &usize| truth[*node] == group;
        let members: Vec<usize> = (0..nodes).filter(inside).collect();
        let stubs = stubs(rng, &members, |node| degrees[node] * (1.0 - mixing));
        pair(rng, stubs, &mut edges, |_, _| true);
    }
    let all: Vec<usize> = (0..nodes).collect();
    let stubs = stubs(rng, &all, |node| degrees[node] * mixing);
    pair(rng, stubs, &mut edges, |a, b| truth[a] != truth[b]);
    (edges, truth)
}

fn stubs(rng: &mut Rng, members: &[usize], degree: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut stubs = Vec::new();
    for &node in members {
        let count = degree(node) + rng.even();
        stubs.extend(std::iter::repeat_n(node, count as usize));
    }
    rng.shuffle(&mut stubs);
    stubs
}

/// Joins stubs by twos; a pair that may not be is tried again with others.
fn pair(
    rng: &mut Rng,
    mut stubs: Vec<usize>,
    edges: &mut Vec<CoAccess>,
    legal: impl Fn(usize, usize) -> bool,
) {
    for _ in 0..20 {
        let mut rest = Vec::new();
        for two in stubs.chunks(2) {
            match *two {
                [a, b] if a != b && legal(a, b) => {
                    edges.push(CoAccess { a, b, weight: 1.0 + rng.below(4) as f64 });
                }
                _ => rest.extend_from_slice(two),
            }
        }
        stubs = rest;
        rng.shuffle(&mut stubs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_has_the_mixing_asked_for() {
        let (edges, truth) = graph(&mut Rng::new(1), 600, 0.3);
        let across = edges.iter().filter(|e| truth[e.a] != truth[e.b]).count() as f64;
        let share = across / edges.len() as f64;
        assert!((share - 0.3).abs() < 0.02, "{share}");
        assert_eq!(truth.len(), 600);
        assert!(truth.iter().max().is_some_and(|&last| last >= 7));
    }

    #[test]
    fn noise_is_noise_and_changes_are_apart() {
        let mut rng = Rng::new(2);
        let all: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = all.iter().sum::<f64>() / 20_000.0;
        let variance = all.iter().map(|v| v * v).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        for _ in 0..50 {
            let (series, places) = changing_series(&mut rng);
            assert_eq!(series.len(), 400);
            assert!(places.windows(2).all(|w| w[1] - w[0] >= 30));
        }
    }
}
