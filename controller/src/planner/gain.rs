//! Read round-trip times under uncertainty.
//!
//! The mean that readers see is an average of round-trip times, weighted by arrivals per region. Each weight is only
//! known as a 90 % interval. Regions sleep and wake on their own, so their errors are taken as independent and the
//! bound of the average follows from its derivative by each weight (the delta method for a ratio of sums): the
//! harmful half-widths add up in quadrature. No bound goes beyond the worst corner of the box of intervals, which is
//! exact and takes over when the intervals are too wide for a derivative.
//!
//! The worst corner alone, every region at its worst at once, was tried first: with a dozen noisy regions it holds
//! back moves whose gain is certain for all practical purposes.

/// A figure with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub lower: f64,
    pub mean: f64,
    pub upper: f64,
}

/// Puts an interval into order and drops what is not a number: `lower ≤ mean ≤ upper`, all at least 0.
pub(crate) fn tidy(interval: [f64; 3]) -> [f64; 3] {
    let sane = |x: f64| if x.is_finite() { x.max(0.0) } else { 0.0 };
    let mean = sane(interval[1]);
    [sane(interval[0]).min(mean), mean, sane(interval[2]).max(mean)]
}

/// The weighted mean of values at the expected weights; `None` without weight.
pub(crate) fn mean(items: &[([f64; 3], f64)]) -> Option<f64> {
    let weight: f64 = items.iter().map(|(w, _)| w[1]).sum();
    let sum: f64 = items.iter().map(|(w, v)| w[1] * v).sum();
    (weight > 0.0).then(|| sum / weight)
}

/// The weighted mean and its 90 % interval.
pub(crate) fn range(items: &[([f64; 3], f64)]) -> Option<Range> {
    let mean = mean(items)?;
    let mut ascending: Vec<([f64; 3], f64)> = items.to_vec();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let corner_lower = extreme(ascending.iter(), f64::min).unwrap_or(mean);
    let corner_upper = extreme(ascending.iter().rev(), f64::max).unwrap_or(mean);
    let lower = (mean - deviation(items, mean, -1.0)).max(corner_lower);
    let upper = (mean + deviation(items, mean, 1.0)).min(corner_upper);
    Some(Range { lower: lower.min(mean), mean, upper: upper.max(mean) })
}

/// How far the mean may lie on one side (`towards`: -1 below, 1 above): a value on that side pulls the mean there
/// with a weight above the expected one, a value on the other side with a weight below it.
fn deviation(items: &[([f64; 3], f64)], mean: f64, towards: f64) -> f64 {
    let weight: f64 = items.iter().map(|(w, _)| w[1]).sum();
    let squares = items.iter().map(|(w, value)| {
        let off = value - mean;
        let half_width = if off * towards > 0.0 { w[2] - w[1] } else { w[1] - w[0] };
        (off * half_width / weight).powi(2)
    });
    squares.sum::<f64>().sqrt()
}

/// The extreme of a weighted mean over a box of weights: at the extreme some prefix of the sorted values has its
/// largest weight and the rest its smallest, so trying every prefix is exact.
fn extreme<'a>(
    sorted: impl Iterator<Item = &'a ([f64; 3], f64)> + Clone,
    better: fn(f64, f64) -> f64,
) -> Option<f64> {
    let (mut weight, mut sum) =
        sorted.clone().fold((0.0, 0.0), |(w, s), (i, v)| (w + i[0], s + i[0] * v));
    let mut best = (weight > 0.0).then(|| sum / weight);
    for (interval, value) in sorted {
        weight += interval[2] - interval[0];
        sum += (interval[2] - interval[0]) * value;
        if weight > 0.0 {
            let now = sum / weight;
            best = Some(best.map_or(now, |b| better(b, now)));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn certain_weights_leave_no_range() {
        let r = range(&[([10.0; 3], 80.0), ([30.0; 3], 0.0)]).expect("weights");
        assert_eq!((r.lower, r.mean, r.upper), (20.0, 20.0, 20.0));
        assert!(range(&[([0.0; 3], 5.0)]).is_none() && range(&[]).is_none());
    }

    #[test]
    fn a_doubtful_region_widens_the_range() {
        let r =
            range(&[([60.0, 100.0, 140.0], 80.0), ([0.0, 20.0, 45.0], -80.0)]).expect("weights");
        // Mean 160/3; derivatives (80 - 160/3)/120 and (-80 - 160/3)/120; harmful half-widths 40 and 25 below.
        let mean: f64 = 160.0 / 3.0;
        let below: f64 = f64::hypot((80.0 - mean) * 40.0 / 120.0, (-80.0 - mean) * 25.0 / 120.0);
        assert!((r.mean - mean).abs() < 1e-9 && (r.lower - (mean - below)).abs() < 1e-9);
        let above: f64 = f64::hypot((80.0 - mean) * 40.0 / 120.0, (-80.0 - mean) * 20.0 / 120.0);
        assert!((r.upper - (mean + above)).abs() < 1e-9);
    }

    #[test]
    fn intervals_are_put_in_order() {
        assert_eq!(tidy([5.0, 3.0, 1.0]), [3.0, 3.0, 3.0]);
        assert_eq!(tidy([f64::NAN, -1.0, f64::INFINITY]), [0.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn bounds_enclose_the_mean_and_stay_inside_the_box(
            raw in proptest::collection::vec((0.0f64..50.0, 0.0f64..50.0, 0.0f64..50.0, -100.0f64..100.0), 1..6)
        ) {
            let items: Vec<_> = raw.iter().map(|(a, b, c, v)| (tidy([*a, a + b, a + b + c]), *v)).collect();
            let Some(bounds) = range(&items) else { return Ok(()) };
            prop_assert!(bounds.lower <= bounds.mean && bounds.mean <= bounds.upper);
            let values = items.iter().map(|(_, v)| *v);
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            prop_assert!(low - 1e-9 <= bounds.lower && bounds.upper <= high + 1e-9);
        }

        /// What the interval claims: independent weights keep the average inside it nine times out of ten.
        #[test]
        fn nine_of_ten_mixes_lie_inside(seed: u64) {
            let mut dice = crate::planner::synthetic::Dice::new(seed);
            let items: Vec<([f64; 3], f64)> = (0..6)
                .map(|_| {
                    let (w, half) = (40.0 + 40.0 * dice.share(), 10.0 + 10.0 * dice.share());
                    ([w - half, w, w + half], 160.0 * dice.share())
                })
                .collect();
            let bounds = range(&items).expect("weights");
            let inside = (0..400).filter(|_| {
                // A sum of twelve uniform draws is close to a normal one; 1.645 deviations make a half-width.
                let mix: Vec<([f64; 3], f64)> = items.iter().map(|(w, v)| {
                    let normal: f64 = (0..12).map(|_| dice.share()).sum::<f64>() - 6.0;
                    ([(w[1] + (w[2] - w[1]) * normal / 1.645).max(0.0); 3], *v)
                }).collect();
                mean(&mix).is_some_and(|m| bounds.lower <= m && m <= bounds.upper)
            });
            let inside = inside.count();
            prop_assert!((320..=396).contains(&inside), "{inside} of 400");
        }
    }
}
