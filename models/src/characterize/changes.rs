//! When the level of a series changed.

/// Values between two changes at least.
const APART_MIN: usize = 5;
/// Longer series are thinned to means of so many blocks: bounds the cost.
const BLOCKS_MAX: usize = 8192;

/// Places where the mean changes, each the first value of a new level, by PELT (Killick, Fearnhead and Eckley, 2012) with squared error.
///
/// A change must pay `penalty` × ln n noise variances (3 to 4 are usual). The noise is taken from the differences, by the median, and what hangs
/// together from one value to the next pays more, as fewer values are independent. Values that are not finite count as the
/// one before. Places in a series of more than 8192 values are rounded to blocks.
pub fn change_points(history: &[f64], penalty: f64) -> Vec<usize> {
    let mut last = history.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    let values: Vec<f64> = history
        .iter()
        .map(|&v| {
            last = if v.is_finite() { v } else { last };
            last
        })
        .collect();
    let block = values.len().div_ceil(BLOCKS_MAX).max(1);
    let thin: Vec<f64> =
        values.chunks(block).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
    let noise = noise_variance(&thin);
    if thin.len() < 2 * APART_MIN || noise <= 0.0 {
        return exact_changes(&thin).into_iter().map(|at| at * block).collect();
    }
    let price = penalty * (thin.len() as f64).ln() * noise;
    let mut found = pelt(&thin, price);
    // What the levels leave over tells how much neighbours hang together; a first guess sees too many changes there.
    for _ in 0..2 {
        let rest = remainder(&thin, &found);
        let together = crate::season::lag_one(&rest).clamp(0.0, 0.95);
        let factor = (1.0 + together) / (1.0 - together);
        let left = rest.iter().map(|v| v * v).sum::<f64>() / rest.len() as f64;
        found = pelt(&thin, (factor * left / noise).max(1.0) * price);
    }
    found.into_iter().map(|at| at * block).collect()
}

/// Variance of the noise from the median absolute difference of neighbours.
fn noise_variance(values: &[f64]) -> f64 {
    let mut steps: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    steps.sort_by(f64::total_cmp);
    let median = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    (median / 0.6745).powi(2) / 2.0
}

/// Where most neighbours are equal there is no noise: every lasting step is a change.
fn exact_changes(values: &[f64]) -> Vec<usize> {
    let stays = |at: usize| {
        at + APART_MIN <= values.len()
            && values[at..at + APART_MIN].iter().all(|v| *v == values[at])
    };
    (1..values.len()).filter(|&at| values[at] != values[at - 1] && stays(at)).collect()
}

fn remainder(values: &[f64], changes: &[usize]) -> Vec<f64> {
    let ends = changes.iter().copied().chain([values.len()]);
    let starts = [0].into_iter().chain(changes.iter().copied());
    let flat = |(start, end): (usize, usize)| {
        let mean = values[start..end].iter().sum::<f64>() / (end - start).max(1) as f64;
        values[start..end].iter().map(move |v| v - mean)
    };
    starts.zip(ends).flat_map(flat).collect()
}

fn pelt(values: &[f64], price: f64) -> Vec<usize> {
    let n = values.len();
    let (mut sums, mut squares) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let origin = values[0];
    for (at, v) in values.iter().map(|v| v - origin).enumerate() {
        sums[at + 1] = sums[at] + v;
        squares[at + 1] = squares[at] + v * v;
    }
    let cost = |from: usize, to: usize| {
        let sum: f64 = sums[to] - sums[from];
        squares[to] - squares[from] - sum * sum / (to - from) as f64
    };
    let mut best = vec![f64::INFINITY; n + 1];
    best[0] = -price;
    let mut before = vec![0; n + 1];
    let mut open = vec![0];
    for to in APART_MIN..=n {
        let totals: Vec<(usize, f64)> =
            open.iter().map(|&from| (from, best[from] + cost(from, to) + price)).collect();
        let cheapest =
            totals.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        if let Some((from, total)) = cheapest {
            best[to] = total;
            before[to] = from;
            // Those dearer already by the price of a change never become the best again.
            open = totals.iter().filter(|t| t.1 <= total + price).map(|t| t.0).collect();
        }
        let next = to + 1 - APART_MIN;
        if next >= APART_MIN && best[next].is_finite() {
            open.push(next);
        }
    }
    let mut changes = Vec::new();
    let mut at = before[n];
    while at > 0 {
        changes.push(at);
        at = before[at];
    }
    changes.reverse();
    changes
}

/// The simple rule that the above is compared with: where the means of the `window` values before and after differ by more
/// than `sigmas` standard errors, the largest difference in each window.
pub fn sliding_changes(values: &[f64], window: usize, sigmas: f64) -> Vec<usize> {
    if window < 2 || values.len() < 2 * window {
        return Vec::new();
    }
    let moments = |part: &[f64]| {
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let variance = part.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
        (mean, variance / part.len() as f64)
    };
    let difference = |at: usize| {
        let (a, b) = (moments(&values[at - window..at]), moments(&values[at..at + window]));
        (a.0 - b.0).abs() / ((a.1 + b.1) / window as f64).sqrt().max(1e-300)
    };
    let strength: Vec<f64> = (window..=values.len() - window).map(difference).collect();
    let peak = |&at: &usize| {
        let around = &strength[at.saturating_sub(window)..(at + window).min(strength.len())];
        strength[at] > sigmas && around.iter().all(|&s| s <= strength[at])
    };
    (0..strength.len()).filter(peak).map(|at| at + window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::champion::tests::{ar_noise, white_noise};

    #[test]
    fn planted_changes_are_found_near_their_place() {
        let levels = [0.0, 3.0, 1.0, 6.0];
        for seed in 0..10 {
            let series: Vec<f64> =
                white_noise(seed).take(400).enumerate().map(|(i, e)| levels[i / 100] + e).collect();
            let found = change_points(&series, 3.0);
            assert_eq!(found.len(), 3, "{found:?}");
            assert!(
                found.iter().zip([100, 200, 300]).all(|(f, w)| f.abs_diff(w) <= 4),
                "{found:?}"
            );
        }
    }

    #[test]
    fn noise_has_few_changes_even_where_it_hangs_together() {
        let count = |make: &dyn Fn(u64) -> Vec<f64>| {
            (0..100).filter(|&s| !change_points(&make(s), 3.0).is_empty()).count()
        };
        let white = count(&|s| white_noise(s).take(300).collect());
        let red = count(&|s| ar_noise(s, 0.6).take(300).collect());
        assert!(white <= 5 && red <= 15, "{white} and {red} of 100");
    }

    #[test]
    fn the_pruned_search_finds_the_optimum() {
        let values: Vec<f64> = white_noise(9)
            .take(60)
            .enumerate()
            .map(|(i, e)| e + if i > 30 { 2.0 } else { 0.0 })
            .collect();
        let price = 6.0;
        let total = |changes: &[usize]| {
            let rest = remainder(&values, changes);
            rest.iter().map(|v| v * v).sum::<f64>() + price * changes.len() as f64
        };
        let found = total(&pelt(&values, price));
        for a in APART_MIN..=55 {
            assert!(found <= total(&[a]) + 1e-9);
            for b in a + APART_MIN..=55 {
                assert!(found <= total(&[a, b]) + 1e-9, "{a} {b}");
            }
        }
    }

    #[test]
    fn degenerate_series() {
        assert!(change_points(&[], 3.0).is_empty());
        assert!(change_points(&[1.0; 4], 3.0).is_empty());
        assert!(change_points(&[f64::NAN; 100], 3.0).is_empty());
        let step: Vec<f64> = (0..100).map(|i| f64::from(i / 50)).collect();
        assert_eq!(change_points(&step, 3.0), [50]);
        assert!(sliding_changes(&[1.0; 5], 10, 5.0).is_empty());
    }
}
